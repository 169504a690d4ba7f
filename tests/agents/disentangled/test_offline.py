"""Training on stored steps: it learns what a known world does, the same way each time."""

import numpy as np
import pytest
import torch

from rlgen.agents.disentangled import ActionConditionalVAE, reconstruction_nll
from rlgen.agents.disentangled.indicators import next_state_errors
from rlgen.agents.disentangled.offline import train_offline
from rlgen.agents.disentangled.transitions import Transitions, as_float
from rlgen.core.errors import NonFiniteLossError, UserError


def line_world(count: int = 512, scale: float = 1.0) -> Transitions:
    """Steps of (place, own drift): the action moves the place by as much, the drift goes on."""
    generator = torch.Generator().manual_seed(0)
    states = torch.rand(count, 2, generator=generator) * 2 - 1
    actions = torch.rand(count, 1, generator=generator) * 2 - 1
    after = states + torch.cat((actions, torch.full((count, 1), 0.1)), dim=1)
    return Transitions(states, actions, after * scale)


def model(**options) -> ActionConditionalVAE:
    torch.manual_seed(0)
    return ActionConditionalVAE((2,), 1, 3, hidden=(32,), **options)


def test_it_learns_the_world_and_heeds_the_action():
    vae, world = model(), line_world()
    record = train_offline(vae, world, updates=300, beta=0.02, learning_rate=1e-2, record_every=50)
    assert record.updates == list(range(50, 350, 50))
    assert record.nll[-1] < 0.25 * record.nll[0]
    assert record.kl == pytest.approx([sum(parts) for parts in record.kl_per_coordinate])
    assert {len(parts) for parts in record.kl_per_coordinate} == {3}
    errors = next_state_errors(vae, world.observations, world.actions, world.next_observations)
    assert errors.true < 0.15 * errors.shuffled
    assert errors.true < 0.3 * errors.zero


def test_the_same_seed_gives_the_same_weights():
    weights = []
    for seed in (0, 0, 1):
        vae = model()
        train_offline(vae, line_world(100), updates=12, seed=seed, batch_size=32)
        weights.append(torch.cat([p.flatten() for p in vae.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_vectors_are_standardised_by_all_targets():
    vae, world = model(), line_world(300, scale=1e4)
    record = train_offline(vae, world, updates=5, record_every=2)
    torch.testing.assert_close(vae.target_mean, world.next_observations.mean(dim=0))
    assert vae.target_count == 300
    assert record.nll[0] < 2  # two dimensions of unit variance: 1 at the mean
    assert record.updates == [2, 4, 5]


def test_more_beta_leaves_less_kl():
    kls = []
    for beta in (0.1, 10.0):
        record = train_offline(model(), line_world(), updates=100, beta=beta, learning_rate=1e-2)
        kls.append(record.kl[-1])
    assert kls[1] < 0.3 * kls[0]


def test_the_capacity_is_followed():
    record = train_offline(
        model(),
        line_world(),
        updates=200,
        objective="capacity",
        gamma_c=50.0,
        capacity=2.0,
        capacity_steps=150,
        learning_rate=1e-2,
        record_every=10,
    )
    assert record.kl[9] == pytest.approx(2 * 95 / 150, abs=0.25)  # in the middle of its rise
    assert record.kl[-1] == pytest.approx(2.0, abs=0.2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "type batch_size=1 or more"),
        ({"objective": "elbow"}, "allowed: beta, capacity"),
        ({"beta": -1.0}, "beta=-1.0 is negative"),
    ],
)
def test_mistakes_are_told(options, message):
    with pytest.raises(UserError, match=message):
        train_offline(model(), line_world(8), updates=1, **options)


def test_a_loss_that_is_no_number_stops_it():
    world = line_world(64)
    world.observations[:] = np.nan
    with pytest.raises(NonFiniteLossError, match="nll is not finite at step 3"):
        train_offline(model(), world, updates=9, record_every=3)


def test_progress_is_shown(capsys: pytest.CaptureFixture):
    train_offline(model(), line_world(64), updates=4, progress=True)
    assert "4/4 steps" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_overfits_steps_of_the_sprites_world():
    world = Transitions.from_random("Sprites", 64, seed=0)
    torch.manual_seed(0)
    vae = ActionConditionalVAE((3, 64, 64), 4, 10, channels=(8, 16, 32, 32))
    states, actions, after = as_float(world.observations), world.actions, world.next_observations
    with torch.no_grad():
        first = reconstruction_nll(
            vae(states, actions, torch.zeros(64, 10)).prediction, as_float(after), "bernoulli"
        ).mean()
    record = train_offline(
        vae, world, updates=600, batch_size=32, beta=0.01, learning_rate=2e-3, record_every=50
    )
    assert record.nll[-1] < 0.1 * first.item()
    errors = next_state_errors(vae, states, actions, as_float(after))
    assert errors.true < errors.shuffled
