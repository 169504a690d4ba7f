"""From designs to what a person opens: files for CAD and printing, pictures, a page, a film.

::

    FOLDER/
        index.html           the gallery, with index_files/ beside it
        files/01-name.glb    and .stl .step .3mf .obj .json .scad .py .png of every design
        construction.gif     how the best one is built

A design that cannot be saved in one format lacks that file, one that cannot be shown at all is
left out; both are told, and nothing else is lost.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlgen.core.errors import UserError
from rlgen.envs.design.exhibit.gallery import GalleryItem, write_gallery
from rlgen.envs.design.exhibit.gallery_markup import goal
from rlgen.envs.design.export import save
from rlgen.envs.design.measure.conditions import METRIC_INFO
from rlgen.envs.design.mesh import Mesh
from rlgen.envs.design.picture.portrait import portraits
from rlgen.envs.design.picture.render import construction_frames
from rlgen.envs.design.picture.sheets import write_gif, write_png
from rlgen.envs.design.picture.showing import as_picture, operation_lines
from rlgen.envs.design.saving import save_design
from rlgen.envs.design.shape.history import Design
from rlgen.envs.design.shape.space import DesignSpace
from rlgen.envs.design.solve.evaluation import Evaluation, Wanted, evaluate_design, standing
from rlgen.envs.design.task.tasks import Task

SUFFIXES = (".glb", ".stl", ".step", ".3mf", ".obj", ".json", ".scad", ".py")
MESH_SUFFIXES = (".glb", ".stl", ".step", ".3mf", ".obj")  # of what has no history
FILES, FILM = "files", "construction.gif"
UNITS = {name: info.unit for name, info in METRIC_INFO.items()}
FRAME = 96  # pixels of a stage in the page's strip, which shows them small
PICTURE, FILM_SIZE = 512, 384

Tell = Callable[[str], None]


def _silent(line: str) -> None:
    """Tells nobody."""


@dataclass(frozen=True, eq=False)
class Exhibit:
    """A design to be shown.

    Attributes:
        design: The design.
        wanted: What it was made for.
        name: Shown to people.
        group: Name of the run it comes from.
    """

    design: Design
    wanted: Task | Wanted
    name: str
    group: str = ""

    @property
    def task(self) -> Task:
        """What it was made for."""
        return self.wanted if isinstance(self.wanted, Task) else self.wanted.task


def item_of(
    design: Design,
    task: Task | Wanted,
    name: str,
    folder: Path,
    group: str = "",
    stem: str | None = None,
    tell: Tell = _silent,
) -> GalleryItem:
    """Saves a design in every format and returns it as the gallery shows it.

    Args:
        design: The design, not empty.
        task: What it was made for: a task, or a brief.
        name: Shown to people.
        folder: Where its files go; made where it is missing.
        group: Name of the run it comes from.
        stem: Name of its files without suffix; None for one made of ``name``.
        tell: Takes a line for each format in which it cannot be saved.

    Raises:
        UserError: The design is empty, or the folder cannot be made.
    """
    exhibit = Exhibit(design, task, name, group)
    if design.solid.is_empty:
        raise UserError(f"design {name!r} is empty, there is nothing to show; add a body first")
    found = evaluate_design(design, task)
    make_folder(folder)
    path = folder / (stem or slug(name))
    files = {}
    for suffix in SUFFIXES:
        target = path.with_name(f"{path.name}{suffix}")
        try:
            if suffix == ".json":
                design.write_json(target, found.metrics, exhibit.task.to_dict())
            else:
                save_design(design, target)
            files[suffix] = target
        except UserError as error:
            tell(f"{target.name} is left out: {error}")
    write_png(as_picture(design, exhibit.task, PICTURE), path.with_name(f"{path.name}.png"))
    return GalleryItem(
        name=name,
        mesh=design.mesh,
        metrics=found.metrics,
        score=found.score,
        satisfactions=found.satisfactions,
        actions=operation_lines(design),
        frames=portraits((solid.mesh for _, solid in design.steps()), FRAME),
        files=files,
        group=group,
    )


def foreign_item(
    mesh: Mesh,
    wanted: Task | Wanted,
    name: str,
    folder: Path,
    tell: Tell = _silent,
) -> tuple[GalleryItem, Evaluation]:
    """Saves a designer's own model and returns it as the gallery shows it, with its evaluation.

    Args:
        mesh: A closed mesh in mm.
        wanted: A task, or a brief.
        name: Shown to people.
        folder: Where its files go.
        tell: As for :func:`item_of`.

    Raises:
        UserError: As :func:`item_of`.
    """
    space = DesignSpace() if isinstance(wanted, Task) else wanted.space
    mesh = standing(mesh, space)
    found = evaluate_design(mesh, wanted)
    make_folder(folder)
    files = {}
    for suffix in MESH_SUFFIXES:
        target = folder / f"own-{slug(name)}{suffix}"
        try:
            files[suffix] = save(mesh, target)
        except UserError as error:
            tell(f"{target.name} is left out: {error}")
    item = GalleryItem(
        name=name,
        mesh=mesh,
        metrics=found.metrics,
        score=found.score,
        satisfactions=found.satisfactions,
        files=files,
        is_foreign=True,
    )
    return item, found


def write_showcase(
    exhibits: Sequence[Exhibit],
    folder: Path | str,
    title: str,
    *,
    brief: str = "",
    others: Sequence[GalleryItem] = (),
    pins: Sequence[str] = (),
    tell: Tell = _silent,
    progress: Callable[[int], None] = lambda done: None,
) -> Path:
    """Writes page, files and film of some designs.

    Args:
        exhibits: The designs, best first.
        folder: Where to; made where it is missing.
        title: Heading of the page.
        brief: The task in words; empty for those of the first design's task.
        others: Further designs for the page, such as :func:`foreign_item`.
        pins: Names of designs to put first.
        tell: Takes a line for whatever had to be left out.
        progress: Called with the number of designs done.

    Returns:
        The page's path.

    Raises:
        UserError: There is no design that can be shown, or nothing can be written.
    """
    folder = Path(folder)
    make_folder(folder)
    items = list(others)
    shown: list[tuple[float, Exhibit]] = []
    for number, exhibit in enumerate(exhibits, 1):
        # A number of its own makes it unique; one that the name begins with goes.
        stem = f"{number:02d}-{re.sub(r'^[0-9]+-', '', slug(exhibit.name))}"
        where = (exhibit.name, folder / FILES, exhibit.group, stem, tell)
        try:
            item = item_of(exhibit.design, exhibit.wanted, *where)
        except UserError as error:
            tell(f"{exhibit.name} is left out: {error}")
            continue
        items.append(item)
        shown.append((item.score, exhibit))
        progress(number)
    if shown:
        best = max(shown, key=lambda pair: pair[0])[1]
        write_film(best.design, folder / FILM)
    brief = brief or (brief_of(exhibits[0].task) if exhibits else "")
    try:
        return write_gallery(items, folder, title, UNITS, pins, brief=brief)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UserError(f"cannot write into {folder}: {reason}; name another folder") from None


def write_film(design: Design, path: Path) -> Path:
    """Writes a GIF of how a design is built, a frame per operation."""
    return write_gif(
        construction_frames([solid.mesh for _, solid in design.steps()], FILM_SIZE), path
    )


def brief_of(task: Task) -> str:
    """Returns a task in one line: what it is for, what is wanted, what must be."""
    wishes = ", ".join(goal(str(target)) for target in task.targets)
    parts = [task.description[:1].upper() + task.description[1:] if task.description else ""]
    parts += [f"Wanted: {wishes}"]
    if task.limits:
        parts.append("Required: " + ", ".join(goal(str(limit)) for limit in task.limits))
    return ". ".join(part for part in parts if part) + "."


def slug(name: str) -> str:
    """Returns a name as part of a file name, lower case."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "design"


def make_folder(folder: Path) -> Path:
    """Makes a folder, or says in one line why not."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UserError(f"cannot make the folder {folder}: {reason}; name another") from None
    return folder
