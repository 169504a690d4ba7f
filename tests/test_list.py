"""The list command: layers with shapes, models, losses, mistakes."""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from rlgen.list import main
from rlgen.nets.super_resolution import SUPER_RESOLVERS, make_super_resolver


@pytest.fixture(autouse=True)
def _wide_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


def rows(out: str) -> dict[str, list[str]]:
    """Returns the cells of the printed table by the first of each row."""
    cells = [[c.strip() for c in re.split("[│┃|]", line)][1:-1] for line in out.splitlines()]
    return {row[0]: row[1:] for row in cells if row}


def test_layers_with_shapes(capsys: pytest.CaptureFixture) -> None:
    assert main(["layers", "model=resnet8", "input=3,16,16", "classes=4"]) == 0
    out = capsys.readouterr().out
    table = rows(out)
    assert table["layer2"] == ["Sequential", "16x16x16", "32x8x8", "14,528"]
    assert table["classifier"] == ["Linear", "64", "4", "260"]
    assert table["layer1.0.relu2"][-1] == ""
    assert "resnet8: 77,652 parameters" in out


def test_input_in_another_form_and_a_filter(capsys: pytest.CaptureFixture) -> None:
    assert main(["layers", "model=vgg8", "input=1x28x28", "find=POOL"]) == 0
    table = rows(capsys.readouterr().out)
    assert set(table) == {"layer", "pool1", "pool2", "pool3"}
    assert table["pool1"][1:3] == ["64x28x28", "64x14x14"]


def test_a_network_that_enlarges(capsys: pytest.CaptureFixture) -> None:
    assert main(["layers", "model=edsr_tiny", "input=1,8,8", "scale=3"]) == 0
    out = capsys.readouterr().out
    table = rows(out)
    head, tail = table["head"], table["tail"]
    width = int(head[2].split("x")[0])
    assert head == ["Conv2d", "1x8x8", f"{width}x8x8", f"{10 * width:,}"]
    assert tail == ["Conv2d", f"{width}x24x24", "1x24x24", f"{9 * width + 1:,}"]
    assert {"stage1", "stage2", "stage3", "upsampler"} <= set(table)  # names that taps go by


OWN = """
from torch import nn

def make():
    return nn.Sequential(nn.Embedding(9, 4), nn.ReLU(inplace=True))

net = make()
number = lambda: 3
"""


@pytest.mark.parametrize("name", ["make", "net"])
def test_a_network_of_ones_own(cwd: Path, capsys: pytest.CaptureFixture, name: str) -> None:
    (cwd / "own_nets.py").write_text(OWN)
    assert main(["layers", f"model=own_nets:{name}", "input=5", "dtype=int64"]) == 0
    table = rows(capsys.readouterr().out)
    assert table["0"] == ["Embedding", "5", "5x4", "36"]
    assert table["1"][0] == "ReLU, in place"
    assert main(["layers", f"model=own_nets:{name}"]) == 0
    assert rows(capsys.readouterr().out)["0"] == ["Embedding", "", "", "36"]


def test_models_and_losses(capsys: pytest.CaptureFixture) -> None:
    assert main(["models", "find=resnet2"]) == 0
    table = rows(capsys.readouterr().out)
    assert set(table) == {"name", "resnet20", "resnet20x4"}
    assert table["resnet20"] == ["272,474"]
    assert main(["models", "find=EDSR"]) == 0
    out = capsys.readouterr().out
    assert "super-resolution networks" in out
    assert "classifiers" not in out
    listed = {name: row for name, row in rows(out).items() if name != "name"}
    assert set(listed) == {name for name in SUPER_RESOLVERS if "edsr" in name}
    count = sum(p.numel() for p in make_super_resolver("edsr_tiny").parameters())
    assert listed["edsr_tiny"] == [f"{count:,}"]
    assert main(["models", "find=s"]) == 0
    assert {"resnet20", "srresnet"} <= set(rows(capsys.readouterr().out))
    assert main(["losses"]) == 0
    table = rows(capsys.readouterr().out)
    assert table["kd"][:2] == ["a student", "outputs"]
    assert table["ofd"][:2] == ["a student", "features (preactivation)"]
    assert table["ffl"][:2] == ["peers", "features (last), labels"]
    assert table["kd"][2].startswith("KD:")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say what to list; type: python -m rlgen.list layers model=resnet20"),
        (["model=resnet20"], "say what to list"),
        (["layres"], "unknown listing 'layres'; did you mean 'layers'?"),
        (["layers"], "model= is missing"),
        (["layers", "resnet20"], "'resnet20' is not key=value; type model=resnet20"),
        (["layers", "model=resnt20"], "unknown network 'resnt20'; did you mean 'resnet20'"),
        (["layers", "model=edsr_smal"], "unknown network 'edsr_smal'; did you mean 'edsr_small'"),
        (["layers", "model=edsr_small", "scale=5"], "scale=5 is unknown; allowed: 2, 3, 4"),
        (["layers", "model=resnet20", "inptu=3"], "unknown option inptu; did you mean 'input'?"),
        (["layers", "model=resnet20", "input=3,a"], "input=3,a: numbers above 0 are wanted"),
        (["layers", "model=vgg8", "input=3,4,4"], "input=3,4,4: vgg8 does not take it: "),
        (["layers", "model=resnet8", "find=conw"], "find=conw: no layer of resnet8"),
        (["layers", "model=resnet8", "dtype=flot"], "dtype=flot: no such type; type float32"),
        (["layers", "model=no_such:net"], "model=no_such:net: No module named 'no_such'"),
        (["layers", "model=torch.nn:Liner"], "model=torch.nn:Liner: module 'torch.nn' has no"),
        (["layers", "model=own_nets:number"], "gives int, and no torch.nn.Module"),
        (["models", "find=nothing"], "find=nothing: no network has that in its name"),
        (["losses", "x=1"], "'x=1': this listing has no options"),
    ],
)
def test_mistakes(cwd: Path, capsys: pytest.CaptureFixture, arguments, message) -> None:
    (cwd / "own_nets.py").write_text(OWN)
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert message in said
    assert said.count("\n") == 1


def test_help_names_every_option(capsys: pytest.CaptureFixture) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for word in (
        "layers",
        "models",
        "losses",
        "model=",
        "input=",
        "dtype=",
        "classes=",
        "scale=",
        "find=",
    ):
        assert word in out


def test_learners(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    # Importing the real one takes seconds, and adds one more row.
    monkeypatch.setitem(sys.modules, "rlgen.density_index", ModuleType("density_index"))
    assert main(["learners"]) == 0
    told = capsys.readouterr().out
    for name in ("hcnet", "packnet", "finetune", "gan", "prototype"):
        assert f" {name} " in told, name
    assert "nothing holds" in told
    assert main(["learners", "x=1"]) == 2
