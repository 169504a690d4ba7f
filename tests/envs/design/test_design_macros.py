"""Macros: how the action space grows, what is carried out, masks and mistakes."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rlgen.core.errors import UserError
from rlgen.envs.design.encodings import ENCODINGS, encode
from rlgen.envs.design.env import DesignEnv
from rlgen.envs.design.macros import MacroActions
from rlgen.envs.design.shape.operations import FINISH, INDEX, Action
from rlgen.envs.design.task.experts import expert

CUP = expert("Vessel").actions
TURN = (Action.named("twist", angle=30), Action.named("taper", growth=0.1))


def make(**kwargs) -> MacroActions:
    return MacroActions(DesignEnv("Vessel", **kwargs), {"cup": CUP, "turn": TURN})


def choose(env: MacroActions, name: str):
    """The action of an encoding that chooses an operation or a macro."""
    op = env.names.index(name)
    if env.encoding == "multidiscrete":
        return np.array([op, 0, *[8] * 6])
    if env.encoding == "hybrid":
        return {"op": op, "mode": 0, "params": np.zeros(6, np.float32)}
    action = np.zeros(env.action_space.shape, np.float32)
    action[op] = 1
    return action


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_macro_builds_exactly_what_it_says(encoding: str) -> None:
    env = make(encoding=encoding)
    env.reset(seed=0)
    _, reward, _, _, info = env.step(choose(env, "cup"))
    assert env.design_env.design.actions == CUP  # not rounded to bins
    assert (info["macro"], info["macro_refused"]) == ("cup", (None, None))
    assert reward == pytest.approx(info["score"], abs=1e-12)  # rewards are added up
    assert env.design_env.steps == 2  # each action is a step of the episode
    env.step(choose(env, "undo"))
    assert env.design_env.design.actions == CUP[:1]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_plain_operations_are_those_without_the_wrapper(encoding: str) -> None:
    """Invariant 17 with a wrapper around it."""
    plain, env = DesignEnv("Vessel", encoding=encoding), make(encoding=encoding)
    plain.reset(seed=3)
    env.reset(seed=3)
    for action in (Action(1, 0, (64, -64, 128, 0, 0, 0)), Action(8, 0, (-448, -512, 0, 0, 0, 0))):
        written = encode(action, encoding)
        wider = np.insert(written, 16, [-1, -1]) if encoding == "box" else written
        seen, reward, *_ = plain.step(written)
        seen_too, reward_too, *_ = env.step(wider)
        assert reward == reward_too
        np.testing.assert_array_equal(seen["geometry"], seen_too["geometry"])
    assert plain.design.solid.sha256 == env.design_env.design.solid.sha256


def test_spaces_and_masks_grow() -> None:
    env = make(mask_in_observation=True)
    observation, info = env.reset(seed=0)
    assert env.action_space.nvec.tolist() == [18, 3, *[17] * 6]
    assert make(encoding="hybrid").action_space["op"].n == 18
    assert make(encoding="box").action_space.shape == (27,)
    assert info["action_mask"].shape == (18, 3)
    assert env.observation_space.contains(observation)
    np.testing.assert_array_equal(observation["action_mask"].reshape(18, 3), info["action_mask"])
    # On an empty solid a cup can begin, a twist cannot; modes as for parts.
    assert info["action_mask"][16].tolist() == [True, False, False]
    assert not info["action_mask"][17].any()
    masks = env.action_masks()
    assert masks.shape == (18 + 3 + 6 * 17,)
    assert masks[:18].tolist() == info["action_mask"].any(1).tolist()


def test_a_masked_macro_is_a_refusal() -> None:
    env = make()
    env.reset(seed=0)
    _, reward, _, _, info = env.step(choose(env, "turn"))
    assert (info["refused"], info["macro"]) == ("masked", "turn")
    assert reward == pytest.approx(-0.01)
    assert env.design_env.design.solid.is_empty


def test_actions_of_a_macro_are_refused_one_by_one() -> None:
    env = make()
    env.reset(seed=0)
    env.step(choose(env, "cup"))
    again = env.step(choose(env, "cup"))[-1]  # the same cylinder fills it; then it is hollowed
    assert again["macro_refused"] == (None, None)
    assert "refused" not in again
    nothing = Action.named("twist", angle=0)
    other = MacroActions(DesignEnv("Vessel"), {"cup": CUP, "idle": [nothing, nothing]})
    other.reset(seed=0)
    other.step(choose(other, "cup"))
    info = other.step(choose(other, "idle"))[-1]
    assert info["macro_refused"] == ("no_change", "no_change")
    assert info["refused"] == "no_change"


def test_an_episode_may_end_inside_a_macro() -> None:
    env = make(horizon=1)
    env.reset(seed=0)
    _, _, terminated, truncated, info = env.step(choose(env, "cup"))
    assert (terminated, truncated, info["final"]) == (False, True, True)
    assert len(env.design_env.design) == 1


@pytest.mark.filterwarnings("ignore:.*is different from the unwrapped version")
def test_the_checker_is_silent() -> None:
    """Invariant 15 with a wrapper around it."""
    check_env(make(mask_in_observation=True), skip_render_check=True)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_random_masked_episodes_never_raise(encoding: str) -> None:
    """Invariant 18, of which macros are part."""
    env, rng = make(encoding=encoding), np.random.default_rng(0)
    for episode in range(8):
        _, info = env.reset(seed=episode)
        ended = False
        while not ended:
            op = int(rng.choice(np.flatnonzero(info["action_mask"].any(1))))
            _, _, terminated, truncated, info = env.step(choose(env, env.names[op]))
            assert info.get("refused") != "masked"
            ended = terminated or truncated


@pytest.mark.parametrize(
    ("encoding", "action"),
    [
        ("multidiscrete", [18, 0, *[0] * 6]),
        ("multidiscrete", [17, 3, *[0] * 6]),
        ("multidiscrete", [17, 0, 0]),
        ("multidiscrete", "cup"),
        ("hybrid", {"op": 18, "mode": 0, "params": [0.0] * 6}),
        ("hybrid", {"op": 17, "mode": 0, "params": [7.0] * 6}),
        ("hybrid", 3),
        ("box", [2.0] * 27),
        ("box", [0.0] * 25),
        ("box", [*[0.0] * 16, 3.0, *[0.0] * 10]),
    ],
)
def test_actions_outside_of_the_space_are_told(encoding: str, action) -> None:
    env = make(encoding=encoding)
    env.reset(seed=0)
    with pytest.raises(UserError, match="outside of"):
        env.step(action)


@pytest.mark.parametrize(
    ("macros", "part"),
    [
        ({}, "no macros are given"),
        ({"box": CUP}, "has the name of an operation"),
        ({"a": []}, "'a' is empty"),
        ({"a": [3]}, "give Action.named"),
        ({"a": [Action(FINISH, 0, (0,) * 6)]}, "cannot hold finish"),
    ],
)
def test_wrong_macros(macros, part: str) -> None:
    with pytest.raises(UserError, match=part):
        MacroActions(DesignEnv("Vessel"), macros)


def test_only_design_environments_have_macros() -> None:
    with pytest.raises(UserError, match="need a design environment"):
        MacroActions(gym.make("CartPole-v1"), {"cup": CUP})


def test_names_follow_the_table() -> None:
    env = make()
    assert env.names[INDEX["hollow"]] == "hollow"
    assert env.names[16:] == ("cup", "turn")
