"""Actor and critic in NumPy give torch's numbers and gradients."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from rlgen.nets import Tower, two_towers

WIDTH, OUT, BATCH = 5, 3, 7


def mlp(hidden: tuple[int, ...], activation: type[nn.Module], out: int) -> tuple:
    layers: list[nn.Module] = []
    widths = (WIDTH, *hidden)
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), activation()]
    return nn.Sequential(*layers), nn.Linear(widths[-1], out)


def torch_forward(
    hidden: nn.Sequential, output: nn.Linear, x: torch.Tensor, gates: dict[int, torch.Tensor]
) -> torch.Tensor:
    position, h = 0, x * gates[0] if 0 in gates else x
    for module in hidden:
        h = module(h)
        if not isinstance(module, nn.Linear):
            position += 1
            h = h * gates[position] if position in gates else h
    return output(h)


def genes(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 2, shape)).float()


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
@pytest.mark.parametrize(
    ("hidden", "gated"),
    [
        ((), ()),
        ((), (0,)),
        ((6,), ()),
        ((6,), (1,)),
        ((6, 4), ()),
        ((6, 4), (2,)),
        ((6, 4), (1, 2)),
        ((6, 4), (0, 1, 2)),
    ],
)
@pytest.mark.parametrize("rowwise", [True, False], ids=["per-row", "shared"])
def test_forward_and_gradients_are_torchs(
    hidden: tuple[int, ...], gated: tuple[int, ...], activation: type[nn.Module], rowwise: bool
) -> None:
    torch.manual_seed(0)
    actor_net, critic_net = mlp(hidden, activation, OUT), mlp((8,), nn.Tanh, 1)
    actor, critic = Tower.read(*actor_net), Tower.read(*critic_net)
    assert actor is not None
    assert critic is not None
    widths = (WIDTH, *hidden)
    gates = {k: genes((BATCH, widths[k]) if rowwise else (widths[k],), seed=k) for k in gated}
    x = torch.randn(BATCH, WIDTH)
    parameters = [*actor.parameters, *critic.parameters]

    expected = torch_forward(*actor_net, x, gates), torch_forward(*critic_net, x, {})
    arrays = {k: gate.numpy() for k, gate in gates.items()}
    actual = two_towers(x.numpy(), actor, critic, arrays)[:2]
    for ours, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)

    weights = torch.randn(BATCH, OUT), torch.randn(BATCH, 1)

    def loss(outputs: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return sum((o.tanh() * w).sum() for o, w in zip(outputs, weights, strict=True))

    their_grads = torch.autograd.grad(loss(expected), parameters)
    our_grads = torch.autograd.grad(loss(actual), parameters)
    for ours, theirs in zip(our_grads, their_grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_gradient_is_the_slope() -> None:
    """Central differences of one weight of each layer, in float32."""
    torch.manual_seed(1)
    hidden, output = mlp((6, 4), nn.Tanh, OUT)
    tower = Tower.read(hidden, output)
    assert tower is not None
    x = np.random.default_rng(0).standard_normal((BATCH, WIDTH)).astype(np.float32)
    gates = {2: genes((4,), seed=3).numpy()}
    outputs, kept = tower.forward_keeping(x, gates)
    grads = tower.backward(np.ones_like(outputs), kept, gates)
    for parameter, grad in zip(tower.parameters, grads, strict=True):
        flat, step = parameter.detach().view(-1), 1e-2
        index = int(np.abs(grad).argmax())
        before = flat[index].item()
        flat[index] = before + step
        above = tower.forward(x, gates).sum()
        flat[index] = before - step
        below = tower.forward(x, gates).sum()
        flat[index] = before
        assert (above - below) / (2 * step) == pytest.approx(grad.reshape(-1)[index], rel=0.02)


def test_large_products_are_torchs_too() -> None:
    """Above some size the products go through torch; the numbers stay."""
    torch.manual_seed(0)
    actor_net, critic_net = mlp((64, 64), nn.Tanh, OUT), mlp((64, 64), nn.Tanh, 1)
    actor, critic = Tower.read(*actor_net), Tower.read(*critic_net)
    assert actor is not None
    assert critic is not None
    x, gate = torch.randn(512, WIDTH), genes((64,), seed=0)
    expected = torch_forward(*actor_net, x, {2: gate}), torch_forward(*critic_net, x, {})
    actual = two_towers(x.numpy(), actor, critic, {2: gate.numpy()})[:2]
    grads = []
    for outputs in (actual, expected):
        loss = outputs[0].square().mean() + outputs[1].tanh().mean()
        grads.append(torch.autograd.grad(loss, [*actor.parameters, *critic.parameters]))
    for ours, theirs in zip([*actual, *grads[0]], [*expected, *grads[1]], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_closed_units_get_no_gradient() -> None:
    torch.manual_seed(0)
    hidden, output = mlp((6,), nn.Tanh, OUT)
    tower = Tower.read(hidden, output)
    critic = Tower.read(*mlp((6,), nn.Tanh, 1))
    assert tower is not None
    assert critic is not None
    gate = np.array([1, 0, 1, 0, 0, 1], dtype=np.float32)
    x = np.ones((BATCH, WIDTH), dtype=np.float32)
    two_towers(x, tower, critic, {1: gate})[0].square().sum().backward()
    closed = gate == 0
    assert (hidden[0].weight.grad[closed] == 0).all()
    assert (hidden[0].bias.grad[closed] == 0).all()
    assert (output.weight.grad[:, closed] == 0).all()
    assert (output.weight.grad[:, ~closed] != 0).all()


def test_reads_the_memory_of_the_parameters() -> None:
    hidden, output = mlp((6,), nn.ReLU, OUT)
    tower = Tower.read(hidden, output)
    assert tower is not None
    x = np.ones((1, WIDTH), dtype=np.float32)
    with torch.no_grad():
        output.bias.add_(10)
        expected = output(hidden(torch.from_numpy(x)))
    np.testing.assert_allclose(tower.forward(x), expected.numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    "hidden",
    [
        nn.Sequential(nn.Linear(WIDTH, 4), nn.ELU()),
        nn.Sequential(nn.Linear(WIDTH, 4), nn.Tanh(), nn.Linear(4, 4), nn.ReLU()),
        nn.Sequential(nn.Linear(WIDTH, 4)),
        nn.Sequential(nn.LayerNorm(WIDTH), nn.Tanh()),
        nn.Sequential(nn.Linear(WIDTH, 4), nn.Tanh(), nn.Dropout(), nn.Tanh()),
    ],
    ids=["elu", "mixed", "no-activation", "norm", "dropout"],
)
def test_other_networks_are_not_read(hidden: nn.Sequential) -> None:
    assert Tower.read(hidden, nn.Linear(4, OUT)) is None


@pytest.mark.parametrize("reads_outputs", [False, True])
def test_latents_can_be_read_by_further_heads(reads_outputs: bool) -> None:
    torch.manual_seed(2)
    nets = mlp((6, 5), nn.Tanh, OUT), mlp((6, 4), nn.Tanh, 1)
    actor, critic = Tower.read(*nets[0]), Tower.read(*nets[1])
    assert actor is not None
    assert critic is not None
    x, gate = torch.randn(BATCH, WIDTH), genes((5,), seed=0)
    weights = torch.randn(BATCH, 5), torch.randn(BATCH, 4)

    def loss(outputs, latents) -> torch.Tensor:
        total = sum((latent * w).sum() for latent, w in zip(latents, weights, strict=True))
        return total + sum(o.tanh().sum() for o in outputs) * reads_outputs

    expected = [hidden(x) for hidden, _ in nets]
    theirs = torch_forward(*nets[0], x, {2: gate}), torch_forward(*nets[1], x, {})
    outputs = two_towers(x.numpy(), actor, critic, {2: gate.numpy()})
    for ours, latent in zip(outputs[2:], expected, strict=True):
        torch.testing.assert_close(ours, latent, rtol=1e-5, atol=1e-6)
    hidden_only = [p for hidden, _ in nets for p in hidden.parameters()]
    ours = torch.autograd.grad(loss(outputs[:2], outputs[2:]), hidden_only)
    for a, b in zip(ours, torch.autograd.grad(loss(theirs, expected), hidden_only), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
