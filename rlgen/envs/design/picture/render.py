"""Pictures for people: an isometric view with front and top insets, overlays and a soft shadow.

The plain image an agent observes comes from :mod:`.raster`; here the same rasteriser is used with
several samples per pixel, a shadow on the table and darker hollows. Sheets, strips and GIF files
live in :mod:`.sheets` and can be imported from here as well.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter, uniform_filter

from rlgen.core.errors import UserError
from rlgen.envs.design.mesh import Floats, Mesh
from rlgen.envs.design.picture.camera import MAX_SIZE, Camera, View, fit_camera
from rlgen.envs.design.picture.overlays import (
    NO_OVERLAYS,
    LiquidColumns,
    Overlays,
    arrow_tail,
    draw_arrow,
    draw_centre,
    draw_liquid,
    draw_marks,
    draw_support,
)
from rlgen.envs.design.picture.raster import (
    BODY,
    SUN,
    Image,
    Raster,
    draw_lines,
    rasterise,
    shade,
    shrink,
)
from rlgen.envs.design.picture.sheets import (
    construction_strip,
    contact_sheet,
    gif_bytes,
    png_bytes,
    text_size,
    write_gif,
    write_png,
    write_text,
)

__all__ = [
    "LiquidColumns",
    "Overlays",
    "construction_frames",
    "construction_strip",
    "contact_sheet",
    "gif_bytes",
    "picture",
    "png_bytes",
    "write_gif",
    "write_png",
]

MIN_SIZE = 32
SKY = np.array([252.0, 252.0, 250.0])
TABLE = np.array([229.0, 231.0, 233.0])
INSET_SHARE = 0.31  # width of the column of insets over the width of the picture
SMOOTH = 2
PANEL = (255, 255, 255)
PANEL_EDGE = (214, 216, 218)


def picture(
    mesh: Mesh,
    size: int = 256,
    insets: bool = True,
    overlays: Overlays = NO_OVERLAYS,
    *,
    view: View = "isometric",
    frame: ArrayLike | None = None,
    caption: str | None = None,
    smooth: int = SMOOTH,
) -> Image:
    """Draws a design for people.

    Args:
        mesh: The design in mm, standing on z = 0; the empty mesh gives an empty table.
        size: Width and height in pixels, 32 to 2048.
        insets: Whether a column on the right shows it from the front and from above, both at one
            scale.
        overlays: What to draw on top.
        view: The main view.
        frame: (2, 3) box in mm that the main view and the insets show; the same frame gives the
            same scale. None for the mesh's own bounds.
        caption: A line at the bottom; None for outer dimensions where the picture is large
            enough, "" for none.
        smooth: Samples per pixel and direction.

    Returns:
        uint8 (size, size, 3), the same bytes for the same arguments.

    Raises:
        UserError: If the size or the view is not usable, or an overlay does not fit the mesh.
    """
    if size < MIN_SIZE or smooth < 1 or size * smooth > MAX_SIZE:
        raise UserError(
            f"size={size} is not possible; type {MIN_SIZE} to {MAX_SIZE // max(1, smooth)}"
        )
    _check_sizes(mesh, overlays)
    box = _frame(mesh, overlays) if frame is None else np.asarray(frame, np.float64)
    column = round(INSET_SHARE * size) if insets else 0
    camera = _main_camera(box, view, size * smooth, column * smooth)
    image = _scene(_backdrop(size * smooth), mesh, camera, overlays, smooth)
    if insets:
        _draw_insets(image, mesh, box, overlays, column * smooth, smooth)
    small = shrink(image, smooth)
    return _write_caption(small, mesh, caption)


def construction_frames(
    meshes: Iterable[Mesh],
    size: int = 256,
    insets: bool = False,
    *,
    view: View = "isometric",
    frame: ArrayLike | None = None,
) -> list[Image]:
    """Draws every stage of a construction at one scale, so that nothing jumps.

    Args:
        meshes: The design after each operation.
        size: As for :func:`picture`.
        insets: As for :func:`picture`.
        view: As for :func:`picture`.
        frame: As for :func:`picture`; None for the box around all stages.

    Returns:
        One uint8 (size, size, 3) picture per stage.
    """
    stages = list(meshes)
    solid = [stage.bounds for stage in stages if len(stage)]
    if frame is None and solid:
        frame = np.stack([np.min([b[0] for b in solid], 0), np.max([b[1] for b in solid], 0)])
    return [picture(stage, size, insets, view=view, frame=frame, caption="") for stage in stages]


def _check_sizes(mesh: Mesh, overlays: Overlays) -> None:
    for name, tail in (("marked", ()), ("colours", (3,))):
        given, wanted = getattr(overlays, name), (len(mesh), *tail)
        if given is not None and np.shape(given) != wanted:
            raise UserError(f"overlay {name} has shape {np.shape(given)}; this mesh needs {wanted}")


def _frame(mesh: Mesh, overlays: Overlays) -> Floats:
    """Box around the mesh and its load arrow."""
    box = mesh.bounds if len(mesh) else np.array([[-50.0, -50.0, 0.0], [50.0, 50.0, 100.0]])
    if overlays.load is None:
        return box
    points = np.stack([*box, arrow_tail(box, overlays.load), np.asarray(overlays.load[0])])
    return np.stack([points.min(0), points.max(0)])


def _main_camera(box: Floats, view: View, size: int, column: int) -> Camera:
    """The camera of the whole picture that fits the box into what the insets leave free."""
    fit = fit_camera(box, view, size - column, size)
    centre = fit.centre + fit.axes[0] * (0.5 * column / fit.scale)
    return Camera(fit.axes, centre, fit.scale, size, size)


def _backdrop(size: int) -> Image:
    fade = np.linspace(0.0, 1.0, size)[:, None]
    rows = SKY + fade * (TABLE - SKY) + 0.5
    return np.repeat(rows.astype(np.uint8)[:, None], size, axis=1)


def _scene(
    image: Image, mesh: Mesh, camera: Camera, overlays: Overlays, smooth: int, soft: bool = True
) -> Image:
    """Returns the backdrop with shadow, body and overlays; all sizes in samples."""
    line = 0.0045 * (camera.width + camera.height) / 2.0 + 0.45 * smooth
    raster = rasterise(mesh, camera)
    if len(mesh):
        if soft:
            image = _shadow(image, mesh, camera)
        image = _body(image, mesh, raster, overlays, soft)
    if overlays.marked is not None and len(mesh):
        draw_marks(image, raster, mesh, overlays.marked)
    if overlays.liquid is not None:
        draw_liquid(image, raster, overlays.liquid)
    if overlays.support is not None:
        image = draw_support(image, camera, overlays.support, line)
    if overlays.centre is not None:
        image = draw_centre(image, camera, overlays.centre, line)
    if overlays.load is not None:
        tail = arrow_tail(mesh.bounds, overlays.load)
        image = draw_arrow(image, camera, tail, overlays.load[0], line)
    return image


def _body(image: Image, mesh: Mesh, raster: Raster, overlays: Overlays, soft: bool) -> Image:
    colours = BODY if overlays.colours is None else overlays.colours
    shades = shade(mesh, raster.camera, colours)
    hit = raster.covered
    seen = shades[raster.face[hit]]
    if soft:
        seen = seen * (1.0 - _hollows(raster)[hit])[:, None]
    image = image.copy()
    image[hit] = (seen + 0.5).astype(np.uint8)
    draw_lines(image, raster, mesh)
    return image


def _hollows(raster: Raster) -> Floats:
    """float64 (H, W), 0..0.3: how far a pixel lies behind those around it.

    A cheap stand-in for ambient light that does not reach corners: the depth is compared with
    its own blur over about a twelfth of the picture.
    """
    hit = raster.covered
    if not hit.any():
        return np.zeros(hit.shape)
    middle = float(raster.depth[hit].mean())
    depth = np.where(hit, raster.depth - middle, 0.0)
    share, around = _blur(hit), _blur(depth)
    reach = 0.12 * min(hit.shape) / raster.camera.scale
    return 0.3 * np.clip((around / np.maximum(share, 1e-6) - depth) / reach, 0.0, 1.0)


def _blur(values: NDArray[Any]) -> Floats:
    """Blurs (H, W) over a twelfth of its height; every fourth value is enough for that."""
    coarse = values[::4, ::4].astype(np.float64)
    width = max(3, min(values.shape) // 48)
    twice = uniform_filter(uniform_filter(coarse, width, mode="constant"), width, mode="constant")
    return _enlarged(twice, 4, values.shape)


def _enlarged(coarse: NDArray[Any], factor: int, shape: tuple[int, ...]) -> NDArray[Any]:
    wide = np.repeat(np.repeat(coarse, factor, axis=0), factor, axis=1)
    return wide[: shape[0], : shape[1]]


def _shadow(image: Image, mesh: Mesh, camera: Camera) -> Image:
    """Darkens the table where the lamp does not reach it; nothing where the table is edge-on."""
    sun = camera.axes.T @ SUN
    if camera.axes[2, 2] < 0.1 or sun[2] < 0.1:
        return image
    slide = mesh.vertices[:, 2:] * (sun[:2] / sun[2])
    flat = np.column_stack([mesh.vertices[:, :2] - slide, np.zeros(len(mesh.vertices))])
    cast = rasterise(Mesh(flat, mesh.triangles), camera).covered
    # Half the resolution will do for what is blurred anyway.
    soft = gaussian_filter(
        cast[::2, ::2].astype(np.float32), 0.006 * camera.height, mode="nearest", truncate=2.5
    )
    keep = 1.0 - np.float32(0.20) * _enlarged(soft, 2, cast.shape)[..., None]
    return (image * keep + np.float32(0.5)).astype(np.uint8)


def _draw_insets(
    image: Image, mesh: Mesh, box: Floats, overlays: Overlays, column: int, smooth: int
) -> None:
    """Puts two cards on the right: the top view in the upper half, the front view below it."""
    gap = max(1, round(0.02 * image.shape[0] / smooth)) * smooth
    room = column - gap
    cameras = [fit_camera(box, view, room, room) for view in ("top", "front")]
    scale = min(camera.scale for camera in cameras)
    left = image.shape[1] - column
    for top, camera in zip((gap, 2 * gap + room), cameras, strict=True):
        card = image[top : top + room, left : left + room]
        card[:] = PANEL_EDGE
        blank = np.full_like(card, PANEL)
        same = Camera(camera.axes, camera.centre, scale, room, room)
        inner = _scene(blank, mesh, same, overlays, smooth, soft=False)
        card[smooth:-smooth, smooth:-smooth] = inner[smooth:-smooth, smooth:-smooth]


def _write_caption(image: Image, mesh: Mesh, caption: str | None) -> Image:
    size = image.shape[0]
    if caption is None and size >= 160 and len(mesh):
        x, y, z = (mesh.bounds[1] - mesh.bounds[0]).tolist()
        caption = f"{x:.0f} x {y:.0f} x {z:.0f} mm"
    if not caption:
        return image
    points = text_size(size)
    return write_text(image, caption, (0.03 * size, size - 0.03 * size), "ls", points)
