"""Folders that hold no density, or a damaged one, are told in one line."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from rlgen.core.errors import UserError
from rlgen.generative.latent_density.density import FullGaussian, load_density

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def saved(tmp_path):
    FullGaussian(dim=3).save_pretrained(tmp_path)
    return tmp_path


def refuse(folder, part: str) -> None:
    with pytest.raises(UserError) as error:
        load_density(folder)
    assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_an_empty_folder(tmp_path):
    refuse(tmp_path, "holds no latent density (config.json)")


@pytest.mark.parametrize("text", ["", "[]", "{}", "{"])
def test_a_broken_config(saved, text):
    (saved / "config.json").write_text(text)
    refuse(saved, "cannot read")


def test_another_kind(saved):
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, "_class_name": "UNet2DModel"}))
    refuse(saved, "holds a UNet2DModel, not one of FullGaussian, GMM, LDE")


def test_weights_that_are_cut_short(saved):
    data = (saved / WEIGHTS).read_bytes()
    (saved / WEIGHTS).write_bytes(data[: len(data) // 2])
    refuse(saved, "cannot read")


def test_weights_that_are_absent(saved):
    (saved / WEIGHTS).unlink()
    refuse(saved, "cannot read")


@pytest.mark.parametrize("change", ["drop", "resize", "nan"])
def test_weights_that_do_not_fit(saved, change):
    tensors = load_file(saved / WEIGHTS)
    if change == "drop":
        del tensors["mean"]
    elif change == "resize":
        tensors["factor"] = torch.eye(4)
    else:
        tensors["mean"] = torch.full((3,), torch.nan)
    save_file(tensors, saved / WEIGHTS, metadata={"format": "pt"})
    refuse(saved, "cannot read")
