"""A world of one sprite that is moved, turned and scaled, for measuring disentanglement.

Paper: J. Yang, G. Lee, S. Chang, N. Kwak, "Towards Governing Agent's Efficacy: Action-Conditional
beta-VAE for Deep Transparent Reinforcement Learning", ACML 2019. Seen there: a 64 x 64 RGB picture
of one heart; random start position, rotation, scale and colour; 30 steps, no reward; an action of
four independent three-way factors, each of which moves its factor by one unit; a colour that goes
from red to green to blue to red on its own in a regular pattern. Reconstructed: clipping at the
borders and wrapping of the rotation, 30 steps for a turn of the colour, 40 different orientations
(the public dSprites data repeat the first as the last), coding and signs of the actions, and all
of ``second_object`` and ``distractor``. From memory of dSprites: 32 x 32 positions, 6 scales from
0.5 to 1, the three shapes. The pictures are drawn here; no data set is used.

:func:`draw` makes pictures from factors, :class:`SpritesEnv` plays one world, and
:class:`rlgen.envs.sprites_vector.SpritesVectorEnv` plays many at once.
"""

from functools import lru_cache
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from rlgen.core.errors import UserError, closest

Ints = npt.NDArray[np.int64]
Pictures = npt.NDArray[np.uint8]

FACTORS = ("vertical", "horizontal", "rotation", "scale", "color")  # the first four are moved
ACTIONS = 4
SHAPES = ("heart", "square", "ellipse")
SIZES = (16, 32, 64, 128)
DISTRACTORS = ("drift", "jump")
POSITIONS, ORIENTATIONS, SCALES, COLORS = 32, 40, 6, 30
ORBIT, STRIPE = 40, 32  # places of the second object and of the distractor
EPISODE_STEPS = 30
RENDER_PIXELS = 256

_SIDE = 64  # the grid on which a unit of position is one pixel
_RADIUS = 15.0  # of the circle about the largest sprite, in units of position
_SECOND_RADIUS, _ORBIT_RADIUS = 4.0, 22.0
_SECOND_COLOR, _STRIPE_COLOR = (200, 200, 200), (60, 60, 60)
_RING = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255)])


def factor_counts(second_object: bool = False, distractor: str | None = None) -> dict[str, int]:
    """Returns how many values each factor takes, by name and in the order of ``info["factors"]``.

    Args:
        second_object: Whether there is one.
        distractor: ``drift``, ``jump`` or None.
    """
    sizes = (POSITIONS, POSITIONS, ORIENTATIONS, SCALES, COLORS)
    counts = dict(zip(FACTORS, sizes, strict=True))
    if second_object:
        counts["second_object"] = ORBIT
    if distractor is not None:
        counts["distractor"] = STRIPE
    return counts


def _ring_colors() -> Pictures:
    """Returns the colours of a turn, (30, 3), linear between red, green and blue."""
    steps = COLORS // 3
    corner, part = np.divmod(np.arange(COLORS), steps)
    mixed = (
        (steps - part)[:, None] * _RING[corner] + part[:, None] * _RING[(corner + 1) % 3]
    ) / steps
    return np.asarray(mixed.round(), dtype=np.uint8)


RING_COLORS = _ring_colors()
RING_COLORS.setflags(write=False)


def _inside(shape: str, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Tells which points belong to a shape that the unit circle encloses; y points up."""
    if shape == "square":
        return np.maximum(abs(x), abs(y)) < np.sqrt(0.5)
    if shape == "ellipse":
        return x**2 + (2 * y) ** 2 < 1
    x, y = 1.25 * x, 1.25 * y + 0.25  # centre and radius of the smallest circle about the curve
    square_x, square_y = x * x, y * y
    excess = square_x + square_y - 1
    inside: npt.NDArray[np.bool_] = excess * excess * excess < square_x * square_y * y
    return inside


def _rendered(shape: str, radius: float, angle: float, side: int, scale: int) -> Pictures:
    """Returns coverage 0 to 255 of a shape in the middle of a square of ``side`` units.

    ``scale`` pixels make a unit; each pixel is the mean of 4 x 4 points, so edges are smooth.
    """
    points = (np.arange(side * scale * 4) + 0.5) / (4 * scale) - side / 2
    x, y = points[None, :] / radius, -points[:, None] / radius
    turned = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    hits = _inside(shape, *turned).reshape(side * scale, 4, side * scale, 4)
    return np.asarray((255 * hits.mean((1, 3))).round(), dtype=np.uint8)


@lru_cache(maxsize=8)
def sprite_masks(shape: str, size: int) -> Pictures:
    """Returns the coverage of the sprite, 0 to 255, (phases, phases, 6, 40, tile, tile).

    In pictures smaller than 64 a unit of position is a part of a pixel; the phases are those
    parts, down and right, and masks are means of those at 64. In larger ones there is one phase.
    """
    zoom, shrink = max(1, size // _SIDE), max(1, _SIDE // size)
    scales, angles = (
        np.linspace(0.5, 1, SCALES),
        np.arange(ORIENTATIONS) * (2 * np.pi / ORIENTATIONS),
    )
    side = _SIDE // 2
    masks = np.stack(
        [[_rendered(shape, _RADIUS * s, a, side, zoom) for a in angles] for s in scales]
    )
    masks = _shifted_means(masks, shrink) if shrink > 1 else masks[None, None]
    masks.setflags(write=False)
    return masks


def _shifted_means(masks: Pictures, shrink: int) -> Pictures:
    """Shrinks masks (..., side, side) at each of ``shrink`` x ``shrink`` offsets."""
    side = masks.shape[-1] + shrink
    tile = side // shrink
    parts = np.zeros((shrink, shrink, *masks.shape[:2], tile, tile), dtype=np.uint8)
    for down in range(shrink):
        for right in range(shrink):
            after = [(0, 0)] * 2 + [(down, shrink - down), (right, shrink - right)]
            wide = np.pad(masks, after).reshape(*masks.shape[:2], tile, shrink, tile, shrink)
            parts[down, right] = wide.mean((-3, -1)).round()
    return parts


@lru_cache(maxsize=8)
def _second_pictures(size: int) -> Pictures:
    """Returns the coverage of the second object at each place of its orbit, (40, size, size)."""
    zoom, shrink = max(1, size // _SIDE), max(1, _SIDE // size)
    disc = _rendered("square", _SECOND_RADIUS, 0.0, 2 * int(_SECOND_RADIUS), zoom)
    pictures = np.zeros((ORBIT, _SIDE * zoom, _SIDE * zoom), dtype=np.uint8)
    turn = 2 * np.pi * np.arange(ORBIT) / ORBIT
    corner = _SIDE / 2 - _SECOND_RADIUS
    rows = ((corner - _ORBIT_RADIUS * np.cos(turn)) * zoom).round().astype(int)
    columns = ((corner + _ORBIT_RADIUS * np.sin(turn)) * zoom).round().astype(int)
    for picture, row, column in zip(pictures, rows, columns, strict=True):
        picture[row : row + len(disc), column : column + len(disc)] = disc
    small = pictures.reshape(ORBIT, size, shrink, size, shrink).mean((2, 4)).round()
    return np.asarray(small, dtype=np.uint8)


class SpritesRules:
    """The checked arguments of a world, its law of motion and its pictures.

    Args:
        second_object: Whether a square circles in the picture, which no action moves.
        distractor: ``drift``: behind the sprite a stripe moves steadily; ``jump``: it is anywhere
            at any time, which nobody can predict; None: there is none.
        shape: ``heart``, ``square`` or ``ellipse``.
        size: Side of the pictures: 16, 32, 64 or 128.

    Raises:
        UserError: If an argument is not one of those.
    """

    def __init__(
        self,
        second_object: bool = False,
        distractor: str | None = None,
        shape: str = "heart",
        size: int = 64,
    ) -> None:
        if shape not in SHAPES:
            raise UserError(f"shape={shape!r} is unknown; {closest(str(shape), SHAPES)}")
        if size not in SIZES:
            allowed = ", ".join(map(str, SIZES))
            raise UserError(f"size={size!r} is not valid; allowed: {allowed}; type size=64")
        if distractor not in (None, *DISTRACTORS):
            near = closest(str(distractor), DISTRACTORS)
            raise UserError(f"distractor={distractor!r} is unknown; {near}; type null for none")
        if second_object not in (True, False):
            allowed = "allowed: true, false; type second_object=true"
            raise UserError(f"second_object={second_object!r} is not valid; {allowed}")
        self.second_object, self.distractor = bool(second_object), distractor
        self.shape, self.size = shape, int(size)
        self.counts = factor_counts(self.second_object, distractor)
        self.tops = np.array([*self.counts.values()]) - 1
        self.observation_space = spaces.Box(0, 255, (self.size, self.size, 3), np.uint8)
        self.action_space = spaces.MultiDiscrete([3] * ACTIONS)

    def draw_starts(self, rng: np.random.Generator, count: int) -> Ints:
        """Returns uniform factors, (count, factors)."""
        return rng.integers(self.tops + 1, size=(count, len(self.tops)))

    def move(self, factors: Ints, actions: npt.ArrayLike, rng: np.random.Generator) -> Ints:
        """Returns the factors after a step, (count, factors).

        Args:
            factors: Before it.
            actions: (count, 4), 0 to 2 for minus one, nothing and plus one.
            rng: Generator of a distractor that jumps.
        """
        moves = np.ones_like(factors)  # what nobody moves goes on by one
        moves[:, :ACTIONS] = np.asarray(actions) - 1
        after = factors + moves
        wrapped = np.ones(len(self.tops), dtype=bool)
        wrapped[[0, 1, 3]] = False  # positions and scale stop at their ends
        after = np.where(wrapped, after % (self.tops + 1), np.clip(after, 0, self.tops))
        if self.distractor == "jump":
            after[:, -1] = rng.integers(STRIPE, size=len(factors))
        return after

    def draw(self, factors: npt.ArrayLike) -> Pictures:
        """Returns the pictures of factors, uint8 (count, size, size, 3)."""
        values = np.asarray(factors, dtype=np.int64)
        if values.ndim != 2 or values.shape[1] != len(self.tops):
            raise UserError(
                f"factors of shape {values.shape} do not fit; type (count, {len(self.tops)})"
            )
        pictures = self._backgrounds(values)
        masks = sprite_masks(self.shape, self.size)
        phases, tile = len(masks), masks.shape[-1]
        top, left = (values[:, k] * self.size // _SIDE for k in (0, 1))
        down, right = values[:, 0] % phases, values[:, 1] % phases
        cover = masks[down, right, values[:, 3], values[:, 2]][..., None].astype(np.uint16)
        colored = cover * RING_COLORS[values[:, 4], None, None]
        windows = np.lib.stride_tricks.sliding_window_view(
            pictures, (tile, tile), axis=(1, 2), writeable=True
        ).transpose(0, 1, 2, 4, 5, 3)
        at = np.arange(len(values)), top, left
        if self.second_object or self.distractor:
            colored += (255 - cover) * windows[at]
        windows[at] = (colored + 127) // 255
        return pictures

    def _backgrounds(self, values: Ints) -> Pictures:
        """Returns what is behind the sprite, (count, size, size, 3)."""
        pictures = np.zeros((len(values), self.size, self.size, 3), dtype=np.uint8)
        if self.distractor is not None:
            columns = np.arange(self.size) * STRIPE // self.size  # 32 stripes side by side
            hit = columns == values[:, -1:]  # (count, size)
            pictures += hit[:, None, :, None] * np.array(_STRIPE_COLOR, np.uint8)
        if self.second_object:
            cover = _second_pictures(self.size)[values[:, len(FACTORS)]][..., None].astype(
                np.uint16
            )
            mixed = cover * np.array(_SECOND_COLOR, np.uint16) + (255 - cover) * pictures
            pictures = np.asarray((mixed + 127) // 255, dtype=np.uint8)
        return pictures


class SpritesEnv(gym.Env):
    """One sprite that actions move, turn and scale, in a colour that changes by itself.

    ## Description
    A heart (or another shape) on black. Positions are 32 x 32, a pixel apart at size 64; scales
    are 0.5 to 1 in 6 units; 40 orientations are 9 degrees apart. Positions and scale stop at their
    ends, the rotation wraps. The colour goes from red to green to blue to red in 30 steps.

    ## Observation Space
    ``Box(0, 255, (64, 64, 3), uint8)``: the picture. Its side is ``size``.

    ## Action Space
    | Index of ``MultiDiscrete([3, 3, 3, 3])`` | 0                | 1    | 2            |
    |------------------------------------------|------------------|------|--------------|
    | 0, vertical                              | up               | none | down         |
    | 1, horizontal                            | left             | none | right        |
    | 2, rotation                              | clockwise        | none | anticlockwise |
    | 3, scale                                 | shrink           | none | enlarge      |

    ## Rewards
    Always 0.

    ## Starting State
    Every factor is drawn uniformly.

    ## Episode End
    ``gymnasium.make`` truncates after 30 steps. The info always holds ``factors``, int64: vertical
    and horizontal position, rotation, scale and colour, then place of the second object and of the
    distractor where they are there.

    ## Version History
    * v0: first version.

    Args:
        render_mode: ``rgb_array`` (the picture, at least 256 x 256) or None.
        second_object: A grey square circles in 40 steps; no action moves it.
        distractor: ``drift``: a dark stripe goes by in 32 steps behind the sprite; ``jump``: the
            stripe is anywhere at any time, which nobody can predict; None: there is none.
        shape: ``heart``, ``square`` (looks the same every 10 orientations) or ``ellipse`` (20).
        size: Side of the picture: 16, 32, 64 or 128. Smaller ones are means of that at 64.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(
        self,
        render_mode: str | None = None,
        second_object: bool = False,
        distractor: str | None = None,
        shape: str = "heart",
        size: int = 64,
    ) -> None:
        self.rules = SpritesRules(second_object, distractor, shape, size)
        self.render_mode = check_render_mode(render_mode)
        self.observation_space = self.rules.observation_space
        self.action_space = self.rules.action_space
        self.factors = np.zeros((1, len(self.rules.counts)), dtype=np.int64)

    def reset(
        self, *, seed: int | None = None, options: dict | None = None
    ) -> tuple[Pictures, dict[str, Any]]:
        """Begins an episode."""
        super().reset(seed=seed)
        self.factors = self.rules.draw_starts(self.np_random, 1)
        return self.rules.draw(self.factors)[0], {"factors": self.factors[0].copy()}

    def step(
        self, action: npt.NDArray[np.int64]
    ) -> tuple[Pictures, float, bool, bool, dict[str, Any]]:
        """Moves the sprite, and what moves by itself."""
        self.factors = self.rules.move(self.factors, np.asarray(action)[None], self.np_random)
        picture = self.rules.draw(self.factors)[0]
        return picture, 0.0, False, False, {"factors": self.factors[0].copy()}

    def render(self) -> Any:
        """Returns a picture of at least 256 x 256 pixels, or None, as the render mode says."""
        if self.render_mode is None:
            return None
        return enlarged(self.rules.draw(self.factors))[0]


def check_render_mode(mode: str | None) -> str | None:
    """Returns the mode; anything but None and ``rgb_array`` is a :class:`UserError`."""
    if mode not in (None, "rgb_array"):
        allowed = "allowed: None, rgb_array; type render_mode='rgb_array'"
        raise UserError(f"render_mode={mode!r} is not valid; {allowed}")
    return mode


def enlarged(pictures: Pictures) -> Pictures:
    """Repeats pixels of (count, size, size, 3) until the side is at least 256."""
    times = max(1, RENDER_PIXELS // pictures.shape[1])
    return pictures.repeat(times, axis=1).repeat(times, axis=2)
