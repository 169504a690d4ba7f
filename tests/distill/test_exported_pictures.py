"""Trained super-resolution networks as files, and one picture enlarged."""

import json

import numpy as np
import pytest
import torch
from distill_runs import write_teacher
from safetensors.torch import load_file
from super_resolution_runs import write_upscaler

from rlgen.core.errors import UserError
from rlgen.distill.exported import find_exported, load_classifier
from rlgen.distill.exported_pictures import load_super_resolver, upscale
from rlgen.nets.super_resolution import make_super_resolver


def test_a_network_comes_back_as_it_was_and_enlarges(tmp_path):
    write_upscaler(tmp_path / "net", "srresnet_small", 3)
    network, known = load_super_resolver(find_exported(str(tmp_path / "net")))
    assert (known.model, known.scale, known.channels) == ("srresnet_small", 3, 3)
    assert not network.training
    plain = make_super_resolver("srresnet_small", 3)
    assert load_file(tmp_path / "net/model.safetensors").keys() == plain.state_dict().keys()
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    large = upscale(network, image)
    assert (large.shape, large.dtype) == ((15, 21, 3), np.uint8)
    with torch.no_grad():
        exact = network(torch.from_numpy(image).permute(2, 0, 1)[None] / 255)[0]
    expected = (exact * 255).round().clamp(0, 255).permute(1, 2, 0)
    assert np.abs(large - expected.numpy()).max() <= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "classification"}, "it is of no super-resolution network"),
        ({"model": "edsr_smal"}, "did you mean 'edsr_small'"),
        ({"scale": 7}, "scale=7 is unknown"),
        ({"scale": 4}, "does not fit"),
        ({"channels": "x"}, r"cannot read .*config"),
    ],
)
def test_a_damaged_description_is_told(tmp_path, change, message):
    write_upscaler(tmp_path / "net", "edsr_tiny")
    file = tmp_path / "net/config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(UserError, match=message):
        load_super_resolver(find_exported(str(tmp_path / "net")))


def test_networks_of_the_other_task_are_told(tmp_path):
    write_teacher(tmp_path / "classes")
    write_upscaler(tmp_path / "pictures")
    with pytest.raises(UserError, match="it is of no super-resolution network"):
        load_super_resolver(find_exported(str(tmp_path / "classes")))
    with pytest.raises(UserError, match=r"cannot read .*config"):
        load_classifier(find_exported(str(tmp_path / "pictures")))
