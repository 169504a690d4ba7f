import math

import numpy as np
import pytest
from design_steps import assert_closed, attempt, build, lattice, random_design, volume

from rlgen.envs.design.shape.geometry import EMPTY, REFUSALS, apply, covered_share
from rlgen.envs.design.shape.operations import NAMES, OPERATIONS, Action, physical
from rlgen.envs.design.shape.solids import CLEAN_UP, Solid, cleaned
from rlgen.envs.design.shape.space import Box, Cylinder, DesignSpace

SPACE = DesignSpace()
BLOCK = ("box", "add", {"size_x": 40, "size_y": 30, "size_z": 20})
ROD = ("cylinder", "add", {"radius_low": 20, "radius_high": 20, "height": 60})


def values_of(design):
    record = design.records[-1]
    return physical(record.action, record.bounds)


def n_gon(n, radius):
    return n / 2 * math.sin(2 * math.pi / n) * radius**2


def test_box_volume():
    """Invariant 1: a box has the volume a b c."""
    design = build(BLOCK)
    v = values_of(design)
    expected = v["size_x"] * v["size_y"] * v["size_z"]
    assert design.solid.volume == pytest.approx(expected, rel=1e-9)
    assert volume(design.mesh) == pytest.approx(expected, rel=1e-9)
    assert design.solid.n_triangles == 12


@pytest.mark.parametrize("segments", [32, 48, 96])
def test_cylinder_and_cone_volume(segments):
    """Invariant 1: n/2 sin(2 pi / n) r2 h; a frustum has the mean (a2 + a b + b2) / 3 of r2."""
    cone = ("cylinder", "add", {"radius_low": 30, "radius_high": 12, "height": 70})
    for step in (ROD, cone):
        design = build(step, space=DesignSpace(segments=segments))
        v = values_of(design)
        a, b = v["radius_low"], v["radius_high"]
        expected = n_gon(segments, 1.0) * (a * a + a * b + b * b) / 3 * v["height"]
        assert design.solid.volume == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("sides", range(3, 9))
def test_prism_volume(sides):
    """Invariant 1, for prisms of 3 to 8 sides."""
    design = build(("prism", "add", {"sides": sides, "radius": 25, "height": 40}))
    v = values_of(design)
    expected = n_gon(sides, v["radius"]) * v["height"]
    assert design.solid.volume == pytest.approx(expected, rel=1e-9)
    assert design.solid.bounds[1, 0] == pytest.approx(v["radius"])  # a corner towards +x


def test_ring_volume_by_pappus():
    """The tube's octagon times the perimeter of the 32-gon its centre describes, about."""
    design = build(
        ("box", "add", {"size_x": 9, "size_y": 9, "size_z": 60}),
        ("ring", "add", {"radius": 20, "tube": 4, "x": 0, "z": 60}),
    )
    bounds = design.solid.bounds
    assert bounds[1, 0] == pytest.approx(24, abs=0.1)
    assert bounds[1, 1] == pytest.approx(4.5, abs=0.1)  # it stands in the x-z plane
    ring = build(("ring", "add", {"radius": 20, "tube": 4}))  # its lower half is under the table
    v = values_of(ring)
    assert ring.solid.volume == pytest.approx(
        n_gon(8, v["tube"]) * n_gon(32, 1.0) * 2 * v["radius"] / 2, rel=1e-2
    )


def test_revolve_follows_the_bezier_profile():
    design = build(
        ("revolve", "add", {"radius_low": 30, "radius_middle": 60, "radius_high": 20, "height": 80})
    )
    v = values_of(design)
    a, b, c = v["radius_low"], v["radius_middle"], v["radius_high"]
    t = np.linspace(0, 1, 9)
    radius = (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c
    mean = (radius[:-1] ** 2 + radius[:-1] * radius[1:] + radius[1:] ** 2) / 3
    expected = (n_gon(32, 1.0) * mean * v["height"] / 8).sum()
    assert design.solid.volume == pytest.approx(expected, rel=1e-6)


def test_inclusion_and_exclusion():
    """Invariant 2: V(A) + V(B) = V(A or B) + V(A and B), and V(A minus B) = V(A) - V(A and B)."""
    place = {"x": 13, "y": 9, "z": 7}
    tool = {"radius_low": 17, "radius_high": 9, "height": 45, **place}
    results = {}
    for mode in ("add", "cut", "common"):
        results[mode] = build(BLOCK, ("cylinder", mode, tool)).solid.volume
    block = build(BLOCK).solid.volume
    cone = build(
        ("cylinder", "add", {k: v for k, v in tool.items() if k not in place})
    ).solid.volume
    assert block + cone == pytest.approx(results["add"] + results["common"], rel=1e-6)
    assert results["cut"] == pytest.approx(block - results["common"], rel=1e-6)


def test_a_body_with_itself():
    """Invariant 2: A or A = A (no change), A minus A vanishes."""
    action = Action.named("prism", "add", sides=5, radius=20, height=20)
    solid = apply(EMPTY, action, SPACE).solid
    # Places are relative: the same base is z = 0, and the middle of a pentagon is not its origin.
    same = Action.named("prism", "add", solid.bounds, sides=5, radius=20, height=20, x=0, z=0)
    block = build(BLOCK)
    add = Action.named("box", "add", block.solid.bounds, **BLOCK[2])
    assert block.apply(add) == "no_change"
    assert block.apply(Action(add.op, 1, add.k)) == "vanished"
    assert apply(solid, Action(same.op, 1, same.k), SPACE).refused in {None, "vanished", "too_thin"}


def test_scale_multiplies_the_volume():
    """Invariant 3: by sx sy sz; uniform takes x for y."""
    for mode, factors in (("free", (1.3, 0.7, 1.2)), ("uniform", (1.3, None, 0.8))):
        names = {f"factor_{axis}": f for axis, f in zip("xyz", factors, strict=True) if f}
        design = build(BLOCK, ("scale", mode, names))
        v = values_of(design)
        expected = build(BLOCK).solid.volume * v["factor_x"] * v["factor_y"] * v["factor_z"]
        assert design.solid.volume == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("growth", [-0.5, -0.2, 0.3, 0.6])
@pytest.mark.parametrize("step", [BLOCK, ROD], ids=["box", "rod"])
def test_taper_of_a_prism(step, growth):
    """Invariant 3: V (1 + k + k2 / 3)."""
    design = build(step, ("taper", None, {"growth": growth}))
    k = values_of(design)["growth"]
    expected = build(step).solid.volume * (1 + k + k * k / 3)
    assert design.solid.volume == pytest.approx(expected, rel=1e-9)
    assert design.solid.n_triangles == build(step).solid.n_triangles


@pytest.mark.parametrize("angle", [-120, -35, 10, 75, 120])
@pytest.mark.parametrize(
    "step",
    [("box", "add", {"size_x": 80, "size_y": 30, "size_z": 70}), ROD],
    ids=["box", "rod"],
)
def test_twist_keeps_the_volume(step, angle):
    """Invariant 3: within 2 percent."""
    design = build(step, ("twist", None, {"angle": angle}))
    assert design.solid.volume == pytest.approx(build(step).solid.volume, rel=0.02)
    assert_closed(design.mesh)


@pytest.mark.parametrize("mode", ["x", "y"])
def test_bend_keeps_the_volume_and_leans(mode):
    """Pappus: bending about an axis through the centres of the sections keeps the volume."""
    design = build(ROD, ("bend", mode, {"angle": 50}))
    assert design.solid.volume == pytest.approx(build(ROD).solid.volume, rel=0.01)
    axis = "xy".index(mode)
    v, (length, half) = values_of(design), (60, 20)
    radius = length / math.radians(v["angle"])
    lean = radius - (radius - half) * math.cos(math.radians(v["angle"]))
    assert design.solid.bounds[1, axis] == pytest.approx(lean, abs=0.1)
    assert design.solid.bounds[1, 1 - axis] == pytest.approx(20, abs=0.1)


def test_rigid_motion_keeps_volume_and_area():
    """Invariant 3: for the kernel's own motions of a design."""
    solid = random_design(4).solid
    moved = Solid(solid.body.rotate((20, 30, 40)).translate((5, 6, 7)))
    assert moved.volume == pytest.approx(solid.volume, rel=1e-9)
    assert moved.body.surface_area() == pytest.approx(solid.body.surface_area(), rel=1e-9)


@pytest.mark.parametrize(("mode", "mirror"), [("x", (1, 0, 0)), ("y", (0, 1, 0))])
def test_mirror_is_symmetric(mode, mirror):
    """Invariant 4: the volume of M united with its mirror image is that of M."""
    design = build(BLOCK, (*ROD[:2], {**ROD[2], "x": 15, "y": 10}), ("mirror", mode, {}))
    body = design.solid.body
    assert (body + body.mirror(mirror)).volume() == pytest.approx(body.volume(), rel=1e-6)
    assert attempt(design, "mirror", mode) == "no_change"


@pytest.mark.parametrize("copies", range(2, 7))
def test_polar_is_symmetric(copies):
    """Invariant 4: the same for a turn by 360 / n."""
    arm = ("box", "add", {"size_x": 30, "size_y": 8, "size_z": 9, "x": 22})
    design = build(BLOCK, arm, ("polar", None, {"copies": copies}))
    body = design.solid.body
    assert (body + body.rotate((0, 0, 360 / copies))).volume() == pytest.approx(
        body.volume(), rel=1e-3
    )


def test_stack_doubles_the_height():
    design = build(ROD, ("taper", None, {"growth": -0.3}), ("mirror", "stack", {}))
    assert design.solid.bounds[1, 2] == pytest.approx(2 * design.records[0].solid.bounds[1, 2])
    assert design.solid.volume == pytest.approx(2 * design.records[1].solid.volume, rel=1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_random_designs_are_sound(seed):
    """Invariant 5: closed, Euler's formula, one piece, in the space, on the table, small enough."""
    solid = random_design(seed).solid
    if solid.is_empty:
        return
    mesh = solid.mesh
    assert_closed(mesh)
    edges = 3 * len(mesh) // 2
    assert len(mesh.vertices) - edges + len(mesh) == 2 - 2 * solid.genus
    assert sum(shell.volume() > 0 for shell in solid.body.decompose()) == 1
    low, high = SPACE.bounds
    assert (solid.bounds[0] >= low - 1e-9).all()
    assert (solid.bounds[1] <= high + 1e-9).all()
    assert mesh.vertices[:, 2].min() == 0.0
    assert len(mesh) <= SPACE.max_triangles
    assert volume(mesh) == pytest.approx(solid.volume, rel=1e-9)
    np.testing.assert_allclose(mesh.bounds, solid.bounds, atol=1e-12)


def test_clean_up_hardly_changes_the_volume():
    """Invariant 6: by less than 1e-5."""
    assert CLEAN_UP == 0.005
    for seed in range(6):
        body = random_design(seed).solid.body
        tool = body.rotate((0, 0, 17)).translate((3, 2, 1))
        raw = body - tool
        if raw.volume() > 100:
            assert cleaned(raw).volume() == pytest.approx(raw.volume(), rel=1e-5)


def test_clean_up_merges_flat_facets():
    two = ("box", "add", {"size_x": 40, "size_y": 30, "size_z": 20, "x": 20})
    assert build(BLOCK, two).solid.n_triangles == 12


def test_refused_as_vanished():
    design = build(BLOCK)
    big = {"size_x": 120, "size_y": 120, "size_z": 120}
    assert attempt(design, "box", "cut", **big) == "vanished"
    assert attempt(build(ROD), "box", "common", size_x=4, size_y=4, size_z=4, z=66) == "vanished"


def test_refused_as_disconnected():
    post = {"radius_low": 4, "radius_high": 4, "height": 30}
    assert attempt(build(ROD), "cylinder", "add", **post, z=66) == "disconnected"
    apart = build(BLOCK, ("box", "cut", {"size_x": 30, "size_y": 120, "size_z": 120, "x": -10}))
    assert attempt(apart, "mirror", "x") == "disconnected"


def test_refused_as_too_thin():
    plate = build(("box", "add", {"size_x": 4, "size_y": 50, "size_z": 50}))
    assert attempt(plate, "box", "common", size_x=4, size_y=99, size_z=99, x=-2.3) == "too_thin"
    assert attempt(plate, "hollow", wall=5, floor=5) == "too_thin"
    flat = build(("box", "add", {"size_x": 120, "size_y": 20, "size_z": 10}))
    assert attempt(flat, "bend", "x", angle=50) == "too_thin"  # would fold


def test_refused_as_too_many_triangles():
    space = DesignSpace(max_triangles=150, max_pattern_triangles=200)
    design = build(ROD, space=space)
    assert attempt(design, "cylinder", "add", radius_low=9, radius_high=9, height=99) == (
        "too_many_triangles"
    )
    assert attempt(design, "mirror", "stack") == "too_many_triangles"
    assert attempt(design, "polar", copies=3) == "too_many_triangles"


@pytest.mark.parametrize(
    ("op", "mode", "values"),
    [
        ("cut_top", None, {"keep": 1.0}),
        ("mirror", "x", {}),
        ("mirror", "y", {}),
        ("polar", None, {"copies": 5}),  # a round body is its own copy
        ("drill", "z", {"radius": 2, "x": 23.9, "y": 23.9}),
        ("box", "common", {"size_x": 120, "size_y": 120, "size_z": 120}),
        ("cylinder", "add", {"radius_low": 9, "radius_high": 9, "height": 30}),
    ],
)
def test_refused_as_no_change(op, mode, values):
    assert attempt(build(ROD), op, mode, **values) == "no_change"


def test_identity_warps_change_nothing():
    assert build(ROD).apply(lattice("twist", None, 0)) == "no_change"
    assert build(ROD).apply(lattice("bend", "x", 0)) == "no_change"


@pytest.mark.parametrize("op", ["undo", "finish"])
def test_what_belongs_to_the_environment_is_masked(op):
    assert apply(build(ROD).solid, Action(NAMES.index(op), 0, (0,) * 6), SPACE).refused == "masked"


def test_nothing_but_adding_a_part_works_on_nothing():
    for op, operation in enumerate(OPERATIONS[:14]):
        for mode in range(max(1, len(operation.modes))):
            refused = apply(EMPTY, Action(op, mode, (0,) * 6), SPACE).refused
            assert (refused is None) == (op < 5 and mode == 0)
            assert refused is None or refused in REFUSALS


def test_the_design_space_cuts_off():
    design = build(("box", "add", {"size_x": 120, "size_y": 40, "size_z": 20}))
    assert attempt(design, "box", "add", size_x=90, size_y=20, size_z=20, x=50) is None
    assert design.solid.bounds[1, 0] == 80.0
    tall = build(ROD, ("mirror", "stack", {}), ("mirror", "stack", {}))
    assert tall.solid.bounds[1, 2] == 160.0


def test_a_subtraction_keeps_the_largest_piece_and_drops_it():
    """The lower, smaller piece goes; the upper one falls onto the table."""
    design = build(ROD, ("box", "cut", {"size_x": 120, "size_y": 120, "size_z": 10, "z": 15}))
    record = design.records[-1]
    assert (record.discarded, design.solid.bounds[0, 2]) == (1, 0.0)
    cut = physical(record.action, record.bounds)
    assert record.drop == pytest.approx(cut["z"] + cut["size_z"])
    assert design.solid.bounds[1, 2] == pytest.approx(record.bounds[1, 2] - record.drop)


def test_a_closed_void_stays_and_is_counted():
    space = DesignSpace(keep_out=(Box((-5, -5, 5), (5, 5, 12)),))
    solid = build(BLOCK, space=space).solid
    assert solid.genus == -1
    assert solid.volume == pytest.approx(build(BLOCK).solid.volume - 700, rel=1e-9)


def test_keep_out_volumes_stay_free_even_after_a_drop():
    space = DesignSpace(keep_out=(Cylinder((0, 0), 10, 0, 25), Box((30, -80, 0), (80, 80, 160))))
    design = build(ROD, space=space)
    assert attempt(design, "box", "cut", size_x=120, size_y=120, size_z=20, z=0) is None
    assert design.records[-1].drop == pytest.approx(20, abs=0.1)
    core = (
        design.solid.body
        ^ build(
            ("cylinder", "add", {"radius_low": 9.5, "radius_high": 9.5, "height": 24})
        ).solid.body
    )
    assert core.volume() < 1e-6
    assert attempt(design, "box", "add", size_x=120, size_y=9, size_z=20, z=0) is None
    assert design.solid.bounds[1, 0] == pytest.approx(30)


def test_a_part_inside_a_keep_out_volume_changes_nothing():
    space = DesignSpace(keep_out=(Box((20, -80, 0), (80, 80, 160)),))
    design = build(BLOCK, space=space)
    assert design.solid.bounds[1, 0] == pytest.approx(20, abs=0.05)
    assert attempt(design, "box", "add", size_x=4, size_y=4, size_z=4, x=21.9) == "no_change"


def test_covered_share():
    wanted = (Box((-10, -10, 0), (10, 10, 10)), Box((-10, -10, 50), (10, 10, 60)))
    space = DesignSpace(keep_in=wanted)
    assert covered_share(build(BLOCK, space=space).solid, space) == pytest.approx(0.5)
    assert covered_share(EMPTY, space) == 0.0
    assert covered_share(EMPTY, SPACE) == 1.0


def test_a_refusal_returns_the_same_solid():
    """Invariant 19: object and hash are untouched."""
    solid = build(ROD).solid
    before = solid.sha256
    outcome = apply(solid, lattice("twist", None, 0), SPACE)
    assert outcome.solid is solid
    assert outcome.refused == "no_change"
    assert solid.sha256 == before


@pytest.mark.parametrize("op", range(14))
def test_unused_parameters_do_not_matter(op):
    """Invariant 20: changing what an operation does not look at gives the same mesh."""
    # Off-centre, so that mirror images and polar copies do something.
    solid = build(ROD, ("box", "add", {"size_x": 50, "size_y": 20, "size_z": 20, "x": 22})).solid
    k = (-100, -120, 90, 70, 60, -300)
    for mode in range(3):
        action = Action(op, mode, k)
        used = {position for position, _ in OPERATIONS[op].used(min(mode, 2))}
        modes = OPERATIONS[op].modes
        if mode >= len(modes):
            used = {position for position, _ in OPERATIONS[op].used(0)}
        other = Action(op, mode, tuple(n if i in used else 17 - n for i, n in enumerate(k)))
        first, second = (apply(solid, a, SPACE) for a in (action, other))
        assert first.refused == second.refused
        assert first.solid.sha256 == second.solid.sha256
        if mode >= len(modes):
            assert apply(solid, Action(op, 0, k), SPACE).solid.sha256 == first.solid.sha256
