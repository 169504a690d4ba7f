"""C-net: the spec's invariants 1 to 6 on nets with and without batch norm and shortcuts."""

import pytest
import torch
from continual_toys import NETWORKS, SHAPE, batch, network
from torch import nn

from rlgen.continual.capacity import Capacity
from rlgen.continual.cnet import CNet
from rlgen.core.errors import UserError

EVERY = pytest.mark.parametrize("name", NETWORKS)
SMALL = pytest.mark.parametrize("name", ["plain", "residual"])


def made(name="residual", tasks=3, **options):
    return CNet(network(name), SHAPE, Capacity(tasks=tasks, grow=True), **options)


def train(portion, task, steps=2, classes=3):
    optimizer = torch.optim.SGD(portion.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    for step in range(steps):
        labels = (torch.arange(10) + task) % classes
        loss = nn.functional.cross_entropy(portion(batch(step, 10)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return optimizer


def learn(cnet, classes=3, task=None):
    portion = cnet.begin(classes)
    train(portion, len(cnet.classes), classes=classes)
    cnet.freeze(portion)
    return portion


def copies(cnet):
    return {name: value.clone() for name, value in cnet.state().items()}


@EVERY
def test_old_tasks_are_the_same_to_the_last_bit(name):
    torch.manual_seed(1)  # of dropout
    cnet, images = made(name, tasks=2), batch()
    before = []
    for classes in (3, 4, 2):  # the last one grows
        for task, logits in enumerate(before):
            assert torch.equal(cnet.assemble(task).eval()(images), logits)
        kept = copies(cnet)
        learn(cnet, classes)
        assert all(torch.equal(cnet.state()[key], value) for key, value in kept.items())
        before.append(cnet.portion(len(before))(images))
    assert not torch.equal(before[0], before[2][:, :3])


@SMALL
def test_learning_moves_every_trainable_tensor_and_the_optimiser_holds_no_other(name):
    torch.manual_seed(1)
    cnet = made(name)
    learn(cnet)
    portion = cnet.begin(3)
    start = {key: value.clone() for key, value in portion.state_dict().items()}
    optimizer = train(portion, 1)
    new = sum(p.numel() for group in optimizer.param_groups for p in group["params"])
    cnet.freeze(portion)
    # Weight decay alone moves each; what is frozen is no parameter, and no moment is of it.
    for key, value in portion.state_dict().items():
        assert torch.equal(value, start[key]) == key.endswith(".old"), key
    assert sum(s["momentum_buffer"].numel() for s in optimizer.state.values()) == new
    assert new == cnet.parameter_count() - cnet.used_parameters(0)


@SMALL
def test_masks_are_disjoint_and_exhaustive_and_the_zero_block_is_zero(name):
    cnet = made(name)
    for task in range(3):
        learn(cnet)
        module = cnet.assemble(task)
        for layer, masks in cnet.masks(task).items():
            weight = module.get_submodule(layer).weight
            assert masks.frozen.shape == weight.shape[:2]
            total = masks.frozen.int() + masks.trainable.int() + masks.zero.int()
            assert (total == 1).all()
            assert masks.trainable.any()
            assert masks.frozen.any() == (task > 0)
            assert (weight[masks.zero] == 0).all()
            assert weight[masks.frozen].count_nonzero() == weight[masks.frozen].numel()


@pytest.mark.parametrize("name", ["plain", "resnet8"])
def test_old_maps_are_those_of_the_task_before_where_norms_are_equal(name):
    cnet = made(name)
    learn(cnet)
    learn(cnet)
    last = cnet.layout.layers[-1].name
    maps = {}
    for task in (0, 1):
        module = cnet.assemble(task).eval()
        for norm, _ in cnet.layout.norms:
            module.get_submodule(norm).reset_running_stats()
            module.get_submodule(norm).reset_parameters()
        layer = module.get_submodule(last)
        layer.register_forward_hook(lambda _m, _i, out, t=task: maps.update({t: out}))
        module(batch())
    width = maps[0].shape[1]
    assert maps[1].shape[1] > width
    torch.testing.assert_close(maps[1][:, :width], maps[0], rtol=1e-4, atol=1e-5)


def test_ranges_rise_and_shortcuts_are_cut_at_one_place():
    cnet = made("resnet8")
    ranges = [cnet.widths(task) for task in range(3)]
    for group, full in cnet.layout.widths.items():
        assert 0 < ranges[0][group] < ranges[1][group] < ranges[2][group] == full
    module = made("residual")
    # stem, depth-wise convolution, 1x1 convolution and both norms meet in one sum
    assert list(module.layout.widths.values()) == [8]


def test_a_task_does_not_depend_on_later_channels():
    torch.manual_seed(1)
    cnet, images = made(), batch()
    for _ in range(3):
        learn(cnet)
    before = [cnet.assemble(task).eval()(images) for task in range(3)]
    noise = {
        k: torch.randn_like(v) if k.startswith("2.") and v.is_floating_point() else v
        for k, v in cnet.state().items()
        if "running_var" not in k
    }
    cnet.restore({**cnet.state(), **noise})
    after = [cnet.assemble(task).eval()(images) for task in range(3)]
    assert [torch.equal(*pair) for pair in zip(before, after, strict=True)] == [True, True, False]


def test_parameter_counts_are_those_of_the_block_layout():
    # 8 channels to 2 tasks: widths 4 and 8 (hidden: 6 and 12); 4 x 4 pixels behind each channel.
    cnet = made("plain", tasks=2)
    learn(cnet, 3)
    learn(cnet, 5)
    first = (4 * 27 + 4) + (4 * 4 * 9 + 4) + (6 * 64 + 6) + (6 * 3 + 3)
    second = (4 * 27 + 4) + (4 * 8 * 9 + 4) + (6 * 128 + 6) + (12 * 5 + 5)
    assert cnet.used_parameters(0) == first
    assert cnet.used_parameters(1) == first - (6 * 3 + 3) + second
    assert cnet.parameter_count() == first + second
    assert cnet.memory_bytes() == 4 * (first + second)
    # Spec, section c: task J adds J / T^2 of a layer, all tasks (T + 1) / (2 T).
    blocks = [cnet.state()[f"{task}.conv2.weight"].numel() for task in (0, 1)]
    assert blocks == [8 * 8 * 9 * 1 // 4, 8 * 8 * 9 * 2 // 4]


def test_a_portion_is_a_plain_module_and_as_wide_as_its_task():
    cnet = made("residual", tasks=2)
    learn(cnet)
    portion = cnet.portion(0)
    assert type(portion) is type(cnet.network)
    assert portion.conv.weight.shape == (4, 1, 3, 3)
    assert portion.conv.groups == 4
    assert {type(m) for m in portion.modules()} == {type(m) for m in cnet.network.modules()}
    assert not any(p.requires_grad for p in portion.parameters())


def test_new_filters_may_start_as_the_old_ones():
    cnet = made("plain", tasks=2, start="old")
    learn(cnet)
    weight = cnet.begin(3).conv2.weight.detach()
    assert torch.equal(weight[4:, :4], weight[:4, :4])
    assert not torch.equal(made("plain").begin(3).conv2.weight[4:, :4], weight[:4, :4])


def test_first_weights_come_from_the_seed_and_leave_torchs_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one = made(seed=1).begin(3).state_dict()
    torch.manual_seed(5)
    cnet = made(seed=1)
    two = cnet.begin(3).state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not torch.equal(one["mix.weight"], made(seed=2).begin(3).state_dict()["mix.weight"])
    torch.manual_seed(5)
    cnet.begin(3)
    assert torch.equal(torch.rand(3), expected)


def test_the_scale_of_first_weights_is_kept():
    torch.manual_seed(0)
    given = network("resnet8")
    weight = CNet(given, SHAPE, Capacity(tasks=2)).begin(3).layer3[0].conv2.weight
    # Half as many columns: the deviation grows by the root of 2.
    ratio = weight.std() / given.layer3[0].conv2.weight.std()
    assert ratio.item() == pytest.approx(2**0.5, rel=0.03)


def test_a_full_network_and_mistakes_are_one_clear_line():
    cnet = CNet(network(), SHAPE, Capacity(tasks=1))
    learn(cnet)
    with pytest.raises(UserError, match=r"the network is full.*grow=true, or begin with tasks=2"):
        cnet.begin(3)
    with pytest.raises(UserError, match="start='new' is unknown; allowed: random, old"):
        made(start="new")
    with pytest.raises(UserError, match="task=1: 1 tasks are learned"):
        cnet.portion(1)
    with pytest.raises(UserError, match="does not fit Residual"):
        made(tasks=2).restore(cnet.state())
