import json
import os
import subprocess
import sys

import numpy as np
import pytest
from design_steps import attempt, build, lattice, random_design

from rlgen.core.errors import UserError
from rlgen.envs.design.shape import design_json
from rlgen.envs.design.shape.history import Design
from rlgen.envs.design.shape.operations import Action, physical
from rlgen.envs.design.shape.space import Box, DesignSpace

ROD = ("cylinder", "add", {"radius_low": 20, "radius_high": 20, "height": 60})
BAR = ("box", "add", {"size_x": 70, "size_y": 12, "size_z": 15, "z": 30})
CUP = (ROD, ("hollow", None, {"wall": 3, "floor": 3}), BAR)


def test_a_new_design_is_empty():
    design = Design()
    assert len(design) == 0
    assert design.solid.is_empty
    assert not design.undo()


def test_accepted_actions_are_kept_in_canonical_form():
    design = build(ROD)
    assert design.apply(Action(12, 2, (0, 9, 9, 9, 9, 9))) is None
    assert design.actions[1] == Action(12, 0, (0, 0, 0, 0, 0, 0))
    assert [str(record) for record in design.records] == [
        "cylinder add: radius_low 19.98 mm, radius_high 19.98 mm, height 59.99 mm, "
        "at x 0.0 y 0.0 z 0.0",
        "cut_top: keep 0.70",
    ]


def test_a_refusal_leaves_everything_alone():
    """Invariant 19: solid object, history and hash are untouched."""
    design = build(*CUP)
    solid, actions, before = design.solid, design.actions, design.solid.sha256
    assert attempt(design, "cut_top", keep=1.0) == "no_change"
    assert design.solid is solid
    assert design.actions == actions
    assert design.solid.sha256 == before


def test_undo_restores_the_hash():
    """Invariant 19: an operation followed by undo."""
    design = build(*CUP)
    before, solid = design.solid.sha256, design.solid
    assert attempt(design, "twist", angle=60) is None
    assert design.solid.sha256 != before
    assert design.undo()
    assert design.solid.sha256 == before
    assert design.solid is solid


def test_records_hold_what_a_script_needs():
    design = build(ROD, ("box", "cut", {"size_x": 99, "size_y": 99, "size_z": 9, "z": 11}))
    first, second = design.records
    np.testing.assert_array_equal(first.bounds, np.zeros((2, 3)))
    np.testing.assert_array_equal(second.bounds, first.solid.bounds)
    values = physical(second.action, second.bounds)
    assert second.drop == pytest.approx(values["z"] + values["size_z"])
    assert (first.discarded, second.discarded) == (0, 1)
    assert [solid for _, solid in design.steps()] == [first.solid, second.solid]


def test_copies_are_independent():
    design = build(ROD)
    twin = design.copy()
    assert attempt(twin, "cut_top", keep=0.5) is None
    assert (len(design), len(twin)) == (1, 2)
    assert twin.first(1).actions == design.actions
    assert len(design.first(0)) == 0


def test_a_seed_is_locked_and_stays_a_prefix():
    """Invariant 24: undo stops behind the seed, whose actions begin every history."""
    seed = build(*CUP)
    design = Design(seed=seed)
    assert (design.locked, design.undoable) == (3, 0)
    assert not design.undo()
    assert attempt(design, "cut_top", keep=0.8) is None
    assert design.actions[:3] == seed.actions
    assert design.undo()
    assert not design.undo()
    assert design.solid.sha256 == seed.solid.sha256
    assert len(seed) == 3
    rng = np.random.default_rng(0)
    for _ in range(30):
        if rng.random() < 0.4:
            design.undo()
        else:
            design.apply(Action.from_floats(int(rng.integers(0, 14)), 0, rng.uniform(-1, 1, 6)))
        assert design.actions[:3] == seed.actions


def test_a_seed_in_another_space_is_rebuilt_there():
    seed = build(ROD)
    free = DesignSpace(keep_out=(Box((-80, -80, 40), (80, 80, 160)),))
    design = Design(free, seed)
    assert design.solid.bounds[1, 2] == 40.0
    assert design.locked == 1
    nowhere = DesignSpace(keep_out=(Box((-80, -80, 0), (80, 80, 160)),))
    with pytest.raises(UserError, match="refused as vanished"):
        Design(nowhere, seed)


@pytest.mark.parametrize("seed", range(8))
def test_replay_through_json_is_exact(seed):
    """Invariant 16: in the same process and through JSON text."""
    design = random_design(seed)
    again = Design.from_actions(design.actions, design.space)
    assert again.solid.sha256 == design.solid.sha256
    loaded = Design.from_json(design.to_json())
    assert loaded.solid.sha256 == design.solid.sha256
    assert loaded.actions == design.actions
    assert [s.sha256 for _, s in loaded.steps()] == [s.sha256 for _, s in design.steps()]


REPLAY = """
import os, sys
if sys.argv[1] == "one":
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from rlgen.envs.design.shape.history import Design
for line in sys.stdin.read().split("\\0"):
    print(Design.from_json(line).solid.sha256)
"""


@pytest.mark.parametrize("processors", ["one", "all"])
def test_replay_in_a_new_process_is_exact(processors):
    """Invariant 16: in a new process, with another hash seed, on one processor and on all.

    The kernel takes as many threads as the process may use processors.
    """
    if processors == "one" and not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system cannot restrict a process to one processor")
    designs = [build(*CUP), *(random_design(seed) for seed in range(20, 32))]
    result = subprocess.run(
        [sys.executable, "-c", REPLAY, processors],
        input="\0".join(design.to_json() for design in designs),
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == [design.solid.sha256 for design in designs]


def test_a_space_and_a_lock_survive_json():
    space = DesignSpace(segments=48, keep_out=(Box((30, -80, 0), (80, 80, 160)),))
    design = Design(seed=build(ROD, BAR, space=space))
    assert attempt(design, "cut_top", keep=0.7) is None
    loaded = Design.from_json(design.to_json(metrics={"tip": 20.0}, goal={"task": "Mast-v0"}))
    assert (loaded.space, loaded.locked) == (space, 2)


def test_the_file_has_the_documented_form():
    design = build(ROD)
    data = json.loads(design.to_json(metrics={"tip": 1.5}))
    assert {"format", "units", "segments", "kernel", "seed_design", "ops", "mesh_sha256"} <= set(
        data
    )
    assert (data["format"], data["units"], data["segments"]) == (1, "mm", 32)
    assert data["kernel"].startswith("manifold3d ")
    assert data["ops"] == [{"op": "cylinder", "mode": "add", "k": list(design.actions[0].k)}]
    assert data["metrics"] == {"tip": 1.5}
    assert data["mesh_sha256"] == design.solid.sha256


def test_files_are_written_whole(tmp_path):
    design = build(ROD)
    path = tmp_path / "rod.json"
    design.write_json(path)
    assert Design.load(path).actions == design.actions
    with pytest.raises(UserError, match="as JSON"):
        design.write_json(path, metrics={"tip": float("nan")})
    assert Design.load(path).actions == design.actions
    assert [file.name for file in tmp_path.iterdir()] == ["rod.json"]
    with pytest.raises(UserError, match="another place"):
        design.write_json(tmp_path / "nowhere" / "rod.json")


def edited(**changes):
    data = json.loads(build(ROD).to_json())
    for key, value in changes.items():
        if value is None:
            del data[key]
        else:
            data[key] = value
    return json.dumps(data)


def entry(**changes):
    return edited(ops=[{"op": "cylinder", "mode": "add", "k": [0] * 6, **changes}])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("__import__('os')", "not JSON"),
        ("3", "not a design"),
        ('{"name": "x"}', "not a design"),
        (edited(format=2), "format 2"),
        (edited(format="1"), "format '1'"),
        (edited(ops="box"), "'ops' is 'box'"),
        (edited(ops=[3]), "operation 1 is '3'"),
        (edited(ops=[{"op": "box"}]), "'op', 'mode' and 'k'"),
        (entry(op="cylinde"), "'cylinder'"),
        (entry(op="undo"), "unknown: 'undo'"),
        (entry(op=["box"]), "unknown"),
        (entry(mode="ad"), "no mode 'ad'"),
        (entry(mode=0), "no mode '0'"),
        (entry(k=[0] * 5), "6 whole numbers"),
        (entry(k=[513, 0, 0, 0, 0, 0]), "-512..512"),
        (entry(k=[0.5, 0, 0, 0, 0, 0]), "whole numbers"),
        (entry(k=[True, 0, 0, 0, 0, 0]), "whole numbers"),
        (entry(k="000000"), "whole numbers"),
        (entry(mode="cut"), "refused as vanished"),
        (edited(segments=31), "multiple of 4"),
        (edited(segments=True), "'segments'"),
        (edited(space={"deep": 3}), "'deep'"),
        (edited(space={"size": 3}), "3 finite numbers"),
        (edited(mesh_sha256="0" * 64), "another mesh"),
        (edited(mesh_sha256=None), "'mesh_sha256' is missing"),
        (edited(bounds=[1, 2]), "2 x 3"),
        (edited(seed_design={"steps": 9}), "9 steps"),
        (edited(ops=[{}] * 501), "at most 500"),
    ],
)
def test_bad_files_are_told_in_one_line_with_their_name(tmp_path, text, words):
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(UserError, match=words) as error:
        Design.load(path)
    assert "bad.json" in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"none\.json"):
        Design.load(tmp_path / "none.json")
    (tmp_path / "mesh.json").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(UserError, match="not a text file"):
        Design.load(tmp_path / "mesh.json")
    with pytest.raises(UserError, match="cannot read"):
        Design.load(tmp_path)


@pytest.mark.parametrize("change", [{"kernel": "manifold3d 2.0.0"}, {"platform": "plan9 mips"}])
def test_another_kernel_or_platform_warns_and_compares(change):
    """Volume and box are compared where bits need not agree."""
    text = edited(mesh_sha256="0" * 64, **change)
    with pytest.warns(UserWarning, match=r"volume differs by 0\.00% and the box by 0\.000 mm"):
        assert len(Design.from_json(text)) == 1
    Design.from_json(edited(**change))  # the same hash: nothing to warn about


def test_kernel_and_platform_are_named():
    assert design_json.kernel().split()[0] == "manifold3d"
    assert len(design_json.platform().split()) == 2


ALONE = """
import sys, types
import rlgen
envs = types.ModuleType("rlgen.envs")
envs.__path__ = [f"{path}/envs" for path in rlgen.__path__]
sys.modules["rlgen.envs"] = envs  # the package itself registers environments with Gymnasium
sys.modules["gymnasium"] = sys.modules["torch"] = sys.modules["scipy"] = None
from rlgen.envs.design.shape.history import Design
print(len(Design()))
"""


def test_neither_gymnasium_nor_torch_nor_scipy_is_imported():
    result = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True)
    assert result.stdout.strip() == "0", result.stderr


def test_unused_parameters_give_the_same_history():
    """Invariant 20, on the level of designs."""
    one, two = build(ROD), build(ROD)
    assert one.apply(lattice("taper", None, 100, 1, 2, 3, 4, 5)) is None
    assert two.apply(lattice("taper", None, 100, -5, -4, 0, 0, 9)) is None
    assert one.actions == two.actions
    assert one.to_json() == two.to_json()
