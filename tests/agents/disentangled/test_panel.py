"""Pictures beside a governed agent."""

import numpy as np
import pytest
from governed_agents import N, agent

from rlgen.agents.disentangled.govern import Governor
from rlgen.agents.disentangled.panel import (
    ALARM,
    GOVERNED,
    MAPPED,
    UNMAPPED,
    below_frames,
    draw_bars,
    latent_panel,
    prediction_picture,
)
from rlgen.agents.disentangled.visited import fit_visited

RED, BLUE = (255, 0, 0), (0, 0, 255)
OBSERVATION = np.full((1, 3), 0.5, np.float32)


def count(picture, color):
    return int(np.all(picture == color, axis=-1).sum())


def test_bars_go_up_and_down_by_their_values_and_end_at_the_limit():
    picture = draw_bars([1.0, -2.0, 9.0], [RED, BLUE, RED], (52, 90), limit=4.0)
    # The field is 40 high, so 5 rows are 1; the line of zero covers one row of a bar below it.
    heights = [np.all(picture[:, x] == color, axis=-1) for x, color in ((15, RED), (45, BLUE))]
    assert np.flatnonzero(heights[0]).tolist() == [*range(15, 20)]
    assert np.flatnonzero(heights[1]).tolist() == [*range(21, 30)]
    assert np.flatnonzero(np.all(picture[:, 75] == RED, axis=-1)).tolist() == [*range(20)]


def test_marks_are_lines():
    picture = draw_bars([0.0], [RED], (52, 90), limit=4.0, marks=[2.0])
    assert np.flatnonzero(np.all(picture[:40, 45] == 0, axis=-1)).tolist() == [10, 20]


def test_colours_tell_mapped_unmapped_and_governed():
    governor = Governor(agent())
    governor.predict(OBSERVATION)
    colors = (MAPPED, UNMAPPED, GOVERNED, ALARM)
    free = [count(latent_panel(governor, (100, 200)), color) > 0 for color in colors]
    assert free == [True, True, False, False]
    governor.rules = "set=0:4+1:-4+2:4+3:4+4:-4"
    governor.predict(OBSERVATION)
    held = [count(latent_panel(governor, (100, 200)), color) > 0 for color in colors]
    assert held == [False, False, True, False]


def test_an_alarm_is_a_red_edge():
    visited = fit_visited(np.random.default_rng(0).normal(50.0, 1.0, size=(60, N)))
    governor = Governor(agent(), visited=visited)
    governor.predict(OBSERVATION)
    picture = latent_panel(governor, (100, 200))
    assert count(picture, ALARM) == 100 * 200 - 94 * 194


@pytest.mark.parametrize(("height", "below"), [(480, 96), (479, 95), (481, 97), (100, 48)])
def test_frames_grow_by_a_panel_to_an_even_height(height, below):
    governor = Governor(agent())
    governor.predict(OBSERVATION)
    frame = np.full((height, 120, 3), 7, np.uint8)
    grown = below_frames(governor)(frame, None)
    assert grown.shape == (height + below, 120, 3)
    assert grown.shape[0] % 2 == 0
    np.testing.assert_array_equal(grown[:height], frame)


def test_a_predicted_picture_is_enlarged_and_keeps_its_colours():
    red = np.zeros((3, 2, 2))
    red[0, 0, 0] = 1.0
    picture = prediction_picture(red, (8, 8))
    assert count(picture, (255, 0, 0)) == 16
    assert count(picture, (0, 0, 0)) == 48
    gray = prediction_picture(np.full((4, 2, 2), 0.5), (6, 6))
    assert count(gray, (128, 128, 128)) == 36


def test_a_predicted_vector_is_bars_within_their_own_range():
    small = prediction_picture(np.array([0.5, -0.5]), (52, 90))
    large = prediction_picture(np.array([50.0, -50.0]), (52, 90))
    assert 0 < count(small, MAPPED) < count(large, MAPPED)
    assert prediction_picture(np.array([0.5]), (52, 90), np.array([1.0])).shape == (52, 90, 3)
