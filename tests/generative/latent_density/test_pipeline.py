"""The pipeline: what it returns, what it refuses, saving, and other people's autoencoders."""

import json
from typing import ClassVar

import numpy as np
import pytest
import torch
from diffusers import AutoencoderDC, AutoencoderKL, AutoencoderTiny
from PIL import Image

from rlgen.core.errors import UserError
from rlgen.generative.latent_density import (
    LatentAutoencoder,
    LatentCodec,
    LatentDensityPipeline,
    load_latent_pipeline,
)
from rlgen.generative.latent_density.density import LDE, FullGaussian, LatentDiffusion


@pytest.fixture(scope="module")
def pipeline() -> LatentDensityPipeline:
    torch.manual_seed(0)
    autoencoder = LatentAutoencoder(size=8, dim=4, width=4, norm_scale=1.0)
    latents = LatentCodec(autoencoder).encode(torch.rand(64, 1, 8, 8) * 2 - 1)
    density = FullGaussian(dim=4)
    density.fit(latents)
    return LatentDensityPipeline(autoencoder, density)


@pytest.fixture(scope="module")
def foreign() -> AutoencoderKL:
    torch.manual_seed(0)
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(4, 4),
        norm_num_groups=2,
        latent_channels=2,
        scaling_factor=0.5,
        shift_factor=0.25,
    ).eval()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(seed: int = 0, size: int = 8) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_a_sample_is_the_decoded_latent(pipeline):
    images = pipeline.sample(3, generator=generator(), output_type="pt")
    z = pipeline.density.sample(3, generator=generator())
    with torch.no_grad():
        expected = pipeline.autoencoder.decode(z)
    assert torch.allclose(images, expected, atol=1e-6)
    array = pipeline.sample(3, generator=generator(), output_type="np")
    assert array.shape == (3, 8, 8, 1)
    for pil, one in zip(pipeline.sample(3, generator=generator()), array, strict=True):
        assert pil.mode == "L"
        assert np.array_equal(np.asarray(pil), np.round(one[..., 0] * 255))
    called = pipeline(3, generator(), output_type="pt").images
    assert torch.equal(called, images)
    assert torch.equal(pipeline(3, generator(), output_type="pt", return_dict=False)[0], images)


def test_an_image_is_its_own_generators(pipeline):
    several = pipeline.sample(3, generator=[generator(k) for k in range(3)], output_type="pt")
    alone = pipeline.sample(1, generator=[generator(2)], output_type="pt")
    assert torch.allclose(several[2:], alone, atol=1e-6)


def test_less_temperature_is_less_varied(pipeline):
    def spread(temperature: float) -> float:
        images = pipeline.sample(64, temperature, generator(), "pt")
        return images.std(0).mean().item()

    assert spread(0.1) < 0.7 * spread(1.0)


def test_every_kind_of_input_is_the_same(pipeline):
    expected = pipeline.encode(picture())
    pixels = np.asarray(picture())
    tensor = torch.from_numpy(pixels.copy())[None] / 127.5 - 1
    for one in (pixels, pixels[..., None], tensor, tensor[None], [picture()]):
        assert torch.equal(pipeline.encode(one), expected)
    assert torch.equal(pipeline.encode(picture().convert("RGB")), expected)
    both = pipeline.encode([picture(), picture(1)])
    assert both.shape == (2, 4)
    assert torch.allclose(both[:1], expected, atol=1e-5)


def test_a_reconstruction_by_all_coordinates_is_the_plain_one(pipeline):
    plain = pipeline.reconstruct(picture(), output_type="pt")
    assert torch.equal(pipeline.reconstruct(picture(), 4, "pt"), plain)
    z = pipeline.encode(picture())
    z[:, 2:] = 0
    assert torch.equal(pipeline.reconstruct(picture(), 2, "pt"), pipeline.decode(z, "pt"))


def test_log_prob_is_that_of_the_latent(pipeline):
    """Against torch's own multivariate normal."""
    density = pipeline.density
    z = pipeline.encode([picture(), picture(1)])
    normal = torch.distributions.MultivariateNormal(density.mean, scale_tril=density.factor)
    expected = normal.log_prob((z - density.shift) / density.scale) - density.scale.log().sum()
    assert torch.allclose(pipeline.log_prob([picture(), picture(1)]), expected, atol=1e-4)


def test_an_interpolation_has_both_ends_and_scores(pipeline):
    line = pipeline.interpolate(picture(), picture(1), 5, "pt")
    ends = pipeline.reconstruct([picture(), picture(1)], output_type="pt")
    assert torch.allclose(line.images[[0, -1]], ends, atol=1e-6)
    z = pipeline.encode([picture(), picture(1)])
    middle = pipeline.density.log_prob(z.mean(0, keepdim=True))
    assert torch.allclose(line.log_prob[2:3], middle, atol=1e-4)
    assert line.log_prob.shape == (5,)
    with pytest.raises(UserError, match="one image to one other"):
        pipeline.interpolate([picture(), picture(1)], picture())


def test_a_completion_keeps_the_first_coordinates(pipeline):
    assert torch.allclose(
        pipeline.complete(picture(), 4, generator=generator(), output_type="pt"),
        pipeline.reconstruct(picture(), output_type="pt"),
        atol=1e-6,
    )
    batch = [picture()] * 2
    one, other = pipeline.complete(batch, 1, generator=generator(), output_type="pt")
    assert not torch.equal(one, other)


def test_a_rank_is_the_share_of_held_out_images_below(pipeline):
    ranked = LatentDensityPipeline(
        pipeline.autoencoder, pipeline.density, reference=[-4.0, -2.0, 0.0]
    )
    ranks = ranked.rank(torch.tensor([-9.0, -3.0, -2.0, 5.0]))
    assert ranks.tolist() == [0, 0.25, 0.5, 1]
    with pytest.raises(UserError, match="no scores of held-out images"):
        pipeline.rank(torch.zeros(1))


@pytest.mark.parametrize(
    ("image", "part"),
    [
        (torch.zeros(3, 8, 8), "(1, 3, 8, 8); (count, 1, 8, 8) is needed"),
        (torch.zeros(2, 1, 9, 9), "(2, 1, 9, 9); (count, 1, 8, 8) is needed"),
        (np.zeros((8, 8, 4), np.uint8), "4 channels; 1 are needed"),
        (Image.new("RGB", (8, 8), "red"), "in colour (3 channels)"),
        ("a.png", "an image is a str"),
        ([], "no image is given"),
    ],
)
def test_images_of_another_kind_are_refused(pipeline, image, part):
    with pytest.raises(UserError) as error:
        pipeline.encode(image)
    assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_wrong_arguments_are_refused(pipeline):
    with pytest.raises(UserError, match=r"shape \(2, 5\); \(count, 4\) is needed"):
        pipeline.decode(torch.zeros(2, 5))
    with pytest.raises(UserError, match="output_type='jpg' is unknown"):
        pipeline.sample(1, output_type="jpg")
    with pytest.raises(UserError, match="keep=5"):
        pipeline.complete(picture(), 5)
    with pytest.raises(UserError, match="latents of 5 coordinates, the autoencoder's have 4"):
        LatentDensityPipeline(pipeline.autoencoder, FullGaussian(dim=5))
    scoreless = LatentDensityPipeline(pipeline.autoencoder, LatentDiffusion(dim=4, hidden=8))
    with pytest.raises(UserError, match="has no log-density"):
        scoreless.log_prob(picture())
    assert scoreless.interpolate(picture(), picture(1), 2).log_prob.isnan().all()


def test_saved_and_loaded_it_is_the_same(pipeline, tmp_path):
    density = LDE(dim=4, components=3)
    made = LatentDensityPipeline(pipeline.autoencoder, density.eval(), reference=[0.0, 1.0])
    made.save_pretrained(tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]
    expected = made.sample(2, generator=generator(), output_type="pt")
    for again in (
        load_latent_pipeline(tmp_path),
        LatentDensityPipeline.from_pretrained(tmp_path),
    ):
        assert torch.equal(again.sample(2, generator=generator(), output_type="pt"), expected)
        assert list(again.config.reference) == [0.0, 1.0]


def test_an_autoencoder_of_diffusers_is_plugged_in(foreign, tmp_path):
    codec = LatentCodec(foreign, 16)
    x = torch.rand(3, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        mode = foreign.encode(x).latent_dist.mode()
    z = codec.encode(x)
    assert codec.dim == 2 * 8 * 8
    assert torch.allclose(z, ((mode - 0.25) * 0.5).flatten(1))
    with torch.no_grad():
        expected = foreign.decode(mode).sample.clamp(-1, 1)
    assert torch.allclose(codec.decode(z), expected, atol=1e-5)

    density = FullGaussian(dim=codec.dim)
    density.fit(codec.encode(torch.rand(200, 3, 16, 16) * 2 - 1))
    pipeline = LatentDensityPipeline(foreign, density, image_size=16)
    images = pipeline.sample(2, generator=generator(), output_type="pt")
    assert images.shape == (2, 3, 16, 16)
    assert pipeline.log_prob(x).isfinite().all()
    pipeline.save_pretrained(tmp_path)
    again = load_latent_pipeline(tmp_path)
    assert torch.equal(again.sample(2, generator=generator(), output_type="pt"), images)


def tiny() -> AutoencoderTiny:
    return AutoencoderTiny(
        encoder_block_out_channels=(4, 4),
        decoder_block_out_channels=(4, 4),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
        latent_channels=2,
    )


def deep() -> AutoencoderDC:
    blocks = ("ResBlock", "ResBlock")
    return AutoencoderDC(
        latent_channels=2,
        encoder_block_types=blocks,
        decoder_block_types=blocks,
        encoder_block_out_channels=(4, 4),
        decoder_block_out_channels=(4, 4),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        encoder_qkv_multiscales=((), ()),
        decoder_qkv_multiscales=((), ()),
        scaling_factor=0.5,
    )


@pytest.mark.parametrize("make", [tiny, deep])
def test_other_autoencoders_of_diffusers_are_plugged_in(make, tmp_path):
    torch.manual_seed(0)
    codec = LatentCodec(make(), 16)
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        latent = codec.network.encode(x, return_dict=False)[0]
        expected = codec.network.decode(latent).sample.clamp(-1, 1)
    assert torch.allclose(codec.decode(codec.encode(x)), expected, atol=1e-5)
    density = FullGaussian(dim=codec.dim)
    density.fit(torch.randn(4 * codec.dim, codec.dim, generator=generator()))
    LatentDensityPipeline(codec.network, density, image_size=16).save_pretrained(tmp_path)
    assert load_latent_pipeline(tmp_path).codec.dim == codec.dim


def test_a_network_without_latents_is_refused():
    class Odd(torch.nn.Linear):
        config: ClassVar[dict] = {"in_channels": 3}
        decode = torch.nn.Linear.forward

        def encode(self, x):
            return x

    with pytest.raises(UserError, match=r"Odd\.encode returns no latent_dist, latents or latent"):
        LatentCodec(Odd(2, 2), 16)


def test_a_folder_with_code_is_not_executed(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    index["density"] = ["harm", "Harm"]
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    done = tmp_path / "done"
    (tmp_path / "density/harm.py").write_text(f"open({str(done)!r}, 'w')\nclass Harm: pass\n")
    with pytest.raises(ValueError, match="harm"):
        LatentDensityPipeline.from_pretrained(tmp_path)
    load_latent_pipeline(tmp_path)
    assert not done.exists()


def test_bytes_are_taken_as_bytes(pipeline):
    pixels = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8, generator=generator())
    assert torch.equal(pipeline.encode(pixels), pipeline.encode(pixels.float() / 127.5 - 1))
    with pytest.raises(UserError, match=r"images of torch.int64; allowed: uint8, and floats"):
        pipeline.encode(pixels.long())


def test_an_autoencoder_that_does_not_fit_is_refused(foreign):
    with pytest.raises(UserError, match="takes images of many sizes; type size=64"):
        LatentCodec(foreign)
    with pytest.raises(UserError, match="Linear has no encode, decode and config"):
        LatentCodec(torch.nn.Linear(2, 2))
    with pytest.raises(UserError, match="latents of 4 coordinates, the autoencoder's have 128"):
        LatentDensityPipeline(foreign, FullGaussian(dim=4), image_size=16)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"_class_name": "SGNPipeline"}, "holds a SGNPipeline, not a LatentDensityPipeline"),
        ({"autoencoder": ["os", "system"]}, "autoencoder of kind 'system'"),
        ({"image_size": "large"}, "image_size=large"),
        ({"reference": 3}, "reference is no list"),
        ({"reference": []}, "reference is no list"),
        ({"autoencoder": ["x", None]}, "autoencoder of kind 'None'"),
    ],
)
def test_a_strange_index_is_refused(pipeline, tmp_path, change, part):
    pipeline.save_pretrained(tmp_path)
    index = tmp_path / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), **change}))
    with pytest.raises(UserError) as error:
        load_latent_pipeline(tmp_path)
    assert part in str(error.value)


def test_a_damaged_or_absent_pipeline_is_told(pipeline, tmp_path):
    with pytest.raises(UserError, match="holds no trained pipeline"):
        load_latent_pipeline(tmp_path / "none")
    pipeline.save_pretrained(tmp_path)
    weights = tmp_path / "autoencoder/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(UserError, match=r"cannot read .*autoencoder"):
        load_latent_pipeline(tmp_path)
