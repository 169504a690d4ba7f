"""The gallery's HTML: cards, table rows and embedded data, put into the templates in ``page/``.

Everything that a person wrote passes :func:`text` where it stands in the markup and
:func:`embedded_json` where scripts read it, and scripts put it on the page as text nodes only. As
a second lock the page allows no script but the one whose hash its security policy names.
"""

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rlgen.envs.design.mesh import Mesh

if TYPE_CHECKING:
    from rlgen.envs.design.exhibit.gallery import GalleryItem

SCRIPTS = ("mesh.js", "viewer.js", "charts.js", "inspector.js", "gallery.js")
HEART = '<svg class="heart" aria-hidden="true"><use href="#heart"/></svg>'
GLYPH_RADIUS = 20.0


@dataclass(frozen=True)
class Metric:
    """A column of the table.

    Attributes:
        name: The metric's name.
        unit: Its unit, possibly empty.
        better: ``"more"``, ``"less"`` or ``"either"``.
        meaning: One line of explanation, possibly empty.
        low: Least value in the gallery.
        high: Largest value in the gallery.
        values: The value of each design, None where unknown.
    """

    name: str
    unit: str
    better: str
    meaning: str
    low: float
    high: float
    values: tuple[float | None, ...]

    @property
    def label(self) -> str:
        """The name as people read it."""
        return self.name.replace("_", " ")

    @property
    def decimals(self) -> int:
        """Digits after the point, one number for the column: about three digits count."""
        largest = max(abs(self.low), abs(self.high))
        if all(value is None or value == round(value) for value in self.values):
            return 0
        return int(np.clip(2 - math.floor(math.log10(largest)), 0, 3)) if largest > 0 else 0


@dataclass(frozen=True)
class Design:
    """A design and where its files lie, as seen from the page.

    Attributes:
        item: The design.
        picture: Address of its picture.
        size: The picture's width and height in pixels.
        strip: Address of its construction frames side by side, or empty.
        links: (kind in capitals, address) of its downloads.
        pinned: Whether it is pinned.
    """

    item: "GalleryItem"
    picture: str
    size: tuple[int, int]
    strip: str
    links: tuple[tuple[str, str], ...]
    pinned: bool


def fill_page(
    title: str,
    brief: str,
    metrics: Sequence[Metric],
    designs: Sequence[Design],
    order: Sequence[int] | NDArray[np.int64],
    apart: NDArray[np.float64],
    key: str,
) -> str:
    """Returns the page.

    Args:
        title: Heading.
        brief: The task in words, possibly empty.
        metrics: The table's columns.
        designs: The designs, numbered as in ``metrics`` and ``apart``.
        order: Their numbers in the order of showing.
        apart: float64 (n, n): how much each two designs differ, 0..1.
        key: Under which name the browser remembers the likes.

    Returns:
        The HTML text.
    """
    data = {
        "title": tidy(title),
        "key": key,
        "metrics": [
            {
                "name": tidy(metric.name),
                "label": tidy(metric.label),
                "unit": tidy(unit_sign(metric.unit)),
                "better": metric.better,
                "meaning": metric.meaning,
                "decimals": metric.decimals,
                "low": metric.low,
                "high": metric.high,
            }
            for metric in metrics
        ],
        "designs": [_design_data(design, i, metrics) for i, design in enumerate(designs)],
        # Sixteen bits are plenty to rank by; text of 200 designs: 107 kB.
        "apart": _base64(np.round(apart * 65535).astype("<u2")),
    }
    script = "\n".join(_template(name) for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = {
        "title": text(title),
        "summary": text(_summary(designs)),
        "brief": f'<p class="brief">{text(brief)}</p>' if brief.strip() else "",
        "style": _template("gallery.css"),
        "script": script,
        "script_hash": f"sha256-{digest}",
        "orders": "".join(_order_option(metric, i) for i, metric in enumerate(metrics)),
        "groups": "".join(
            f'<option value="{i}">{text(group) or "(no run)"}</option>'
            for i, group in enumerate(_groups(designs))
        ),
        "cards": "\n".join(_card(designs[i], i) for i in order),
        "headings": "".join(_heading(metric, i) for i, metric in enumerate(metrics)),
        "rows": "\n".join(_row(designs[i], i, metrics) for i in order),
        "data": embedded_json(data),
        "meshes": "\n".join(mesh_block(d.item.mesh, i) for i, d in enumerate(designs)),
    }
    # One pass: a name that looks like a placeholder stays a name.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _template("gallery.html"))


def text(written: str) -> str:
    """Returns text as it may stand in HTML, between tags or in a quoted attribute."""
    return html.escape(tidy(written))


def embedded_json(data: Any) -> str:
    """Returns JSON that may stand inside a ``<script>`` element, whatever texts it holds."""
    dumped = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        dumped = dumped.replace(sign, f"\\u{ord(sign):04x}")
    return dumped


def mesh_block(mesh: Mesh, index: int) -> str:
    """Returns a mesh as an inert script element that the viewer decodes when it is shown.

    Its text is base64 of float32 (V, 3) vertices followed by uint32 (T, 3) triangles, both little
    endian; the counts are attributes.
    """
    raw = mesh.vertices.astype("<f4").tobytes() + mesh.triangles.astype("<u4").tobytes()
    return (
        f'<script type="text/plain" id="mesh-{index}" data-vertices="{len(mesh.vertices)}" '
        f'data-triangles="{len(mesh.triangles)}">{base64.b64encode(raw).decode()}</script>'
    )


def tidy(written: str) -> str:
    """Returns text without control signs and lone surrogates.

    Signs that turn the direction of writing go too: they can make ``gpj.exe`` look like a picture.
    """
    clean = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]", "", written)
    return clean.encode("utf-8", "replace").decode("utf-8")


def goal(name: str) -> str:
    """Returns a goal as people read it: ``volume <= 110 cm3`` becomes ``volume ≤ 110 cm³``."""
    for plain, shown in (("<=", "≤"), (">=", "≥"), ("+-", "±")):
        name = name.replace(f" {plain} ", f" {shown} ")
    head, sign, tail = name.rpartition(" ")
    return tidy(f"{head}{sign}{unit_sign(tail)}" if sign else name).replace(" °", "°")


def unit_sign(unit: str) -> str:
    """Returns a unit as people read it: cm³ for cm3, ° for deg."""
    power = re.sub(r"(?<=m)[23]$", lambda match: "²³"[int(match[0]) - 2], unit)
    return "°" if power == "deg" else power


def _template(name: str) -> str:
    return (resources.files("rlgen.envs.design.exhibit") / "page" / name).read_text(
        encoding="utf-8"
    )


def _base64(array: NDArray[Any]) -> str:
    return base64.b64encode(array.tobytes()).decode()


def _groups(designs: Sequence[Design]) -> list[str]:
    return list(dict.fromkeys(design.item.group for design in designs))


def _summary(designs: Sequence[Design]) -> str:
    own = sum(design.item.is_foreign for design in designs)
    found = len(designs) - own
    runs = len([group for group in _groups(designs) if group])
    parts = [f"{found} design" + "s" * (found != 1)]
    parts += [f"{own} of your own"] if own else []
    parts += [f"{runs} runs"] if runs > 1 else []
    return ", ".join([*parts, f"best score {max(d.item.score for d in designs):.2f}"])


def _design_data(design: Design, index: int, metrics: Sequence[Metric]) -> dict[str, Any]:
    item = design.item
    low, high = item.mesh.bounds
    return {
        "name": tidy(item.name),
        "group": tidy(item.group),
        "own": item.is_foreign,
        "pinned": design.pinned,
        "score": float(item.score),
        "metrics": [metric.values[index] for metric in metrics],
        "goals": [[goal(name), float(value)] for name, value in item.satisfactions.items()],
        "actions": [tidy(line).replace("_", " ") for line in item.actions],
        "picture": design.picture,
        "strip": design.strip,
        "frames": len(item.frames),
        "links": [list(link) for link in design.links],
        "size": [round(float(side), 2) for side in high - low],
        "triangles": len(item.mesh),
    }


def _tags(design: Design) -> str:
    own = '<span class="tag own">your model</span>' if design.item.is_foreign else ""
    return own + ('<span class="tag">pinned</span>' if design.pinned else "")


def _share(value: float) -> str:
    return f'style="--p:{100 * min(max(value, 0.0), 1.0):.1f}%"'


def _like(design: Design, index: int) -> str:
    return (
        f'<label class="like" title="Like"><input type="checkbox" data-like="{index}">{HEART}'
        f'<span class="hidden">Like {text(design.item.name)}</span></label>'
    )


def _card(design: Design, index: int) -> str:
    item = design.item
    width, height = design.size
    return f"""<li class="card" data-design="{index}"><div class="tile">
<button type="button" class="open" data-open="{index}"><img src="{design.picture}" loading="lazy" \
decoding="async" width="{width}" height="{height}" \
alt="{text(item.name)}, score {item.score:.2f}">{_glyph(item.satisfactions)}</button>
<span class="tags">{_tags(design)}</span>{_like(design, index)}</div>
<p class="caption"><bdi class="name">{text(item.name)}</bdi>\
<span class="score">{item.score:.2f}</span></p>
<p class="rule" {_share(item.score)}></p><p class="group"><bdi>{text(item.group)}</bdi></p></li>"""


def _glyph(satisfactions: Mapping[str, float]) -> str:
    """Returns the design's radar as a small drawing; nothing for fewer than three goals."""
    shares = np.array(list(satisfactions.values()), float)
    if len(shares) < 3:
        return ""
    angle = 2 * np.pi * np.arange(len(shares)) / len(shares)
    corners = np.stack([np.sin(angle), -np.cos(angle)], 1) * GLYPH_RADIUS
    rim, shape = (
        " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        for points in (corners, corners * np.clip(shares, 0.04, 1.0)[:, None])
    )
    return (
        '<svg class="glyph" viewBox="-22 -22 44 44" aria-hidden="true">'
        f'<polygon class="rim" points="{rim}"/><polygon class="shape" points="{shape}"/></svg>'
    )


def _order_option(metric: Metric, index: int) -> str:
    return f'<option value="{index}">{text(metric.label)}</option>'


def _heading(metric: Metric, index: int) -> str:
    unit = f' <span class="unit">{text(unit_sign(metric.unit))}</span>' if metric.unit else ""
    title = f' title="{text(metric.meaning)}"' if metric.meaning else ""
    return (
        f'<th scope="col" class="number" data-sort="{index}">'
        f'<button type="button"{title}>{text(metric.label)}{unit}</button></th>'
    )


def _row(design: Design, index: int, metrics: Sequence[Metric]) -> str:
    item = design.item
    cells = "".join(_cell(metric, metric.values[index]) for metric in metrics)
    return (
        f'<tr data-design="{index}"><td>{_like(design, index)}</td>'
        f'<th scope="row"><button type="button" class="pick" data-open="{index}">'
        f'<img src="{design.picture}" loading="lazy" alt="" width="40" height="40">'
        f"<bdi>{text(item.name)}</bdi></button>{_tags(design)}</th>"
        f'<td class="run"><bdi>{text(item.group)}</bdi></td>'
        f'<td class="number" data-value="{float(item.score)!r}" {_share(item.score)}>'
        f"{item.score:.2f}</td>{cells}</tr>"
    )


def _cell(metric: Metric, value: float | None) -> str:
    if value is None:
        return '<td class="number unknown" data-value="">&ndash;</td>'
    span = metric.high - metric.low
    share = _share((value - metric.low) / span) if span > 0 else ""
    return f'<td class="number" data-value="{value!r}" {share}>{value:,.{metric.decimals}f}</td>'
