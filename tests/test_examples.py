"""The example scripts run."""

import runpy
from pathlib import Path

import pytest
import torch
from PIL import Image

from rlgen.data import SyntheticImages
from rlgen.generative.latent_density import LatentAutoencoder, LatentDensityPipeline
from rlgen.generative.latent_density.density import LDE

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_sb3_pipeline(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    script = runpy.run_path(str(EXAMPLES / "sb3_pipeline.py"))
    mean = script["main"](total_timesteps=2560, folder=tmp_path)
    assert 8 < mean <= 500
    assert f"return {mean:.1f} +-" in capsys.readouterr().out
    names = {path.name for path in tmp_path.iterdir()}
    assert {"model.zip", "normalizer.pkl", "evaluations.npz", "rl_model_2560_steps.zip"} <= names


def test_mix_domains(cwd: Path, capsys: pytest.CaptureFixture) -> None:
    Image.fromarray(SyntheticImages("photos", 48, count=1)[0]).save(cwd / "photo.png")
    script = runpy.run_path(str(EXAMPLES / "mix_domains.py"))
    script["main"]("photo.png")
    assert "domains: photo, vangogh, monet, ukiyoe" in capsys.readouterr().out
    names = {f"mix-{k}.png" for k in range(4)} | {"mix-beyond.png", "photo.png"}
    assert {path.name for path in cwd.iterdir()} == names


def test_options_four_rooms(cwd: Path, capsys: pytest.CaptureFixture) -> None:
    script = runpy.run_path(str(EXAMPLES / "options_four_rooms.py"))
    script["main"](16_384, "map.png")
    assert "steps to the goal; see map.png" in capsys.readouterr().out
    with Image.open(cwd / "map.png") as picture:
        assert len(picture.convert("RGB").getcolors(10**6)) > 100


def test_design_a_cup(cwd: Path, capsys: pytest.CaptureFixture) -> None:
    script = runpy.run_path(str(EXAMPLES / "design_a_cup.py"))
    script["main"]("cup")
    told = capsys.readouterr().out
    assert "hollow   done         score 0.98" in told
    names = {path.name for path in (cwd / "cup").iterdir()}
    assert names == {f"cup{s}" for s in (".step", ".glb", ".stl", ".scad", ".py", ".json", ".png")}


def test_disentangled_dqn(cwd: Path, capsys: pytest.CaptureFixture) -> None:
    script = runpy.run_path(str(EXAMPLES / "disentangled_dqn.py"))
    script["main"](400, "out")
    assert "coordinate 0 mapped" in capsys.readouterr().out
    names = {path.name for path in (cwd / "out").iterdir()}
    assert names == {"config.json", "diffusion_pytorch_model.safetensors"}


def test_sample_faces(cwd: Path, capsys: pytest.CaptureFixture) -> None:
    torch.manual_seed(0)
    autoencoder = LatentAutoencoder(size=8, channels=3, dim=4, width=4, output_range=(-1.0, 1.0))
    LatentDensityPipeline(autoencoder, LDE(dim=4, components=2)).save_pretrained(cwd / "run")
    script = runpy.run_path(str(EXAMPLES / "sample_faces.py"))
    script["main"]("run", count=8)
    assert "the most usual of 8: number" in capsys.readouterr().out
    names = {"faces.png", "most-usual.png", "completed.png", "run"}
    assert {path.name for path in cwd.iterdir()} == names
