"""The learners by name."""

import subprocess
import sys


def test_the_registry_is_full_without_another_import():
    code = "from rlgen.continual import LEARNERS; print(*sorted(LEARNERS))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    rivals = ["finetune", "joint", "lwf", "packnet", "replay"]
    assert sorted(done.stdout.split()) == sorted(["cnet", "ewc", "hcnet", *rivals])
