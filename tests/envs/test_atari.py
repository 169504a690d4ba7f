"""ale-py's native vector beside SB3's road to Atari, and the rules of lives and rewards.

The two roads start their emulators differently (no-ops, FIRE), so the comparison turns both off:
then one sequence of actions must give one sequence of frames, rewards and lives. Pixels differ only
where grey before maximum is not maximum before grey; the shares below are measured ones with room
for other versions of the emulator.
"""

from typing import Any

import ale_py
import gymnasium as gym
import numpy as np
import pytest
from ale_py.vector_env import AtariVectorEnv
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.atari_wrappers import MaxAndSkipEnv, WarpFrame

from rlgen.core.errors import UserError
from rlgen.envs import GymVecEnv, make_vec
from rlgen.envs.atari import FIRE, FireAfterLifeLoss, game_name

gym.register_envs(ale_py)


def native_road(game: str) -> FireAfterLifeLoss:
    return FireAfterLifeLoss(
        AtariVectorEnv(
            game_name(game),
            1,
            num_threads=1,
            autoreset_mode=AutoresetMode.SAME_STEP,
            noop_max=0,
            use_fire_reset=False,
            life_loss_info=True,
            reward_clipping=False,
        )
    )


def sb3_road(game: str) -> gym.Env:
    emulator = gym.make(f"ALE/{game}-v5", frameskip=1, repeat_action_probability=0.0)
    return WarpFrame(MaxAndSkipEnv(emulator, skip=4))


def play_both(game: str, max_steps: int) -> dict[str, Any]:
    """Plays one action sequence on both roads until the game is over, and compares each step.

    On SB3's road the stack of 4 is kept here, and the action after a lost life is FIRE.
    """
    native, sb3 = native_road(game), sb3_road(game)
    native.reset(seed=7)
    frame, info = sb3.reset(seed=7)
    stack = np.zeros((4, 84, 84), dtype=np.int64)
    stack[-1] = frame[..., 0]
    generator = np.random.default_rng(0)
    worst, share, lives_lost, press, over = 0, [], 0, False, False
    for _ in range(max_steps):
        action = int(generator.integers(native.single_action_space.n))
        ours, rewards, terminated, _, infos = native.step(np.array([action]))
        lives = info["lives"]
        frame, reward, over, _, info = sb3.step(FIRE if press else action)
        press = info["lives"] < lives and not over
        lives_lost += press
        assert rewards[0] == reward
        assert terminated[0] == (over or press)
        if over:  # SB3's last maximum may hold a frame of the step before; nothing uses it
            break
        assert infos["lives"][0] == info["lives"]
        stack = np.concatenate([stack[1:], frame[None, ..., 0].astype(np.int64)])
        difference = np.abs(ours[0] - stack)
        worst = max(worst, int(difference.max()))
        share.append((difference > 0).mean())
    native.close()
    return {"worst": worst, "share": np.mean(share), "lives_lost": lives_lost, "over": over}


@pytest.mark.parametrize(
    ("game", "max_steps", "worst", "share", "lives_lost"),
    [
        ("Breakout", 300, 0, 0.0, 4),
        ("SpaceInvaders", 320, 0, 0.0, 1),
        ("Pong", 220, 20, 0.004, 0),
        ("Qbert", 200, 40, 0.001, 1),
    ],
)
def test_same_frames_rewards_and_lives_as_sb3(
    game: str, max_steps: int, worst: int, share: float, lives_lost: int
) -> None:
    seen = play_both(game, max_steps)
    assert seen["worst"] <= worst
    assert seen["share"] <= share
    assert seen["lives_lost"] >= lives_lost
    assert seen["over"] == (game == "Breakout"), "one whole game is compared"


def drop_the_ball(env: Any, steps: int) -> list[tuple[int, Any, bool, dict]]:
    """Presses LEFT for ever: in Breakout the paddle sits in the corner and the ball is lost."""
    env.reset()
    left = 3
    said = []
    for t in range(steps):
        _, rewards, dones, infos = env.step(np.array([left]))
        said.append((t, rewards[0], bool(dones[0]), infos[0]))
    env.close()
    return said


def test_a_life_ends_an_episode_for_the_learner_but_not_for_the_record() -> None:
    said = drop_the_ball(make_vec("Breakout", seed=1), 330)
    ends = [(info.get("life_lost", False), "episode" in info) for _, _, done, info in said if done]
    assert ends[:5] == [(True, False)] * 4 + [(False, True)]
    # The record counts the whole game, not the last life.
    length = next(info["episode"]["l"] for *_, info in said if "episode" in info)
    assert length == [t for t, _, done, _ in said if done][4] + 1


def test_terminal_observation_of_a_life_is_the_last_one_seen() -> None:
    env = make_vec("Breakout", seed=1)
    env.reset()
    lives = 0
    while lives < 3:
        observations, _, dones, infos = env.step(np.array([3]))
        if dones[0] and infos[0].get("life_lost", False):
            lives += 1
            np.testing.assert_array_equal(infos[0]["terminal_observation"], observations[0])
    env.close()


@pytest.mark.parametrize("seed", [0, 2**31 - 1, 2**32 - 1, np.int64(7)])
def test_any_seed_is_taken(seed: int) -> None:
    env = make_vec("Breakout", 2, seed=seed)
    assert env.reset().shape == (2, 4, 84, 84)
    env.close()


def test_evaluation_plays_whole_games() -> None:
    learner, said = (
        drop_the_ball(make_vec("Breakout", seed=1, training=training), 330)
        for training in (True, False)
    )
    ends = [info for _, _, done, info in said if done]
    games = [info["episode"]["l"] for *_, info in learner if "episode" in info]
    assert games
    assert [info["episode"]["l"] for info in ends] == games
    assert not any(info.get("life_lost", False) for *_, info in said)
    assert {int(info["lives"]) for *_, info in said} == {1, 2, 3, 4, 5}


def test_evaluation_and_training_play_the_same_game() -> None:
    rewards = []
    for training in (True, False):
        env = make_vec("SpaceInvaders", seed=3, training=training)
        env.reset()
        generator = np.random.default_rng(0)
        rewards.append([env.step(generator.integers(6, size=1))[1][0] for _ in range(150)])
        env.close()
    assert max(rewards[1]) > 1, "evaluation sees raw rewards"
    assert rewards[0] == list(np.sign(rewards[1])), "training sees their sign"


def test_record_is_not_clipped() -> None:
    env = make_vec("SpaceInvaders", seed=3)
    raw = GymVecEnv(env.env)  # the same emulator, without the clipping
    raw.seed(3)
    raw.reset()
    generator = np.random.default_rng(0)
    total = clipped = 0.0
    for _ in range(900):
        _, rewards, _, infos = raw.step(generator.integers(6, size=1))
        total += rewards[0]
        clipped += np.sign(rewards[0])
        if "episode" in infos[0]:
            break
    assert total > clipped
    assert infos[0]["episode"]["r"] == total
    raw.close()


@pytest.mark.parametrize("training", [True, False])
def test_fire_is_pressed_after_a_lost_life(training: bool) -> None:
    class Recorder(gym.vector.VectorWrapper):
        def step(self, actions: Any) -> Any:
            self.actions = actions
            return self.env.step(actions)

    emulator = native_road("Breakout").env
    recorder = Recorder(emulator)
    env = FireAfterLifeLoss(recorder, life_ends_episode=training)
    env.reset(seed=7)
    env.step(np.array([FIRE]))
    lives, pressed = 5, []
    for _ in range(120):
        _, _, _, _, infos = env.step(np.array([3]))
        if infos["lives"][0] < lives:
            lives = infos["lives"][0]
            env.step(np.array([3]))
            pressed.append(int(recorder.actions[0]))
            env.step(np.array([3]))
            pressed.append(int(recorder.actions[0]))
    assert pressed[:4] == [FIRE, 3, FIRE, 3]
    env.close()


@pytest.mark.parametrize("game", ["Freeway", "MsPacman"])
def test_games_without_fire_keep_their_actions(game: str) -> None:
    env = native_road(game)
    assert not env._has_fire
    env.close()


def test_shapes() -> None:
    env = make_vec("Pong", 3, seed=0)
    observations = env.reset()
    assert env.observation_space == gym.spaces.Box(0, 255, (4, 84, 84), np.uint8)
    assert env.action_space == gym.spaces.Discrete(6)
    assert observations.shape == (3, 4, 84, 84)
    assert observations.dtype == np.uint8
    observations, rewards, dones, _ = env.step(np.zeros(3, dtype=np.int64))
    assert rewards.dtype == np.float32
    assert dones.dtype == bool
    env.close()


def test_returned_frames_stay() -> None:
    env = make_vec("Breakout", 2, seed=0)
    env.reset()
    frames = [env.step(np.array([FIRE, 3]))[0] for _ in range(6)]
    copies = [frame.copy() for frame in frames]
    for _ in range(10):
        env.step(np.array([2, 2]))
    assert all(np.array_equal(*pair) for pair in zip(frames, copies, strict=True))
    env.close()


def test_seed_decides_the_games() -> None:
    def play(seed: int) -> np.ndarray:
        env = make_vec("Breakout", 2, seed=seed)
        env.reset()
        generator = np.random.default_rng(0)
        frames = [env.step(generator.integers(4, size=2))[0] for _ in range(60)]
        env.close()
        return np.stack(frames)

    first = play(11)
    np.testing.assert_array_equal(first, play(11))
    assert not np.array_equal(first, play(12))
    assert not np.array_equal(first[:, 0], first[:, 1]), "environments start differently"


def test_time_limit_truncates() -> None:
    env = make_vec("Pong", 1, seed=0, env_kwargs={"max_frames": 40, "noop_max": 1})
    env.reset()
    ends = []
    for t in range(1, 12):
        _, _, dones, infos = env.step(np.array([0]))
        if dones[0]:
            ends.append((t, infos[0]["TimeLimit.truncated"], infos[0]["episode"]["l"]))
    assert ends == [(10, True, 10)]
    env.close()


def test_fallback_has_the_same_spaces_up_to_channel_order() -> None:
    native, fallback = make_vec("Breakout", seed=0), make_vec("Breakout", seed=0, backend="sb3")
    moved = np.moveaxis(np.empty(fallback.observation_space.shape), -1, 0)
    assert native.observation_space.shape == moved.shape
    assert native.observation_space.dtype == fallback.observation_space.dtype
    assert native.action_space == fallback.action_space
    assert fallback.reset().shape == (1, 84, 84, 4)
    native.close(), fallback.close()


@pytest.mark.parametrize("name", ["ALE/Breakout-v5", "Breakout", "ALE/Breakout"])
def test_game_name(name: str) -> None:
    assert game_name(name) == "breakout"


def test_unknown_game_offers_the_closest() -> None:
    with pytest.raises(UserError, match=r"unknown Atari game 'SpaceInvader'; did you mean 'Space"):
        game_name("ALE/SpaceInvader-v5")
