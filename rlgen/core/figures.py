"""Saving of drawn figures: a picture is there wholly or not at all."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_figure(figure: "Figure", path: Path) -> Path:
    """Saves a figure as PNG at 120 dots per inch and returns its path.

    Args:
        figure: Of matplotlib.
        path: The PNG file; one that is there is replaced in one step.
    """
    temporary = path.with_name(f".{path.name}")
    figure.savefig(temporary, dpi=120, format="png")
    temporary.replace(path)
    return path
