"""The sprites world: pictures, law of motion, episodes, mistakes."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as check_gymnasium
from stable_baselines3.common.env_checker import check_env as check_sb3

import rlgen.envs
from rlgen.core.errors import UserError
from rlgen.envs.names import EnvName, resolve_env
from rlgen.envs.sprites import (
    COLORS,
    ORIENTATIONS,
    RING_COLORS,
    SpritesEnv,
    SpritesRules,
    factor_counts,
    sprite_masks,
)

ID = "rlgen/Sprites-v0"
NONE = [1, 1, 1, 1]


def draw(*factors: int, **kwargs: Any) -> np.ndarray:
    return SpritesRules(**kwargs).draw([factors])[0]


def centre(picture: np.ndarray) -> tuple[float, float]:
    """Row and column of the centre of mass of the light."""
    light = picture.astype(float).sum(-1)
    rows, columns = np.indices(light.shape)
    return (light * rows).sum() / light.sum(), (light * columns).sum() / light.sum()


# Pictures


def test_a_unit_of_position_is_a_pixel() -> None:
    first = draw(3, 20, 7, 4, 0)
    np.testing.assert_array_equal(draw(4, 20, 7, 4, 0)[1:], first[:-1])  # down
    np.testing.assert_array_equal(draw(3, 22, 7, 4, 0)[:, 2:], first[:, :-2])  # right


@pytest.mark.parametrize(
    ("shape", "size"),
    [("heart", 16), ("heart", 64), ("ellipse", 32), ("square", 64), ("square", 128)],
)
def test_corners_and_all_orientations_stay_inside(shape: str, size: int) -> None:
    rules = SpritesRules(shape=shape, size=size)
    corners = [[y, x, k, 5, 0] for y in (0, 31) for x in (0, 31) for k in range(ORIENTATIONS)]
    light = rules.draw(corners)[..., 0].astype(float).sum((1, 2)).reshape(4, -1)
    # Nothing is cut off: as much light as in the middle, but for rounding.
    middle = rules.draw([[16, 16, k, 5, 0] for k in range(ORIENTATIONS)])[..., 0]
    np.testing.assert_allclose(light, np.tile(middle.astype(float).sum((1, 2)), (4, 1)), rtol=0.02)


def test_scales_are_half_to_whole_in_six_steps() -> None:
    areas = [draw(16, 16, 0, k, 0)[..., 0].astype(float).sum() for k in range(6)]
    sides = np.sqrt(np.array(areas) / areas[-1])
    np.testing.assert_allclose(sides, [0.5, 0.6, 0.7, 0.8, 0.9, 1.0], atol=0.01)


@pytest.mark.parametrize(("shape", "period"), [("heart", 40), ("square", 10), ("ellipse", 20)])
def test_symmetry_of_each_shape(shape: str, period: int) -> None:
    masks = sprite_masks(shape, 64)[0, 0, 5].astype(int)
    apart = [abs(masks[k] - masks[0]).mean() for k in range(ORIENTATIONS)]
    same = [k for k in range(ORIENTATIONS) if apart[k] < 0.5]
    assert same == list(range(0, ORIENTATIONS, period))


def test_the_heart_stands_upright_and_turns_anticlockwise() -> None:
    mask = sprite_masks("heart", 64)[0, 0, 5]
    widths = (mask[0] > 127).sum(1)
    rows = np.flatnonzero(widths)
    assert widths[rows[-1]] < 5 < 25 < widths[rows[0] + 6]  # a tip below, lobes above
    np.testing.assert_array_equal(mask[0], mask[0][:, ::-1])
    np.testing.assert_array_equal(mask[10], np.rot90(mask[0]))


@pytest.mark.parametrize("size", [16, 32])
def test_smaller_pictures_are_means_of_the_large_one(size: int) -> None:
    factors = [[31, 7, 13, 5, 0], [0, 0, 0, 0, 0], [5, 30, 39, 3, 0]]
    large = SpritesRules(size=64).draw(factors).astype(float)
    shrink = 64 // size
    expected = large.reshape(3, size, shrink, size, shrink, 3).mean((2, 4))
    np.testing.assert_allclose(SpritesRules(size=size).draw(factors), expected, atol=0.51)


def test_colors_go_red_green_blue_in_a_ring() -> None:
    assert RING_COLORS[[0, 10, 20]].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    assert RING_COLORS[5].tolist() == [128, 128, 0]
    assert RING_COLORS[29].tolist() == [230, 0, 26]
    assert draw(16, 16, 0, 5, 12)[32, 32].tolist() == RING_COLORS[12].tolist()


def test_options_draw_behind_the_sprite() -> None:
    plain = draw(0, 0, 0, 5, 0)
    both = draw(0, 0, 0, 5, 0, 20, 31, second_object=True, distractor="drift")
    assert both[:, -2:].tolist() == np.full((64, 2, 3), 60).tolist()  # the last of 32 stripes
    assert both[54, 32].tolist() == [200, 200, 200]  # half-way round, straight below the middle
    inside = plain[..., 0] == 255
    np.testing.assert_array_equal(both[inside], plain[inside])
    covered = draw(0, 0, 0, 5, 0, 8, distractor="drift")  # the stripe goes through the heart
    np.testing.assert_array_equal(covered[inside], plain[inside])
    assert covered[60, 16].tolist() == [60, 60, 60]


# Motion


@pytest.mark.parametrize(
    ("before", "action", "after"),
    [
        ([5, 5, 5, 3, 0], [0, 1, 1, 1], [4, 5, 5, 3, 1]),
        ([5, 5, 5, 3, 0], [2, 0, 2, 0], [6, 4, 6, 2, 1]),
        ([0, 31, 39, 5, 29], [0, 2, 2, 2], [0, 31, 0, 5, 0]),  # stop, stop, wrap, stop, wrap
        ([31, 0, 0, 0, 7], [2, 0, 0, 0], [31, 0, 39, 0, 8]),
    ],
)
def test_actions_move_factors_by_one(before: list, action: list, after: list) -> None:
    rules, rng = SpritesRules(), np.random.default_rng(0)
    assert rules.move(np.array([before]), [action], rng).tolist() == [after]


def test_what_no_action_moves_goes_on_by_itself() -> None:
    rules = SpritesRules(second_object=True, distractor="drift")
    assert rules.counts == factor_counts(True, "drift")
    assert [*rules.counts][5:] == ["second_object", "distractor"]
    after = rules.move(np.array([[1, 2, 3, 4, 29, 39, 31]]), [NONE], np.random.default_rng(0))
    assert after.tolist() == [[1, 2, 3, 4, 0, 0, 0]]
    jumpy = SpritesRules(distractor="jump")
    rng, factors, seen = np.random.default_rng(0), np.array([[1, 2, 3, 4, 5, 6]]), []
    for _ in range(200):
        factors = jumpy.move(factors, [NONE], rng)
        seen.append(int(factors[0, -1]))
    assert {*np.diff(seen) % 32} > {*range(5)}  # any distance, not always the same


def test_color_does_not_depend_on_the_actions() -> None:
    colors = []
    for first in (0, 1):
        env = gym.make(ID)
        env.action_space.seed(first)
        _, info = env.reset(seed=3)
        sequence = [int(info["factors"][4])]
        for _ in range(30):
            info = env.step(env.action_space.sample())[-1]
            sequence.append(int(info["factors"][4]))
        colors.append(sequence)
    assert colors[0] == colors[1]
    assert colors[0] == [(colors[0][0] + k) % COLORS for k in range(31)]


def play(seed: int, steps: int = 45) -> tuple[list, list]:
    env = gym.make(ID, distractor="jump")
    pictures, ends = [env.reset(seed=seed)[0]], []
    for action in np.random.default_rng(5).integers(3, size=(steps, 4)):
        picture, reward, terminated, truncated, _ = env.step(action)
        assert (reward, terminated) == (0.0, False)
        pictures.append(picture)
        ends.append(truncated)
        if truncated:
            pictures.append(env.reset()[0])
    return pictures, ends


def test_same_seed_and_actions_give_the_same_pictures_and_30_steps_an_episode() -> None:
    (first, ends), (again, _), (other, _) = play(4), play(4), play(5)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.flatnonzero(ends).tolist() == [29]


def test_starts_are_uniform() -> None:
    starts = SpritesRules().draw_starts(np.random.default_rng(0), 60_000)
    for column, count in zip(starts.T, factor_counts().values(), strict=True):
        shares = np.bincount(column, minlength=count) / len(column)
        assert len(shares) == count
        np.testing.assert_allclose(shares, 1 / count, rtol=0.15)


# Interface


def test_info_tells_the_factors_that_are_drawn() -> None:
    env = SpritesEnv()
    picture, info = env.reset(seed=0)
    for action in ([0, 0, 0, 0], [2, 2, 2, 2], NONE):
        np.testing.assert_array_equal(picture, env.rules.draw(info["factors"][None])[0])
        kept = info["factors"].copy()
        picture, _, _, _, later = env.step(np.array(action))
        np.testing.assert_array_equal(info["factors"], kept)  # what was told stays as it was
        info = later


@pytest.mark.parametrize("kwargs", [{}, {"second_object": True, "distractor": "jump"}])
def test_passes_the_checkers(kwargs: dict) -> None:
    check_sb3(SpritesEnv(render_mode="rgb_array", **kwargs))
    check_gymnasium(gym.make(ID, render_mode="rgb_array", **kwargs).unwrapped)


@pytest.mark.parametrize(("size", "side"), [(16, 256), (64, 256), (128, 256)])
def test_render(size: int, side: int) -> None:
    env = SpritesEnv(render_mode="rgb_array", size=size)
    picture, _ = env.reset(seed=1)
    frame = env.render()
    assert frame.shape == (side, side, 3)
    np.testing.assert_array_equal(frame[:: side // size, :: side // size], picture)
    assert SpritesEnv().render() is None


@pytest.mark.parametrize("typed", ["Sprites", "rlgen/Sprites", "Sprites-v0"])
def test_short_names(typed: str) -> None:
    assert resolve_env(typed) == EnvName(ID, "other", "Sprites")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"shape": "hart"}, "shape='hart' is unknown; did you mean 'heart'?"),
        ({"size": 50}, "size=50 is not valid; allowed: 16, 32, 64, 128; type size=64"),
        ({"distractor": "drifts"}, "distractor='drifts' is unknown; did you mean 'drift'"),
        ({"second_object": "square"}, "second_object='square' is not valid; allowed: true, false"),
        ({"render_mode": "human"}, "render_mode='human' is not valid; allowed: None, rgb_array"),
    ],
)
def test_mistakes_are_told_in_one_line(kwargs: dict, message: str) -> None:
    with pytest.raises(UserError) as error:
        SpritesEnv(**kwargs)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_factors_of_a_wrong_number_are_told() -> None:
    with pytest.raises(UserError, match=r"factors of shape \(1, 6\) do not fit; type \(count, 5\)"):
        draw(0, 0, 0, 0, 0, 0)
    assert rlgen.envs.make_vec("Sprites", 2).num_envs == 2
