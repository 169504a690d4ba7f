"""Trained classifiers as files."""

import json

import pytest
import torch
from distill_runs import CLASSES
from safetensors.torch import load_file, save_file

from rlgen.core.errors import UserError
from rlgen.distill.exported import (
    Description,
    find_exported,
    load_classifier,
    load_weights,
    save_classifier,
)
from rlgen.nets.classifiers import make_classifier

DESCRIPTION = Description("resnet8", CLASSES, (3, 8, 8), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return make_classifier("resnet8", 3).to(memory_format=torch.channels_last)


@pytest.fixture
def file(tmp_path, network):
    save_classifier(tmp_path / "run" / "student", network, DESCRIPTION)
    return tmp_path / "run" / "student" / "model.safetensors"


def test_a_network_comes_back_as_it_was(file, network):
    again, description = load_classifier(file)
    assert description == DESCRIPTION
    assert again.state_dict().keys() == load_file(file).keys() == network.state_dict().keys()
    images = torch.randn(2, 3, 8, 8)
    assert torch.allclose(network.eval()(images), again.eval()(images), atol=1e-5)


def test_a_folder_is_replaced_as_a_whole(file, network):
    (file.parent / "more.txt").write_text("old")
    with torch.no_grad():
        network.classifier.bias.fill_(5)
    save_classifier(file.parent, network, DESCRIPTION)
    assert sorted(path.name for path in file.parent.iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    assert [path.name for path in file.parent.parent.iterdir()] == ["student"]
    assert (load_file(file)["classifier.bias"] == 5).all()


def test_layers_that_peers_share_are_saved(tmp_path):
    peers = [make_classifier("resnet8", 3) for _ in range(2)]
    peers[1].conv1 = peers[0].conv1
    peers[1].layer1[0].conv2 = peers[1].layer1[0].conv1  # tied inside one network
    for number, peer in enumerate(peers):
        save_classifier(tmp_path / str(number), peer, DESCRIPTION)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in "01")
    assert torch.equal(one["conv1.weight"], two["conv1.weight"])


@pytest.mark.parametrize("part", ["", "run", "run/student", "run/student/model.safetensors"])
def test_runs_folders_and_files_are_found(file, tmp_path, part):
    (tmp_path / "run" / "config.yaml").write_text("a: 1\n")
    assert find_exported(str(tmp_path / part)) == file


def test_what_is_no_trained_network_is_told(tmp_path, file):
    for name in ("other.pth", "alone.safetensors"):
        (tmp_path / name).write_bytes(b"")
    for name in ("empty", "young"):
        (tmp_path / name).mkdir()
    (tmp_path / "young" / "config.yaml").write_text("a: 1\n")
    for path, message in (
        (tmp_path / "other.pth", "no trained network"),
        (tmp_path / "alone.safetensors", "no config.json beside it"),
        (tmp_path / "empty", "holds no run"),
        (tmp_path / "young", "its training has not ended yet"),
    ):
        with pytest.raises(UserError, match=message):
            find_exported(str(path))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model", None),
        ("shape", [3, 8]),
        ("mean", [0.1, 0.2]),
        ("deviation", [0.0, 0.5, 0.5]),
        ("mean", ["x", 0, 0]),
        ("classes", 3),
    ],
)
def test_a_damaged_description_is_told(file, key, value):
    values = json.loads((file.parent / "config.json").read_text())
    values[key] = value
    if value is None:
        del values[key]
    (file.parent / "config.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=r"cannot read .*config"):
        load_classifier(file)


def test_weights_of_another_network_are_told(file):
    with pytest.raises(UserError, match=r"model.safetensors does not fit ResNet: size mismatch"):
        load_weights(make_classifier("resnet8", 4), file)
    save_file({"a": torch.zeros(1)}, file)
    with pytest.raises(UserError, match="does not fit ResNet"):
        load_classifier(file)
    file.write_bytes(b"garbage")
    with pytest.raises(UserError, match="does not fit ResNet"):
        load_classifier(file)
