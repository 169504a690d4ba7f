import os
import subprocess
import sys

import numpy as np
import pytest
from manifold3d import Manifold
from mechanics_solids import box, cylinder, mesh_of, mug, turned

from rlgen.core.errors import MissingExtraError, UserError
from rlgen.envs.design.measure.balance import rest_pose
from rlgen.envs.design.measure.mass import mass_properties
from rlgen.envs.design.measure.referee import Agreement, agreement, draw, holds_at, simulate_rest
from rlgen.envs.design.mesh import EMPTY_MESH, Mesh


@pytest.fixture
def _mujoco() -> None:
    pytest.importorskip("mujoco")


def random_body(random: np.random.Generator) -> Mesh:
    """One to three boxes, cones and prisms, united; it may or may not stand."""
    solid = Manifold()
    for part in range(random.integers(1, 4)):
        sides, height = random.uniform(8, 45, 2), random.uniform(10, 100)
        made = (
            box(*random.uniform(10, 90, 3)),
            cylinder(*sides, height),
            cylinder(*sides, height, int(random.integers(3, 9))),
        )[random.integers(3)].rotate((0, 0, random.uniform(0, 360)))
        place = (*random.uniform(-20, 20, 2), part and random.uniform(0, 50))
        solid += made.translate(place)
    largest = max(solid.decompose(), key=Manifold.volume)
    mesh = mesh_of(largest)
    return mesh.moved(None, np.array([0, 0, -mesh.bounds[0, 2]]))


@pytest.mark.usefixtures("_mujoco")
def test_the_simulation_agrees_with_the_quasi_static_evaluation() -> None:
    """Invariant 31: holds 5 degrees below and falls 3 degrees above; ``upright`` agrees."""
    random = np.random.default_rng(1)
    bodies = [random_body(random) for _ in range(70)]
    results = [agreement(body) for body in bodies]
    agreed = sum(result.upright == result.simulated_upright for result in results)
    assert agreed >= 0.95 * len(results)
    assert not all(result.upright for result in results)
    middle = [result for result in results if 9 <= result.tip <= 45]
    assert len(middle) >= 30
    assert all(result.holds_below for result in middle)
    assert sum(not result.falls_above for result in middle) <= 1


@pytest.mark.usefixtures("_mujoco")
def test_a_mug_stays_where_it_was_put() -> None:
    mesh = mesh_of(mug()).moved(None, np.array([12.0, -7, 0]))
    found = simulate_rest(mesh)
    assert found.upright
    assert found.tilt < 0.1
    np.testing.assert_allclose(mesh.moved(*found.pose).vertices, mesh.vertices, atol=0.1)


@pytest.mark.usefixtures("_mujoco")
def test_a_cone_on_its_tip_ends_as_the_quasi_static_pose_says() -> None:
    mesh = mesh_of(cylinder(0, 30, 60))
    found = simulate_rest(mesh)
    assert not found.upright
    pose = rest_pose(mesh, mass_properties(mesh))
    lean = np.degrees(np.arccos(pose.rotation[2, 2]))
    assert found.tilt == pytest.approx(lean, abs=1.0)
    assert mesh.moved(*found.pose).bounds[0, 2] == pytest.approx(0, abs=0.2)


@pytest.mark.usefixtures("_mujoco")
def test_a_push_that_is_hard_enough_topples() -> None:
    """Energy: a tower 20 x 20 x 100 must lift its centre by sqrt(10^2 + 50^2) - 50 = 0.99 mm."""
    tower = mesh_of(box(20, 20, 100))
    assert simulate_rest(tower, push=0.06).upright
    assert not simulate_rest(tower, push=0.5, azimuth=90).upright


@pytest.mark.usefixtures("_mujoco")
def test_the_direction_of_the_tilt_counts() -> None:
    plank = turned(mesh_of(box(20, 80, 60)), np.array([0.0, 0, 1]), 30)
    tip = np.degrees(np.arctan(10 / 30))
    assert holds_at(plank, tip - 3, 30)
    assert not holds_at(plank, tip + 3, 30)
    assert not holds_at(plank, -tip - 3, 30)  # the other way
    assert holds_at(plank, tip + 3, 120)  # along the plank


@pytest.mark.usefixtures("_mujoco")
def test_same_numbers_every_time() -> None:
    mesh = turned(mesh_of(mug()), np.array([1.0, 0, 0]), 20)
    first, second = simulate_rest(mesh, 0.5), simulate_rest(mesh, 0.5)
    assert first.tilt == second.tilt
    np.testing.assert_array_equal(first.pose[0], second.pose[0])


@pytest.mark.usefixtures("_mujoco")
def test_large_hulls_are_simplified_without_harm() -> None:
    ball = Manifold.sphere(40, 96).scale((1, 1, 0.6)).trim_by_plane((0, 0, 1), -15)
    mesh = mesh_of(ball.translate((0, 0, 15)))
    assert len(Manifold.hull_points(mesh.vertices).to_mesh64().vert_properties) > 400
    result = agreement(mesh)
    assert result == Agreement(result.tip, True, True, True, True)


@pytest.mark.usefixtures("_mujoco")
def test_nothing_stands_nowhere() -> None:
    assert not simulate_rest(EMPTY_MESH).upright
    assert not holds_at(EMPTY_MESH, 0, 0)
    assert not agreement(EMPTY_MESH).upright


@pytest.mark.usefixtures("_mujoco")
def test_mistakes_are_told() -> None:
    with pytest.raises(UserError, match="tilt of the table = 91 degrees; give -90 to 90"):
        holds_at(EMPTY_MESH, 91, 0)
    with pytest.raises(UserError, match="picture of 5 pixels; give 16 to 4096"):
        draw(EMPTY_MESH, 5)


def test_without_mujoco_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mujoco", None)
    mesh = mesh_of(box(9, 9, 9))
    for call in (simulate_rest, agreement, draw, lambda body: holds_at(body, 1, 0)):
        with pytest.raises(MissingExtraError, match=r'pip install "rlgen\[mujoco\]"'):
            call(mesh)


def test_importing_it_does_not_import_mujoco() -> None:
    """Invariant 32, the part about this module."""
    code = "import sys, rlgen.envs.design.measure.referee as r; sys.exit('mujoco' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


PICTURES = """
import numpy as np
from rlgen.core.errors import UserError
from rlgen.envs.design.mesh import EMPTY_MESH, Mesh
from rlgen.envs.design.measure.referee import draw
corners = np.array([[x, y, z] for x in (-20, 20) for y in (-20, 20) for z in (0, 60.0)])
faces = [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
         [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]]
box = Mesh(corners, np.array(faces))
try:
    first, second, empty = draw(box, 96), draw(box, 96), draw(EMPTY_MESH, 96)
except UserError as error:
    print("UserError:", error)
else:
    def blue(picture):
        red, _, blue = picture.astype(int).transpose(2, 0, 1)
        return (blue > red + 30).mean()
    print(first.shape, first.dtype, (first == second).all())
    print(0.05 < blue(first) < 0.9, blue(empty) == 0)
"""


@pytest.mark.usefixtures("_mujoco")
@pytest.mark.parametrize("backend", ["egl", "glfw"])
def test_a_picture_or_one_line_why_not(backend: str) -> None:
    """In a process of its own: the back end is chosen when MuJoCo is imported."""
    env = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    env |= {"MUJOCO_GL": backend, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", PICTURES], env=env, capture_output=True, text=True, check=True
    )
    lines = done.stdout.strip().split("\n")
    if lines[0].startswith("UserError"):
        assert len(lines) == 1
        assert "OpenGL" in lines[0] or "MUJOCO_GL" in lines[0]
    else:
        assert lines == ["(96, 96, 3) uint8 True", "True True"]
