"""``rlgen.generate``: one image, many, sheets, videos, and mistakes in one line."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rlgen.generate import main
from rlgen.generative.sgn import SGNGenerator, SGNPipeline

DOMAINS = ["photo", "vangogh", "monet"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    SGNPipeline(SGNGenerator(domains=DOMAINS, width=4, n_blocks=1)).save_pretrained(path)
    return path


@pytest.fixture
def photo(cwd: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 41, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(cwd / "photo.png")
    return cwd / "photo.png"


def read(path: str) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


def test_one_image(folder: Path, photo: Path, capsys):
    mix = "mix={vangogh: 0.3, monet: 0.2, photo: 0.5}"
    assert main([f"model={folder}", "image=photo.png", mix, "out=new/out.png"]) == 0
    image = read("new/out.png")
    assert image.size == (41, 30)
    assert image.text["mix"] == "photo 0.5 + vangogh 0.3 + monet 0.2"
    assert len(image.text["model_sha256"]) == 64
    assert "wrote new/out.png in" in capsys.readouterr().err


def test_other_mixes_give_other_images_and_the_same_mix_the_same(folder: Path, photo: Path):
    def made(mix: str) -> np.ndarray:
        assert main([f"model={folder}", "image=photo.png", f"mix={mix}"]) == 0
        return np.asarray(read("out.png"))

    first = made("{vangogh: 1}")
    assert np.array_equal(first, made("{vangogh: 100}"))
    assert not np.array_equal(first, made("{monet: 1}"))


def test_a_mix_that_does_not_sum_to_one_is_told(folder: Path, photo: Path, capsys):
    arguments = [f"model={folder}", "image=photo.png", "mix={vangogh: 0.3, monet: 0.3}"]
    assert main(arguments) == 0
    assert "note: the weights of {vangogh: 0.3, monet: 0.3} sum to 0.6" in capsys.readouterr().err
    assert read("out.png").text["mix"] == "vangogh 0.5 + monet 0.5"
    assert main([*arguments, "extrapolate=true"]) == 0
    assert read("out.png").text["mix"] == "vangogh 0.3 + monet 0.3"
    assert "lies outside of what was trained" in capsys.readouterr().err


def test_per_cent_beyond_all_is_what_is_drawn(folder: Path, photo: Path):
    def made(weight: str) -> np.ndarray:
        arguments = [f"model={folder}", "image=photo.png", f"mix={{vangogh: {weight}}}"]
        assert main([*arguments, "extrapolate=true"]) == 0
        return np.asarray(read("out.png"))

    three_hundred = made("300")
    assert read("out.png").text["mix"] == "vangogh 3"
    assert np.array_equal(three_hundred, made("3.0"))
    assert not np.array_equal(three_hundred, made("0.03"))


def test_photos_that_differ_in_their_suffix_alone_both_stay(folder: Path, photo: Path):
    (photo.parent / "in").mkdir()
    for name in ("a.png", "a.jpg"):
        read("photo.png").save(photo.parent / "in" / name)
    assert main([f"model={folder}", "image=in", "mix={monet: 1}"]) == 0
    assert sorted(p.name for p in Path("out").iterdir()) == ["a.jpg.png", "a.png.png"]
    assert main([f"model={folder}", "image=in", "mix={monet: 1}", "out=in"]) == 2


def test_a_photo_of_a_folder_that_cannot_be_read_is_skipped(folder: Path, photo: Path, capsys):
    (photo.parent / "in").mkdir()
    Path("in/a.png").write_text("no image")
    arguments = [f"model={folder}", "image=in", "mix={monet: 1}"]
    assert main(arguments) == 2
    shutil.copy(photo, photo.parent / "in" / "b.png")
    Path("in/c.png").write_text("no image")
    assert main(arguments) == 0
    assert [p.name for p in Path("out").iterdir()] == ["b.png"]
    told = capsys.readouterr().err
    assert "skipped: cannot read 'in/a.png'" in told
    assert "skipped: cannot read 'in/c.png'" in told


def test_a_sheet_of_a_strip(folder: Path, cwd: Path):
    Image.new("RGB", (900, 9), "red").save(cwd / "strip.png")
    assert main([f"model={folder}", "image=strip.png", "grid=edges", "cell=64"]) == 0


def test_a_folder_of_photos(folder: Path, photo: Path):
    (photo.parent / "in" / "deep").mkdir(parents=True)
    for name in ("in/a.png", "in/deep/b.png"):
        shutil.copy(photo, photo.parent / name)
    assert main([f"model={folder}", "image=in", "mix={monet: 1}", "out=results"]) == 0
    assert sorted(str(p) for p in Path("results").rglob("*.png")) == [
        "results/a.png",
        "results/deep/b.png",
    ]


def test_several_mixes(folder: Path, photo: Path):
    assert main([f"model={folder}", "image=photo.png", "mix=[{monet: 1}, {vangogh: 1}]"]) == 0
    assert read("out-1.png").text["mix"] == "monet 1"
    assert read("out-2.png").text["mix"] == "vangogh 1"


@pytest.mark.parametrize(("grid", "pictures"), [("simplex", (8, 1)), ("edges", (5, 3))])
def test_sheets(folder: Path, photo: Path, grid: str, pictures: tuple[int, int]):
    assert main([f"model={folder}", "image=photo.png", f"grid={grid}", "cell=32"]) == 0
    width, height = read("out.png").size
    assert width == pictures[0] * (32 + 4)
    assert height > pictures[1] * 24


def test_a_video_slides_through_the_domains(folder: Path, photo: Path, monkeypatch):
    imageio = pytest.importorskip("imageio.v2")
    frames: list[np.ndarray] = []
    real = imageio.get_writer

    def spied(*arguments, **options):  # reading the file back leaves ffmpeg's pipes open
        writer = real(*arguments, **options)
        append = writer.append_data

        def keep(frame: np.ndarray) -> None:
            frames.append(frame.astype(int))
            append(frame)

        writer.append_data = keep
        return writer

    monkeypatch.setattr(imageio, "get_writer", spied)
    arguments = [f"model={folder}", "image=photo.png", "video=slide.mp4", "frames=7"]
    assert main(arguments) == 0
    assert len(frames) == 7
    assert frames[0].shape == (30, 40, 3)  # videos have even sides
    assert abs(frames[0] - frames[3]).mean() > 1
    assert np.array_equal(frames[0], frames[-1])
    assert {p.name for p in photo.parent.iterdir()} == {"photo.png", "slide.mp4"}
    assert Path("slide.mp4").stat().st_size > 1000


def test_tiles_give_an_image_of_the_same_size(folder: Path, cwd: Path):
    Image.effect_noise((300, 200), 50).convert("RGB").save(cwd / "large.png")
    assert main([f"model={folder}", "image=large.png", "mix={monet: 1}", "tile=64"]) == 0
    assert read("out.png").size == (300, 200)


def test_half_precision_gives_nearly_the_same_image(folder: Path, photo: Path):
    images = []
    for precision in ("fp32", "bf16"):
        arguments = [f"model={folder}", "image=photo.png", "mix={monet: 1}"]
        assert main([*arguments, f"precision={precision}"]) == 0
        images.append(np.asarray(read("out.png")).astype(float))
    assert 0 < abs(images[0] - images[1]).mean() < 3


@pytest.mark.parametrize("shown", ["grid=edges", "video=slide.mp4"])
def test_one_domain_has_no_edges(photo: Path, capsys, shown: str):
    pytest.importorskip("imageio")
    SGNPipeline(SGNGenerator(domains=["night"], width=4, n_blocks=1)).save_pretrained("one")
    assert main(["model=one", "image=photo.png", shown]) == 2
    assert "the model knows night alone" in capsys.readouterr().err


MISTAKES = [
    ([], "no image is named; type image=PHOTO"),
    (["photo.png"], "type key=value, such as image=photo.png"),
    (["image=photo.png"], 'no mix is given; type mix="{vangogh: 0.5'),
    (["image=nowhere.png", "mix={photo: 1}"], "no images at 'nowhere.png'"),
    (["image=text.txt", "mix={photo: 1}"], "is no folder, plain .tar"),
    (["image=text.png", "mix={photo: 1}"], "not an image"),
    (["image=empty", "mix={photo: 1}"], "has no images"),
    (["image=pixel.png", "mix={photo: 1}"], "1x1 pixels is too small"),
    (["image=photo.png", "mix={vangoch: 1}"], "did you mean 'vangogh'?"),
    (["image=photo.png", "mix={vangogh: -1, photo: 2}"], "extrapolate=true"),
    (["image=photo.png", "mix={vangogh: high}"], "the weight of vangogh is 'high'"),
    (["image=photo.png", "mix=vangogh"], "type weights by name"),
    (["image=photo.png", "mix={photo: 1}", "out=out.txt"], "out=out.txt is no image"),
    (["image=photo.png", "grid=square"], "allowed: simplex, edges"),
    (["image=photo.png", "grid=edges", "video=a.mp4"], "type one of them"),
    (["image=photo.png", "grid=edges", "mix={photo: 1}"], "leave out mix="),
    (["image=photo.png", "video=a.webm"], "ends in .mp4"),
    (["image=photo.png", "video=a.mp4", "out=b.png"], "leave out out="),
    (["image=photo.png", "mix={photo: 1}", "tile=1"], "tile=1 is too small"),
    (["image=photo.png", "mix={photo: 1}", "precision=fp16"], "allowed: auto, fp32, bf16"),
    (["image=photo.png", "mixx={photo: 1}"], "unknown option mixx; did you mean 'mix'"),
    (["image=photo.png", "mix={photo: 1}", "model=nowhere"], "nowhere holds no trained pipeline"),
    (["image=photo.png", "mix={photo: 1}", "video=a.mp4"], "slides between mixes"),
    (["image=photo.png", "mix={photo: 1}", "out=text.txt/out.png"], "cannot write"),
]


@pytest.mark.parametrize(("arguments", "part"), MISTAKES, ids=[part for _, part in MISTAKES])
def test_mistakes_are_told_in_one_line(folder: Path, photo: Path, capsys, arguments, part):
    Path("text.txt").write_text("no image")
    Path("text.png").write_text("no image")
    Path("empty").mkdir()
    Image.new("RGB", (1, 1)).save("pixel.png")
    model = [] if any(a.startswith("model=") for a in arguments) else [f"model={folder}"]
    assert main([*arguments, *model]) == 2
    error = capsys.readouterr().err
    assert part in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
