"""What a picture shows on top of a design: support polygon, centre of mass, liquid, marks, load.

Everything comes in as plain arrays, so this module knows no metric. The drawing functions change
an image in place; they work on the enlarged picture, before it is averaged down.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image as Pillow
from PIL import ImageDraw

from rlgen.envs.design.mesh import Floats, Ints, Mesh
from rlgen.envs.design.picture.raster import Camera, Colour, Image, Raster, rasterise

LIQUID: Colour = (56, 138, 214)
SUPPORT: Colour = (0, 128, 122)
CENTRE: Colour = (24, 28, 32)
MARK: Colour = (214, 58, 46)
LOAD: Colour = (236, 112, 20)

ARROW_SHARE = 0.3  # length of the load arrow over the longest edge of the frame


@dataclass(frozen=True, eq=False)
class LiquidColumns:
    """Liquid as upright square columns.

    Attributes:
        x: (N,) centres of the columns, mm.
        y: (N,) centres of the columns, mm.
        floor: (N,) height at which the liquid begins, mm.
        level: (N,) height at which it ends, mm.
        cell: Width of a column, mm.
    """

    x: Floats
    y: Floats
    floor: Floats
    level: Floats
    cell: float


@dataclass(frozen=True, eq=False)
class Overlays:
    """What is drawn on top of a design; None leaves a part out.

    Attributes:
        support: (n, 2) support polygon on the table, mm.
        centre: (3,) centre of mass, mm.
        liquid: Liquid in the design, drawn blue and seen through its walls.
        marked: Bool (T,), triangles drawn red and seen through the body, such as overhangs.
        colours: (T, 3), own colour of each triangle, 0..255.
        load: Point of attack (3,) in mm and direction (3,) of a force, drawn as an arrow.
    """

    support: ArrayLike | None = None
    centre: ArrayLike | None = None
    liquid: LiquidColumns | None = None
    marked: ArrayLike | None = None
    colours: ArrayLike | None = None
    load: tuple[ArrayLike, ArrayLike] | None = None


NO_OVERLAYS = Overlays()


def arrow_tail(frame: Floats, load: tuple[ArrayLike, ArrayLike]) -> Floats:
    """Returns (3,), where the load arrow starts so that its tip lies on the point of attack."""
    direction = np.asarray(load[1], np.float64)
    length = ARROW_SHARE * float((frame[1] - frame[0]).max())
    unit = direction / max(float(np.linalg.norm(direction)), 1e-300)
    return np.asarray(load[0], np.float64) - length * unit


def liquid_mesh(liquid: LiquidColumns) -> Mesh:
    """Returns the surface and the outer sides of the columns as triangles.

    The tops are twice as wide as a column, so that the stepped border of the surface disappears
    in the wall around it, and lie a little low, so that they do not come through a brim. The
    bottom is left out: no view from above or from the side shows it.
    """
    x, y, floor, level = (
        np.asarray(values, np.float64)
        for values in (liquid.x, liquid.y, liquid.floor, liquid.level)
    )
    if not len(x):
        return Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
    half = 0.5 * liquid.cell
    top = level - 0.1 * liquid.cell
    quads = [_quads(x, y, top, 2.0 * half * _SQUARE, np.zeros((4, 1)))]
    column = np.rint(np.stack([x - x[0], y - y[0]], 1) / liquid.cell).astype(np.int64)
    for side in range(4):
        step = (_SQUARE[side] + _SQUARE[side - 1]) // 2
        bare = ~_covered(column, column + step.astype(np.int64), floor, level)
        ends = half * _SQUARE[[side - 1, side, side, side - 1]]
        low = np.array([[1.0], [1.0], [0.0], [0.0]])
        height = top[bare] - floor[bare]
        quads.append(_quads(x[bare], y[bare], top[bare], ends, -low * height))
    return _as_mesh(np.concatenate(quads))


_SQUARE = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


def _quads(x: Floats, y: Floats, z: Floats, around: Floats, drop: Floats) -> Floats:
    """float64 (N, 4, 3): one square per column; around (4, 2), drop (4, 1) or (4, N), mm."""
    corners = np.empty((4, len(x), 3))
    corners[..., 0] = x + around[:, :1]
    corners[..., 1] = y + around[:, 1:]
    corners[..., 2] = z + drop
    return corners.transpose(1, 0, 2)


def _covered(column: Ints, wanted: Ints, floor: Floats, level: Floats) -> NDArray[np.bool_]:
    """Whether the column beside each one holds liquid over the same heights."""
    low = np.minimum(column.min(0), wanted.min(0))
    span = int((np.maximum(column.max(0), wanted.max(0)) - low)[1]) + 1
    keys = (column - low) @ np.array([span, 1])
    order = np.argsort(keys, kind="stable")
    sought = (wanted - low) @ np.array([span, 1])
    place = np.minimum(np.searchsorted(keys[order], sought), len(keys) - 1)
    beside = order[place]
    return (
        (keys[beside] == sought) & (level[beside] >= level - 1e-6) & (floor[beside] <= floor + 1e-6)
    )


def _as_mesh(quads: Floats) -> Mesh:
    first = 4 * np.arange(len(quads))[:, None]
    triangles = np.concatenate([first + np.array(half) for half in ((0, 1, 2), (0, 2, 3))])
    return Mesh(quads.reshape(-1, 3), triangles)


def blend(image: Image, where: NDArray[np.bool_], colour: ArrayLike, share: float) -> None:
    """Mixes a colour, (3,) or one per pixel, into part of an image."""
    old = image[where].astype(np.float64)
    image[where] = old + share * (np.asarray(colour, np.float64) - old) + 0.5


def draw_liquid(image: Image, body: Raster, liquid: LiquidColumns) -> None:
    """Paints the liquid: clearly where it is in sight, faintly through the walls."""
    raster = rasterise(liquid_mesh(liquid), body.camera)
    in_sight = raster.covered & (raster.depth >= body.depth)
    blend(image, in_sight, LIQUID, 0.78)
    blend(image, raster.covered & ~in_sight, LIQUID, 0.22)


def draw_marks(image: Image, body: Raster, mesh: Mesh, marked: ArrayLike) -> None:
    """Paints marked triangles red, those behind the body or seen from inside more faintly."""
    chosen = np.flatnonzero(np.asarray(marked, bool))
    both = np.concatenate([mesh.triangles[chosen], mesh.triangles[chosen][:, ::-1]])
    raster = rasterise(Mesh(mesh.vertices, both), body.camera)
    in_sight = np.isin(body.face, chosen)
    blend(image, raster.covered & ~in_sight, MARK, 0.30)
    blend(image, in_sight, MARK, 0.72)


def draw_support(image: Image, camera: Camera, support: ArrayLike, line: float) -> Image:
    """Returns the image with the support polygon on the table, lightly filled.

    Args:
        image: uint8 (H, W, 3).
        camera: Where it is seen from.
        support: (n, 2) corners in mm.
        line: Width of the border in pixels of the image.
    """
    flat = np.asarray(support, np.float64).reshape(-1, 2)
    if not len(flat):
        return image
    points = camera.project(np.column_stack([flat, np.zeros(len(flat))]))[:, :2]
    canvas = Pillow.fromarray(image)
    corners = [tuple(point) for point in points.tolist()]
    if len(corners) > 2:
        filled = canvas.copy()
        ImageDraw.Draw(filled).polygon(corners, fill=SUPPORT)
        canvas = Pillow.blend(canvas, filled, 0.18)
    pen = ImageDraw.Draw(canvas)
    pen.line([*corners, *corners[:2]], fill=SUPPORT, width=max(1, round(line)), joint="curve")
    return np.array(canvas)


def draw_centre(image: Image, camera: Camera, centre: ArrayLike, line: float) -> Image:
    """Returns the image with the usual sign for a centre of mass and its plumb line."""
    point = np.asarray(centre, np.float64).reshape(3)
    (x, y), (foot_x, foot_y) = camera.project(np.stack([point, point * [1.0, 1.0, 0.0]]))[
        :, :2
    ].tolist()
    canvas = Pillow.fromarray(image)
    pen = ImageDraw.Draw(canvas)
    wide = max(1, round(line))
    pen.line([(x, y), (foot_x, foot_y)], fill=CENTRE, width=wide)
    dot, ring = 1.5 * line, 4.0 * line
    pen.ellipse([foot_x - dot, foot_y - dot, foot_x + dot, foot_y + dot], fill=CENTRE)
    box = [x - ring, y - ring, x + ring, y + ring]
    pen.ellipse(box, fill=(255, 255, 255))
    pen.pieslice(box, 0, 90, fill=CENTRE)
    pen.pieslice(box, 180, 270, fill=CENTRE)
    pen.ellipse(box, outline=CENTRE, width=wide)
    return np.array(canvas)


def draw_arrow(image: Image, camera: Camera, tail: Floats, tip: ArrayLike, line: float) -> Image:
    """Returns the image with an arrow between two world points; a mere dot where it is end-on."""
    start, end = camera.project([tail, np.asarray(tip, np.float64)])[:, :2]
    length = float(np.linalg.norm(end - start))
    canvas = Pillow.fromarray(image)
    pen = ImageDraw.Draw(canvas)
    if length < 6.0 * line:
        reach = 4.0 * line
        box = [end[0] - reach, end[1] - reach, end[0] + reach, end[1] + reach]
        pen.ellipse(box, outline=LOAD, width=max(1, round(1.5 * line)))
        box = [end[0] - line, end[1] - line, end[0] + line, end[1] + line]
        pen.ellipse(box, fill=LOAD)
        return np.array(canvas)
    along = (end - start) / length
    across = np.array([-along[1], along[0]])
    neck = end - min(9.0 * line, 0.5 * length) * along
    shaft, head = 1.5 * line * across, 4.5 * line * across
    outline = [start + shaft, neck + shaft, neck + head, end, neck - head, neck - shaft]
    pen.polygon([tuple(p) for p in np.array([*outline, start - shaft]).tolist()], fill=LOAD)
    return np.array(canvas)
