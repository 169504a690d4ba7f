"""Contact sheets: photos along the rows, points of the simplex along the columns."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from rlgen.data import to_uint8
from rlgen.generative.sgn.generator import SGNGenerator
from rlgen.generative.sgn.mix import describe_sym
from rlgen.generative.sheets import paste_sheet, save_png


@torch.no_grad()
def draw_sheet(
    generator: SGNGenerator, photos: torch.Tensor, points: Sequence[Sequence[float]], path: Path
) -> None:
    """Draws photos beside what they become at points of the simplex.

    Args:
        generator: The network.
        photos: (count, 3, H, W), -1 to 1.
        points: Sym-parameters.
        path: The PNG file; it is complete or not there.
    """
    columns = [to_uint8(photos)]
    titles = ["input"]
    for point in points:
        sym = torch.tensor(point, device=photos.device)
        columns.append(to_uint8(generator(photos, sym)))
        titles.append(describe_sym(sym.cpu(), generator.domains))
    rows = [[Image.fromarray(column[k]) for column in columns] for k in range(len(photos))]
    sheet = paste_sheet(rows, [titles, *[[""] * len(titles)] * (len(rows) - 1)])
    save_png(sheet, path, {})
