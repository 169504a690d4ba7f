"""How an environment shows its design: a picture with what the task is about, text, a screen."""

import base64
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlgen.envs.design.measure.balance import support_polygon
from rlgen.envs.design.measure.conditions import INDEX, METRIC_INFO
from rlgen.envs.design.measure.liquid import liquid_columns
from rlgen.envs.design.measure.mass import mass_properties
from rlgen.envs.design.measure.printing import overhanging
from rlgen.envs.design.mesh import Floats, Mesh
from rlgen.envs.design.picture.overlays import LiquidColumns, Overlays
from rlgen.envs.design.picture.render import picture
from rlgen.envs.design.picture.sheets import png_bytes
from rlgen.envs.design.shape.history import Design
from rlgen.envs.design.task.tasks import Task, satisfactions

Picture = NDArray[np.uint8]
OVERLAYS = ("balance", "liquid", "overhang", "load")
_OF_METRIC = {
    "tip": "balance",
    "loaded_tip": "balance",
    "capacity": "liquid",
    "spill": "liquid",
    "overhang": "overhang",
    "support": "overhang",
    "load": "load",
}


def overlays_of(task: Task) -> tuple[str, ...]:
    """Returns which overlays show what a task asks for."""
    asked = {_OF_METRIC.get(target.metric) for target in task.targets}
    return tuple(name for name in OVERLAYS if name in asked)


def overlays_for(mesh: Mesh, names: tuple[str, ...], density: float = 1.0) -> Overlays:
    """Works out overlays of a design.

    Args:
        mesh: The design.
        names: Of ``OVERLAYS``.
        density: g/cm3, for the centre of mass.
    """
    parts: dict[str, Any] = {}
    if len(mesh) and "balance" in names:
        parts["support"] = support_polygon(mesh)
        parts["centre"] = mass_properties(mesh, density).centre
    if len(mesh) and "liquid" in names:
        wet = liquid_columns(mesh)
        if len(wet.level):
            parts["liquid"] = LiquidColumns(wet.x, wet.y, wet.floor, wet.level, wet.cell)
    if len(mesh) and "overhang" in names:
        parts["marked"] = overhanging(mesh)
    if len(mesh) and "load" in names:
        centre, top = mass_properties(mesh).centre, mesh.bounds[1, 2]
        parts["load"] = (np.array([centre[0], centre[1], top]), np.array([0.0, 0.0, -1.0]))
    return Overlays(**parts)


def as_picture(design: Design, task: Task, size: int = 256, insets: bool = True) -> Picture:
    """Returns a picture of a design with the overlays of its task, uint8 (size, size, 3)."""
    overlays = overlays_for(design.mesh, overlays_of(task), task.conditions.density)
    return picture(design.mesh, size, insets, overlays)


def as_text(design: Design, metrics: Floats, task: Task, score: float) -> str:
    """Returns one line per operation, then a table of what is wanted and what is there.

    Args:
        design: The design.
        metrics: float64 (16,).
        task: What is wanted.
        score: Of the design.
    """
    lines = [f"{number:3d}  {text}" for number, text in enumerate(operation_lines(design), 1)]
    lines = lines or ["     nothing yet"]
    met = satisfactions(metrics, task)
    for target, share in zip(task.targets, met, strict=True):
        value = metrics[INDEX[target.metric]]
        unit = METRIC_INFO[target.metric].unit
        lines.append(f"     {target!s:<28} {value:10.3f} {unit:<4} {share:4.0%}")
    return "\n".join([*lines, f"     score {score:.3f}"])


def operation_lines(design: Design) -> list[str]:
    """Returns each operation of a design in physical units."""
    return [str(record) for record in design.records]


class Screen:
    """A window, or where there is none a page that reloads itself.

    The window is matplotlib's, if it has a display. Else a page is kept in a temporary folder, and
    its address is printed once.
    """

    def __init__(self) -> None:
        self._figure: Any = None
        self._page: Path | None = None
        if _has_display():
            import matplotlib.pyplot as plt

            plt.ion()
            self._figure = plt.figure("design")

    def show(self, image: Picture, text: str) -> None:
        """Shows a picture, uint8 (H, W, 3), and a text."""
        if self._figure is not None:
            self._figure.clear()
            axes = self._figure.add_subplot()
            axes.imshow(image)
            axes.set_axis_off()
            self._figure.canvas.draw_idle()
            self._figure.canvas.flush_events()
            return
        first = self._page is None
        if self._page is None:
            self._page = Path(tempfile.mkdtemp(prefix="rlgen-design-")) / "design.html"
        data = base64.b64encode(png_bytes(image)).decode()
        escaped = text.replace("&", "&amp;").replace("<", "&lt;")
        scratch = self._page.with_suffix(".part")
        scratch.write_text(
            '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="1">'
            f'<title>design</title><img alt="design" src="data:image/png;base64,{data}">'
            f"<pre>{escaped}</pre>",
            encoding="utf-8",
        )
        os.replace(scratch, self._page)
        if first:
            print(f"no display; the design is shown at {self._page.as_uri()}", file=sys.stderr)

    def close(self) -> None:
        """Closes the window; the page stays."""
        if self._figure is not None:
            import matplotlib.pyplot as plt

            plt.close(self._figure)
            self._figure = None


def _has_display() -> bool:
    """Whether matplotlib could open a window."""
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return False
    import matplotlib

    backend = str(matplotlib.get_backend()).lower()
    return backend not in {"agg", "pdf", "ps", "svg", "cairo", "template"}
