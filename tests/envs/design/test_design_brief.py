"""Briefs: what they set, and every mistake in one line."""

from pathlib import Path

import pytest

from rlgen.core.errors import UserError
from rlgen.envs.design.env import DesignEnv
from rlgen.envs.design.shape.history import Design
from rlgen.envs.design.shape.space import Cylinder
from rlgen.envs.design.solve.brief import Brief, read_wanted
from rlgen.envs.design.task.experts import expert
from rlgen.envs.design.task.targets import Target

FULL = """
name = "Desk cup"
description = "a cup"
task = "Vessel"
operations = ["cylinder", "hollow"]
horizon = 6
[[wishes]]
metric = "capacity"
at_least = 200
weight = 2
[[wishes]]
metric = "height"
about = 80
within = 20
[[limits]]
metric = "volume"
at_most = 120
[[limits]]
box = [90, 100, 300]
[space]
size = [120, 90, 110]
keep_in = [{shape = "cylinder", centre = [0, 0], radius = 10, z_low = 0, z_high = 5}]
[material]
density = 1.24
[payload]
mass = 500
at = "top"
[conditions]
tilt = 15
"""
WISH = '[[wishes]]\nmetric = "capacity"\nat_least = 100\n'


def load(tmp_path: Path, text: str) -> Brief:
    (tmp_path / "brief.toml").write_text(text)
    return Brief.load(tmp_path / "brief.toml")


def saved_cup(path: Path) -> Design:
    design = Design.from_actions(expert("Vessel").actions)
    design.write_json(path)
    return design


def test_a_brief_sets_task_space_and_operations(tmp_path: Path) -> None:
    brief = load(tmp_path, FULL)
    task = brief.task
    assert (brief.name, task.name, brief.description) == ("Desk cup", "Desk cup", "a cup")
    assert brief.allowed == ("cylinder", "hollow")
    assert brief.horizon == 6
    assert brief.space.size == (90.0, 90.0, 110.0)  # the smaller of space and box
    assert brief.space.keep_in == (Cylinder((0, 0), 10, 0, 5),)
    assert task.limits == (Target("volume", "at_most", 120),)
    assert task.conditions.to_dict() == {"density": 1.24, "payload": 500.0, "tilt": 15.0}
    wanted = {target.metric: target for target in task.targets}
    assert wanted["capacity"] == Target("capacity", "at_least", 200, 2)  # in place of Vessel's
    assert wanted["height"] == Target("height", "about", 80, 1, 20)
    assert wanted["spill"] == Target("spill", "at_least", 250)  # Vessel's own


def test_an_environment_takes_the_brief(tmp_path: Path) -> None:
    brief = load(tmp_path, FULL)
    env = DesignEnv(**brief.env_kwargs())
    env.reset(seed=0)
    assert (env.task, env.design_space, env.horizon) == (brief.task, brief.space, 6)
    assert set(env.mask.any(1).nonzero()[0]) == {1}  # only the cylinder can begin


def test_a_seed_lies_beside_the_brief_and_is_locked(tmp_path: Path) -> None:
    """Invariant 24: the locked operations are a prefix of the history."""
    cup = saved_cup(tmp_path / "cup.json")
    brief = load(tmp_path, 'task = "Vessel"\nseed = "cup.json"\noperations = ["scale"]\n')
    start = brief.start()
    assert start.actions == cup.actions
    assert (start.locked, start.undo()) == (2, False)
    assert start.solid.sha256 == cup.solid.sha256


def test_a_fork_locks_the_first_operations(tmp_path: Path) -> None:
    cup = saved_cup(tmp_path / "cup.json")
    start = Brief.of_task("Vessel").forked(cup, 1).start()
    assert (start.actions, start.locked) == (cup.actions[:1], 1)
    assert len(Brief.of_task("Vessel").forked(cup, 0).start()) == 0
    with pytest.raises(UserError, match="keep=3 is not possible; the design has 2 operations"):
        Brief.of_task("Vessel").forked(cup, 3)


def test_a_task_is_a_brief() -> None:
    brief = read_wanted("Mast", "hard")
    assert brief.task.name == "Mast-hard"
    assert read_wanted("Mast").start().solid.is_empty


MISTAKES = [
    ("", "it is empty"),
    ("name = 'x'", "it has no wishes; add [[wishes]]"),
    ("wishs = []", "a brief has no 'wishs'; did you mean 'wishes'?"),
    ("task = 'Vesel'", "did you mean 'Vessel'"),
    ("task = 'MultiGoal'", "MultiGoal has no fixed wishes"),
    ("preset = 'hard'\n" + WISH, "preset goes with task"),
    ("task = 3", "task = 3 is not a text"),
    ("task = [", "is not TOML"),
    (WISH + "atleast = 3", "wish 1 has no 'atleast'; did you mean 'at_least'"),
    ('[[wishes]]\nmetric = "capacty"\nat_least = 1', "wish 1: unknown metric 'capacty'; did you"),
    ('[[wishes]]\nmetric = "capacity"', "needs metric = '...' and one of at_least, at_most, about"),
    ('[[wishes]]\nmetric = "height"\nabout = 90', "needs within ="),
    (WISH + "within = 3", "within goes with about, not with at_least"),
    (WISH + "weight = -1", "wish 1: capacity: weight=-1 is not allowed"),
    ('[[wishes]]\nmetric = "capacity"\nat_least = nan', "capacity: value=nan is not allowed"),
    (WISH + '[[limits]]\nmetric = "height"\nabout = 3', "limit 1 has no 'about'"),
    (WISH + "[[limits]]\nbox = [1, 2]", "give three sides in mm"),
    (WISH + "[limits]\nvolume = 3", "write each one below its own [[limits]]"),
    (WISH + "[space]\nsiz = [1, 2, 3]", "space has no 'siz'; did you mean 'size'?"),
    (WISH + "[space]\nsize = [1, 2, 3]", "each side is 20 to 1000 mm"),
    (WISH + "[material]\nmass = 3", "material has no 'mass'"),
    (WISH + "[payload]\nat = 'top'", "payload needs mass = grams"),
    (WISH + "[payload]\nmass = 5\n[conditions]\npayload = 3", "payload is given twice"),
    (WISH + "[conditions]\ntild = 3", "conditions has no 'tild'; did you mean 'tilt'?"),
    ("operations = ['hollow']\n" + WISH, "cannot begin a design"),
    ("operations = ['cilinder']\n" + WISH, "did you mean 'cylinder'?"),
    ("horizon = 0\n" + WISH, "horizon=0 is not allowed"),
    ("seed = 'none.json'\n" + WISH, "none.json: No such file"),
    # What cannot be.
    (
        '[[wishes]]\nmetric = "capacity"\nat_least = 300\n'
        '[[limits]]\nmetric = "footprint"\nat_most = 40',
        "wish capacity >= 300 ml is impossible: the design space is 160 x 160 x 160 mm with "
        "footprint <= 40 mm, so 256 ml is the most",
    ),
    (
        WISH + '[[limits]]\nmetric = "capacity"\nat_most = 50',
        "wish capacity >= 100 ml is impossible: limit capacity <= 50 ml excludes it",
    ),
    (
        WISH + '[[limits]]\nmetric="height"\nat_least = 90\n'
        '[[limits]]\nmetric="height"\nat_most = 80',
        "limit height >= 90 mm is impossible: limit height <= 80 mm excludes it",
    ),
    (WISH + WISH.replace("at_least = 100", "at_most = 50"), "wish capacity <= 50 ml excludes it"),
    (WISH + '[[limits]]\nmetric = "height"\nat_least = 170', "so 160 mm is the most"),
    (WISH + '[[limits]]\nmetric = "volume"\nat_most = -3', "no design has less than 0.001 cm3"),
    (WISH + '[[limits]]\nmetric = "tip"\nat_least = 95', "tip is an angle, so 90 deg is the most"),
    (
        WISH + "[space]\nkeep_in = [{shape='box', low=[0,0,0], high=[20,20,20]}]\n"
        "keep_out = [{shape='box', low=[0,0,0], high=[10,20,20]}]",
        "keep_in volume 1 is impossible: 50% of it",
    ),
    (
        WISH + "[space]\nkeep_out = [{shape='box', low=[-90,-90,0], high=[90,90,170]}]",
        "keep_out leaves nothing of the design space",
    ),
]


@pytest.mark.parametrize(("text", "part"), MISTAKES, ids=[part[:40] for _, part in MISTAKES])
def test_mistakes_are_told_in_one_line(tmp_path: Path, text: str, part: str) -> None:
    with pytest.raises(UserError) as told:
        load(tmp_path, text)
    assert part in str(told.value)
    assert str(told.value).startswith(str(tmp_path / "brief.toml"))
    assert "\n" not in str(told.value)


def test_exactly_what_is_possible_is_no_mistake(tmp_path: Path) -> None:
    limit = '[[limits]]\nmetric = "height"\nat_least = 160\n'
    assert load(tmp_path, WISH + limit).task.limits[0].value == 160


@pytest.mark.parametrize(
    ("name", "part"),
    [("nowhere.toml", "cannot read"), (".", "neither a file"), ("Vesel", "did you mean 'Vessel'?")],
)
def test_a_name_that_is_neither_a_file_nor_a_task(cwd: Path, name: str, part: str) -> None:
    with pytest.raises(UserError, match=part):
        read_wanted(name)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "brief.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not a text file"):
        Brief.load(tmp_path / "brief.toml")


def test_the_brief_of_the_docs_can_be_read(tmp_path):
    page = Path(__file__).parents[3] / "docs" / "methods" / "design_env.md"
    text = page.read_text(encoding="utf-8").split("```toml\n")[1].split("```")[0]
    (tmp_path / "brief.toml").write_text(text, encoding="utf-8")
    brief = Brief.load(tmp_path / "brief.toml")
    wishes = {target.metric: target.value for target in brief.task.targets}
    assert wishes["capacity"] == 250
    assert brief.space.keep_in
