"""Where a picture of a design is taken from: named views and an orthographic camera."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rlgen.core.errors import UserError, closest
from rlgen.envs.design.mesh import Floats

View = str | tuple[float, float]

VIEWS: dict[str, tuple[float, float]] = {
    "isometric": (-45.0, float(np.degrees(np.arctan(np.sqrt(0.5))))),
    "front": (-90.0, 0.0),
    "right": (0.0, 0.0),
    "back": (90.0, 0.0),
    "left": (180.0, 0.0),
    "top": (-90.0, 90.0),
    "bottom": (-90.0, -90.0),
}
"""Azimuth and elevation of the camera in degrees, seen from the design."""

MARGIN = 0.07  # share of the picture left free on each side
MAX_SIZE = 4096


@dataclass(frozen=True, eq=False)
class Camera:
    """An orthographic camera.

    Attributes:
        axes: float64 (3, 3), rows are right, up and towards the viewer in world axes.
        centre: float64 (3,), the world point in the middle of the picture, mm.
        scale: Pixels per millimetre.
        width: Pixels.
        height: Pixels.
    """

    axes: Floats
    centre: Floats
    scale: float
    width: int
    height: int

    def project(self, points: ArrayLike) -> Floats:
        """Returns (N, 3): pixel column, pixel row (downwards) and nearness in mm.

        Args:
            points: (N, 3) world points in mm. Pixel (0, 0) covers columns and rows 0 to 1.
        """
        seen = (np.asarray(points, np.float64).reshape(-1, 3) - self.centre) @ self.axes.T
        seen[:, 0] = 0.5 * self.width + self.scale * seen[:, 0]
        seen[:, 1] = 0.5 * self.height - self.scale * seen[:, 1]
        return seen


def view_axes(view: View) -> Floats:
    """Returns the (3, 3) camera axes of a view; rows are right, up and towards the viewer.

    Args:
        view: A name of :data:`VIEWS`, or the camera's (azimuth, elevation) in degrees; azimuth
            counts from +x towards +y, elevation from the table upwards.

    Raises:
        UserError: If the view has no such name or an elevation outside -90..90.
    """
    if isinstance(view, str):
        if view not in VIEWS:
            raise UserError(f"there is no view {view!r}; {closest(view, VIEWS)}")
        view = VIEWS[view]
    azimuth, elevation = np.radians(float(view[0])), np.radians(float(view[1]))
    if not (np.isfinite(azimuth) and abs(view[1]) <= 90.0):
        raise UserError(f"view {view!r} is not (azimuth, elevation); elevation lies in -90..90")
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    flat = np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
    toward = np.cos(elevation) * flat + np.sin(elevation) * np.array([0.0, 0.0, 1.0])
    return np.stack([right, np.cross(toward, right), toward])


def fit_camera(
    frame: ArrayLike, view: View = "isometric", width: int = 256, height: int | None = None
) -> Camera:
    """Returns the camera that shows all of a box.

    Args:
        frame: (2, 3) lowest and highest corner in mm. The same frame gives the same scale, so
            pictures of different designs can be compared.
        view: As for :func:`view_axes`.
        width: Pixels.
        height: Pixels; None for a square picture.

    Raises:
        UserError: If the size or the view is not usable.
    """
    height = width if height is None else height
    if not (1 <= width <= MAX_SIZE and 1 <= height <= MAX_SIZE):
        raise UserError(f"a picture of {width}x{height} is not possible; type 1 to {MAX_SIZE}")
    axes = view_axes(view)
    low, high = np.asarray(frame, np.float64).reshape(2, 3)
    pick = np.indices((2, 2, 2)).reshape(3, 8).T.astype(bool)
    seen = np.where(pick, high, low) @ axes.T
    near, far = seen.min(0), seen.max(0)
    room = np.array([width, height]) * (1.0 - 2.0 * MARGIN)
    scale = float((room / np.maximum(far - near, 1e-6)[:2]).min())
    return Camera(axes, 0.5 * (near + far) @ axes, scale, width, height)
