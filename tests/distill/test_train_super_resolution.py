"""Super-resolution by the train command: what a run leaves, resume, mistakes."""

import json
import shutil

import pytest
from safetensors.torch import load_file
from super_resolution_runs import PICTURES, write_upscaler

from rlgen.core.checkpoint import list_checkpoints
from rlgen.core.record import read_rows
from rlgen.distill.job import compose_train_config, job_name
from rlgen.distill.tasks import super_resolution
from rlgen.nets.super_resolution import make_super_resolver
from rlgen.train import main

SHORT = ["task=super_resolution", *PICTURES, "epochs=2"]


@pytest.fixture
def here(cwd, monkeypatch):
    """A folder with a teacher; crops are empty pictures."""
    monkeypatch.setattr(super_resolution, "draw_crops", lambda path, *_: path.touch())
    write_upscaler(cwd / "old")
    return cwd


def test_a_run_leaves_what_a_run_leaves_and_resumes_exactly(here):
    assert main([*SHORT, "distiller=lsfd", "teacher=edsr_tiny", "alpha=0.5", "run_dir=run"]) == 0
    run = here / "run"
    rows = read_rows(run / "progress.csv")
    assert [row["step"] for row in rows] == ["2", "4"]
    columns = {"loss", "loss/task", "loss/pixel", "loss/lsfd", "psnr/stripes", "ssim/stripes"}
    assert columns <= set(rows[0])
    result = json.loads((run / "result.json").read_text())
    assert result["psnr"] == {"stripes": float(rows[-1]["psnr/stripes"])}
    for place in ("student", "teachers/0/student"):
        found = load_file(run / place / "model.safetensors")
        assert found.keys() == make_super_resolver("edsr_tiny").state_dict().keys()
    for name in ("config.yaml", "crops.png", "teachers/0/crops.png"):
        assert (run / name).exists(), name
    card = (run / "card.md").read_text()
    assert f"on Y after the last step: stripes {result['psnr']['stripes']:.2f} dB" in card
    assert "bicubic enlargement: stripes" in card
    assert "`crops.png`" in card
    # As if it had been killed after two steps.
    shutil.copytree("run", "part")
    (here / "part/card.md").unlink()
    shutil.rmtree(list_checkpoints(here / "part/checkpoints")[-1])
    assert main(["resume=part", "task=super_resolution"]) == 0
    for name in ("progress.csv", "result.json", "student/model.safetensors"):
        assert (run / name).read_bytes() == (here / "part" / name).read_bytes(), name


MISTAKES = {
    "unknown task": (["task=superresolution"], "unknown task 'superresolution'; did you mean"),
    "class logits": (["distiller=kd", "teacher=old"], "distiller=kd compares class logits"),
    "peers": (["distiller=dml"], "distiller=dml compares class logits"),
    "unknown pictures": (["data=bsd10"], "did you mean 'bsd100'"),
    "scale": (["scale=5"], "scale=5; a whole number from 2 to 4"),
    "alpha": (["distiller=at", "teacher=old", "alpha=2.0"], "alpha=2.0; a number from 0 to 1"),
    "alpha of classifiers": (["task=classification", "alpha=0.5"], "of task=super_resolution"),
    "list for classifiers": (["task=classification", "data=[a,b]"], "one set is wanted"),
    "optimiser": (["optimizer=adamw"], "optimizer=adamw is unknown; allowed: sgd, adam"),
    "unknown layer": (["distiller=at", "teacher=old", "taps=[stage4]"], "did you mean 'stage"),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_code_2(here, capsys, arguments, message):
    start = [] if any(a.startswith("distiller=") for a in arguments) else ["distiller=none"]
    keys = {argument.split("=")[0] for argument in arguments}
    short = [argument for argument in SHORT if argument.split("=")[0] not in keys]
    assert main([*short, *start, *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("error: ")
    assert message in err
    assert [path.name for path in here.iterdir()] == ["old"]  # no run folder


def test_the_task_has_defaults_of_its_own_and_typed_options_win():
    config = compose_train_config(
        ["distiller=fitnets", "task=super_resolution", "teacher=edsr_baseline", "lr=2e-4"]
    )
    assert (config["data"], config["test"], config["optimizer"]) == ("div2k", "set5", "adam")
    assert (config["lr"], config["epoch_steps"]) == (2e-4, 1000)
    assert (config["distiller"]["relu"], config["distiller"]["weight"]) == (False, 1.0)
    typed = ["distiller=fitnets", "task=super_resolution", "distiller.relu=true"]
    assert compose_train_config(typed)["distiller"]["relu"] is True
    assert compose_train_config(["distiller=fitnets"])["distiller"]["relu"] is True


@pytest.mark.parametrize(
    ("data", "name"),
    [("div2k", "none-edsr_small-x2-div2k"), ("[a/bsd100,b/x.tar]", "none-edsr_small-x2-bsd100-x")],
)
def test_a_run_is_named_by_method_student_scale_and_data(data, name):
    config = compose_train_config(["distiller=none", "task=super_resolution", f"data={data}"])
    assert job_name(config) == name


@pytest.mark.slow
def test_the_short_preset_trains_on_drawn_pictures(cwd):
    assert main(["distiller=lsfd", "task=super_resolution", "preset=smoke"]) == 0
    (run,) = (cwd / "runs" / "lsfd-edsr_tiny-x2-photos").iterdir()
    assert json.loads((run / "result.json").read_text())["psnr"]["stripes"] > 12
    assert (run / "crops.png").stat().st_size > 10_000
