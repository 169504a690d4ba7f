"""Exact STEP files and saving by suffix."""

import math
import sys
from pathlib import Path

import pytest
from design_samples import built, random_design

from rlgen.core.errors import MissingExtraError, UserError
from rlgen.envs.design.export import exact_step, load
from rlgen.envs.design.measure.mass import mass_properties
from rlgen.envs.design.saving import SUFFIXES, save_design
from rlgen.envs.design.shape.history import Design

CUP = (
    ("cylinder", "add", {"radius_low": 30, "radius_high": 30, "height": 80}),
    ("hollow", None, {"wall": 3, "floor": 5}),
)
BENT = (CUP[0], ("bend", "x", {"angle": 20}))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_suffix_is_saved(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact_step, "available", lambda: False)
    path = save_design(built(*CUP), tmp_path / f"cup{suffix}")
    assert path.stat().st_size > 200
    assert [entry.name for entry in tmp_path.iterdir()] == [f"cup{suffix}"]


@pytest.mark.parametrize("suffix", [".stl", ".glb", ".3mf", ".obj"])
def test_meshes_read_back(suffix: str, tmp_path: Path) -> None:
    design = built(*CUP)
    mesh = load(save_design(design, tmp_path / f"cup{suffix}"))
    assert mass_properties(mesh).volume == pytest.approx(design.solid.volume, rel=1e-5)


def test_json_replays(tmp_path: Path) -> None:
    design = random_design(3)
    path = save_design(design, tmp_path / "a.json")
    assert Design.load(path).solid.sha256 == design.solid.sha256


def test_mistakes_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no format '.stpp'"):
        save_design(built(*CUP), tmp_path / "cup.stpp")
    with pytest.raises(UserError, match="empty"):
        save_design(Design(), tmp_path / "cup.json")
    with pytest.raises(UserError, match="cannot be written"):
        save_design(built(*CUP), tmp_path / "missing" / "cup.scad")


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_step, "available", lambda: False)
    with pytest.raises(MissingExtraError, match=r"rlgen\[step\]"):
        exact_step.encode(built(*CUP))
    text = save_design(built(*CUP), tmp_path / "cup.step").read_text()
    assert "'faceted B-rep'" in text
    assert "rlgen[step]" in text


def test_a_design_without_exact_counterpart_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCascade is not even loaded for it."""
    monkeypatch.setattr(exact_step, "available", lambda: True)
    loaded = "OCP" in sys.modules
    text = exact_step.encode(built(*BENT), "a note").decode("ascii")
    assert "FILE_DESCRIPTION(('faceted B-rep','faceted because of: 2 bend:" in text
    assert "'a note'" in text
    assert ("OCP" in sys.modules) == loaded


def test_a_failure_of_the_kernel_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_step, "available", lambda: True)
    monkeypatch.setattr(exact_step, "script", lambda plan: "raise RuntimeError('no result')")
    text = exact_step.encode(built(*CUP)).decode("ascii")
    assert "faceted because of: OpenCascade failed with RuntimeError" in text


def test_exact_file(tmp_path: Path) -> None:
    cadquery = pytest.importorskip("cadquery")
    design = built(*CUP)
    path = save_design(design, tmp_path / "cup.step")
    text = path.read_text()
    assert "FILE_DESCRIPTION(('exact B-rep')" in text
    assert text.count("CYLINDRICAL_SURFACE") == 2
    assert exact_step.encode(design) == path.read_bytes()
    shape = cadquery.importers.importStep(str(path)).val()
    radius, height = design.solid.bounds[1, 0], design.solid.bounds[1, 2]
    wall, floor = (design.records[1].action.params[:2] + 1) / 2 * (8.0, 18.0) + 2.0
    expected = math.pi * (radius**2 * height - (radius - wall) ** 2 * (height - floor))
    assert shape.isValid()
    assert shape.Volume() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_random_designs_come_back_valid(seed: int, tmp_path: Path) -> None:
    cadquery = pytest.importorskip("cadquery")
    design = random_design(seed)
    path = save_design(design, tmp_path / "a.step")
    shape = cadquery.importers.importStep(str(path)).val()
    share = 1e-6 if b"faceted B-rep" in path.read_bytes() else 0.12
    assert shape.isValid()
    assert shape.Volume() == pytest.approx(design.solid.volume, rel=share)
