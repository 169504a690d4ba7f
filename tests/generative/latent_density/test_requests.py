"""``rlgen.generate`` with a latent-density model, and mistakes in one line."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rlgen.generate import main
from rlgen.generative.latent_density import LatentAutoencoder, LatentCodec, LatentDensityPipeline
from rlgen.generative.latent_density.density import FullGaussian, LatentDiffusion
from rlgen.generative.sgn import SGNGenerator, SGNPipeline


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    autoencoder = LatentAutoencoder(size=8, dim=4, width=4, norm_scale=1.0)
    density = FullGaussian(dim=4)
    density.fit(LatentCodec(autoencoder).encode(torch.rand(64, 1, 8, 8) * 2 - 1))
    reference = [-20.0, 0.0]
    LatentDensityPipeline(autoencoder, density, reference=reference).save_pretrained(path)
    return path


@pytest.fixture
def pictures(cwd: Path) -> Path:
    for number, name in enumerate(("a", "b", "c")):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)
        (cwd / "photos").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(cwd / f"photos/{name}.png")
    Image.new("L", (8, 8), 255).save(cwd / "photos/white.png")
    return cwd


def read(path: str) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


def test_a_sheet_of_samples(folder: Path, cwd: Path, capsys):
    assert main([f"model={folder}", "count=9", "grid=true", "out=new/sheet.png"]) == 0
    image = read("new/sheet.png")
    assert image.size == (3 * 68, 3 * 68)
    assert image.text["seed"] == "0"
    assert "wrote new/sheet.png in" in capsys.readouterr().err


def test_an_image_is_its_seeds_alone(folder: Path, cwd: Path):
    assert main([f"model={folder}", "count=3", "seed=4", "out=many"]) == 0
    assert sorted(p.name for p in Path("many").iterdir()) == [f"00000{k}.png" for k in (4, 5, 6)]
    assert main([f"model={folder}", "seed=6"]) == 0
    assert read("out.png").size == (8, 8)
    assert np.array_equal(np.asarray(read("out.png")), np.asarray(read("many/000006.png")))
    assert not np.array_equal(np.asarray(read("out.png")), np.asarray(read("many/000005.png")))


def test_an_interpolation(folder: Path, pictures: Path):
    pair = "interpolate=photos/a.png,photos/b.png"
    assert main([f"model={folder}", pair, "steps=5", "out=line.png"]) == 0
    assert read("line.png").width == 5 * 68


def test_a_completion(folder: Path, pictures: Path):
    assert main([f"model={folder}", "complete=photos/a.png", "keep=2", "count=10"]) == 0
    sheet = read("out.png")
    assert sheet.width == 8 * 68  # the model's own two, eight completions, two more
    assert sheet.text["keep"] == "2"


def test_a_reconstruction(folder: Path, pictures: Path):
    assert main([f"model={folder}", "image=photos/a.png"]) == 0
    whole = np.asarray(read("out.png"))
    assert main([f"model={folder}", "image=photos/a.png", "keep=1"]) == 0
    assert not np.array_equal(np.asarray(read("out.png")), whole)


def test_scores_of_a_folder(folder: Path, pictures: Path, capsys):
    Image.new("RGB", (8, 8), "red").save("photos/red.png")
    assert main([f"model={folder}", "score=photos", "csv=s/scores.csv", "out=s/sheet.png"]) == 0
    told = capsys.readouterr().err
    assert "skipped red.png: an image is in colour" in told
    assert "wrote s/scores.csv and s/sheet.png" in told
    with open("s/scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    scores = [float(row["log_prob"]) for row in rows]
    assert {row["file"] for row in rows} == {"a.png", "b.png", "c.png", "white.png"}
    assert scores == sorted(scores)
    assert rows[0]["file"] == "white.png"  # the one that is no noise
    share = float(rows[-1]["share_of_held_out_below"])
    assert abs(share - np.clip((scores[-1] + 20) / 20, 0, 1)) < 1e-3
    assert all(0 < float(row["squared_error"]) < 1 for row in rows)
    assert read("s/sheet.png").size[0] == 4 * 68


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["mix={a: 1}"], "mix= is for a run of model=sgn"),
        (["precision=bf16"], "precision= is for a run of model=sgn"),
        (["count=0"], "count=0 is too small"),
        (["interpolate=a.png"], "two images are needed, interpolate=a.png,b.png"),
        (["interpolate=a.png,b.png"], "cannot read 'a.png'"),
        (["complete=a.png"], "type how many, such as keep=4"),
        (["complete=photos/a.png", "keep=9"], "keep=9; a whole number from 0 to 4"),
        (["complete=a.png", "score=photos"], "are two results"),
        (["score=empty"], "'empty' has no images"),
        (["score=missing"], "no images at 'missing'"),
        (["score=colours"], "none of the images in score=colours can be used"),
        (["image=colours/red.png"], "colours/red.png: an image is in colour (3 channels)"),
        (["temperature=0"], "temperature=0"),
        (["out=out.jpg"], "out=out.jpg is no PNG"),
        (["colour=1"], "unknown option colour"),
    ],
)
def test_mistakes_are_one_line(folder: Path, pictures: Path, capsys, arguments, part):
    Path("empty").mkdir()
    Path("colours").mkdir()
    Image.new("RGB", (8, 8), "red").save("colours/red.png")
    assert main([f"model={folder}", *arguments]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("error: ")
    assert part in told


def test_a_density_without_scores_gives_none(folder: Path, pictures: Path, capsys):
    autoencoder = LatentAutoencoder(size=8, dim=4, width=4)
    LatentDensityPipeline(autoencoder, LatentDiffusion(dim=4, hidden=8)).save_pretrained("other")
    assert main(["model=other", "score=photos"]) == 2
    assert "has a density without scores" in capsys.readouterr().err


def test_a_latent_of_another_size_is_told(folder: Path, cwd: Path, capsys):
    import shutil

    shutil.copytree(folder, "model")
    FullGaussian(dim=5).save_pretrained("model/density")
    assert main(["model=model"]) == 2
    assert "latents of 5 coordinates, the autoencoder's have 4" in capsys.readouterr().err


def test_options_of_new_images_need_such_a_model(cwd: Path, capsys):
    assert main(["count=64", "grid=true"]) == 2
    assert "count= needs model=RUN" in capsys.readouterr().err
    SGNPipeline(SGNGenerator(domains=["a", "b"], width=4, n_blocks=1)).save_pretrained("sgn")
    assert main(["model=sgn", "interpolate=a.png,b.png"]) == 2
    assert "interpolate= needs model=RUN" in capsys.readouterr().err
