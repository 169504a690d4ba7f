"""Pictures of a mesh in numpy: an orthographic scanline z-buffer with flat shading.

No window system, no GL and no compiled code of our own. :func:`rasterise` answers which triangle
every pixel shows and how near it is; :func:`draw` turns that into an image with two lights and
dark lines along outlines and creases. The same arguments give the same bytes.

Only faces that look at the camera are drawn, so a mesh has to be closed. No perspective, no
texture, no transparency: what people get to see is put together in :mod:`.render`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlgen.envs.design.mesh import Floats, Ints, Mesh
from rlgen.envs.design.picture.camera import VIEWS, Camera, View, fit_camera, view_axes

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]

__all__ = [
    "BACKGROUND",
    "BODY",
    "LINE",
    "SUN",
    "VIEWS",
    "Camera",
    "Colour",
    "Image",
    "Raster",
    "View",
    "draw",
    "draw_lines",
    "find_lines",
    "fit_camera",
    "paint",
    "rasterise",
    "shade",
    "shrink",
    "view_axes",
]

BODY: Colour = (228, 218, 202)
BACKGROUND: Colour = (248, 248, 246)
LINE: Colour = (58, 54, 52)

CREASE = np.cos(np.radians(40.0))  # an octagon has lines along its edges, a rounder polygon has not
SUN = np.array([-0.46, 0.58, 0.67])  # towards the lamp, in camera axes: right, up, to the viewer
_SKY = np.array([0.75, 0.15, 0.64])
_DEPTH_STEPS = float(2**31 - 1)


@dataclass(frozen=True, eq=False)
class Raster:
    """What a camera sees of a mesh.

    Attributes:
        face: int64 (H, W), index of the triangle in each pixel, -1 for none.
        level: int64 (H, W), nearness in steps, -1 for none.
        near: Nearness of level 0, mm along the camera's axis.
        step: Millimetres per level.
        camera: The camera.
    """

    face: Ints
    level: Ints
    near: float
    step: float
    camera: Camera

    @cached_property
    def covered(self) -> NDArray[np.bool_]:
        """Bool (H, W): the silhouette."""
        return self.face >= 0

    @cached_property
    def depth(self) -> Floats:
        """float64 (H, W): nearness in mm along the camera's axis, -inf for none."""
        return np.where(self.level >= 0, self.level * self.step + self.near, -np.inf)


def rasterise(mesh: Mesh, camera: Camera) -> Raster:
    """Finds the nearest triangle of every pixel; a pixel counts where its centre is covered.

    Args:
        mesh: A closed mesh in mm; the empty mesh covers nothing.
        camera: Where to look from.

    Returns:
        Triangle and nearness per pixel. Neighbouring triangles leave no gap and share no pixel.
    """
    face = np.full(camera.height * camera.width, -1, np.int64)
    shape = (camera.height, camera.width)
    facing = np.flatnonzero(mesh.area_vectors @ camera.axes[2] > 0.0)
    if not len(facing):
        return Raster(face.reshape(shape), face.reshape(shape), 0.0, 1.0, camera)
    corners = camera.project(mesh.vertices)[mesh.triangles[facing]]
    near, far = float(corners[..., 2].min()), float(corners[..., 2].max())
    step = max(far - near, 1e-9) / _DEPTH_STEPS
    triangle, pixel, depth = _fragments(corners, camera.width, camera.height)
    # Nearness in the high half of one integer and the triangle in the low half: the maximum per
    # pixel then is the visible triangle, with a fixed answer where two are equally near.
    level = np.clip((depth - near) / step, 0.0, _DEPTH_STEPS).astype(np.int64)
    best = np.full(len(face), -1, np.int64)
    np.maximum.at(best, pixel, (level << 32) | triangle)
    hit = np.flatnonzero(best >= 0)
    face[hit] = facing[best[hit] & 0xFFFFFFFF]
    return Raster(face.reshape(shape), (best >> 32).reshape(shape), near, step, camera)


def _fragments(corners: Floats, width: int, height: int) -> tuple[Ints, Ints, Floats]:
    """Returns triangle, flat pixel index and nearness of every covered pixel centre.

    Each edge is cut with the pixel rows from its upper to its lower end, whichever triangle it
    belongs to, so that the two triangles on it agree to the last bit.
    """
    order = np.argsort(corners[..., 1], axis=1, kind="stable")
    a, b, c = np.take_along_axis(corners, order[..., None], axis=1).transpose(1, 0, 2)
    first, last = _centres(a[:, 1], height), _centres(c[:, 1], height)
    triangle, local = _expand(last - first)
    row = first[triangle] + local
    y = row.astype(np.float64) + 0.5
    long = _cut(a, c, triangle, y)
    lower = y >= b[triangle, 1]
    short = np.where(lower, _cut(b, c, triangle, y), _cut(a, b, triangle, y))
    left, right = np.minimum(long, short), np.maximum(long, short)
    start = _centres(left, width)
    span, local = _expand(_centres(right, width) - start)
    slope_x, slope_y = _slopes(a, b, c)
    at_start = (
        a[triangle, 2]
        + slope_x[triangle] * (start + 0.5 - a[triangle, 0])
        + slope_y[triangle] * (y - a[triangle, 1])
    )
    owner = triangle[span]
    pixel = (row * width + start)[span] + local
    return owner, pixel, at_start[span] + slope_x[owner] * local


def _centres(value: Floats, count: int) -> Ints:
    """Index of the first pixel centre at or after a coordinate, clipped to 0..count."""
    return np.clip(np.ceil(value - 0.5), 0, count).astype(np.int64)


def _expand(counts: Ints) -> tuple[Ints, Ints]:
    """Returns, for counts (2, 0, 3): owners (0, 0, 2, 2, 2) and places (0, 1, 0, 1, 2)."""
    counts = np.maximum(counts, 0)
    ends = np.cumsum(counts)
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) - np.repeat(ends - counts, counts)


def _cut(upper: Floats, lower: Floats, triangle: Ints, y: Floats) -> Floats:
    """Column at which the edge of each span's triangle crosses the row through y."""
    rise = lower[:, 1] - upper[:, 1]
    slope = (lower[:, 0] - upper[:, 0]) / np.where(rise > 0.0, rise, 1.0)
    return upper[triangle, 0] + slope[triangle] * (y - upper[triangle, 1])


def _slopes(a: Floats, b: Floats, c: Floats) -> tuple[Floats, Floats]:
    """Change of nearness per pixel to the right and downwards, zero for a line."""
    u, v = b - a, c - a
    area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    area = np.where(np.abs(area) > 1e-12, area, np.inf)
    return (
        (u[:, 2] * v[:, 1] - u[:, 1] * v[:, 2]) / area,
        (u[:, 0] * v[:, 2] - u[:, 2] * v[:, 0]) / area,
    )


def shade(mesh: Mesh, camera: Camera, colours: ArrayLike = BODY) -> Floats:
    """Returns float64 (T, 3), the colour of each triangle under a warm lamp and a cool one.

    Args:
        mesh: The mesh.
        camera: The lamps are fixed to it, so that every view is lit from the upper left.
        colours: (3,) or (T, 3), 0..255.
    """
    normals = _normals(mesh, camera)
    # The warm lamp reaches around edges, so that a round body has no flat dark side.
    sun = (0.5 + 0.5 * (normals @ (SUN / np.linalg.norm(SUN))))[:, None] ** 1.5
    sky = np.maximum(normals @ (_SKY / np.linalg.norm(_SKY)), 0.0)[:, None]
    light = (
        np.array([0.38, 0.385, 0.40])
        + sun * np.array([0.72, 0.70, 0.655])
        + sky * np.array([0.06, 0.07, 0.09])
    )
    return np.clip(light * np.asarray(colours, np.float64), 0.0, 255.0)


def find_lines(raster: Raster, mesh: Mesh) -> NDArray[np.uint8]:
    """Returns uint8 (H, W): 2 on an outline or in front of a step in depth, 1 on a crease, else 0.

    Two neighbouring pixels of different triangles hold a line between them if the planes of both
    miss the other's depth by over two pixels, or if their normals differ by over 40 degrees.
    """
    normals = _normals(mesh, raster.camera)
    tilt = normals[:, :2] / np.maximum(normals[:, 2:], 1e-6) / raster.camera.scale
    tilt[:, 0] *= -1.0  # nearness gained per pixel to the right and downwards
    lines = np.zeros(raster.face.shape, np.uint8)
    flat, width = lines.reshape(-1), raster.camera.width
    face, level = raster.face.reshape(-1), raster.level.reshape(-1)
    for axis, hop in ((0, 1), (1, width)):
        here = np.flatnonzero(face[hop:] != face[:-hop])
        if axis == 0:
            here = here[here % width != width - 1]
        there = here + hop
        p, q = face[here], face[there]
        gain = (level[there] - level[here]) * raster.step
        miss = np.minimum(np.abs(gain - tilt[p, axis]), np.abs(gain - tilt[q, axis]))
        bent = np.einsum("ij,ij->i", normals[p], normals[q]) < CREASE
        step = (p < 0) | (q < 0) | (miss > 2.0 / raster.camera.scale)
        nearer = np.where(gain > 0.0, there, here)  # the one that carries the line
        flat[nearer[bent]] |= 1
        flat[nearer[step]] |= 2
    return np.minimum(lines, 2)


def draw_lines(image: Image, raster: Raster, mesh: Mesh) -> None:
    """Darkens an image in place along outlines, and half as much along creases."""
    lines = find_lines(raster, mesh).reshape(-1)
    flat = image.reshape(-1, 3)
    crease = np.flatnonzero(lines == 1)
    flat[crease] = (flat[crease].astype(np.uint16) + np.array(LINE, np.uint16)) // 2
    flat[lines == 2] = LINE


def _normals(mesh: Mesh, camera: Camera) -> Floats:
    """float64 (T, 3): unit normals in camera axes, zero for a triangle without area."""
    normals = mesh.area_vectors @ camera.axes.T
    normals /= np.maximum(np.sqrt(np.einsum("ij,ij->i", normals, normals)), 1e-300)[:, None]
    return normals


def draw(
    mesh: Mesh,
    size: int = 256,
    view: View = "isometric",
    *,
    frame: ArrayLike | None = None,
    colours: ArrayLike = BODY,
    background: Sequence[int] = BACKGROUND,
    lines: bool = True,
    smooth: int = 1,
) -> Image:
    """Draws a mesh.

    Args:
        mesh: A closed mesh in mm; the empty mesh gives the plain background.
        size: Width and height in pixels.
        view: A name of :data:`VIEWS` or (azimuth, elevation) in degrees.
        frame: (2, 3) box in mm that fills the picture; None for the mesh's own bounds.
        colours: (3,) for the whole body or (T, 3) for each triangle, 0..255.
        background: (3,), 0..255.
        lines: Whether outlines and creases are drawn dark.
        smooth: Samples per pixel and direction; 2 or 3 soften the edges at 4 or 9 times the work.

    Returns:
        uint8 (size, size, 3).

    Raises:
        UserError: If the size or the view is not usable.
    """
    camera = fit_camera(mesh.bounds if frame is None else frame, view, size * smooth)
    return shrink(paint(mesh, camera, colours, background, lines), smooth)


def paint(
    mesh: Mesh,
    camera: Camera,
    colours: ArrayLike = BODY,
    background: Sequence[int] = BACKGROUND,
    lines: bool = True,
) -> Image:
    """Draws a mesh through a given camera; as :func:`draw`, without smoothing."""
    raster = rasterise(mesh, camera)
    palette = np.empty((len(mesh) + 1, 3), np.uint8)
    palette[:-1] = shade(mesh, camera, colours) + 0.5
    palette[-1] = background  # face -1
    image = np.take(palette, raster.face, axis=0, mode="wrap")
    if lines and len(mesh):
        draw_lines(image, raster, mesh)
    return image


def shrink(image: Image, factor: int) -> Image:
    """Averages blocks of factor x factor pixels of a (H, W, 3) image."""
    if factor == 1:
        return image
    height, width, channels = image.shape
    rows = image.reshape(height // factor, factor, width * channels)
    total = rows[:, 0].astype(np.uint16)
    for k in range(1, factor):
        total += rows[:, k]
    blocks = total.reshape(height // factor, width // factor, factor, channels)
    total = blocks[:, :, 0].astype(np.uint16)
    for k in range(1, factor):
        total += blocks[:, :, k]
    return ((total + factor * factor // 2) // (factor * factor)).astype(np.uint8)
