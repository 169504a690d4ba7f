"""Stored steps: none over a reset, from every source; files; minibatches."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from counting_env import LENGTH, assert_whole, counting_vector
from gymnasium import spaces
from stable_baselines3 import DQN, SAC
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer

from rlgen.agents.disentangled.transitions import Transitions, whole_steps
from rlgen.core.errors import MissingExtraError, UserError


def one_hot_sum(actions: torch.Tensor) -> torch.Tensor:
    """Returns the number of a one-hot choice, which is what the environment observes of it."""
    return actions.argmax(dim=1).float()


def test_random_steps_cross_no_reset():
    found = Transitions.from_random(counting_vector(3), 40, seed=1)
    assert len(found) == 40
    assert found.actions.shape == (40, 3)
    assert_whole(found.observations, one_hot_sum(found.actions), found.next_observations)
    assert (found.next_observations[:, 2] == LENGTH).sum() > 5  # last observations are targets
    assert found.observations[:, 2].max() == LENGTH - 1  # and no first ones of a step


def test_random_actions_follow_the_seed_and_leave_the_space_alone():
    env = counting_vector(2, box=True)
    env.action_space.seed(5)
    state = env.action_space.np_random.bit_generator.state
    a, b, c = (Transitions.from_random(env, 30, seed=seed) for seed in (1, 1, 2))
    assert env.action_space.np_random.bit_generator.state == state
    assert torch.equal(a.actions, b.actions)
    assert not torch.equal(a.actions, c.actions)
    assert a.actions.abs().max() <= 1
    torch.testing.assert_close(a.next_observations[:, 3], 2 * a.actions.sum(dim=1))


def test_names_of_environments_are_taken():
    found = Transitions.from_random("CartPole-v1", 50, seed=0, n_envs=2)
    again = Transitions.from_random("CartPole-v1", 50, seed=0, n_envs=2)
    assert found.observations.shape == (50, 4)
    assert torch.equal(found.next_observations, again.next_observations)


def test_images_stay_bytes_and_become_fractions():
    found = Transitions.from_random(counting_vector(2, form="image"), 6)
    assert found.observations.dtype == torch.uint8
    assert found.observations.shape == (6, 3, 36, 36)
    _, _, after = found.sample(4, np.random.default_rng(0))
    assert after.dtype == torch.float32
    assert set((after[:, 0, 0, 0] * 255 / 40).round().int().tolist()) <= {1, 2, 3}
    assert after.max() <= 1


def test_discrete_observations_are_one_hot():
    found = Transitions.from_random(counting_vector(1, form="discrete"), LENGTH)
    assert found.observations.argmax(dim=1).tolist() == [0, 1, 2, 3, 4]
    assert found.next_observations.argmax(dim=1).tolist() == [1, 2, 3, 4, 5]


def test_ends_without_a_last_observation_are_dropped():
    states, after = np.arange(3.0)[:, None], np.array([[1.0], [0.0], [0.0]])
    infos: list[dict[str, Any]] = [{}, {"terminal_observation": np.array([9.0])}, {}]
    found = whole_steps(states, np.arange(3), after, np.array([False, True, True]), infos)
    assert [part.tolist() for part in found] == [[[0.0], [1.0]], [0, 1], [[1.0], [9.0]]]
    assert after[1] == 0  # the learner's own array is left alone


@pytest.mark.parametrize("steps", [20, 60])  # not full, and full more than once
@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("lean", [False, True])
def test_replay_buffers_of_sb3_are_taken(steps, cut, lean):
    env = counting_vector(2, cut=cut)
    more: dict[str, Any] = (
        {
            "optimize_memory_usage": True,
            "replay_buffer_kwargs": {"handle_timeout_termination": False},
        }
        if lean
        else {}
    )
    model = DQN("MlpPolicy", env, buffer_size=48, learning_starts=99, device="cpu", **more)
    model.learn(steps)
    assert model.replay_buffer is not None
    assert model.replay_buffer.full == (steps == 60)
    found = Transitions.from_replay_buffer(model.replay_buffer)
    assert_whole(found.observations, one_hot_sum(found.actions), found.next_observations)
    whole = min(model.num_timesteps, 48)
    if lean:  # without the episodes' ends; a full one also lacks the oldest step of each
        assert abs(len(found) - whole * (1 - 1 / LENGTH)) <= 4
    else:
        assert len(found) == whole
        assert (found.next_observations[:, 2] == LENGTH).any()
    order = 100 * found.observations[:, 1] + found.observations[:, 2]  # the oldest step first
    assert bool((order[found.observations[:, 0] == 0].diff() > 0).all())


@pytest.mark.parametrize("scaled", [True, False])
def test_box_actions_of_a_buffer_are_scaled_once(scaled):
    buffer = ReplayBuffer(4, spaces.Box(-9, 9, (1,)), spaces.Box(-2, 2, (1,)), device="cpu")
    zero = np.zeros((1, 1), np.float32)
    buffer.add(zero, zero + 1, np.full((1, 1), 0.5), np.zeros(1), np.zeros(1), [{}])
    found = Transitions.from_replay_buffer(buffer, scaled=scaled)
    assert found.actions.item() == (0.5 if scaled else 0.25)


def test_sac_s_buffer_gives_the_actions_that_moved_the_world():
    env = counting_vector(1, box=True)
    model = SAC("MlpPolicy", env, learning_starts=99, device="cpu", seed=0)
    model.learn(12)
    assert model.replay_buffer is not None
    found = Transitions.from_replay_buffer(model.replay_buffer)
    torch.testing.assert_close(found.next_observations[:, 3], 2 * found.actions.sum(dim=1))


def test_n_step_buffers_give_single_steps():
    model = DQN(
        "MlpPolicy",
        counting_vector(1),
        n_steps=3,
        buffer_size=50,
        learning_starts=99,
        device="cpu",
    )
    model.learn(20)
    assert isinstance(model.replay_buffer, NStepReplayBuffer)
    found = Transitions.from_replay_buffer(model.replay_buffer)
    assert_whole(found.observations, one_hot_sum(found.actions), found.next_observations)


def numbered(count: int = 7) -> Transitions:
    numbers = torch.arange(float(count))[:, None]
    return Transitions(numbers, numbers + 0.25, numbers + 1)


def test_minibatches_hold_every_step_once():
    batches = list(numbered().minibatches(3, np.random.default_rng(0)))
    assert [len(actions) for _, actions, _ in batches] == [3, 3, 1]
    states, actions, after = (torch.cat(parts).flatten() for parts in zip(*batches, strict=True))
    assert sorted(states.tolist()) == list(range(7))
    assert states.tolist() != list(range(7))
    assert torch.equal(actions, states + 0.25)
    assert torch.equal(after, states + 1)


def test_files_hold_the_same_steps(tmp_path: Path):
    path = tmp_path / "new" / "steps.safetensors"
    found = Transitions.from_random(counting_vector(2, form="image"), 6)
    found.save(path)
    loaded = Transitions.load(path)
    for name in ("observations", "actions", "next_observations"):
        assert getattr(loaded, name).dtype == getattr(found, name).dtype
        assert torch.equal(getattr(loaded, name), getattr(found, name))
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_failing_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "steps.safetensors"
    numbered(3).save(path)

    def full(tensors: Any, to: Path) -> None:
        to.write_bytes(b"half")
        raise OSError("no space")

    monkeypatch.setattr("rlgen.agents.disentangled.transitions.save_file", full)
    with pytest.raises(OSError, match="no space"):
        numbered(5).save(path)
    assert len(Transitions.load(path)) == 3
    assert list(tmp_path.iterdir()) == [path]


def test_minari_s_episodes_are_cut_apart(monkeypatch: pytest.MonkeyPatch):
    episodes = [
        SimpleNamespace(
            observations=np.arange(first, first + length + 1, dtype=np.float64)[:, None],
            actions=np.arange(length) % 2,
        )
        for first, length in ((0, 3), (50, 2))
    ]
    dataset = SimpleNamespace(
        observation_space=spaces.Box(-99, 99, (1,)),
        action_space=spaces.Discrete(2),
        iterate_episodes=lambda: iter(episodes),
    )

    def load_dataset(dataset_id: str) -> Any:
        if dataset_id != "counting-v0":
            raise FileNotFoundError(dataset_id)
        return dataset

    monkeypatch.setitem(sys.modules, "minari", SimpleNamespace(load_dataset=load_dataset))
    found = Transitions.from_minari("counting-v0")
    assert found.observations.flatten().tolist() == [0, 1, 2, 50, 51]
    assert found.next_observations.flatten().tolist() == [1, 2, 3, 51, 52]
    assert found.actions.argmax(dim=1).tolist() == [0, 1, 0, 0, 1]
    assert found.observations.dtype == torch.float32
    with pytest.raises(UserError, match="run: minari download other-v0"):
        Transitions.from_minari("other-v0")
    episodes.clear()
    with pytest.raises(UserError, match="holds no episode"):
        Transitions.from_minari("counting-v0")


def test_without_minari_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(MissingExtraError, match=r"rlgen\[minari\]"):
        Transitions.from_minari("any-v0")


def test_mistakes_are_told(tmp_path: Path):
    with pytest.raises(UserError, match="equally many"):
        Transitions(torch.zeros(2, 1), torch.zeros(3, 1), torch.zeros(2, 1))
    with pytest.raises(UserError, match="type steps=1 or more"):
        Transitions.from_random(counting_vector(1), 0)
    empty = ReplayBuffer(4, spaces.Box(-9, 9, (1,)), spaces.Discrete(2), device="cpu")
    with pytest.raises(UserError, match="one or more"):
        Transitions.from_replay_buffer(empty)
    (tmp_path / "text").write_text("not tensors")
    for name in ("text", "absent"):
        with pytest.raises(UserError, match=f"{name} holds no transitions"):
            Transitions.load(tmp_path / name)
