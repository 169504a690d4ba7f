"""Cut-out pictures for the gallery: a body with a soft shadow and nothing behind it.

Light and camera are those of the page's 3D view, so a picture and the view that replaces it look
alike, and as the background is transparent they suit a light page and a dark one. Pictures with a
background and overlays are drawn by :mod:`~rlgen.envs.design.picture.render`.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter

from rlgen.core.errors import UserError
from rlgen.envs.design.mesh import Floats, Mesh
from rlgen.envs.design.picture.camera import Camera, view_axes
from rlgen.envs.design.picture.raster import Raster, draw_lines, rasterise

CLAY = np.array([236.0, 230.0, 219.0])
SLIDE = np.array([0.17, 0.30])  # how far the shadow falls per height, mm in x and y
SHADOW = 0.26  # alpha of its darkest part
_KEY = np.array([-0.50, 0.25, 0.83])  # directions to the lamps in camera axes
_FILL = np.array([0.85, 0.10, 0.50])
_MARGIN = 0.115  # share of the picture left free on each side of the body
_SHADOW_MARGIN = 0.03  # and of its shadow
_SMOOTH = 2  # samples per pixel and direction
_COARSE = 4  # samples per cell of what is blurred anyway


def portrait(mesh: Mesh, size: int = 320, frame: ArrayLike | None = None) -> NDArray[np.uint8]:
    """Draws a design for the gallery.

    Args:
        mesh: A closed mesh in mm, standing on z = 0; nothing is drawn for the empty one.
        size: Width and height in pixels, even, 16 to 2048.
        frame: (2, 3) box in mm that fills the picture; None for the mesh's own bounds.

    Returns:
        uint8 (size, size, 4), red, green, blue, alpha (not premultiplied). The same arguments
        give the same bytes.

    Raises:
        UserError: If the size is not usable.
    """
    if not 16 <= size <= 2048 or size % 2:
        raise UserError(f"size={size} is not allowed; give an even number from 16 to 2048")
    if not len(mesh):
        return np.zeros((size, size, 4), np.uint8)
    camera = _camera(mesh.vertices if frame is None else _corners(frame), size * _SMOOTH)
    raster = rasterise(mesh, camera)
    hit = raster.covered
    body = np.zeros((*hit.shape, 3), np.uint8)
    shades = CLAY * light(mesh, camera)[:, None]
    body[hit] = shades[raster.face[hit]] * (1.0 - _depth_below(raster)[hit])[:, None] + 0.5
    draw_lines(body, raster, mesh)
    alpha = np.where(hit, 1.0, _shadow(mesh, camera))
    # Averages of colours count as much as they are opaque; the shadow is black.
    colour = _means(np.where(hit[..., None], body, 0) * alpha[..., None])
    cover = _means(alpha[..., None])
    straight = colour / np.maximum(cover, 1e-9)
    picture = np.concatenate([straight, 255.0 * cover], axis=2) + 0.5
    return np.clip(picture, 0.0, 255.0).astype(np.uint8)


def portraits(stages: Iterable[Mesh], size: int = 160) -> list[NDArray[np.uint8]]:
    """Draws every stage of a construction at one scale, for the gallery's strip.

    Args:
        stages: The design after each operation.
        size: Width and height in pixels.

    Returns:
        One uint8 (size, size, 4) picture per stage.
    """
    meshes = list(stages)
    boxes = [mesh.bounds for mesh in meshes if len(mesh)]
    frame = None
    if boxes:
        frame = np.stack([np.min([b[0] for b in boxes], 0), np.max([b[1] for b in boxes], 0)])
    return [portrait(mesh, size, frame) for mesh in meshes]


def _corners(frame: ArrayLike) -> Floats:
    """float64 (8, 3): the corners of a (2, 3) box."""
    pick = np.indices((2, 2, 2)).reshape(3, 8).T.astype(bool)
    low, high = np.asarray(frame, np.float64).reshape(2, 3)
    corners: Floats = np.where(pick, high, low)
    return corners


def _camera(points: Floats, size: int) -> Camera:
    """Returns the camera with the points in the middle and their shadow inside the picture."""
    axes = view_axes("isometric")
    seen, shadow = points @ axes.T, _flattened(points) @ axes.T
    low, high = seen.min(0), seen.max(0)
    centre = 0.5 * (low + high)
    body = (high - low)[:2].max() / (1.0 - 2.0 * _MARGIN)
    around = 2.0 * np.abs(shadow - centre)[:, :2].max() / (1.0 - 2.0 * _SHADOW_MARGIN)
    return Camera(axes, centre @ axes, size / max(body, around, 1e-6), size, size)


def _flattened(points: Floats) -> Floats:
    """Returns where the shadows of points (N, 3) fall on the table."""
    flat = points.copy()
    flat[:, :2] += flat[:, 2:] * SLIDE
    flat[:, 2] = 0.0
    return flat


def light(mesh: Mesh, camera: Camera) -> Floats:
    """Returns float64 (T,): how bright each triangle is, 0..1.

    0.46 + 0.50 key + 0.12 fill + 0.14 up - 0.06 down, of the cosines between the triangle's
    normal and the lamps, where positive; the sum is cut at 1. The page's shader has the same
    formula.
    """
    normals = mesh.area_vectors
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1), 1e-300)[:, None]
    seen = normals @ camera.axes.T
    key = np.maximum(seen @ (_KEY / np.linalg.norm(_KEY)), 0.0)
    fill = np.maximum(seen @ (_FILL / np.linalg.norm(_FILL)), 0.0)
    up = normals[:, 2]
    level = 0.46 + 0.50 * key + 0.12 * fill + np.where(up > 0, 0.14 * up, 0.06 * up)
    return np.minimum(level, 1.0)


def _depth_below(raster: Raster) -> Floats:
    """float64 (H, W), 0..0.35: how far a pixel lies behind its surroundings, as inside a cup."""
    camera = raster.camera
    coarse = raster.depth[::_COARSE, ::_COARSE]
    hit = np.isfinite(coarse)
    if not hit.any():
        return np.zeros(raster.face.shape)
    middle = coarse[hit].mean()
    width = camera.width / _COARSE / 22.0
    weight = gaussian_filter(hit.astype(np.float64), width, mode="constant")
    around = gaussian_filter(np.where(hit, coarse - middle, 0.0), width, mode="constant")
    around = _enlarged(around / np.maximum(weight, 1e-6), raster.face.shape)
    depth = np.where(raster.covered, raster.depth - middle, 0.0)
    reach = 0.14 * camera.width / camera.scale
    return 0.35 * np.clip((around - depth) / reach, 0.0, 1.0)


def _shadow(mesh: Mesh, camera: Camera) -> Floats:
    """float64 (H, W): alpha of the shadow on the table."""
    width, height = camera.width // _COARSE, camera.height // _COARSE
    small = Camera(camera.axes, camera.centre, camera.scale / _COARSE, width, height)
    cast = rasterise(Mesh(_flattened(mesh.vertices), mesh.triangles), small).covered
    soft = gaussian_filter(cast.astype(np.float64), 0.014 * width, mode="nearest")
    return SHADOW * _enlarged(soft, (camera.height, camera.width))


def _enlarged(image: Floats, shape: tuple[int, ...]) -> Floats:
    """Interpolates a (H / _COARSE, W / _COARSE) image to (H, W), linearly."""
    for axis in (0, 1):
        place = (np.arange(shape[axis]) + 0.5) / _COARSE - 0.5
        place = np.clip(place, 0.0, image.shape[axis] - 1.0)
        below = np.minimum(place.astype(np.int64), image.shape[axis] - 2)
        part = (place - below).reshape((-1, 1) if axis == 0 else (1, -1))
        image = (1 - part) * image.take(below, axis) + part * image.take(below + 1, axis)
    return image


def _means(image: Floats) -> Floats:
    """Averages blocks of samples of a (H, W, C) image."""
    parts = [image[i::_SMOOTH, j::_SMOOTH] for i in range(_SMOOTH) for j in range(_SMOOTH)]
    means: Floats = sum(parts[1:], parts[0]) / len(parts)
    return means
