"""The tensor rollout: advantages as SB3's, minibatches, positions."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy

from rlgen.agents.network import ActorCriticNetwork
from rlgen.agents.rollout import TensorRollout

STEPS, ENVS = 9, 3
OBSERVATIONS = spaces.Box(-1, 1, (2,), np.float32)


def rollout(action_space: spaces.Space, gamma: float = 0.9, lam: float = 0.8) -> TensorRollout:
    policy = ActorCriticPolicy(OBSERVATIONS, action_space, lambda _: 1e-3)
    return TensorRollout(
        ActorCriticNetwork(policy, torch.float32),
        STEPS,
        ENVS,
        OBSERVATIONS,
        action_space,
        device=torch.device("cpu"),
        gamma=gamma,
        gae_lambda=lam,
    )


def filled(
    buffer: TensorRollout, seed: int = 0, like: RolloutBuffer | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Fills a rollout (and SB3's) with random data; returns the last values and dones."""
    generator = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return generator.standard_normal(shape).astype(np.float32)

    for _ in range(STEPS):
        obs, rewards, values, log_probs = (normal(ENVS, 2), *(normal(ENVS) for _ in range(3)))
        starts = generator.random(ENVS) < 0.3
        if isinstance(buffer.action_space, spaces.Discrete):
            actions = generator.integers(4, size=ENVS)
        else:
            actions = normal(ENVS, 3)
        buffer.put_observations(obs)
        buffer.put(actions, rewards, starts, values, log_probs)
        if like is not None:
            tensors = torch.from_numpy(values), torch.from_numpy(log_probs)
            like.add(obs, actions, rewards, starts, *tensors)
    return normal(ENVS), generator.random(ENVS) < 0.5


@pytest.mark.parametrize("lam", [0.0, 0.8, 1.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_advantages_are_sb3s(lam: float, seed: int) -> None:
    space = spaces.Discrete(4)
    ours = rollout(space, lam=lam)
    theirs = RolloutBuffer(STEPS, OBSERVATIONS, space, "cpu", lam, 0.9, ENVS)
    last_values, dones = filled(ours, seed, theirs)
    ours.compute_advantages(last_values, dones)
    theirs.compute_returns_and_advantage(torch.from_numpy(last_values), dones)
    np.testing.assert_allclose(ours.advantages, theirs.advantages, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours.returns, theirs.returns, rtol=1e-5, atol=1e-6)


def test_advantage_of_two_steps_by_hand() -> None:
    """One environment seen alone: r = 1, 2; V = 3, 4; V_last = 5; the second step ends it."""
    buffer = rollout(spaces.Discrete(2), gamma=0.5, lam=0.5)
    buffer.buffer_size = 2
    buffer.reset()
    for reward, value in ((1, 3), (2, 4)):
        buffer.put_observations(np.zeros((ENVS, 2), np.float32))
        ones = np.ones(ENVS, np.float32)
        buffer.put(np.zeros(ENVS), reward * ones, np.zeros(ENVS, bool), value * ones, ones)
    buffer.compute_advantages(np.full(ENVS, 5, np.float32), np.array([True, False, False]))
    # delta_2 = 2 - 4 = -2 at the end, else 2 + 0.5 * 5 - 4 = 0.5; delta_1 = 1 + 2 - 3 = 0
    np.testing.assert_allclose(buffer.advantages[:, 0], [-0.5, -2])
    np.testing.assert_allclose(buffer.advantages[:, 1], [0.125, 0.5])
    np.testing.assert_allclose(buffer.returns[:, 0], [2.5, 2])


@pytest.mark.parametrize("space", [spaces.Discrete(4), spaces.Box(-1, 1, (3,))])
def test_minibatches_are_a_permutation(space: spaces.Space) -> None:
    buffer = rollout(space)
    buffer.compute_advantages(*filled(buffer))
    batches = list(buffer.minibatches(8, np.random.default_rng(0)))
    assert [len(batch.index) for batch in batches] == [8, 8, 8, 3]
    index = torch.cat([batch.index for batch in batches])
    assert not torch.equal(index, torch.arange(27))
    assert torch.equal(index.sort().values, torch.arange(27))
    for name, rows in (
        ("observations", buffer.stored.numpy()),
        ("actions", buffer.actions),
        ("old_log_prob", buffer.log_probs),
        ("old_values", buffer.values),
        ("advantages", buffer.advantages),
        ("returns", buffer.returns),
    ):
        seen = torch.cat([getattr(batch, name) for batch in batches]).numpy()
        expected = rows.reshape(27, *rows.shape[2:])[index]
        np.testing.assert_array_equal(seen, expected, err_msg=name)


def test_generator_decides_the_order() -> None:
    buffer = rollout(spaces.Discrete(4))
    buffer.compute_advantages(*filled(buffer))

    def order(seed: int) -> list[int]:
        batches = buffer.minibatches(8, np.random.default_rng(seed))
        return torch.cat([batch.index for batch in batches]).tolist()

    assert order(1) == order(1)
    assert order(1) != order(2)


@pytest.mark.parametrize("batch_size", [2, None])
def test_keep_chooses_positions(batch_size: int | None) -> None:
    buffer = rollout(spaces.Discrete(4))
    buffer.compute_advantages(*filled(buffer))
    keep = np.array([2, 5, 11, 20, 26])
    batches = list(buffer.minibatches(batch_size, np.random.default_rng(0), keep))
    assert sorted(torch.cat([batch.index for batch in batches]).tolist()) == keep.tolist()


def test_position_is_step_times_environments() -> None:
    buffer = rollout(spaces.Discrete(4))
    buffer.compute_advantages(*filled(buffer))
    batch = buffer.at(np.array([2 * ENVS + 1]))
    assert batch.old_values.item() == buffer.values[2, 1]
    assert batch.actions.item() == buffer.actions[2, 1]
    assert batch.actions.dtype == torch.int64


def test_reset_forgets_the_last_rollout() -> None:
    buffer = rollout(spaces.Discrete(4))
    buffer.compute_advantages(*filled(buffer, seed=0))
    next(buffer.minibatches(8, np.random.default_rng(0)))
    assert buffer.full
    buffer.reset()
    assert not buffer.full
    buffer.compute_advantages(*filled(buffer, seed=1))
    batch = buffer.at(np.arange(27))
    np.testing.assert_array_equal(batch.advantages, buffer.advantages.flatten())
