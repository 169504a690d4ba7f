"""The page's own JavaScript, run by node where there is one."""

import json
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from gallery_items import Page, box, item

from rlgen.envs.design.exhibit.gallery import write_gallery
from rlgen.envs.design.exhibit.gallery_markup import SCRIPTS
from rlgen.envs.design.exhibit.selection import non_dominated

NODE = shutil.which("node")
PAGE = resources.files("rlgen.envs.design.exhibit") / "page"

pytestmark = pytest.mark.skipif(NODE is None, reason="needs node")


def run(script: str, *names: str) -> object:
    source = "\n".join((PAGE / name).read_text(encoding="utf-8") for name in names)
    assert NODE is not None
    done = subprocess.run(
        [NODE, "-"],
        input=f"{source}\nconsole.log(JSON.stringify((() => {{{script}}})()));",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)


def test_all_scripts_are_valid_together() -> None:
    source = "\n".join((PAGE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    assert NODE is not None
    subprocess.run([NODE, "--check", "-"], input=source, text=True, check=True, timeout=60)


def test_the_viewer_reads_the_mesh(tmp_path: Path) -> None:
    mesh = box(30, 40.1, 60)
    page = Page(write_gallery([item("a", mesh=mesh)], tmp_path, "t", {}))
    element = {
        "textContent": page.scripts["mesh-0"],
        "dataset": {"vertices": len(mesh.vertices), "triangles": len(mesh)},
    }
    found = run(
        f"""const mesh = decodeMesh({json.dumps(element)}), faces = faceNormals(mesh);
        const flat = corners(mesh, faces, false), smooth = corners(mesh, faces, true);
        return [...[mesh.vertices, mesh.triangles, faces.normals, faces.areas].map((a) => [...a]),
          featureEdges(mesh, faces.normals).length / 6,
          flat.normals.every((x, i) => Math.abs(x - smooth.normals[i]) < 1e-6)];""",
        "mesh.js",
    )
    vertices, triangles, normals, areas, edges, same = found
    np.testing.assert_array_equal(vertices, mesh.vertices.astype(np.float32).ravel())
    np.testing.assert_array_equal(triangles, mesh.triangles.ravel())
    expected = mesh.area_vectors
    np.testing.assert_allclose(areas, np.linalg.norm(expected, axis=1), rtol=1e-5)
    unit = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(np.reshape(normals, (-1, 3)), unit, atol=1e-5)
    assert edges == 12  # and not the diagonals of the faces
    assert same  # right angles stay sharp when smoothed


def test_the_scatters_front_is_that_of_selection() -> None:
    values = np.random.default_rng(8).integers(0, 9, (50, 2))
    points = [{"id": i, "gain": row} for i, row in enumerate(values.tolist())]
    found = run(f"return paretoFront({json.dumps(points)}).map((p) => p.id);", "charts.js")
    assert sorted(found) == np.flatnonzero(non_dominated(values)).tolist()


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (3.1, 4.9, [3.5, 4, 4.5]),
        (-0.02, 0.02, [-0.02, -0.01, 0, 0.01, 0.02]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert run(f"return ticks({low}, {high}, 5);", "charts.js") == pytest.approx(expected)
