"""Generator, CCAM and discriminator: sizes, independence of samples, statistics for tiles."""

import numpy as np
import pytest
import torch
from PIL import Image

from rlgen.core.errors import UserError
from rlgen.data import to_tensor, to_uint8
from rlgen.generative.sgn import CCAM, SGNGenerator
from rlgen.generative.sgn.tiles import MARGIN, halo, translate
from rlgen.nets.patch_discriminator import PatchDiscriminator


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def small(**more) -> SGNGenerator:
    torch.manual_seed(0)
    return SGNGenerator(**{"width": 8, "n_blocks": 2, **more})


def images(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_sizes_of_the_paper():
    assert count(SGNGenerator()) == 11_482_579
    assert count(PatchDiscriminator()) == 2_764_737
    assert count(CCAM(64, 3)) == 3_408
    assert count(CCAM(256, 3)) == 50_496


@pytest.mark.parametrize("d", [2, 3, 5])
def test_shape_and_range(d):
    generator = small(domains=[f"d{k}" for k in range(d)])
    out = generator(images(2, 3, 32, 24), torch.full((2, d), 1 / d))
    assert out.shape == (2, 3, 32, 24)
    assert out.abs().max() <= 1


@pytest.mark.parametrize("size", [(8, 8), (33, 47), (9, 64), (30, 31)])
def test_any_size_comes_back(size):
    assert small()(images(1, 3, *size), torch.tensor([1.0, 0, 0])).shape[2:] == size


@pytest.mark.parametrize("sym", [(0, 1.5, 0), (-0.2, 1.2, 0), (10, -10, 3)])
def test_points_outside_the_simplex_are_finite(sym):
    out = small()(images(1, 3, 16, 16), torch.tensor(sym, dtype=torch.float32))
    assert out.isfinite().all()
    assert out.abs().max() <= 1


def test_samples_do_not_see_each_other():
    generator, x = small(), images(3, 3, 24, 24)
    s = torch.eye(3)
    order = [2, 0, 1]
    out = generator(x, s)
    torch.testing.assert_close(generator(x[order], s[order]), out[order], atol=1e-6, rtol=0)
    changed = s.clone()
    changed[0] = torch.tensor([0.2, 0.3, 0.5])
    other = generator(x, changed)
    assert torch.equal(other[1:], out[1:])
    assert not torch.equal(other[0], out[0])


def test_the_sym_parameter_changes_the_image_and_gets_a_gradient():
    generator, x = small(), images(1, 3, 16, 16)
    s = torch.tensor([[0.2, 0.3, 0.5]], requires_grad=True)
    (gradient,) = torch.autograd.grad(generator(x, s).square().sum(), s)
    assert (gradient != 0).all()


def test_gates_are_inside_0_and_1_and_scale_channels():
    torch.manual_seed(0)
    gate, features = CCAM(8, 3), torch.randn(2, 8, 5, 5)
    s = torch.tensor([[1.0, 0, 0], [0, 0.5, 0.5]])
    gates = gate.gates(features.mean(dim=(2, 3)), s)
    assert ((gates > 0) & (gates < 1)).all()
    torch.testing.assert_close(gate(features, s), features * gates[:, :, None, None])
    with torch.no_grad():
        gate.condition.weight.zero_()
        gate.condition.bias.zero_()
    assert torch.equal(gate(features, s), gate(features, torch.zeros(2, 3)))


def test_ccam_by_hand():
    gate = CCAM(1, 2, reduction=1)
    with torch.no_grad():
        for parameter in gate.parameters():
            parameter.fill_(1.0)
    # a = 3, b = ReLU(s0 + s1 + 1) = 2, h = ReLU(a + b + 1) = 6, g = sigmoid(h + 1)
    out = gate(torch.tensor([[[[2.0, 4.0]]]]), torch.tensor([[0.25, 0.75]]))
    expected = torch.tensor([2.0, 4.0]) * torch.sigmoid(torch.tensor(7.0))
    torch.testing.assert_close(out.flatten(), expected)


@pytest.mark.parametrize(
    ("size", "width"), [((256, 256), (30, 30)), ((128, 96), (14, 10)), ((32, 32), (2, 2))]
)
def test_patches_of_the_discriminator(size, width):
    scores = PatchDiscriminator(4)(images(2, 3, *size))
    assert scores.shape == (2, 1, *width)


@pytest.mark.parametrize(
    ("shape", "sym", "part"),
    [
        ((1, 3, 1, 1), (1.0, 0, 0), "8 pixels or more"),
        ((1, 1, 16, 16), (1.0, 0, 0), "(batch, 3, height, width)"),
        ((1, 3, 16, 16), (1.0, 0), "a column for each of photo"),
    ],
)
def test_wrong_shapes(shape, sym, part):
    with pytest.raises(UserError, match=r"shape") as error:
        small()(images(*shape), torch.tensor(sym))
    assert part in str(error.value)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"domains": []}, "one or more"),
        ({"domains": ["a", "a"]}, "different names"),
        ({"width": 0}, "1 or more"),
    ],
)
def test_wrong_options(options, part):
    with pytest.raises(UserError, match=part):
        SGNGenerator(**options)


def test_saved_and_loaded_it_is_the_same(tmp_path):
    generator = small(domains=["photo", "a", "b"])
    generator.save_pretrained(tmp_path)
    loaded = SGNGenerator.from_pretrained(tmp_path)
    assert loaded.domains == ("photo", "a", "b")
    x, s = images(1, 3, 16, 16), torch.tensor([0.1, 0.2, 0.7])
    torch.testing.assert_close(loaded(x, s), generator(x, s), atol=1e-6, rtol=0)
    weights = loaded.state_dict()
    assert all(torch.equal(weights[name], w) for name, w in generator.state_dict().items())
    assert (tmp_path / "diffusion_pytorch_model.safetensors").exists()


def test_given_its_own_statistics_an_image_stays_the_same():
    generator, x, s = small(), images(1, 3, 32, 32), torch.tensor([0.1, 0.2, 0.7])
    with torch.no_grad():
        plain = generator(x, s)
        with generator.using_statistics(generator.statistics(x, s)):
            given = generator(x, s)
            assert not torch.allclose(generator(0.5 * x, s), plain, atol=1e-3)
        torch.testing.assert_close(given, plain, atol=1e-5, rtol=0)
        assert torch.equal(generator(x, s), plain)  # nothing stays behind


def test_one_domain_is_a_plain_network():
    generator = small(domains=["night"])
    assert generator(images(2, 3, 16, 16), torch.ones(2, 1)).shape == (2, 3, 16, 16)


def test_tiles_join_without_a_seam():
    generator, s = small(n_blocks=1), torch.tensor([0.1, 0.2, 0.7])
    pixels = torch.randint(0, 256, (150, 133, 3), generator=torch.Generator().manual_seed(0))
    image = pixels.to(torch.uint8).numpy()
    assert halo(generator) < 64
    tiled = translate(generator, image, s, tile=64)
    assert tiled.shape == image.shape
    mirrored = np.pad(image, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), mode="reflect")
    small_copy = Image.fromarray(mirrored)
    small_copy.thumbnail((64, 64), Image.Resampling.BICUBIC)
    with torch.no_grad():
        statistics = generator.statistics(to_tensor([np.asarray(small_copy)]), s)
        with generator.using_statistics(statistics):
            whole = to_uint8(generator(to_tensor([mirrored]), s))[0]
    whole = whole[MARGIN : MARGIN + 150, MARGIN : MARGIN + 133]
    assert abs(tiled.astype(int) - whole.astype(int)).max() <= 1


def test_borders_have_no_stripes():
    generator, s = small(n_blocks=1), torch.tensor([0.1, 0.2, 0.7])
    grey = np.full((40, 44, 3), 90, np.uint8)

    def repeats(image: np.ndarray) -> bool:
        """Tells whether all is one pattern of the 4 x 4 pixels that upsampling starts from."""
        rows, columns = image[4:] == image[:-4], image[:, 4:] == image[:, :-4]
        return bool(rows.all() and columns.all())

    with torch.no_grad():
        assert not repeats(to_uint8(generator(to_tensor([grey]), s))[0])
    result = translate(generator, grey, s)
    assert result.shape == grey.shape
    assert repeats(result)
