"""Sym-parameters, history, losses by domain and their mixture: the invariants of the method."""

import numpy as np
import pytest
import torch

from rlgen.core.errors import UserError
from rlgen.generative.sgn import Context, History, View, build_domains, sample_sym
from rlgen.generative.sgn.domains import (
    LOSSES,
    DomainLoss,
    Perception,
    Reconstruction,
    Style,
    mixed_loss,
    per_image,
)
from rlgen.nets.perceptual import LAYERS, VGG16Features

PAIR = {"photo": "reconstruction", "night": {"adversarial": "synthetic:night"}}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def images(count: int = 3, size: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture(scope="module")
def vgg() -> VGG16Features:
    generator = torch.Generator().manual_seed(0)
    widths = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512]
    names = ["1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "4_1", "4_2", "4_3"]
    weights = {}
    for name, a, b in zip(names, widths[:-1], widths[1:], strict=True):
        weights[f"conv{name}.weight"] = torch.randn(b, a, 3, 3, generator=generator) / (3 * a**0.5)
        weights[f"conv{name}.bias"] = torch.zeros(b)
    return VGG16Features(weights)


def context(features: VGG16Features | None = None) -> Context:
    made = Context(size=32)
    if features is not None:
        made.features = features
    return made


def test_sym_parameters_are_dirichlet():
    s = sample_sym(rng(), 20_000, 3)
    assert (s >= 0).all()
    torch.testing.assert_close(s.sum(dim=1), torch.ones(len(s)))
    torch.testing.assert_close(s.mean(dim=0), torch.full((3,), 1 / 3), atol=0.01, rtol=0)
    # alpha = 0.5, d = 3: (1/3)(2/3) / (1.5 + 1)
    torch.testing.assert_close(s.var(dim=0), torch.full((3,), 0.0889), atol=0.003, rtol=0)
    assert not torch.equal(s[0], s[1])


def test_history_returns_its_input_until_it_is_full():
    history, x, s = History(5), images(3), sample_sym(rng(), 3, 2)
    out, out_sym = history.exchange(x, s, rng())
    assert torch.equal(out, x)
    assert torch.equal(out_sym, s)


def test_history_keeps_pairs_together():
    history, generator = History(5), rng()
    older = 0
    for step in range(200):
        marks = torch.tensor([2.0 * step, 2.0 * step + 1])
        x = marks[:, None, None, None].expand(2, 3, 4, 4)
        out, out_sym = history.exchange(x, marks[:, None].repeat(1, 3), generator)
        assert torch.equal(out[:, 0, 0, 0], out_sym[:, 0])
        older += int((out_sym[:, 0] < marks[0]).sum())
        assert len(history.images) <= 5
    assert 140 < older < 260  # half of 400, give or take five standard deviations


def test_history_of_none_shows_only_the_present():
    history, x, s = History(0), images(3), sample_sym(rng(), 3, 2)
    for _ in range(3):
        assert torch.equal(history.exchange(x, s, rng())[0], x)


def test_history_comes_back_from_its_state():
    history = History(4)
    for seed in range(4):
        history.exchange(images(2, 8, seed), sample_sym(rng(seed), 2, 2), rng(seed))
    other = History(4)
    other.restore(history.state(), torch.device("cpu"))
    x, s = images(2, 8, 9), sample_sym(rng(9), 2, 2)
    for mine, theirs in zip(
        history.exchange(x, s, rng(5)), other.exchange(x, s, rng(5)), strict=True
    ):
        assert torch.equal(mine, theirs)


def test_a_corner_is_that_domains_loss_alone():
    losses = [torch.rand(4, requires_grad=True) for _ in range(3)]
    for k, loss in enumerate(losses):
        s = torch.eye(3)[k].expand(4, 3)
        total = mixed_loss(losses, s)
        torch.testing.assert_close(total, loss.mean())
        gradients = torch.autograd.grad(total, losses)
        torch.testing.assert_close(gradients[k], torch.full((4,), 0.25))
        assert all((g == 0).all() for j, g in enumerate(gradients) if j != k)


def test_each_sample_has_its_own_weights():
    losses = [torch.tensor([1.0, 10.0]), torch.tensor([100.0, 1000.0])]
    s = torch.tensor([[0.25, 0.75], [1.0, 0.0]])
    assert mixed_loss(losses, s).item() == pytest.approx((0.25 + 75 + 10) / 2)


def test_the_mixed_loss_is_linear_in_the_sym_parameter():
    losses = [torch.rand(5) for _ in range(3)]
    a, b = sample_sym(rng(1), 5, 3), sample_sym(rng(2), 5, 3)
    mixed = mixed_loss(losses, 0.3 * a + 0.7 * b)
    torch.testing.assert_close(mixed, 0.3 * mixed_loss(losses, a) + 0.7 * mixed_loss(losses, b))


def test_reconstruction_by_hand():
    x = torch.zeros(2, 3, 4, 4)
    o = torch.stack([torch.full((3, 4, 4), 0.5), torch.zeros(3, 4, 4)])
    (term,) = Reconstruction(context())(View(x, o)).values()
    assert term.tolist() == [1.0, 0.0]


def test_per_image_keeps_images_apart():
    difference = torch.tensor([[1.0, -3.0], [0.0, 2.0]])
    assert per_image(difference, 1).tolist() == [2.0, 1.0]
    assert per_image(difference, 2).tolist() == [5.0, 2.0]


def test_adversarial_loss_by_hand():
    loss = build_domains(PAIR, context())["night"][0]
    loss.discriminator = torch.nn.Conv2d(3, 1, 1)
    with torch.no_grad():
        loss.discriminator.weight.fill_(1.0)
        loss.discriminator.bias.zero_()
    o = torch.full((1, 3, 4, 4), 0.5)  # D(o) = 1.5
    y = torch.zeros(1, 3, 4, 4)  # D(y) = 0
    terms = loss(View(o, o, real=y, identity=torch.full((1, 3, 4, 4), 0.1)))
    assert terms["adversarial"].item() == pytest.approx(0.25)
    assert terms["identity"].item() == pytest.approx(0.5)
    s = torch.tensor([[0.8, 0.2]])
    value = loss.discriminator_loss(loss.discriminator, View(o, o, real=y), s, 1, rng())
    assert value.item() == pytest.approx(0.5 * 0.2 * (1.0 + 2.25))


def test_with_no_weight_the_discriminator_gets_exactly_no_gradient():
    loss = build_domains(PAIR, context())["night"][0]
    s = torch.tensor([[1.0, 0.0]]).repeat(3, 1)
    view = View(images(), images(seed=1), real=images(seed=2))
    value = loss.discriminator_loss(loss.discriminator, view, s, 1, rng())
    value.backward()
    assert value.item() == 0
    assert all((p.grad == 0).all() for p in loss.discriminator.parameters())


def test_with_no_weight_the_generator_gets_nothing_from_the_discriminator():
    losses = build_domains(PAIR, context())
    o = images(seed=1).requires_grad_()
    view = View(images(), o)
    totals = [sum(loss(view).values()) for parts in losses.values() for loss in parts]
    (mixed,) = torch.autograd.grad(
        mixed_loss(totals, torch.tensor([[1.0, 0.0]]).repeat(3, 1)), o, retain_graph=True
    )
    (alone,) = torch.autograd.grad(totals[0].mean(), o)
    assert torch.equal(mixed, alone)


def test_style_loss_is_0_for_the_style_and_content_loss_for_the_photo(vgg, tmp_path):
    from PIL import Image

    from rlgen.data import to_uint8

    target = images(1)
    Image.fromarray(to_uint8(target)[0]).save(tmp_path / "style.png")
    loss = Style(context(vgg), str(tmp_path / "style.png"))
    exact = torch.from_numpy(np.asarray(Image.open(tmp_path / "style.png")).copy())
    target = exact.permute(2, 0, 1)[None] / 127.5 - 1
    photo = images(1, seed=3)

    def terms(output):
        view = View(photo, output, None, None, Perception(vgg(photo)), Perception(vgg(output)))
        return loss(view)

    assert terms(target)["style"].item() == pytest.approx(0, abs=1e-9)
    assert terms(target)["content"].item() > 0
    assert terms(photo)["content"].item() == 0
    assert terms(photo)["style"].item() > 0


def test_several_style_images_give_the_mean_of_their_grams(vgg, tmp_path):
    from PIL import Image

    from rlgen.data import to_uint8

    for k in range(2):
        Image.fromarray(to_uint8(images(1, seed=k))[0]).save(tmp_path / f"{k}.png")
    one, two = (Style(context(vgg), str(tmp_path / f"{k}.png")) for k in range(2))
    both = Style(context(vgg), [str(tmp_path / "0.png"), str(tmp_path / "1.png")])
    folder = Style(context(vgg), str(tmp_path))
    for layer in LAYERS:
        mean = (one.get_buffer(f"gram_{layer}") + two.get_buffer(f"gram_{layer}")) / 2
        torch.testing.assert_close(both.get_buffer(f"gram_{layer}"), mean)
        torch.testing.assert_close(folder.get_buffer(f"gram_{layer}"), mean)
    assert not both.state_dict()  # targets are made anew from the images


def test_a_loss_of_ones_own():
    @LOSSES.register("darkness_of_a_test")
    class Darkness(DomainLoss):
        def __init__(self, context: Context, weight: float = 1.0) -> None:
            super().__init__()
            self.weight = weight

        def forward(self, view: View) -> dict[str, torch.Tensor]:
            return {"light": self.weight * per_image(view.output + 1, 1)}

    own = {"darkness_of_a_test": {"weight": 3.0}}
    built = build_domains({"photo": "reconstruction", "dark": own}, context())
    o = torch.zeros(2, 3, 4, 4)
    assert built["dark"][0](View(o, o))["light"].tolist() == [3.0, 3.0]


@pytest.mark.parametrize(
    ("domains", "part"),
    [
        ({}, "domains is empty; name two or more"),
        ({"photo": "reconstruction", "x": "reconstructoin"}, "did you mean 'reconstruction'"),
        ({"photo": "reconstruction", "x": 3}, "name a loss (adversarial,"),
        ({"photo": "reconstruction", "x": "adversarial"}, "adversarial needs images"),
        ({"photo": "reconstruction", "x": {"adversarial": "/nowhere"}}, "no images at '/nowhere'"),
        ({"photo": "reconstruction", "x": {"adversarial": ["a", "b"]}}, "one path is needed"),
        ({**PAIR, "x": {"adversarial": {"images": "a", "identiy": 1}}}, "did you mean 'identity'"),
        ({"photo": {"reconstruction": {"weight": "two"}}, "x": "reconstruction"}, "weight='two'"),
        ({"photo": {"reconstruction": {"weight": -1}}, "x": "reconstruction"}, "0 or more"),
        ({**PAIR, "x": {"adversarial": "synthetic:noght"}}, "did you mean 'night'"),
    ],
)
def test_wrong_domains_are_told_in_one_line(domains, part):
    with pytest.raises(UserError) as error:
        build_domains(domains, context())
    assert part in str(error.value)
    assert "\n" not in str(error.value)
