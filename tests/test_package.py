"""The package as a whole: what an import costs, public names, commands, layers."""

import ast
import json
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import pytest

import rlgen

ROOT = Path(rlgen.__file__).parent


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=120)


def modules_after(code: str) -> list[str]:
    """Returns the top-level modules that are loaded after some code has run."""
    names = "sorted({name.split('.')[0] for name in sys.modules})"
    result = python("-c", f"import json, sys\n{code}\nprint(json.dumps({names}))")
    assert result.returncode == 0, result.stderr
    loaded: list[str] = json.loads(result.stdout.splitlines()[-1])
    return loaded


def seconds(code: str) -> float:
    start = time.perf_counter()
    assert python("-c", code).returncode == 0
    return time.perf_counter() - start


@pytest.mark.parametrize(
    "code",
    [
        "import rlgen",
        "import rlgen.core.cli, rlgen.core.errors",
        "import rlgen.train, rlgen.evaluate, rlgen.plot",
        "import rlgen.__main__ as m; m.main(['--help'])",
        "import rlgen.__main__ as m; m.main(['--version'])",
        "import rlgen.__main__ as m; m.main(['trian'])",
        "import rlgen.__main__ as m; m.main(['evaluate', '--help'])",
        "import rlgen.__main__ as m; m.main(['plot', '--help'])",
    ],
)
def test_nothing_heavy_is_imported(code):
    heavy = {"torch", "numpy", "gymnasium", "stable_baselines3", "hydra", "matplotlib"}
    assert heavy.isdisjoint(modules_after(code))


def test_importing_the_package_takes_no_time():
    code = "import rlgen"
    seconds(code)  # writes the byte code
    bare, package = (statistics.median(seconds(c) for _ in range(5)) for c in ("pass", code))
    assert package - bare < 0.3


@pytest.mark.parametrize("name", rlgen.__all__)
def test_public_names_resolve(name):
    assert getattr(rlgen, name) is not None
    assert name in dir(rlgen)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'rlgen' has no attribute 'PPPO'"):
        _ = rlgen.PPPO


def test_the_package_says_that_it_is_typed():
    assert files("rlgen").joinpath("py.typed").is_file()


def test_the_version_is_that_of_the_installed_package():
    assert rlgen.__version__ == version("rlgen")


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], []])
def test_help_lists_the_commands(arguments):
    result = python("-m", "rlgen", *arguments)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("usage: rlgen COMMAND")
    for command in ("train", "evaluate", "plot"):
        assert f"\n  {command} " in result.stdout


def test_the_help_of_train_loads_no_heavy_library():
    code = (
        "import sys; from rlgen.train import main; main(['--help'])\n"
        "print({'torch', 'hydra', 'diffusers'} & set(sys.modules), file=sys.stderr)"
    )
    assert python("-c", code).stderr.strip() == "set()"


@pytest.mark.parametrize("start", [["rlgen", "train"], ["rlgen.train"]])
def test_the_help_of_train_lists_groups_options_and_examples(start):
    result = python("-m", *start, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    for text in (
        "agent=g2n|g2ppo|g2ac|ppo|a2c",
        "env=Breakout",
        "preset=smoke",
        "resume=latest",
        "examples:\n  python -m rlgen.train agent=g2n env=Breakout\n",
        "checkpoint_every",
        "population_size",
    ):
        assert text in result.stdout


@pytest.mark.parametrize("command", ["evaluate", "plot"])
def test_the_other_commands_show_an_example(command):
    result = python("-m", "rlgen", command, "--help")
    assert result.returncode == 0
    assert f"example: python -m rlgen.{command} " in result.stdout


def test_an_unknown_command_offers_the_closest():
    result = python("-m", "rlgen", "trian")
    assert result.returncode == 2
    assert result.stderr == "error: unknown command 'trian'; did you mean 'train'?\n"


def test_the_version_is_printed():
    assert python("-m", "rlgen", "--version").stdout == f"{rlgen.__version__}\n"


def imports(path: Path) -> set[str]:
    """Returns every module that a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or ".")
    return found


SOURCES = sorted(ROOT.rglob("*.py"))


def test_only_one_file_imports_hydra():
    users = [
        path.relative_to(ROOT).as_posix()
        for path in SOURCES
        if any(name.split(".")[0] in ("hydra", "omegaconf") for name in imports(path))
    ]
    assert users == ["core/compose.py"]


LAYERS = [
    "core",
    "envs nets data",
    "agents generative continual distill",
    "policy_distillation density_index",
    "train evaluate generate design govern list plot study",
    "__main__ __init__",
]
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts.split()}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_go_down_only(path):
    here = path.relative_to(ROOT).with_suffix("").parts[0]
    there = {name.split(".")[1] for name in imports(path) if name.startswith("rlgen.")}
    for part in there - {here}:
        assert LEVEL[part] < LEVEL[here], f"rlgen.{here} imports rlgen.{part}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_imports_torchvision(path):
    assert "torchvision" not in {name.split(".")[0] for name in imports(path)}
