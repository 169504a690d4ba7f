"""Pictures and texts of Four Rooms."""

import gymnasium as gym
import numpy as np

import rlgen.envs
from rlgen.envs.four_rooms import (
    AGENT_COLOR,
    CELLS,
    GOAL_COLOR,
    WALL_COLOR,
    FourRoomsEnv,
    FourRoomsVectorEnv,
    paint_cells,
)

UP, DOWN, LEFT, RIGHT = range(4)
ID = "rlgen/FourRooms-v0"
MAP = """\
#############
#.....#.....#
#.....#.....#
#...........#
#.....#.....#
#.....#.....#
##.####.....#
#.....###.###
#.....#.....#
#.....#.....#
#...........#
#.....#.....#
#############"""


def pixel(picture: np.ndarray, row: int, column: int, cell: int = 16) -> tuple[int, ...]:
    """Colour in the middle of a cell."""
    middle = cell // 2
    return tuple(picture[row * cell + middle, column * cell + middle].tolist())


def test_picture() -> None:
    env = gym.make(ID, render_mode="rgb_array")
    cell, _ = env.reset(seed=0)
    picture = env.render()
    assert picture.shape == (208, 208, 3)
    assert picture.dtype == np.uint8
    assert pixel(picture, 0, 0) == pixel(picture, 6, 6) == WALL_COLOR
    assert pixel(picture, 7, 9) == GOAL_COLOR
    assert pixel(picture, *CELLS[cell]) == AGENT_COLOR


def test_text() -> None:
    env = gym.make(ID, render_mode="ansi")
    cell, _ = env.reset(seed=0)
    text = env.render()
    row, column = CELLS[cell].tolist()
    lines = text.split("\n")
    assert (lines[row][column], lines[7][9]) == ("A", "G")
    assert text.replace("A", ".").replace("G", ".") == MAP


def test_vector_renders_each_room() -> None:
    env = FourRoomsVectorEnv(2, render_mode="ansi", goal=0)
    single = FourRoomsEnv(render_mode="ansi", goal=0)
    cells, _ = env.reset(seed=0)
    for text, cell in zip(env.render(), cells.tolist(), strict=True):
        single.cell = cell
        assert text == single.render()
    pictures = rlgen.envs.GymVecEnv(FourRoomsVectorEnv(2, render_mode="rgb_array")).get_images()
    assert [picture.shape for picture in pictures] == [(208, 208, 3)] * 2


def test_painted_cells() -> None:
    colors = np.random.default_rng(0).integers(256, size=(104, 3), dtype=np.uint8)
    picture = paint_cells(colors, goal=(7, 9), cell=8)
    assert picture.shape == (104, 104, 3)
    for number, (row, column) in enumerate(CELLS.tolist()):
        if number != 62:
            square = picture[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
            assert (square == colors[number]).all()
    assert pixel(picture, 7, 9, cell=8) == GOAL_COLOR
    assert tuple(picture[7 * 8, 9 * 8]) == tuple(colors[62])  # seen around the mark
    assert pixel(paint_cells(colors), 7, 9) == tuple(colors[62])
