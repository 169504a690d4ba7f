"""Sheets of pictures in a table, and PNG files that are complete or not there."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

_GAP, _LINE = 4, 13


def paste_sheet(
    rows: Sequence[Sequence[Image.Image]], titles: Sequence[Sequence[str]]
) -> Image.Image:
    """Puts images into a table, each under its title.

    Args:
        rows: Images, all of one size.
        titles: A title for each; an empty row of them leaves no room above the images.
    """
    width, height = rows[0][0].size
    font = ImageFont.load_default(size=11)
    titles = [[_wrap(title, font, width) for title in line] for line in titles]
    title_heights = [
        _LINE * max(title.count("\n") + 1 for title in line) + 2 if any(line) else 0
        for line in titles
    ]
    columns = max(map(len, rows))
    total = sum(title_heights) + len(rows) * (height + _GAP)
    sheet = Image.new("RGB", (columns * (width + _GAP), total), "white")
    draw = ImageDraw.Draw(sheet)
    top = 0
    for images, line, title_height in zip(rows, titles, title_heights, strict=True):
        for column, image in enumerate(images):
            left = column * (width + _GAP)
            sheet.paste(image, (left, top + title_height))
            if title_height:
                place = (left + 1, top)
                draw.multiline_text(place, line[column], fill="black", font=font, spacing=1)
        top += title_height + height + _GAP
    return sheet


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    lines = [""]
    for word in text.split(" + "):
        joined = f"{lines[-1]} + {word}" if lines[-1] else word
        if font.getlength(joined) <= width or not lines[-1]:
            lines[-1] = joined
        else:
            lines.append(f"+ {word}")
    return "\n".join(lines)


def save_png(image: Image.Image, path: Path, text: dict[str, str]) -> None:
    """Writes a PNG with text entries, complete or not at all."""
    info = PngInfo()
    for key, value in text.items():
        info.add_text(key, value)
    temporary = path.with_name(f".{path.name}.tmp")
    image.save(temporary, format="PNG", pnginfo=info)
    temporary.replace(path)
