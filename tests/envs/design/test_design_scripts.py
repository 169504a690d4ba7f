"""OpenSCAD and CadQuery texts: interpreted, run where the programs are installed, and checked."""

import ast
import math
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from design_samples import built, expert_design, random_design
from scad_interpreter import interpret

from rlgen.core.errors import UserError
from rlgen.envs.design.export import load
from rlgen.envs.design.measure.mass import mass_properties
from rlgen.envs.design.scripts import cadquery, openscad
from rlgen.envs.design.scripts import plan as plans
from rlgen.envs.design.scripts.shapes import Lathe, split
from rlgen.envs.design.shape.history import Design
from rlgen.envs.design.shape.space import Box, Cylinder, DesignSpace
from rlgen.envs.design.task.experts import EXPERTS

CONE = ("cylinder", "add", {"radius_low": 30, "radius_high": 40, "height": 80})
ROUND = ("cylinder", "add", {"radius_low": 30, "radius_high": 30, "height": 80})
HEX = ("prism", "add", {"sides": 6, "radius": 40, "height": 60})
BLOCK = ("box", "add", {"size_x": 60, "size_y": 40, "size_z": 50})
BOWL = ("revolve", "add", {"radius_low": 30, "radius_middle": 45, "radius_high": 40, "height": 80})
DISC = ("cylinder", "add", {"radius_low": 30, "radius_high": 20, "height": 30, "z": 30})
HOLLOW = ("hollow", None, {"wall": 3, "floor": 5})
STRETCH = ("scale", "uniform", {"factor_x": 1.2, "factor_z": 0.8})
LOWER = ("cut_top", None, {"keep": 0.7})
# A design for each operation and way to say it; none of them needs an embedded solid.
EXACT = {
    "cone hollow": (CONE, HOLLOW),
    "prism hollow": (HEX, HOLLOW),
    "box hollow": (BLOCK, HOLLOW),
    "bowl hollow": (BOWL, HOLLOW),
    "bowl stretched, cut, hollow": (BOWL, STRETCH, LOWER, HOLLOW),
    "box stretched, cut, hollow": (BLOCK, STRETCH, LOWER, HOLLOW),
    "taper of a cylinder": (ROUND, ("taper", None, {"growth": 0.3}), HOLLOW),
    "taper of a prism": (HEX, ("taper", None, {"growth": -0.3})),
    "taper of a box": (BLOCK, ("taper", None, {"growth": 0.4})),
    "free scale": (CONE, ("scale", "free", {"factor_x": 1.2, "factor_y": 0.8, "factor_z": 1.0})),
    "ring cut by the table": (("ring", "add", {"radius": 30, "tube": 6}),),
    "drills": (
        BLOCK,
        *(("drill", "z", {"radius": 5, "x": 9}), ("drill", "x", {"radius": 6, "z": 20})),
        ("drill", "y", {"radius": 4, "x": -15, "z": 35}),
    ),
    "patterns": (
        BLOCK,
        ("prism", "add", {"sides": 5, "radius": 12, "height": 30, "x": 30, "y": 15, "z": 10}),
        ("mirror", "x", {}),
        ("mirror", "y", {}),
        ("polar", None, {"copies": 3}),
        ("mirror", "stack", {}),
    ),
    "cut and common": (
        BLOCK,
        ("cylinder", "cut", {"radius_low": 12, "radius_high": 5, "height": 30, "z": 25}),
        ("revolve", "common", {"radius_low": 30, "radius_middle": 30, "radius_high": 10}
         | {"height": 45, "z": 3}),
    ),
}  # fmt: skip
EMBEDDED = {
    "twist": (BLOCK, ("twist", None, {"angle": 60})),
    "bend": (ROUND, ("bend", "x", {"angle": 20}), ("drill", "y", {"radius": 5, "z": 30})),
    "general hollow": (BLOCK, ("cylinder", "add", CONE[2] | {"x": 10}), HOLLOW),
}
OPENSCAD = shutil.which("openscad")


def same(text: str, design: Design, share: float = 1e-6) -> None:
    body, solid = interpret(text), design.solid
    assert body.volume() == pytest.approx(solid.volume, rel=share)
    assert body.bounding_box() == pytest.approx(solid.bounds.ravel().tolist(), abs=1e-3)
    assert (body - solid.body).volume() < 10 * share * solid.volume


@pytest.mark.parametrize("name", EXPERTS)
def test_openscad_of_experts(name: str) -> None:
    """Invariant 29."""
    text = openscad(expert_design(name))
    assert "polyhedron" not in text
    same(text, expert_design(name))


@pytest.mark.parametrize("name", EXACT)
def test_openscad_of_each_operation(name: str) -> None:
    """Invariant 29."""
    text = openscad(built(*EXACT[name]))
    assert "polyhedron" not in text
    same(text, built(*EXACT[name]))


@pytest.mark.parametrize("seed", range(40))
def test_openscad_of_random_designs(seed: int) -> None:
    """Invariant 29."""
    design = random_design(seed)
    same(openscad(design), design)


@pytest.mark.parametrize("segments", [16, 48])
def test_circles_have_the_sides_of_the_space(segments: int) -> None:
    design = built(BOWL, HOLLOW, space=DesignSpace(segments=segments))
    text = openscad(design)
    assert f"$fn = {segments};" in text
    same(text, design)


@pytest.mark.parametrize("name", EMBEDDED)
def test_what_has_no_counterpart_is_embedded(name: str) -> None:
    design = built(*EMBEDDED[name])
    text = openscad(design)
    assert text.count("polyhedron(") == 1
    assert all(str(record) in text for record in design.records)
    same(text, design)


def test_space_and_keep_out() -> None:
    keep_out = (Box((-10, -10, -1), (10, 10, 5)), Cylinder((25, 0), 6, -1, 30))
    space = DesignSpace(size=(70, 70, 60), keep_out=keep_out)
    design = built(("box", "add", {f"size_{axis}": 80 for axis in "xyz"}), LOWER, space=space)
    text = openscad(design)
    assert "polyhedron" not in text
    assert "space();" in text
    assert "keep_out();" in text
    same(text, design)
    assert not plans.exact(design).reasons


def test_what_loses_its_foot_drops() -> None:
    upper = ("box", "common", {"size_x": 100, "size_y": 100, "size_z": 30, "z": 12})
    design = built(BOWL, upper)
    text = openscad(design)
    assert design.records[1].drop > 10
    assert "polyhedron" not in text
    same(text, design)
    assert "box2_drop" in cadquery(design)


def test_a_drop_into_a_keep_out_volume_is_embedded() -> None:
    """The kernel carves again after the drop, a script would not."""
    space = DesignSpace(keep_out=(Box((-10, -10, -1), (10, 10, 5)),))
    upper = ("box", "common", {"size_x": 100, "size_y": 100, "size_z": 30, "z": 12})
    design = built(BLOCK, upper, space=space)
    assert "polyhedron" in openscad(design)
    same(openscad(design), design)


def test_loose_pieces_are_embedded_or_picked() -> None:
    """OpenSCAD cannot pick a piece, CadQuery can."""
    wall = ("box", "cut", {"size_x": 10, "size_y": 60, "size_z": 60, "x": 10})
    design = built(BLOCK, wall)
    assert design.records[1].discarded == 1
    assert "polyhedron" in openscad(design)
    same(openscad(design), design)
    assert "largest(step_2)" in cadquery(design)


def test_each_operation_is_a_module_with_its_units() -> None:
    design = built(CONE, HOLLOW)
    text = openscad(design)
    assert re.findall(r"^module (\w+)", text, re.M) == ["step_1_cylinder", "step_2_hollow"]
    assert all(f"  // {record}\n" in text for record in design.records)
    assert text.endswith("step_2_hollow();\n")
    assert text.isascii()


@pytest.mark.skipif(OPENSCAD is None, reason="openscad is not installed")
@pytest.mark.parametrize("name", [*EXPERTS, "bowl hollow", "taper of a prism", "drills", "twist"])
def test_openscad_program(name: str, tmp_path: Path) -> None:
    """Invariant 29: the real program, whose files have six digits."""
    design = expert_design(name) if name in EXPERTS else built(*{**EXACT, **EMBEDDED}[name])
    (tmp_path / "a.scad").write_text(openscad(design))
    command = [str(OPENSCAD), "-o", "a.stl", "a.scad"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "WARNING" not in done.stderr
    volume = mass_properties(load(tmp_path / "a.stl")).volume
    assert volume == pytest.approx(design.solid.volume, rel=5e-5)


# CadQuery


NAMES = (*EXPERTS, *EXACT, *EMBEDDED, *(f"random {seed}" for seed in range(24)))


def sample(name: str) -> Design:
    if name in EXPERTS:
        return expert_design(name)
    if name.startswith("random"):
        return random_design(int(name.split()[1]))
    return built(*{**EXACT, **EMBEDDED}[name])


@pytest.mark.parametrize("seed", range(12))
def test_cadquery_text_is_python_that_imports_cadquery_only(seed: int) -> None:
    design = random_design(seed)
    text = cadquery(design)
    tree = ast.parse(text)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imports] == ["import cadquery as cq"]
    last = tree.body[-1]
    assert isinstance(last, ast.If)
    assert ast.unparse(last.test) == "__name__ == '__main__'"
    assert ast.unparse(last.body[-1]).startswith("cq.exporters.export(design")
    assert all(str(record) in text for record in design.records)
    assert text.isascii()


@pytest.mark.parametrize("name", EXACT)
def test_exact_where_there_is_a_counterpart(name: str) -> None:
    assert plans.exact(built(*EXACT[name])).reasons == ()
    assert "facets" not in cadquery(built(*EXACT[name]))


def test_dimensions_are_named_and_all_used() -> None:
    for name in (*EXACT, *EMBEDDED):
        tree = ast.parse(cadquery(sample(name)))
        constants = {
            node.targets[0].id
            for node in tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Constant)
        }
        used = {
            n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)
        }
        assert constants <= used, (name, constants - used)
    assert {"cylinder1_height", "hollow2_wall"} <= set(
        re.findall(r"\w+", cadquery(built(CONE, HOLLOW)))
    )


def test_steps_that_are_embedded_are_said_so() -> None:
    for name in ("bend", "general hollow"):
        design = built(*EMBEDDED[name])
        text = cadquery(design)
        assert "embedded as facets" in text
        assert len(plans.exact(design).reasons) == 1


def test_facets_and_curves_are_not_stretched_together() -> None:
    tube = ("ring", "add", {"radius": 20, "tube": 6, "z": 40})
    plan = plans.exact(built(BLOCK, ("bend", "x", {"angle": 20}), tube, STRETCH))
    assert [bool(step.mesh) for step in plan.steps] == [False, True, False, True]
    plan = plans.exact(built(BLOCK, ("bend", "x", {"angle": 20}), STRETCH, tube))
    assert [bool(step.mesh) for step in plan.steps] == [False, True, False, False]


def test_curves_that_are_stretched_later_are_splines() -> None:
    """Regression: OpenCascade lost half of the volume of a stretched, trimmed cone."""
    assert cadquery(built(BLOCK, DISC, STRETCH)).count(".toNURBS()") == 1
    assert ".toNURBS()" not in cadquery(built(BLOCK, STRETCH, DISC))


def test_fine_facets_approach_the_round_solid() -> None:
    """Invariant 29: n / (2 pi) sin(2 pi / n) for a cylinder."""
    design = built(ROUND)
    sides = 4 * 32
    factor = 32 / sides * math.sin(2 * math.pi / 32) / math.sin(2 * math.pi / sides)
    assert design.solid.volume / plans.exact(design).volume == pytest.approx(factor, rel=1e-9)


def test_an_empty_design_has_no_script() -> None:
    for write in (openscad, cadquery):
        with pytest.raises(UserError, match="empty"):
            write(Design())


def test_the_text_is_the_same_every_time() -> None:
    for write in (openscad, cadquery):
        assert write(random_design(7)) == write(random_design(7))


def run(text: str) -> Any:
    names: dict[str, Any] = {"__name__": "design"}
    exec(compile(text, "design.py", "exec"), names)
    return names["design"]


def test_cadquery_volume_is_that_of_the_round_solid() -> None:
    """Invariant 29."""
    pytest.importorskip("cadquery")
    factor = 32 / (2 * math.pi) * math.sin(2 * math.pi / 32)
    design = built(ROUND)
    assert design.solid.volume / run(cadquery(design)).Volume() == pytest.approx(factor, rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_cadquery_scripts_run(name: str) -> None:
    """Invariant 29: a valid solid of the volume that fine facets approach."""
    pytest.importorskip("cadquery")
    design = sample(name)
    shape, plan = run(cadquery(design)), plans.exact(design)
    assert shape.isValid()
    assert len(shape.Solids()) == 1
    assert shape.Volume() == pytest.approx(plan.volume, rel=0.01)
    # OpenCascade's own box may be that of a face before it was trimmed.
    points = np.array([point.toTuple() for point in shape.tessellate(0.1)[0]])
    assert points.min(0) == pytest.approx(design.solid.bounds[0], abs=1.0)
    assert points.max(0) == pytest.approx(design.solid.bounds[1], abs=1.0)


def test_cadquery_twist_turns_the_right_way() -> None:
    pytest.importorskip("cadquery")
    shape = run(cadquery(built(BLOCK, ("twist", None, {"angle": 60}))))
    corner = max((v.Center() for v in shape.Vertices() if v.Center().z > 49), key=lambda c: c.y)
    turn = math.radians(60)
    assert corner.y == pytest.approx(30 * math.sin(turn) + 20 * math.cos(turn), abs=0.2)
    assert corner.x == pytest.approx(30 * math.cos(turn) - 20 * math.sin(turn), abs=0.2)


# Shapes


def test_split_of_a_curve_is_on_the_curve() -> None:
    controls, t = (10.0, 40.0, 20.0), 0.3
    point = (1 - t) ** 2 * 10 + 2 * t * (1 - t) * 40 + t * t * 20
    below, above = split(controls, t)
    assert below[-1] == above[0] == pytest.approx(point)
    assert (below[0], above[-1]) == (10.0, 20.0)


def test_taper_of_a_curve_multiplies_its_radii() -> None:
    shape = Lathe((10.0, 40.0, 20.0), 0.0, 50.0, ((10.0, 0.0), (20.0, 50.0)))
    tapered = shape.tapered(0.5)
    assert isinstance(tapered, Lathe)
    for t in (0.0, 0.25, 0.6, 1.0):
        before, after = split(shape.controls, t)[0][-1], split(tapered.controls, t)[0][-1]
        assert after == pytest.approx((1 + 0.5 * t) * before)
