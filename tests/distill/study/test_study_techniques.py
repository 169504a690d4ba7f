"""What each technique changes, and what it leaves alone."""

import copy

import numpy as np
import pytest
import torch

from rlgen.core.errors import UserError
from rlgen.distill.study.techniques import TECHNIQUES, parse_technique, weighted_layers
from rlgen.distill.study.techniques.augmentation import cutmix, cutout
from rlgen.distill.study.techniques.quantization import FakeQuantize
from rlgen.distill.study.techniques.small import make_separable
from rlgen.nets.classifiers import make_classifier


def network(name="resnet8"):
    torch.manual_seed(0)
    return make_classifier(name, 3)


def train(net, steps=3):
    """Some steps of SGD with momentum and weight decay on noise."""
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        images = torch.randn(4, 3, 8, 8, generator=generator)
        loss = torch.nn.functional.cross_entropy(net(images), torch.tensor([0, 1, 2, 0]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.mark.parametrize("percent", [0, 50, 90])
def test_pruning_keeps_its_sparsity_through_training(percent):
    net = network()
    before = copy.deepcopy(net)
    technique = parse_technique(f"pruning:{percent}")
    technique.attach(net)
    zeros = [layer.weight == 0 for layer in weighted_layers(net)]
    train(net)
    technique.detach(net)
    weights = [layer.weight for layer in weighted_layers(net)]
    total = sum(weight.numel() for weight in weights)
    assert sum(int((weight == 0).sum()) for weight in weights) == round(total * percent / 100)
    for weight, zero in zip(weights, zeros, strict=True):
        assert torch.equal(weight == 0, zero)
    changed = zip(weights, weighted_layers(before), strict=True)
    assert all(not torch.equal(weight, layer.weight) for weight, layer in changed)
    assert net.state_dict().keys() == before.state_dict().keys()


def test_pruning_takes_the_smallest_weights_of_all_layers():
    net = network()
    flat = torch.cat([layer.weight.detach().flatten().abs() for layer in weighted_layers(net)])
    parse_technique("pruning:50").attach(net)
    kept = torch.cat([layer.weight.detach().flatten() != 0 for layer in weighted_layers(net)])
    assert flat[kept].min() >= flat[~kept].max()


def test_fake_quantisation_by_hand():
    rounding = FakeQuantize(4)
    # Scales 0.7 / 7 and 7 / 7.
    weights = torch.tensor([[0.7, 0.14, -0.26], [7.0, -2.6, 0.4]])
    expected = torch.tensor([[0.7, 0.1, -0.3], [7.0, -3.0, 0.0]])
    torch.testing.assert_close(rounding(weights), expected)
    assert torch.equal(rounding(torch.zeros(2, 3)), torch.zeros(2, 3))


def test_gradients_pass_straight_through_the_rounding():
    weights = torch.tensor([[0.7, 0.14, -0.26]], requires_grad=True)
    (FakeQuantize(4)(weights) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert weights.grad.tolist() == [[1.0, 2.0, 3.0]]


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_quantised_weights_are_on_their_grid(bits):
    net = network()
    keys = net.state_dict().keys()
    technique = parse_technique(f"int{bits}")
    technique.attach(net)
    train(net)
    net.eval()
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        acted = net(images)
        technique.detach(net)
        torch.testing.assert_close(net(images), acted, rtol=0, atol=1e-5)
    assert net.state_dict().keys() == keys
    layers = weighted_layers(net)
    for number, layer in enumerate(layers):
        allowed = bits if 0 < number < len(layers) - 1 else 8
        largest = 2 ** (allowed - 1) - 1
        for channel in layer.weight.detach():
            scale = channel.abs().max() / largest
            steps = channel / scale
            torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-3)
            assert len(channel.unique()) <= 2**allowed
    # 16 to 64 channels of hundreds of weights use their whole grid where it is coarse.
    if bits < 8:
        assert max(len(c.unique()) for c in layers[-2].weight.detach()) == 2**bits - 1


IMAGES = torch.arange(4 * 2 * 8 * 8, dtype=torch.float32).reshape(4, 2, 8, 8) + 1
LABELS = torch.tensor([0, 1, 2, 0])


def test_mixup_mixes_pictures_and_labels_alike():
    images, chances = parse_technique("augment:mixup").change(
        IMAGES, LABELS, 3, np.random.default_rng(3)
    )
    drawn = np.random.default_rng(3)
    share = drawn.beta(1, 1)
    other = drawn.permutation(4)
    assert 0.05 < share < 0.95
    torch.testing.assert_close(images, share * IMAGES + (1 - share) * IMAGES[other])
    torch.testing.assert_close(chances.sum(dim=1), torch.ones(4))
    assert chances[1, 1] == pytest.approx(share if other[1] != 1 else 1.0)


def test_cutmix_shares_are_those_of_the_pixels():
    others = -IMAGES
    mixed, share = cutmix(IMAGES, others, 0.75, np.random.default_rng(0))
    taken = mixed < 0
    assert torch.equal(mixed[taken], others[taken])
    assert float((~taken).float().mean()) == pytest.approx(share)
    assert 0.75 <= share < 1.0
    assert torch.equal(taken[0], taken[3])


def test_cutout_blanks_squares_of_half_the_side():
    generator = np.random.default_rng(0)
    found = [cutout(IMAGES, generator) == 0 for _ in range(50)]
    gone = torch.stack(found)[:, :, 0].sum(dim=(2, 3)).flatten()
    assert gone.max() == 16
    assert gone.min() >= 4  # a corner: a centre at the border leaves half of each side
    assert len(gone.unique()) > 3
    assert torch.equal(found[0][:, 0], found[0][:, 1])


def test_labels_stay_with_cutout():
    labels = parse_technique("augment:cutout").change(IMAGES, LABELS, 3, np.random.default_rng(0))[
        1
    ]
    assert labels is LABELS


def test_separable_convolutions_by_hand():
    net = network()
    full = sum(p.numel() for p in net.parameters())
    make_separable(net)
    # Six 3x3 convolutions between the stages; the stem and the 1x1 shortcuts stay.
    pairs = [(16, 16), (16, 16), (16, 32), (32, 32), (32, 64), (64, 64)]
    saved = sum(9 * i * o - (9 * i + i * o) for i, o in pairs)
    assert sum(p.numel() for p in net.parameters()) == full - saved
    assert net(torch.zeros(2, 3, 8, 8)).shape == (2, 3)
    assert net.conv1.weight.shape == (16, 3, 3, 3)
    assert [conv.stride for conv in net.layer2[0].conv1] == [(2, 2), (1, 1)]


def test_small_builds_what_it_names():
    assert parse_technique("small:wrn-10-1").build("resnet8", 4, 1).layer1 is not None
    assert parse_technique("small").label == "small:mobilenetv2-half"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prunning", "did you mean 'pruning'"),
        ("pruning:100", "per cent from 0 to 99"),
        ("pruning:half", "per cent from 0 to 99"),
        ("int8:4", "int8 has no setting"),
        ("augment:cutmixx", "did you mean 'cutmix'"),
        ("small:resnet9", "no such classifier; did you mean 'resnet8'"),
        ("none:1", "none has no setting"),
    ],
)
def test_mistakes(text, told):
    with pytest.raises(UserError, match=told):
        parse_technique(text)


def test_every_technique_has_its_name_and_a_default():
    for name in TECHNIQUES:
        technique = parse_technique(name)
        assert technique.label.split(":")[0] == name
        assert parse_technique(technique.label).label == technique.label
