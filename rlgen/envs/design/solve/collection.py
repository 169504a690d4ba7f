"""Finds saved designs in files and folders, such as runs, for galleries and comparisons.

A folder may hold designs as ``.json`` files, and lists of designs: ``best.json`` of a training
run and ``designs.json`` of a search. What cannot be read is told and skipped.
"""

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rlgen.core.errors import UserError, closest
from rlgen.envs.design.exhibit.gallery import read_likes
from rlgen.envs.design.exhibit.selection import descriptor, diverse
from rlgen.envs.design.exhibit.showcase import FILES, Exhibit
from rlgen.envs.design.files import write_bytes
from rlgen.envs.design.shape.history import Design
from rlgen.envs.design.solve.brief import Brief, read_wanted
from rlgen.envs.design.solve.evaluation import Wanted, evaluate_design
from rlgen.envs.design.task.tasks import Task

LISTS = ("designs.json", "best.json")
BAND = 0.05  # scores nearer than this count as equally good
_MOST_BYTES = 64 << 20


def entry_of(design: Design, task: Task, score: float, name: str, step: int) -> dict[str, Any]:
    """Returns a design as lists of designs hold it.

    Args:
        design: The design.
        task: What it was made for.
        score: Its score.
        name: Shown to people.
        step: After how many evaluations, or steps, it was found.
    """
    text = design.to_json(goal=task.to_dict())
    sha = design.solid.sha256
    return {"score": score, "step": step, "sha256": sha, "name": name, "design": text}


def write_list(entries: Sequence[dict[str, Any]], path: Path) -> None:
    """Writes a list of designs, complete or not at all."""
    write_bytes(path, (json.dumps(entries, indent=1) + "\n").encode())


def load_design(path: str | Path, tell: Callable[[str], None]) -> Design:
    """Loads a saved design; that it comes from another kernel is told in one line.

    Raises:
        UserError: As :meth:`~rlgen.envs.design.shape.history.Design.load`.
    """
    return _warned(lambda: Design.load(path), tell)


def _warned(load: Callable[[], Design], tell: Callable[[str], None]) -> Design:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        design = load()
    for warning in caught:
        tell(f"note: {warning.message}")
    return design


def saved_task(path: str | Path) -> Task | None:
    """Returns what a saved design was made for; None where its file does not tell.

    Raises:
        UserError: The file tells it wrongly.
    """
    try:
        goal = json.loads(Path(path).read_text(encoding="utf-8")).get("goal")
    except (OSError, ValueError, AttributeError):
        return None
    return Task.from_dict(goal) if goal else None


def brief_for(path: str | Path, design: Design, named: str | None, level: str = "normal") -> Brief:
    """Returns what a saved design is for.

    Args:
        path: Its file.
        design: What is in it.
        named: A brief or task as typed; None for what the design was made for.
        level: Preset of the task that is named.

    Raises:
        UserError: Nothing is named and the file does not tell, or see ``read_wanted``.
    """
    if named is not None:
        return read_wanted(named, level)
    task = saved_task(path)
    if task is None:
        raise UserError(f"{path} does not tell what it was made for; type brief=Vessel")
    return replace(Brief.of_task(task), space=design.space)


def collect(
    paths: Iterable[str | Path], tell: Callable[[str], None], task: Task | Wanted | None = None
) -> list[Exhibit]:
    """Reads all designs at or below some paths, each solid of a run once.

    Args:
        paths: Design files, lists of designs, run folders, or folders of them.
        tell: Takes a line for everything that is skipped.
        task: What they are scored for; None for what each was made for.

    Raises:
        UserError: A path does not exist, or no design is found.
    """
    places = [Path(path) for path in paths]
    found: dict[tuple[str, str], Exhibit] = {}
    for path in places:
        if not path.exists():
            raise UserError(f"{path} does not exist; name a run folder, or a folder of designs")
        for file, root in _files(path):
            for exhibit in _read(file, root, tell, task):
                found.setdefault((exhibit.group, exhibit.design.solid.sha256), exhibit)
    if not found:
        shown = " ".join(map(str, places))
        raise UserError(f"no design in {shown}; find some: python -m rlgen.design solve Vessel")
    return list(found.values())


def chosen_of(exhibits: Sequence[Exhibit], count: int) -> list[Exhibit]:
    """Returns at most so many designs, chosen to be good and unlike each other."""
    if len(exhibits) <= count:
        return list(exhibits)
    scores = [evaluate_design(one.design, one.wanted, precise=False).score for one in exhibits]
    forms = np.stack([descriptor(one.design.mesh) for one in exhibits])
    # In bands: designs that are about equally good are chosen by how they differ.
    bands = np.floor(np.array(scores)[:, None] / BAND)
    return [exhibits[index] for index in diverse(bands, forms, count)]


def pins_of(
    pins: Iterable[str],
    exhibits: Sequence[Exhibit],
    tell: Callable[[str], None],
    wanted: Task | Wanted | None = None,
) -> tuple[list[str], list[Exhibit]]:
    """Returns the names of pinned designs, and those that are not among the others yet.

    Args:
        pins: Names, design files, or lists that the gallery page saved.
        exhibits: The designs that will be shown.
        tell: Takes notes.
        wanted: What they are scored for; None for what each was made for.

    Raises:
        UserError: A file cannot be read.
    """
    names: list[str] = []
    further: list[Exhibit] = []
    for pin in pins:
        if not Path(pin).is_file():
            names.append(pin)
        elif '"liked"' in Path(pin).read_text(encoding="utf-8", errors="replace"):
            names += read_likes(pin)
        else:
            design = load_design(pin, tell)
            same = [one for one in exhibits if one.design.solid.sha256 == design.solid.sha256]
            if not same:
                task = wanted or saved_task(pin)
                if task is None:
                    raise UserError(f"{pin} does not tell what it was made for; type task=Vessel")
                same = [Exhibit(design, task, Path(pin).stem, "pinned")]
                further += same
            names.append(full_name(same[0]))
    known = [full for one in (*exhibits, *further) for full in (one.name, full_name(one))]
    for name in names:
        if name not in known:
            raise UserError(f"pinned design {name!r} is not in the gallery; {closest(name, known)}")
    return names, further


def full_name(exhibit: Exhibit) -> str:
    """Returns ``group/name``, or the name where there is no group."""
    return f"{exhibit.group}/{exhibit.name}" if exhibit.group else exhibit.name


def _files(path: Path) -> Iterator[tuple[Path, Path]]:
    """Yields the files below a path that may hold designs, and the folder each belongs to."""
    if path.is_file():
        yield path, path.parent
        return
    folders = [path, *sorted(folder for folder in path.rglob("*") if folder.is_dir())]
    listed: list[Path] = []
    for folder in folders:
        if any(done == folder.parent and folder.name == FILES for done in listed):
            continue  # the same designs again, one by one
        lists = [folder / name for name in LISTS if (folder / name).is_file()]
        if lists:
            listed.append(folder)
            yield lists[0], folder
        elif not folder.name.endswith("_files"):
            for file in sorted(folder.glob("*.json")):
                yield file, folder


def _read(
    file: Path, root: Path, tell: Callable[[str], None], task: Task | Wanted | None
) -> Iterator[Exhibit]:
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise UserError(f"{file} is larger than {_MOST_BYTES >> 20} MB")
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, UserError) as error:
        tell(f"skipped {file}: {str(error).splitlines()[0]}")
        return
    group = _group(root)
    if isinstance(data, dict) and "ops" in data:
        data = [{"design": file.read_text(encoding="utf-8"), "name": file.stem}]
    elif not (isinstance(data, list) and file.name in LISTS):
        return  # JSON of something else
    for number, entry in enumerate(data, 1):
        try:
            yield _exhibit(entry, f"{file}, design {number}", group, tell, task)
        except (UserError, KeyError, TypeError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            tell(f"skipped design {number} of {file}: {reason}")


def _group(folder: Path) -> str:
    """Returns the run's name: that of its folder, without a last ``designs``."""
    folder = folder.resolve()
    return folder.parent.name if folder.name == "designs" else folder.name


def _exhibit(
    entry: Any, source: str, group: str, tell: Callable[[str], None], task: Task | Wanted | None
) -> Exhibit:
    text = str(entry["design"])
    if task is None:
        goal = json.loads(text).get("goal")
        if not goal:
            raise UserError("it does not tell what it was made for; name a task: task=Vessel")
        task = Task.from_dict(goal)
    design = _warned(lambda: Design.from_json(text, source), tell)
    name = str(entry.get("name") or f"step {int(entry['step']):,}")
    return Exhibit(design, task, name, group)
