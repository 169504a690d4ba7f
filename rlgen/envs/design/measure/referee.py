"""MuJoCo as a referee: does a body stand, how far can it be tilted, and a picture of it.

Scope: one rigid body on a plane. Only the convex hull of a body can touch a plane, so the hull as
collision shape, with the exact mass, centre and inertia, leaves nothing out. Contacts are soft
and few, so sharp polygons tip one or two degrees early: the quasi-static ``balance`` is the
definition, this is an independent check. Needs the extra ``mujoco``, imported where used.
"""

import math
import warnings
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from manifold3d import Manifold
from numpy.typing import NDArray

from rlgen.core.errors import MissingExtraError, UserError
from rlgen.envs.design.measure.balance import rest_pose, weakest_direction
from rlgen.envs.design.measure.mass import MassProperties, mass_properties
from rlgen.envs.design.mesh import Floats, Mesh

GRAVITY = 9.81
"""m/s2."""
STEP = 0.002
"""Seconds per simulation step."""
FALLEN = 1.0
"""Degrees of lean at which a body on the tilted table has toppled. What holds leans by 0.2 at most,
and an overhang may catch soon what falls."""
UPRIGHT_TILT = 5.0
"""Degrees the simulated body may lean and be upright; soft contacts lean a little."""
MANY_VERTICES = 400
"""Hulls with more vertices are simplified, by ``HULL_TOLERANCE``."""
HULL_TOLERANCE = 0.02
"""mm."""

_WORLD = """
<mujoco>
  <option timestep="{step}" gravity="{gravity}" cone="elliptic" impratio="10"
    integrator="implicitfast"/>
  <default><geom friction="4 0.005 0.0001" solref="0.005 1"/></default>
  <asset><mesh name="hull" vertex="{vertices}"/></asset>
  <worldbody>
    <geom type="plane" size="1 1 0.1"/>
    <body pos="{position}">
      <freejoint/>
      <inertial pos="0 0 0" mass="{mass}" fullinertia="{inertia}"/>
      <geom type="mesh" mesh="hull"/>
    </body>
  </worldbody>
</mujoco>
"""

_STUDIO = """
<mujoco>
  <visual>
    <global offwidth="{size}" offheight="{size}" fovy="30"/>
    <quality shadowsize="{shadow}" offsamples="4"/>
    <headlight ambient="0.35 0.35 0.35" diffuse="0.35 0.35 0.35" specular="0 0 0"/>
  </visual>
  <asset>
    <mesh name="body" vertex="{vertices}" face="{faces}" inertia="shell"/>
    <texture type="skybox" builtin="flat" rgb1="1 1 1" width="8" height="48"/>
  </asset>
  <worldbody>
    <light pos="0.2 -0.3 0.8" dir="-0.2 0.3 -0.8" directional="true" castshadow="{casts}"
      diffuse="0.6 0.6 0.6" specular="0.1 0.1 0.1"/>
    <geom type="plane" size="1 1 0.1" rgba="0.93 0.93 0.92 1"/>
    {body}
  </worldbody>
</mujoco>
"""


@dataclass(frozen=True, eq=False)
class RefereeResult:
    """How a body stood after a while.

    Attributes:
        upright: Whether its z axis leans by less than ``UPRIGHT_TILT``.
        tilt: Degrees by which it leans.
        pose: Rotation (3, 3) and shift (3,) in mm: ``mesh.moved(*pose)`` is where it ended.
    """

    upright: bool
    tilt: float
    pose: tuple[Floats, Floats]


@dataclass(frozen=True)
class Agreement:
    """The quasi-static evaluation and the simulation side by side.

    Attributes:
        tip: Quasi-static tipping angle of the body as it was put down, degrees.
        upright: Whether the quasi-static evaluation lets it stand.
        simulated_upright: Whether the simulation does.
        holds_below: Whether it holds on a table tilted some degrees less than ``tip``.
        falls_above: Whether it topples on one tilted some degrees more.
    """

    tip: float
    upright: bool
    simulated_upright: bool
    holds_below: bool
    falls_above: bool


def simulate_rest(
    mesh: Mesh, seconds: float = 2.0, push: float = 0.002, azimuth: float = 0.0
) -> RefereeResult:
    """Puts a body on the table as it was designed, nudges it and waits.

    Args:
        mesh: A closed surface with a volume.
        seconds: Simulated time; it decides the number of steps, which is fixed.
        push: Speed at which the body starts to topple, m/s at the height of its centre; without
            any, a cone balances on its tip for ever.
        azimuth: Direction of the push, degrees from x towards y.

    Returns:
        How it stands in the end. A mesh without volume is not upright and leans by 0.

    Raises:
        MissingExtraError: MuJoCo is not installed.
        UserError: MuJoCo refuses the body.
    """
    mujoco = _mujoco("the referee")
    mass = mass_properties(mesh)
    if mass.mass <= 0:
        return RefereeResult(False, 0.0, (np.eye(3), np.zeros(3)))
    model = _model(mujoco, mesh, mass)
    data = mujoco.MjData(model)
    lift = mass.centre[2] - mesh.bounds[0, 2]
    turn = math.radians(azimuth)
    spin = push / max(1e-3 * lift, 1e-3)  # about the foot: the centre moves at the given speed
    data.qvel[:2] = push * math.cos(turn), push * math.sin(turn)
    data.qvel[3:5] = -spin * math.sin(turn), spin * math.cos(turn)
    mujoco.mj_step(model, data, nstep=round(seconds / STEP))
    rotation = np.array(data.xmat[1]).reshape(3, 3)
    tilt = _lean(data)
    shift = 1e3 * np.array(data.xpos[1]) - rotation @ mass.centre
    shift[:2] += mass.centre[:2]
    return RefereeResult(tilt < UPRIGHT_TILT, tilt, (rotation, shift))


def holds_at(mesh: Mesh, angle: float, azimuth: float, seconds: float = 2.0) -> bool:
    """Tells whether a body stands on a tilted table without toppling.

    Gravity is tilted instead of the table; friction is high enough that nothing slides.

    Args:
        mesh: A closed surface with a volume; without, it does not hold.
        angle: Tilt of the table, degrees, -90 to 90.
        azimuth: Direction in which the table goes down, degrees from x towards y.
        seconds: Simulated time; it decides the number of steps, which is fixed.

    Raises:
        MissingExtraError: MuJoCo is not installed.
        UserError: The angle is out of range, or MuJoCo refuses the body.
    """
    if not -90.0 <= angle <= 90.0:
        raise UserError(f"tilt of the table = {angle} degrees; give -90 to 90")
    mujoco = _mujoco("the referee")
    mass = mass_properties(mesh)
    if mass.mass <= 0:
        return False
    down, along = math.radians(angle), math.radians(azimuth)
    aside = GRAVITY * math.sin(down)
    model = _model(mujoco, mesh, mass)
    model.opt.gravity[:] = (
        aside * math.cos(along),
        aside * math.sin(along),
        -GRAVITY * math.cos(down),
    )
    data = mujoco.MjData(model)
    for _ in range(round(seconds / STEP / 50)):
        mujoco.mj_step(model, data, nstep=50)
        if _lean(data) > FALLEN:
            return False
    return True


def agreement(mesh: Mesh, below: float = 5.0, above: float = 3.0) -> Agreement:
    """Compares the quasi-static tipping angle of a body with simulations around it.

    Args:
        mesh: A closed surface.
        below: Degrees under the tipping angle at which the body should hold.
        above: Degrees over it at which the body should topple, in its weakest direction.

    Returns:
        Both verdicts. A body that does not stand by itself holds nowhere and falls everywhere.

    Raises:
        MissingExtraError: MuJoCo is not installed.
    """
    pose = rest_pose(mesh, mass_properties(mesh))
    simulated = simulate_rest(mesh).upright
    if not pose.upright:
        return Agreement(0.0, False, simulated, False, True)
    weakest = math.degrees(weakest_direction(pose))
    holds = holds_at(mesh, max(pose.tip - below, 0.0), weakest)
    falls = not holds_at(mesh, min(pose.tip + above, 90.0), weakest)
    return Agreement(pose.tip, True, simulated, holds, falls)


def draw(
    mesh: Mesh,
    size: int = 256,
    view: tuple[float, float] = (135.0, -25.0),
    shadow: int = 1024,
) -> NDArray[np.uint8]:
    """Draws a body on the table with MuJoCo's off-screen renderer.

    Args:
        mesh: The body; an empty one leaves the table alone.
        size: Width and height in pixels, 16 to 4096.
        view: Azimuth and elevation of the camera, degrees.
        shadow: Side of the shadow map in pixels; 0 for no shadows. MuJoCo's own 4096 makes a
            picture about ten times slower.

    Returns:
        uint8 (size, size, 3).

    Raises:
        MissingExtraError: MuJoCo is not installed.
        UserError: There is no OpenGL here, or the size is out of range.
    """
    if not 16 <= size <= 4096:
        raise UserError(f"picture of {size} pixels; give 16 to 4096")
    mujoco = _mujoco("a MuJoCo picture")
    body = len(mesh) > 0
    vertices = mesh.vertices if body else np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
    faces = mesh.triangles if body else np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
    xml = _STUDIO.format(
        size=size,
        shadow=max(shadow, 1),
        casts=str(shadow > 0).lower(),
        vertices=_numbers(1e-3 * vertices),
        faces=_numbers(faces),
        body='<geom type="mesh" mesh="body" rgba="0.36 0.55 0.74 1"/>' if body else "",
    )
    camera = mujoco.MjvCamera()
    camera.lookat[:] = 1e-3 * (mesh.bounds.mean(0) if body else np.array([0.0, 0.0, 50.0]))
    span = 1e-3 * float(np.linalg.norm(mesh.bounds[1] - mesh.bounds[0])) if body else 0.1
    camera.distance = 2.2 * span
    camera.azimuth, camera.elevation = view
    model = _compile(mujoco, xml)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # GLFW tells without a display what the error says
            with mujoco.Renderer(model, size, size) as renderer:
                renderer.update_scene(data, camera)
                picture: NDArray[np.uint8] = renderer.render()
                return picture
    except Exception as error:  # each of OpenGL's back ends has its own
        reason = str(error).split("\n")[0]
        raise UserError(
            f"no MuJoCo picture: OpenGL does not start here ({reason}); set MUJOCO_GL=egl or "
            "MUJOCO_GL=osmesa before Python starts, or use render mode rgb_array"
        ) from None


def _mujoco(what: str) -> ModuleType:
    try:
        import mujoco
    except ImportError as error:
        raise MissingExtraError(what, "mujoco") from error
    except Exception as error:  # MUJOCO_GL names a back end that is not installed
        reason = str(error).split("\n")[0]
        raise UserError(
            f"MuJoCo does not start ({reason}); unset MUJOCO_GL or install its back end"
        ) from None
    module: ModuleType = mujoco
    return module


def _model(mujoco: ModuleType, mesh: Mesh, mass: MassProperties) -> Any:
    """Returns a world with a plane and the body standing on it; SI units, origin at its centre."""
    hull = Manifold.hull_points(mesh.vertices)
    if hull.num_vert() > MANY_VERTICES:
        hull = hull.simplify(HULL_TOLERANCE)
    vertices = np.asarray(hull.to_mesh64().vert_properties)[:, :3]
    i = mass.inertia
    xml = _WORLD.format(
        step=STEP,
        gravity=_numbers([0.0, 0.0, -GRAVITY]),
        vertices=_numbers(1e-3 * (vertices - mass.centre)),
        position=_numbers([0.0, 0.0, 1e-3 * (mass.centre[2] - mesh.bounds[0, 2])]),
        mass=_numbers([1e-3 * mass.mass]),
        inertia=_numbers(1e-9 * i[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]),
    )
    return _compile(mujoco, xml)


def _compile(mujoco: ModuleType, xml: str) -> Any:
    try:
        return mujoco.MjModel.from_xml_string(xml)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"MuJoCo refuses this body ({reason}); it may be too thin") from None


def _numbers(values: Any) -> str:
    return " ".join(f"{value:.9g}" for value in np.ravel(values).tolist())


def _lean(data: Any) -> float:
    """Returns the angle in degrees between the body's z axis and the table's."""
    return math.degrees(math.acos(min(1.0, max(-1.0, float(data.xmat[1][8])))))
