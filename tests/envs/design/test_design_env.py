"""The environment: Gymnasium's checks, rewards, refusals, goals, determinism, mistakes."""

import itertools
import json
import subprocess
import sys
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import rlgen.envs
from rlgen.core.errors import UserError
from rlgen.envs.design.encodings import ENCODINGS, encode, sample
from rlgen.envs.design.env import DesignEnv
from rlgen.envs.design.measure.conditions import METRICS
from rlgen.envs.design.observations import GEOMETRIES
from rlgen.envs.design.shape.history import Design
from rlgen.envs.design.shape.operations import FINISH, UNDO, Action
from rlgen.envs.design.task.experts import expert
from rlgen.envs.design.task.tasks import score

CYLINDER = Action.named("cylinder", radius_low=41, radius_high=41, height=80)
FINISHED = np.array([FINISH, *[0] * 7])
UNDONE = np.array([UNDO, *[0] * 7])


def play(env: DesignEnv, seed: int = 0, episodes: int = 1) -> list[Any]:
    """Plays random masked episodes; returns all that was told."""
    rng, told = np.random.default_rng(seed), []
    for episode in range(episodes):
        told.append(env.reset(seed=seed + episode)[0])
        ended = False
        while not ended:
            raw = sample(env.action_space, env.mask, rng)
            observation, reward, terminated, truncated, info = env.step(raw)
            told += [observation, reward, info["score"], info.get("refused")]
            ended = terminated or truncated
    return told


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return bool(np.array_equal(a, b))


@pytest.mark.parametrize("task", rlgen.envs.DESIGN_TASKS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_gymnasium_has_nothing_to_say(task: str, encoding: str):
    """Invariant 15: every id and encoding."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make(f"rlgen/{task}-v0", encoding=encoding)
        check_env(env.unwrapped, skip_render_check=True)


@pytest.mark.parametrize(
    ("geometry", "goal", "mask"), [*itertools.product(GEOMETRIES, (False, True), (False, True))]
)
def test_gymnasium_accepts_every_observation(geometry: str, goal: bool, mask: bool):
    """Invariant 15: every observation."""
    env = DesignEnv("Mast", observation=geometry, goal=goal, mask_in_observation=mask)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env, skip_render_check=True)
    assert all(same(a, b) for a, b in zip(play(env, 3), play(env, 3), strict=True))


def test_the_same_actions_tell_the_same():
    """Invariant 17: alone, after other episodes, and in a vector."""
    alone = play(DesignEnv("Vessel"), seed=5)
    later = DesignEnv("Vessel")
    play(later, seed=1, episodes=3)
    assert all(same(a, b) for a, b in zip(alone, play(later, seed=5), strict=True))


@pytest.mark.parametrize("task", ["Vessel", "Stool", "Reach"])
def test_dense_rewards_sum_to_the_score(task: str):
    """Invariant 21: less the penalties; sparse rewards end at the same score."""
    dense, sparse = DesignEnv(task), DesignEnv(task, reward="sparse")
    rng = np.random.default_rng(0)
    for episode in range(6):
        start = dense.reset(seed=episode)[1]["score"]
        sparse.reset(seed=episode)
        total, penalties, ended = 0.0, 0.0, False
        while not ended:
            raw = sample(dense.action_space, dense.mask, rng)
            _, reward, terminated, truncated, info = dense.step(raw)
            total += reward
            penalties += 0.01 * ("refused" in info)
            _, last, _, _, other = sparse.step(raw)
            ended = terminated or truncated
        assert total == pytest.approx(info["score"] - start - penalties, abs=1e-9)
        assert other["score"] == info["score"]
        assert last == pytest.approx(info["score"] - 0.01 * ("refused" in info), abs=1e-12)


def test_shaping_is_discounted():
    env = DesignEnv("Vessel", reward="discounted_shaping", gamma=0.9)
    env.reset(seed=0)
    first = env.step(encode(CYLINDER, "multidiscrete"))
    second = env.step(UNDONE)
    assert first[1] == pytest.approx(0.9 * first[4]["score"])
    assert second[1] == pytest.approx(-first[4]["score"])


def test_undo_pays_back_what_it_destroys():
    env = DesignEnv("Vessel")
    env.reset(seed=0)
    made = env.step(encode(CYLINDER, "multidiscrete"))
    undone = env.step(UNDONE)
    assert made[1] > 0
    assert made[1] + undone[1] == pytest.approx(0.0, abs=1e-12)
    assert not env.mask[UNDO].any()


def test_a_refusal_changes_nothing_but_the_clock():
    """Invariant 19, at the level of the environment."""
    env = DesignEnv("Vessel")
    env.reset(seed=0)
    env.step(encode(CYLINDER, "multidiscrete"))
    before = (env.design.solid.sha256, env.design.actions, env._score)
    far = Action.named("drill", "z", env.design.solid.bounds, radius=2, x=44, y=44)
    for raw, code in (
        (encode(far, "multidiscrete"), "no_change"),
        (UNDONE, None),
        (UNDONE, "masked"),
    ):
        _, reward, _, _, info = env.step(raw)
        assert info.get("refused") == code
        if code is not None:
            assert reward == pytest.approx(-0.01)
        if code == "no_change":
            assert before == (env.design.solid.sha256, env.design.actions, env._score)
    assert env.steps == 4


def test_an_episode_ends_by_finish_or_by_the_horizon():
    env = DesignEnv("Mast", horizon=3)
    env.reset(seed=0)
    env.step(encode(CYLINDER, "multidiscrete"))
    *_, terminated, truncated, info = env.step(FINISHED)
    assert (terminated, truncated, info["final"]) == (True, False, True)
    env.reset(seed=0)
    for _ in range(3):
        *_, terminated, truncated, info = env.step(FINISHED)  # nothing to finish: masked
    assert (terminated, truncated, info["final"]) == (False, True, True)
    assert info["refused"] == "masked"
    assert info["score"] == 0.0


def test_the_end_tells_the_design():
    env = DesignEnv("Vessel", encoding="box")
    env.reset(seed=0)
    for action in expert("Vessel").actions:
        env.step(encode(action, "box"))
    *_, info = env.step(encode(Action(FINISH, 0, (0,) * 6), "box"))
    assert info["score"] > 0.99
    assert min(info["satisfactions"].values()) > 0.98
    design = Design.from_json(info["design"])
    assert design.solid.sha256 == env.design.solid.sha256
    metrics = np.zeros(len(METRICS))
    for name, value in info["metrics"].items():
        metrics[METRICS.index(name)] = value
    assert score(metrics, env.current) == pytest.approx(info["score"])
    assert json.loads(info["design"])["goal"]["name"] == "Vessel"


@pytest.mark.parametrize("reward", ["sparse", "dense", "discounted_shaping"])
def test_a_goal_can_be_relabelled(reward: str):
    """Invariant 22: a batch gives the steps' rewards; what was achieved is a success."""
    env = DesignEnv("MultiGoal", reward=reward)
    rng = np.random.default_rng(0)
    achieved, desired, rewards, infos = [], [], [], []
    for episode in range(8):
        env.reset(seed=episode)
        ended = False
        while not ended:
            raw = sample(env.action_space, env.mask, rng)
            observation, given, terminated, truncated, info = env.step(raw)
            achieved.append(observation["achieved_goal"])
            desired.append(observation["desired_goal"])
            rewards.append(given)
            infos.append(info)
            ended = terminated or truncated
    batch = env.compute_reward(np.stack(achieved), np.stack(desired), infos)
    np.testing.assert_allclose(batch, rewards, atol=1e-12)
    at = next(i for i, info in enumerate(infos) if info["final"] and info["score"] > 0)
    if reward != "sparse":
        return
    assert env.compute_reward(achieved[at], achieved[at], {"final": True}) == pytest.approx(
        1.0 if infos[at]["metrics"]["upright"] else 0.1, abs=1e-6
    )


def test_a_given_goal_is_kept():
    env = DesignEnv("Mast", goal=True)
    wanted = env.reset(seed=0)[0]["desired_goal"].copy()
    wanted[METRICS.index("height")] *= 0.5
    observation, _ = env.reset(options={"goal": wanted})
    assert np.array_equal(observation["desired_goal"], wanted)
    with pytest.raises(UserError, match="goal mode"):
        DesignEnv("Mast").reset(options={"goal": wanted})
    with pytest.raises(UserError, match="no option 'goals'"):
        env.reset(options={"goals": wanted})


def test_a_seed_design_is_locked(tmp_path):
    """Invariant 24: it is always a prefix of the history, and undo stops there."""
    design = Design()
    assert design.apply(CYLINDER) is None
    design.write_json(tmp_path / "handle.json")
    env = DesignEnv("Vessel", seed_design=tmp_path / "handle.json")
    rng = np.random.default_rng(0)
    for episode in range(5):
        env.reset(seed=episode)
        assert not env.mask[UNDO].any()
        ended = False
        while not ended:
            *_, terminated, truncated, _ = env.step(sample(env.action_space, env.mask, rng))
            assert env.design.actions[:1] == design.actions
            ended = terminated or truncated


def test_what_must_be_solid_counts():
    must = [{"shape": "box", "low": [-10, -10, 0], "high": [10, 10, 160]}]
    free, bound = DesignEnv("Mast"), DesignEnv("Mast", space={"keep_in": must})
    for env in (free, bound):
        env.reset(seed=0)
        env.step(encode(CYLINDER, "multidiscrete"))
    height = bound.design.solid.bounds[1, 2]
    assert bound._score == pytest.approx(free._score * height / 160)


def test_only_allowed_operations():
    env = DesignEnv("Vessel", allowed=["cylinder", "hollow"])
    env.reset(seed=0)
    env.step(encode(CYLINDER, "multidiscrete"))
    assert np.flatnonzero(env.mask.any(1)).tolist() == [1, 8, UNDO, FINISH]


def test_pictures_and_text():
    env = DesignEnv("Vessel", render_mode="ansi")
    env.reset(seed=0)
    assert "nothing yet" in env.render()
    for action in expert("Vessel").actions:
        assert env.step(encode(action, "multidiscrete"))[4].get("refused") is None
    assert "hollow" in env.render()
    assert "capacity >= 330" in env.render()
    frames = env.render_construction(64)
    assert [frame.shape for frame in frames] == [(64, 64, 3)] * len(env.design.actions)
    shown = gym.make("rlgen/Vessel-v0", render_mode="rgb_array", render_size=96)
    shown.reset(seed=0)
    empty = shown.render()
    shown.step(encode(CYLINDER, "multidiscrete"))
    assert empty.shape == (96, 96, 3)
    assert not np.array_equal(empty, shown.render())


def test_without_a_display_a_page_is_kept(monkeypatch, capsys):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    env = DesignEnv("Vessel", render_mode="human")
    env.reset(seed=0)
    assert env.render() is None
    address = capsys.readouterr().err
    assert address.count("file://") == 1
    env.step(encode(CYLINDER, "multidiscrete"))
    env.render()
    assert not capsys.readouterr().err
    assert env._screen is not None
    page = env._screen._page
    assert page is not None
    assert "cylinder" in page.read_text()
    env.close()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"task": "Vesel"}, "did you mean 'Vessel'"),
        ({"task": 3}, "type a name such as 'Vessel'"),
        ({"preset": "hardest"}, "did you mean 'hard'"),
        ({"encoding": "discrete"}, "encoding='discrete' is unknown"),
        ({"observation": "voxel"}, "did you mean 'voxels'"),
        ({"reward": "spare"}, "did you mean 'sparse'"),
        ({"horizon": 0}, "1 to 1000"),
        ({"horizon": 2.5}, "whole number"),
        ({"gamma": 1.5}, "0 to 1"),
        ({"allowed": ["drill"]}, "cannot begin a design"),
        ({"allowed": "drill"}, "type a list"),
        ({"allowed": ["drilling"]}, "did you mean 'drill'"),
        ({"space": {"sizes": 3}}, "no 'sizes'"),
        ({"space": 5}, "design space"),
        ({"seed_design": "nowhere.json"}, "cannot read nowhere.json"),
        ({"render_mode": "rgb"}, "allowed"),
        ({"task": "Stool", "goal": True}, "at_least or at_most"),
    ],
)
def test_mistakes_are_told_in_a_line(arguments: dict[str, Any], told: str):
    with pytest.raises(UserError, match=told) as error:
        DesignEnv(**arguments)
    assert "\n" not in str(error.value)


def test_importing_it_loads_no_extra():
    """Invariant 32."""
    code = (
        "import sys, rlgen.envs.design.vector, rlgen.envs.design.shape.history;"
        "extras = ('mujoco', 'OCP', 'matplotlib', 'torch', 'trimesh');"
        "print([name for name in extras if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.slow
def test_many_random_episodes_raise_nothing():
    """Invariant 18: 2,000 masked episodes over tasks and encodings."""
    for number, (task, encoding) in enumerate(
        itertools.product(rlgen.envs.DESIGN_TASKS, ENCODINGS)
    ):
        env = DesignEnv(task, encoding=encoding, reward="sparse")
        play(env, seed=1000 * number, episodes=96)


def test_random_episodes_raise_nothing():
    """Invariant 18, a few of them."""
    for number, task in enumerate(rlgen.envs.DESIGN_TASKS):
        told = play(DesignEnv(task, reward="sparse"), seed=1000 * number, episodes=4)
        assert not any(code == "masked" for code in told if isinstance(code, str))
