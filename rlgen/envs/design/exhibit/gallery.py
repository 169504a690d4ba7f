"""A gallery of designs: one static page to browse, compare, turn, like and download them.

The page works offline and from ``file://``: its styles, scripts and meshes are inside, and only
pictures and downloads lie beside it, in ``<page>_files``, so that 200 designs load quickly. It
needs no server and no third-party code, and sends nothing anywhere. Inspired by arXiv 1903.05271
(designers look at what an agent found); the page itself is this project's proposal.

Texts come from people (names, briefs): they are escaped where they stand in the page, see
:mod:`~rlgen.envs.design.exhibit.gallery_markup`.
"""

import hashlib
import json
import math
import os
import re
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rlgen.core.errors import UserError, closest
from rlgen.envs.design.exhibit.gallery_markup import Design, Metric, fill_page
from rlgen.envs.design.exhibit.selection import descriptor, distances, similar_to
from rlgen.envs.design.measure.conditions import METRIC_INFO
from rlgen.envs.design.mesh import Mesh
from rlgen.envs.design.picture.portrait import portrait

MARKER = ".rlgen-gallery"  # tells our folder of pictures from one of the user's


@dataclass(frozen=True, eq=False)
class GalleryItem:
    """A design as the gallery shows it.

    Attributes:
        name: Shown to people; need not be unique.
        mesh: The solid, millimetres, z up.
        metrics: Value per metric; missing or not finite ones are shown as a dash.
        score: The task's score, usually 0..1.
        thumbnail: uint8 (H, W, 3) or (H, W, 4): the picture, best 320 pixels and square; None
            for one by :func:`~rlgen.envs.design.picture.portrait.portrait`. A plain background (all
            corners of one colour) is made transparent.
        satisfactions: Share 0..1 per goal; three or more are drawn as a radar.
        actions: One line of text per accepted operation.
        frames: uint8 pictures of one size, one per accepted operation, such as those of
            :func:`~rlgen.envs.design.picture.portrait.portraits`.
        files: Downloads: suffix ("glb", ".step") -> existing file; they are copied.
        group: Name of the run it comes from.
        is_foreign: Whether it is the designer's own model, not a found one.
    """

    name: str
    mesh: Mesh
    metrics: Mapping[str, float]
    score: float
    thumbnail: NDArray[np.uint8] | None = None
    satisfactions: Mapping[str, float] = field(default_factory=dict)
    actions: Sequence[str] = ()
    frames: Sequence[NDArray[np.uint8]] = ()
    files: Mapping[str, Path | str] = field(default_factory=dict)
    group: str = ""
    is_foreign: bool = False

    def __post_init__(self) -> None:
        where = f"design {self.name!r}:"
        if not math.isfinite(self.score):
            raise UserError(f"{where} score={self.score} is not a number; give a finite score")
        drawn = () if self.thumbnail is None else (self.thumbnail,)
        for picture in (*drawn, *self.frames):
            shape = np.shape(picture)
            if len(shape) != 3 or shape[2] not in (3, 4) or np.asarray(picture).dtype != np.uint8:
                raise UserError(
                    f"{where} a picture of shape {shape} is not allowed; give uint8 (H, W, 3 or 4)"
                )
        if len({np.shape(frame) for frame in self.frames}) > 1:
            raise UserError(f"{where} construction frames differ in size; draw all at one size")
        for goal, value in self.satisfactions.items():
            if not 0.0 <= value <= 1.0:
                raise UserError(f"{where} satisfaction {goal!r}={value} is not allowed; give 0..1")


def write_gallery(
    items: Sequence[GalleryItem],
    path: Path | str,
    title: str,
    units: Mapping[str, str],
    pins: Sequence[str] = (),
    *,
    better: Mapping[str, str] | None = None,
    brief: str = "",
) -> Path:
    """Writes the page and the folder of its pictures and downloads.

    Designs are shown by falling score or, where some are pinned, by falling similarity to those.
    The page appears last and at once; a gallery that stood there before is replaced.

    Args:
        items: The designs, at least one.
        path: A folder, in which the page is called ``index.html``, or a file ``*.html``.
        title: Heading of the page.
        units: Unit per metric name; metrics without one get none.
        pins: Names (or ``group/name``) of designs to put first and to compare with.
        better: ``"more"``, ``"less"`` or ``"either"`` per metric name: which way the charts
            point. Known metrics have a default, others are ``"either"``.
        brief: The task in words, shown below the heading.

    Returns:
        The page's path.

    Raises:
        UserError: There is nothing to show, a pin or a file does not exist, or the folder of
            pictures belongs to somebody else.
    """
    if not items:
        raise UserError("a gallery needs at least one design; give a folder with saved designs")
    items = sorted(items, key=lambda item: (-item.score, item.group, item.name))
    metrics = _metrics(items, units, better or {})
    pinned = _pinned(items, pins)
    apart = _differences(items, metrics)
    order = similar_to(*apart, pinned) if pinned else np.arange(len(items))

    page = Path(path)
    page = page if page.suffix.lower() in (".html", ".htm") else page / "index.html"
    assets = page.with_name(f"{page.stem}_files")
    if assets.exists() and not (assets / MARKER).exists():
        raise UserError(f"{assets} exists and is no gallery's; give another folder or remove it")
    page.parent.mkdir(parents=True, exist_ok=True)
    fresh = page.with_name(f".{assets.name}.{uuid.uuid4().hex[:8]}")
    draft = page.with_name(f"{fresh.name}.html")
    try:
        fresh.mkdir()
        (fresh / MARKER).touch()
        shown = [
            _write_design(item, index, index in pinned, fresh, assets.name)
            for index, item in enumerate(items)
        ]
        text = fill_page(title, brief, metrics, shown, order, distances(*apart), _key(title, items))
        draft.write_text(text, encoding="utf-8")
        if assets.exists():
            shutil.rmtree(assets)
        fresh.rename(assets)
        os.replace(draft, page)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        draft.unlink(missing_ok=True)
    return page


def read_likes(path: Path | str) -> tuple[str, ...]:
    """Returns the designs of a list that the page exported, ready to be given as ``pins``.

    Args:
        path: The JSON file of the page's button "Save liked".

    Returns:
        ``group/name`` of each, or its name where it has no group.

    Raises:
        UserError: The file cannot be read or is not such a list.
    """
    hint = 'give a file saved by the gallery\'s button "Save liked"'
    try:
        liked = json.loads(Path(path).read_text(encoding="utf-8"))["liked"]
        return tuple(_full_name(str(one.get("group", "")), str(one["name"])) for one in liked)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; {hint}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is no list of liked designs; {hint}") from error


def _full_name(group: str, name: str) -> str:
    return f"{group}/{name}" if group else name


def _metrics(
    items: Sequence[GalleryItem], units: Mapping[str, str], better: Mapping[str, str]
) -> list[Metric]:
    """Returns every metric that some design has, in order of first appearance."""
    names = list(dict.fromkeys(name for item in items for name in item.metrics))
    metrics = []
    for name in names:
        info = METRIC_INFO.get(name)
        wish = better.get(name, info.better if info else "either")
        if wish not in ("more", "less", "either"):
            raise UserError(f"better[{name!r}]={wish!r} is not allowed; give more, less or either")
        values = [_value(item, name) for item in items]
        known = [value for value in values if value is not None]
        low, high = (min(known), max(known)) if known else (0.0, 0.0)
        meaning = info.meaning if info else ""
        metrics.append(Metric(name, units.get(name, ""), wish, meaning, low, high, tuple(values)))
    return metrics


def _value(item: GalleryItem, name: str) -> float | None:
    value = item.metrics.get(name)
    return float(value) if value is not None and math.isfinite(value) else None


def _differences(
    items: Sequence[GalleryItem], metrics: Sequence[Metric]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Returns float64 (n, m) metrics and float32 (n, c) occupancies.

    An unknown value becomes the mean of the known ones, which is near to all.
    """
    values = np.zeros((len(items), len(metrics)))
    for column, metric in enumerate(metrics):
        known = [value for value in metric.values if value is not None]
        mean = sum(known) / len(known) if known else 0.0
        values[:, column] = [mean if value is None else value for value in metric.values]
    return values, np.stack([descriptor(item.mesh) for item in items])


def _pinned(items: Sequence[GalleryItem], pins: Sequence[str]) -> list[int]:
    """Returns the indices of the pinned designs; a name may mean several."""
    names = [(item.name, _full_name(item.group, item.name)) for item in items]
    for pin in pins:
        if not any(pin in both for both in names):
            allowed = closest(pin, [full for _, full in names])
            raise UserError(f"pinned design {pin!r} is not in the gallery; {allowed}")
    return [index for index, both in enumerate(names) if set(both) & set(pins)]


def _key(title: str, items: Sequence[GalleryItem]) -> str:
    """Returns under which name the browser remembers the likes of this very set of designs."""
    digest = hashlib.sha256(title.encode("utf-8", "replace"))
    for item in items:
        digest.update(
            f"\0{item.group}\0{item.name}\0{float(item.score)!r}".encode("utf-8", "replace")
        )
    return digest.hexdigest()[:16]


def _write_design(
    item: GalleryItem, index: int, pinned: bool, folder: Path, address: str
) -> Design:
    """Writes one design's pictures and downloads and returns how the page refers to them.

    Args:
        item: The design.
        index: Its number, which makes file names unique.
        pinned: Whether it is pinned.
        folder: Where to write.
        address: The folder's later name beside the page.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", item.name.lower()).strip("-")[:40] or "design"
    stem = f"{index:03d}-{slug}"
    picture = portrait(item.mesh) if item.thumbnail is None else _keyed(item.thumbnail)
    _write_png(picture, folder / f"{stem}.png")
    height, width = picture.shape[:2]
    strip = ""
    if item.frames:
        strip = f"{address}/{stem}-steps.png"
        frames = np.concatenate([_keyed(frame) for frame in item.frames], axis=1)
        _write_png(frames, folder / f"{stem}-steps.png")
    links = []
    for suffix, source in item.files.items():
        kind = suffix.lower().lstrip(".")
        if not re.fullmatch(r"[a-z0-9]{1,8}", kind):
            raise UserError(f"design {item.name!r}: {suffix!r} is no file suffix; give e.g. 'glb'")
        if not Path(source).is_file():
            raise UserError(f"design {item.name!r}: {source} does not exist; save the design first")
        shutil.copyfile(source, folder / f"{stem}.{kind}")
        links.append((kind.upper(), f"{address}/{stem}.{kind}"))
    return Design(item, f"{address}/{stem}.png", (width, height), strip, tuple(links), pinned)


def _keyed(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns uint8 (H, W, 4) without the plain background, so that the page's own shows."""
    picture = np.asarray(picture)
    if picture.shape[2] == 4:
        return picture
    alpha = np.full(picture.shape[:2], 255, np.uint8)
    corners = picture[[0, 0, -1, -1], [0, -1, 0, -1]]
    if (corners == corners[0]).all():
        alpha[(picture == corners[0]).all(2)] = 0
    return np.dstack([picture, alpha])


def _write_png(picture: NDArray[np.uint8], path: Path) -> None:
    from PIL import Image

    Image.fromarray(picture).save(path, format="PNG", compress_level=5)
