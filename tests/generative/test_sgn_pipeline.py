"""The pipeline: inputs, outputs, several mixes, saving and what it refuses to load."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from rlgen.core.errors import UserError
from rlgen.generative.sgn import SGNGenerator, SGNPipeline, load_pipeline


@pytest.fixture(scope="module")
def pipeline() -> SGNPipeline:
    torch.manual_seed(0)
    domains = ["photo", "a", "b"]
    return SGNPipeline(SGNGenerator(domains=domains, width=4, n_blocks=1).eval())


def photo(width: int = 24, height: int = 20, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_a_pil_image_comes_back_in_its_size(pipeline):
    (image,) = pipeline(photo(), {"a": 0.5, "photo": 0.5}).images
    assert isinstance(image, Image.Image)
    assert image.size == (24, 20)


def test_every_kind_of_input_gives_the_same_image(pipeline):
    pixels = np.asarray(photo())
    tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 127.5 - 1
    expected = np.asarray(pipeline(photo(), [0.2, 0.3, 0.5]).images[0])
    for one in (pixels, tensor, tensor[None], [photo()]):
        assert np.array_equal(np.asarray(pipeline(one, [0.2, 0.3, 0.5]).images[0]), expected)


def test_every_kind_of_output_is_the_same_image(pipeline):
    expected = np.asarray(pipeline(photo(), {"a": 1}).images[0])
    array = pipeline(photo(), {"a": 1}, output_type="np").images
    tensor = pipeline(photo(), {"a": 1}, output_type="pt").images
    assert array.shape == (1, 20, 24, 3)
    assert tensor.shape == (1, 3, 20, 24)
    assert np.array_equal(np.round(array[0] * 255), expected)
    assert np.array_equal(np.round(tensor[0].permute(1, 2, 0).numpy() * 255), expected)
    assert np.array_equal(
        np.asarray(pipeline(photo(), {"a": 1}, return_dict=False)[0][0]), expected
    )


def test_several_images_and_mixes_come_image_by_image(pipeline):
    photos, mixes = [photo(), photo(16, 28, seed=1)], [{"a": 1}, {"b": 1}, {"photo": 1}]
    images = pipeline(photos, mixes).images
    assert [image.size for image in images] == [(24, 20)] * 3 + [(16, 28)] * 3
    for k, one in enumerate(photos):
        for j, mix in enumerate(mixes):
            alone = pipeline(one, mix).images[0]
            assert np.array_equal(np.asarray(images[3 * k + j]), np.asarray(alone))
    assert isinstance(pipeline(photos, mixes, output_type="np").images, list)


def test_extrapolated_mixes_are_allowed_when_asked_for(pipeline):
    (image,) = pipeline(photo(), {"a": 1.5}, extrapolate=True).images
    assert not np.array_equal(np.asarray(image), np.asarray(pipeline(photo(), {"a": 1}).images[0]))
    with pytest.raises(UserError, match="extrapolate=true"):
        pipeline(photo(), {"a": 1.5, "b": -0.5})


@pytest.mark.parametrize(
    ("image", "part"),
    [
        (photo(1, 1), "1x1 pixels is too small; 8 or more each way"),
        ("photo.jpg", "image is a str; allowed: PIL image"),
        (np.zeros((8, 8)), "float64 (8, 8)"),
        (torch.zeros(1, 8, 8), "(3, H, W) is needed"),
    ],
)
def test_wrong_images(pipeline, image, part):
    with pytest.raises(UserError) as error:
        pipeline(image, {"a": 1})
    assert part in str(error.value)


def test_wrong_output_type(pipeline):
    with pytest.raises(UserError, match="allowed: pil, np, pt"):
        pipeline(photo(), {"a": 1}, output_type="jpg")


def test_saved_and_loaded_it_is_the_same(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path)
    expected = np.asarray(pipeline(photo(), {"a": 1}).images[0])
    for load in (load_pipeline, SGNPipeline.from_pretrained):
        again = load(tmp_path)
        assert isinstance(again, SGNPipeline)
        assert again.domains == ("photo", "a", "b")
        image = np.asarray(again(photo(), {"a": 1}).images[0]).astype(int)
        assert abs(image - expected).max() <= 1


def test_a_tensor_of_sym_parameters_is_taken_as_it_is(pipeline):
    syms = torch.tensor([[0.0, 3.0, 0.0], [0.5, 0.5, 0.0]])
    images = pipeline(photo(), syms).images
    wanted = [{"a": 3.0}, {"photo": 0.5, "a": 0.5}]
    for image, mix in zip(images, wanted, strict=True):
        alone = pipeline(photo(), mix, extrapolate=True).images[0]
        assert np.array_equal(np.asarray(image), np.asarray(alone))
    with pytest.raises(UserError, match=r"\(mixes, 3\) is needed"):
        pipeline(photo(), torch.ones(2))


def test_half_precision(pipeline):
    torch.manual_seed(0)
    network = SGNGenerator(domains=["photo", "a", "b"], width=4, n_blocks=1).eval()
    network.load_state_dict(pipeline.generator.state_dict())
    half = SGNPipeline(network).to(torch.bfloat16)
    image = np.asarray(half(photo(), {"a": 1}).images[0]).astype(int)
    expected = np.asarray(pipeline(photo(), {"a": 1}).images[0]).astype(int)
    assert abs(image - expected).mean() < 4


def saved(pipeline: SGNPipeline, folder: Path) -> Path:
    pipeline.save_pretrained(folder)
    return folder


def test_damaged_and_foreign_folders_are_refused_in_one_line(pipeline, tmp_path):
    def refused(folder: Path) -> str:
        with pytest.raises(UserError) as error:
            load_pipeline(folder)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "holds no trained pipeline" in refused(tmp_path / "nowhere")

    folder = saved(pipeline, tmp_path / "cut")
    weights = folder / "generator" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "cannot read" in refused(folder)

    folder = saved(pipeline, tmp_path / "pickled")
    weights = folder / "generator" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_name("diffusion_pytorch_model.bin"))
    assert "cannot read" in refused(folder)

    folder = saved(pipeline, tmp_path / "sizes")
    config = folder / "generator" / "config.json"
    values = json.loads(config.read_text())
    config.write_text(json.dumps({**values, "width": 8}))
    assert "cannot read" in refused(folder)
    config.write_text("{")
    assert "cannot read" in refused(folder)

    folder = saved(pipeline, tmp_path / "lacking")
    weights = folder / "generator" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    save_file({k: v for k, v in tensors.items() if k != "out.bias"}, weights)
    assert "its weights do not fit its config: out.bias" in refused(folder)
    save_file({**tensors, "out.bias": torch.full((3,), torch.nan)}, weights)
    assert "not finite" in refused(folder)

    folder = saved(pipeline, tmp_path / "foreign")
    index = folder / "model_index.json"
    index.write_text(json.dumps({"_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2D"]}))
    assert "holds a DDPMPipeline, not an SGNPipeline" in refused(folder)
    index.write_text(json.dumps({"_class_name": "SGNPipeline", "generator": ["os", "system"]}))
    assert "not the parts of one" in refused(folder)
    index.write_text("[]")
    assert "cannot read" in refused(folder)
