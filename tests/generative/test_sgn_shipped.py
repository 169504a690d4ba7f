"""The model that comes with rlgen: small, attributed, and it does what its domains say."""

import numpy as np
import pytest
import torch

from rlgen.data import SyntheticImages, to_tensor
from rlgen.generate import SHIPPED, main
from rlgen.generative.sgn import load_pipeline


@pytest.fixture(scope="module")
def pipeline():
    return load_pipeline(SHIPPED)


def test_it_is_small_and_says_where_it_comes_from():
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*")) < 10e6
    card = (SHIPPED / "README.md").read_text(encoding="utf-8")
    for word in ("CC BY 4.0", "Ajayi", "public domain", "python -m rlgen.train model=sgn"):
        assert word in card


def test_domains(pipeline):
    assert pipeline.domains == ("photo", "vangogh", "monet", "ukiyoe")


def test_the_photo_corner_keeps_the_photo_best(pipeline):
    photos = SyntheticImages("photos", 96, count=4)
    x = to_tensor([photos[k] for k in range(4)])
    with torch.no_grad():
        away = [(pipeline.generator(x, s) - x).abs().mean().item() for s in torch.eye(4)]
    assert away[0] < 0.85 * min(away[1:]), away


def test_corners_differ_and_edges_move_from_one_to_the_other(pipeline):
    photo = SyntheticImages("photos", 96, count=1)[0]
    for domain in pipeline.domains[1:]:
        mixes = [{"photo": 1 - w, domain: w} for w in (0.0, 0.25, 0.5, 0.75, 1.0)]
        images = [np.asarray(i).astype(float) for i in pipeline(photo, mixes).images]
        away = [np.abs(image - images[0]).mean() for image in images]
        assert away == sorted(away)
        assert away[-1] > 10


def test_the_command_needs_no_training_and_no_network(cwd, monkeypatch, capsys):
    from PIL import Image

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    Image.fromarray(SyntheticImages("photos", 64, count=1)[0]).save(cwd / "photo.jpg")
    assert main(["image=photo.jpg", "mix={vangogh: 0.5, photo: 0.5}"]) == 0
    with Image.open("out.png") as image:
        assert image.size == (64, 64)
        assert image.text["model"] == "shipped with rlgen"
    assert main(["--help"]) == 0
    assert "photo, vangogh, monet, ukiyoe" in capsys.readouterr().out
