"""Design a cup by hand in the environment, and take it into a CAD program.

    python examples/design_a_cup.py [FOLDER]

A barrel is hollowed, a handle is added, and the score of the task is told after each operation.
FOLDER gets the cup as STEP, GLB and STL, as scripts for OpenSCAD and CadQuery, and a picture.
"""

import sys
from pathlib import Path

import gymnasium as gym

import rlgen.envs  # noqa: F401  (registers the tasks)
from rlgen.envs.design.encodings import encode
from rlgen.envs.design.picture.sheets import write_png
from rlgen.envs.design.saving import save_design
from rlgen.envs.design.shape.operations import FINISH, Action


def main(folder: str = "cup") -> None:
    """Builds, scores and saves."""
    env = gym.make("rlgen/Vessel-v0", encoding="hybrid", render_mode="rgb_array", render_size=512)
    env.reset(seed=0)
    design = env.unwrapped.design  # type: ignore[attr-defined]

    def place(**where: float) -> dict:
        return {"bounds": design.solid.bounds, **where}

    barrel = {"radius_low": 39, "radius_middle": 45, "radius_high": 41, "height": 82}
    steps = [
        lambda: Action.named("revolve", "add", **barrel),
        lambda: Action.named("ring", "add", **place(radius=20, tube=4, x=44, y=0, z=42)),
        lambda: Action.named("hollow", wall=2.2, floor=2.4),
        lambda: Action(FINISH, 0, (0,) * 6),
    ]
    for step in steps:
        action = step()
        _, _, _, _, info = env.step(encode(action, "hybrid"))
        print(f"{action.name:8} {info.get('refused', 'done'):12} score {info['score']:.3f}")
    for target, met in info["satisfactions"].items():
        print(f"  {target:10} {info['metrics'][target]:8.2f}  met by {met:.0%}")
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    for suffix in (".step", ".glb", ".stl", ".scad", ".py", ".json"):
        save_design(design, out / f"cup{suffix}")
    write_png(env.render(), out / "cup.png")
    print(f"saved in {out}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
