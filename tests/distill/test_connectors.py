import pytest
import torch
from torch import nn

from rlgen.core.errors import UserError
from rlgen.distill.connectors import (
    ConvNormConnector,
    Discriminator,
    FusionModule,
    HintRegressor,
    Paraphraser,
    TransferLayer,
    Translator,
    factor_channels,
    through,
)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("module", "parameters"),
    [
        (Paraphraser(64, 0.5), 129_312),  # spec feed, g 11
        (Translator(64, 32), 64_640),  # spec feed, g 11
        (Translator(64, 64), 110_784),  # spec feed, c
        (FusionModule([(64, 8, 8)] * 2, 100), 16_228),  # spec ffl, g 8
        (ConvNormConnector((16, 4, 4), (64, 4, 4)), 16 * 64 + 128),
    ],
    ids=["paraphraser", "translator", "feed transform", "fusion", "conv and norm"],
)
def test_sizes_of_the_papers_modules(module, parameters) -> None:
    assert count(module) == parameters


def test_connector_starts_with_the_official_spread() -> None:
    torch.manual_seed(0)
    weight = ConvNormConnector((64, 1, 1), (512, 1, 1))[0].weight
    assert weight.std().item() == pytest.approx((2 / 512) ** 0.5, rel=0.02)


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ((3, 8, 8), (5, 8, 8)),
        ((3, 8, 8), (5, 4, 4)),
        ((3, 4, 4), (5, 8, 8)),
        ((3, 8, 7), (5, 6, 6)),
        ((6, 3), (6, 5)),  # tokens
        ((3,), (5,)),
    ],
)
def test_hint_regressor_reaches_the_teachers_shape(student, teacher) -> None:
    regressor = HintRegressor(student, teacher)
    if len(student) == 3:
        out = regressor(torch.randn(2, *student))
        assert out.shape == (2, *teacher)
        assert out.min() == 0.0
        assert HintRegressor(student, teacher, relu=False)(torch.randn(2, *student)).min() < 0
    else:
        c, h = student[-1], student[0] if len(student) == 2 else 1
        out = regressor(torch.randn(2, c, h, 1))
        assert out.shape == (2, teacher[-1], h, 1)


@pytest.mark.parametrize("teacher", [(5, 9, 9), (5, 8, 4)])
def test_hint_regressor_tells_sizes_it_cannot_reach(teacher) -> None:
    with pytest.raises(UserError, match=f"4x4 map to the teacher's {teacher[1]}x{teacher[2]}"):
        HintRegressor((3, 4, 4), teacher)


def test_factor_has_a_share_of_the_channels() -> None:
    paraphraser = Paraphraser(6, 0.5)
    x = torch.randn(2, 6, 5, 5)
    assert paraphraser.encode(x).shape == (2, 3, 5, 5)
    assert paraphraser(x).shape == x.shape
    assert factor_channels(3, 0.1) == 1
    assert factor_channels(64, 0.75) == 48


def test_translator_ends_in_a_leaky_relu_and_normalises_on_request() -> None:
    torch.manual_seed(0)
    plain, normed = Translator(4, 6), Translator(4, 6, batch_norm=True)
    assert isinstance(plain[-1], nn.LeakyReLU)
    assert plain[-1].negative_slope == 0.1
    assert not any(isinstance(m, nn.BatchNorm2d) for m in plain)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in normed) == 3


def test_depthwise_layer_of_the_fusion() -> None:
    fusion = FusionModule([(64, 4, 4), (128, 4, 4)], 10)
    assert fusion.depthwise.groups == 192
    assert fusion.depthwise.weight.shape == (192, 1, 3, 3)
    assert fusion.pointwise.weight.shape == (128, 192, 1, 1)  # the largest of the channels


@pytest.mark.parametrize("align", ["pool", "conv"])
def test_fusion_of_unequal_channels_and_sizes(align) -> None:
    shapes = [(4, 8, 8), (6, 4, 4), (3, 4, 8)]
    fusion = FusionModule(shapes, 10, align=align)
    assert fusion([torch.randn(2, *shape) for shape in shapes]).shape == (2, 10)


def test_fusion_without_alignment_refuses_unequal_sizes() -> None:
    with pytest.raises(UserError, match=r"align=off cannot bring a 8x8 map to 4x4; use align=pool"):
        FusionModule([(4, 8, 8), (4, 4, 4)], 10, align="off")
    with pytest.raises(UserError, match=r"align=conv cannot bring a 9x9 map to 4x4"):
        FusionModule([(4, 9, 9), (4, 4, 4)], 10, align="conv")
    FusionModule([(4, 4, 4), (6, 4, 4)], 10, align="off")


def test_fusion_by_hand() -> None:
    # Depthwise kernels that keep the centre, a pointwise sum, one output: the mean of ReLU sums.
    fusion = FusionModule([(1, 2, 2), (1, 2, 2)], 1).eval()
    with torch.no_grad():
        fusion.depthwise.weight.zero_()[:, :, 1, 1] = 1.0
        fusion.pointwise.weight.fill_(1.0)
        fusion.classify.weight.fill_(1.0)
        fusion.classify.bias.fill_(0.5)
    a = torch.tensor([[[[1.0, -1.0], [2.0, 0.0]]]])
    b = torch.tensor([[[[0.0, 3.0], [2.0, -4.0]]]])
    # (1 + 0) + (0 + 3) + (2 + 2) + (0 + 0) = 8, a quarter of it is 2; batch norms divide by
    # sqrt(1 + 1e-5) each.
    assert fusion([a, b]).item() == pytest.approx(2.5, abs=1e-4)


def test_order_of_sub_networks_is_only_an_order_of_weights() -> None:
    torch.manual_seed(0)
    shapes = [(2, 4, 4), (3, 4, 4)]
    first, second = FusionModule(shapes, 5), FusionModule(shapes[::-1], 5)
    order = torch.tensor([2, 3, 4, 0, 1])
    state = first.state_dict()
    moved = {
        name: value[order] if name.startswith("depth") and value.dim() else value
        for name, value in state.items()
    }
    moved["pointwise.weight"] = state["pointwise.weight"][:, order]
    second.load_state_dict(moved)
    maps = [torch.randn(2, *shape) for shape in shapes]
    torch.testing.assert_close(first.eval()(maps), second.eval()(maps[::-1]))


@pytest.mark.parametrize("shape", [(8, 4, 4), (1, 1, 1), (5, 7, 3)])
def test_discriminator_gives_one_probability(shape) -> None:
    torch.manual_seed(0)
    score = Discriminator(shape)(3 * torch.randn(4, *shape))
    assert score.shape == (4, 1)
    assert ((score > 0) & (score < 1)).all()


def test_transfer_layer_is_there_only_where_shapes_differ() -> None:
    same, wider = TransferLayer((8, 4, 4), (8, 4, 4)), TransferLayer((3, 8, 8), (8, 4, 4))
    x = torch.randn(2, 8, 4, 4)
    assert same(x) is x
    assert count(same) == 0
    assert wider(torch.randn(2, 3, 8, 8)).shape == (2, 8, 4, 4)
    assert count(wider) == 3 * 8 + 16


def test_features_take_the_type_of_the_module() -> None:
    x = torch.randn(2, 3, 4, 4)
    assert through(nn.Conv2d(3, 2, 1).bfloat16(), x).dtype == torch.bfloat16
    assert through(nn.Identity(), x) is x
