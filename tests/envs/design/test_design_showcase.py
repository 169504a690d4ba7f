"""What a showcase leaves, evaluations of foreign models, and collections of saved designs."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gallery_items import Page, box
from PIL import Image

from rlgen.agents.designs import leave_designs
from rlgen.core.errors import UserError
from rlgen.envs.design.exhibit.showcase import (
    SUFFIXES,
    Exhibit,
    brief_of,
    foreign_item,
    write_showcase,
)
from rlgen.envs.design.export import read_mesh, save
from rlgen.envs.design.mesh import EMPTY_MESH
from rlgen.envs.design.shape.history import Design
from rlgen.envs.design.shape.operations import Action
from rlgen.envs.design.shape.space import Box, DesignSpace
from rlgen.envs.design.solve.brief import Brief
from rlgen.envs.design.solve.collection import chosen_of, collect, entry_of, pins_of, write_list
from rlgen.envs.design.solve.evaluation import evaluate_design, standing
from rlgen.envs.design.task.experts import expert
from rlgen.envs.design.task.presets import make_task
from rlgen.envs.design.task.targets import Target
from rlgen.envs.design.task.tasks import Task

VESSEL = make_task("Vessel")


@pytest.fixture(scope="module")
def cup() -> Design:
    return Design.from_actions(expert("Vessel").actions)


@pytest.fixture(scope="module")
def mast() -> Design:
    return Design.from_actions(expert("Mast").actions)


# Showcase -------------------------------------------------------------------------------------


def test_a_showcase_has_page_files_and_film(tmp_path: Path, cup: Design, mast: Design) -> None:
    exhibits = [Exhibit(mast, VESSEL, "a rod"), Exhibit(cup, VESSEL, "a cup", "run 1")]
    told: list[str] = []
    page = Page(write_showcase(exhibits, tmp_path / "out", "Cups", tell=told.append))
    assert told == []
    assert page.path == tmp_path / "out" / "index.html"
    first, second = page.data["designs"]
    assert (first["name"], first["group"], second["name"]) == ("a cup", "run 1", "a rod")
    assert first["score"] == evaluate_design(cup, VESSEL).score == 1.0
    assert (first["frames"], len(first["actions"])) == (2, 2)
    assert {kind for kind, _ in first["links"]} == {s[1:].upper() for s in SUFFIXES}
    names = sorted(path.name for path in (tmp_path / "out" / "files").iterdir())
    assert names == sorted(
        f"{stem}{suffix}" for stem in ("01-a-rod", "02-a-cup") for suffix in (*SUFFIXES, ".png")
    )
    with Image.open(tmp_path / "out" / "construction.gif") as film:
        assert film.n_frames == len(cup)  # of the best one
    again = Design.load(tmp_path / "out" / "files" / "02-a-cup.json")
    assert again.solid.sha256 == cup.solid.sha256
    saved = json.loads((tmp_path / "out" / "files" / "02-a-cup.json").read_text())
    assert Task.from_dict(saved["goal"]) == VESSEL
    assert saved["metrics"]["capacity"] == pytest.approx(first["metrics"][2])


def test_the_card_shows_the_portrait(tmp_path: Path, cup: Design) -> None:
    page = Page(write_showcase([Exhibit(cup, VESSEL, "cup")], tmp_path, "Cups"))
    with Image.open(tmp_path / page.data["designs"][0]["picture"]) as picture:
        assert picture.mode == "RGBA"


def test_a_format_that_fails_is_told_and_the_rest_is_there(
    tmp_path: Path, cup: Design, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rlgen.envs.design.exhibit import showcase

    def broken(design: Design, path: Path) -> Path:
        if path.suffix == ".step":
            raise UserError("no room")
        return save(design.mesh, path) if path.suffix in (".stl", ".glb", ".3mf", ".obj") else path

    monkeypatch.setattr(showcase, "save_design", broken)
    monkeypatch.setattr(showcase, "SUFFIXES", (".glb", ".step", ".json"))
    told: list[str] = []
    empty = Exhibit(Design(), VESSEL, "x")
    page = Page(
        write_showcase([empty, Exhibit(cup, VESSEL, "cup")], tmp_path, "C", tell=told.append)
    )
    assert told == [
        "x is left out: design 'x' is empty, there is nothing to show; add a body first",
        "02-cup.step is left out: no room",
    ]
    assert [kind for kind, _ in page.data["designs"][0]["links"]] == ["GLB", "JSON"]


def test_nothing_to_show_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least one design"):
        write_showcase([Exhibit(Design(), VESSEL, "nothing")], tmp_path, "C")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot make the folder"):
        write_showcase([], tmp_path / "file" / "out", "C")


def test_a_task_in_one_line() -> None:
    task = Task("x", (Target("capacity", "at_least", 300),), description="hold a drink")
    assert brief_of(task) == "Hold a drink. Wanted: capacity ≥ 300 ml."
    hard = replace(task, description="", limits=(Target("volume", "at_most", 90),))
    assert brief_of(hard) == "Wanted: capacity ≥ 300 ml. Required: volume ≤ 90 cm³."


def test_a_training_run_leaves_its_designs(tmp_path: Path, cup: Design, capsys) -> None:
    good = {"score": 1.0, "step": 1200, "sha256": "", "design": cup.to_json(goal=VESSEL.to_dict())}
    no_goal = {**good, "design": cup.to_json()}
    entries = [{**good, "design": "{broken"}, good, {"score": 1.0}, no_goal]
    page = Page(leave_designs(tmp_path, entries, "ppo on Vessel"))
    assert [d["name"] for d in page.data["designs"]] == ["step 1,200"]
    told = capsys.readouterr().err
    assert told.count("is skipped") == 3
    with pytest.raises(OSError, match="at least one design"):
        leave_designs(tmp_path / "none", entries[:1], "ppo on Vessel")


# Evaluation -----------------------------------------------------------------------------------


def test_a_mesh_scores_like_the_design_it_was_saved_from(tmp_path: Path, cup: Design) -> None:
    whole = evaluate_design(cup, VESSEL)
    assert whole.satisfactions["footprint <= 100 mm"] == 1.0
    assert list(whole.metrics) == [
        *("tip", "upright", "capacity", "spill", "height", "footprint", "volume", "wall"),
    ]
    for suffix in (".stl", ".obj", ".3mf", ".glb"):
        found = evaluate_design(read_mesh(save(cup.mesh, tmp_path / f"cup{suffix}")), VESSEL)
        assert found.score == pytest.approx(whole.score, abs=1e-4)
        assert found.metrics == pytest.approx(whole.metrics, rel=1e-3)


def test_a_mesh_is_put_onto_the_table(cup: Design) -> None:
    space = DesignSpace()
    inside = cup.mesh.moved(shift=np.array([5.0, 0.0, 30.0]))
    np.testing.assert_allclose(
        standing(inside, space).bounds, cup.mesh.bounds + np.array([5.0, 0.0, 0.0])
    )
    far = cup.mesh.moved(shift=np.array([500.0, 0.0, -30.0]))
    np.testing.assert_allclose(standing(far, space).bounds, cup.mesh.bounds, atol=1e-9)
    assert evaluate_design(far, VESSEL).score == pytest.approx(1.0)
    assert len(standing(EMPTY_MESH, space)) == 0


def test_a_mesh_that_does_not_fit_passes_only_the_gate() -> None:
    task = Task("tall", (Target("height", "at_least", 100),))
    good, large = evaluate_design(box(40, 40, 120), task), evaluate_design(box(40, 40, 170), task)
    assert (good.score, good.broken) == (1.0, ())
    assert large.score == pytest.approx(0.1)
    assert large.broken == ("40 x 40 x 170 mm do not fit into 160 x 160 x 160 mm",)


def test_a_design_of_a_larger_space_may_not_fit(cup: Design) -> None:
    brief = Brief("small", VESSEL, DesignSpace(size=(160, 160, 70)))
    found = evaluate_design(cup, brief)
    assert found.score == pytest.approx(0.1)
    assert found.broken == ("82.04 x 82.04 x 79.95 mm do not fit into 160 x 160 x 70 mm",)


def test_hard_limits_and_volumes_are_told() -> None:
    task = Task(
        "tall",
        (Target("height", "at_least", 100),),
        limits=(Target("volume", "at_most", 100),),
    )
    space = DesignSpace(
        keep_out=(Box((0, 0, 0), (50, 50, 10)),), keep_in=(Box((-30, -10, 0), (0, 0, 10)),)
    )
    brief = Brief("tall", task, space)
    found = evaluate_design(box(40, 40, 120), brief)
    assert found.broken == (
        "limit volume <= 100 cm3 is broken: 192",
        "it reaches into a keep-out box",
        "only 67% of the keep-in volumes are solid",
    )
    assert found.score == pytest.approx(0.1 * 2 / 3)
    assert evaluate_design(EMPTY_MESH, task).score == 0.0


# Collections ----------------------------------------------------------------------------------


def saved(folder: Path, design: Design, name: str, task: Task = VESSEL) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    design.write_json(folder / f"{name}.json", goal=task.to_dict())


def test_designs_are_found_in_runs_and_folders(tmp_path: Path, cup: Design, mast: Design) -> None:
    (tmp_path / "runs" / "a" / "designs").mkdir(parents=True)
    write_list(
        [entry_of(cup, VESSEL, 1.0, "01 cup", 7), {"design": "{"}],
        tmp_path / "runs" / "a" / "designs" / "best.json",
    )
    saved(tmp_path / "runs" / "a" / "designs" / "files", cup, "01-cup")  # the same once more
    saved(tmp_path / "runs" / "b", mast, "rod", make_task("Mast"))
    (tmp_path / "runs" / "b" / "result.json").write_text('{"steps": 3}')
    (tmp_path / "runs" / "b" / "broken.json").write_text("{")
    told: list[str] = []
    found = collect([tmp_path / "runs"], told.append)
    assert [(one.group, one.name) for one in found] == [("a", "01 cup"), ("b", "rod")]
    assert found[1].task.name == "Mast"
    assert len(told) == 2
    assert [one.task.name for one in collect([tmp_path], told.append, VESSEL)] == ["Vessel"] * 2


def test_designs_of_another_kernel_are_told(tmp_path: Path, cup: Design) -> None:
    data = json.loads(cup.to_json(goal=VESSEL.to_dict()))
    data |= {"kernel": "manifold3d 0.0.1", "mesh_sha256": "0" * 64}
    (tmp_path / "old.json").write_text(json.dumps(data))
    told: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(collect([tmp_path], told.append)) == 1
    assert "note: " in told[0]
    assert "manifold3d 0.0.1" in told[0]


def test_nothing_found_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no design in"):
        collect([tmp_path], print)
    with pytest.raises(UserError, match="does not exist"):
        collect([tmp_path / "nowhere"], print)


def test_of_many_designs_different_ones_are_shown(cup: Design) -> None:
    def rod(radius: float, height: float) -> Exhibit:
        size = {"radius_low": radius, "radius_high": radius}
        action = Action.named("cylinder", "add", height=height, **size)
        return Exhibit(Design.from_actions([action]), VESSEL, f"{radius:g} {height:g}")

    near = [rod(40, 60 + 0.5 * k) for k in range(5)]
    exhibits = [*near, Exhibit(cup, VESSEL, "cup"), rod(8, 150)]
    chosen = {one.name for one in chosen_of(exhibits, 3)}
    assert "cup" in chosen
    assert "8 150" in chosen
    assert chosen_of(exhibits, 99) == exhibits


def test_pins_are_names_files_and_lists(tmp_path: Path, cup: Design, mast: Design) -> None:
    exhibits = [Exhibit(cup, VESSEL, "cup", "a")]
    saved(tmp_path, cup, "same")
    saved(tmp_path, mast, "other")
    (tmp_path / "liked.json").write_text('{"liked": [{"group": "a", "name": "cup"}]}')
    pins = ["cup", *(str(tmp_path / f"{n}.json") for n in ("same", "other", "liked"))]
    names, further = pins_of(pins, exhibits, print)
    assert names == ["cup", "a/cup", "pinned/other", "a/cup"]
    assert [one.name for one in further] == ["other"]


def test_a_foreign_item_is_saved_and_marked(tmp_path: Path, cup: Design) -> None:
    mesh = cup.mesh.moved(shift=np.array([0.0, 0.0, 9.0]))
    item, found = foreign_item(mesh, VESSEL, "Mine!", tmp_path)
    assert item.is_foreign
    assert item.mesh.bounds[0, 2] == 0.0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"own-mine{suffix}" for suffix in (".3mf", ".glb", ".obj", ".step", ".stl")
    ]
    assert item.score == found.score == pytest.approx(1.0)
