"""Images from folders and archives, crops and tensors."""

import io
import multiprocessing
import pickle
import tarfile
from collections import Counter

import numpy as np
import pytest
import torch
from image_toys import noise
from PIL import Image

from rlgen.core.errors import UserError
from rlgen.data import ImageSet, crop, images, read_image, to_tensor, to_uint8


def encoded(image, kind="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture
def archive(folder):
    path = folder.parent / "set.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(folder, arcname=".")  # inner names begin with "./"
        link = tarfile.TarInfo("./a/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    return path


# --- one image


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGB", (1, 2, 3), (1, 2, 3)),
        ("L", 7, (7, 7, 7)),
        ("1", 1, (255, 255, 255)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 0, 51), (204, 204, 204)),  # 51 / 255 = 0.2
        ("LA", (100, 0), (255, 255, 255)),
        ("I;16", 0, (0, 0, 0)),
        ("I;16", 65535, (255, 255, 255)),
        ("I;16", 257 * 100, (100, 100, 100)),
    ],
)
def test_every_mode_becomes_rgb(mode, colour, expected):
    image = read_image(encoded(Image.new(mode, (3, 2), colour)))
    assert (image.mode, image.size) == ("RGB", (3, 2))
    assert image.getpixel((1, 1)) == expected


def test_a_palette_with_a_transparent_colour_is_put_on_white():
    image = Image.new("P", (2, 1))
    image.putpalette([200, 0, 0, 0, 0, 200])
    image.putpixel((1, 0), 1)
    read = read_image(encoded(image, transparency=0))
    assert [read.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (0, 0, 200)]


@pytest.mark.parametrize(("kind", "mode"), [("JPEG", "CMYK"), ("TIFF", "CMYK"), ("TIFF", "YCbCr")])
def test_print_and_video_colours_become_rgb(kind, mode):
    source = Image.new("RGB", (8, 8), (200, 100, 50)).convert(mode)
    # Pillow before 13 cannot read YCbCr that is not compressed.
    packed = {"compression": "tiff_lzw"} if kind == "TIFF" else {}
    read = read_image(encoded(source, kind, **packed))
    assert np.abs(np.array(read)[0, 0].astype(int) - (200, 100, 50)).max() <= 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM"])
def test_every_format_is_read_from_path_stream_and_bytes(tmp_path, kind):
    data = encoded(Image.new("RGB", (4, 3), "white"), kind)
    (tmp_path / "image").write_bytes(data)
    for source in (tmp_path / "image", io.BytesIO(data), data):
        assert np.array_equal(read_image(source), np.full((3, 4, 3), 255))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_exif_orientation_turns_the_image(kind):
    stored = noise(2, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held turned: show it a quarter turned clockwise
    read = read_image(encoded(Image.fromarray(stored), kind, exif=exif))
    assert np.array_equal(read, np.rot90(stored, -1))


def test_a_damaged_exif_block_leaves_the_image_readable():
    data = encoded(Image.new("RGB", (4, 3), "white"), "JPEG", exif=b"Exif\0\0MM\0\x2a\xff")
    assert read_image(data).size == (4, 3)


def test_mistaken_files_are_told_in_one_line(tmp_path):
    whole = encoded(Image.fromarray(noise(64, 64)), "JPEG")
    files = {
        "text.jpg": b"no image at all",
        "empty.jpg": b"",
        "cut.jpg": whole[: len(whole) // 2],
        "cut.png": encoded(Image.fromarray(noise(64, 64)))[:2000],
        "program.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "floats.tif": encoded(Image.new("F", (3, 3), 0.5), "TIFF"),
        "deep.tif": encoded(Image.new("I", (3, 3), 1 << 20), "TIFF"),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    for path in (*(tmp_path / name for name in files), tmp_path, tmp_path / "missing.jpg"):
        with pytest.raises(UserError) as error:
            read_image(path)
        assert str(error.value).startswith(f"cannot read '{path}': ")
        assert "\n" not in str(error.value)


def test_the_pixel_limit_is_checked_before_decoding(monkeypatch):
    data = encoded(Image.new("RGB", (10, 10)))
    monkeypatch.setattr(images, "PIXEL_LIMIT", 100)
    assert read_image(data).size == (10, 10)
    monkeypatch.setattr(images, "PIXEL_LIMIT", 99)
    with pytest.raises(UserError, match="10x10 exceeds 99 pixels"):
        read_image(data[:60])  # the header says enough


def test_pillows_own_limit_neither_warns_nor_refuses(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert read_image(encoded(Image.new("RGB", (10, 10)))).size == (10, 10)


# --- sets of images


def test_a_folder_is_searched_recursively_in_order(folder):
    found = ImageSet(folder)
    assert found.names == ["a/1.PNG", "a/2.png", "b/3.png", "b/4.bmp", "top.png"]
    assert [found[k][0, 0, 0] for k in range(len(found))] == [1, 2, 0, 3, 4]
    assert found[-1] is found[4]
    with pytest.raises(IndexError):
        found[5]


def test_an_archive_equals_its_folder(folder, archive):
    for tail in ("", "a", "b"):
        on_disk, packed = ImageSet(folder / tail), ImageSet(archive / tail)
        assert on_disk.names == packed.names
        assert all(map(np.array_equal, on_disk, packed))


def test_a_single_image_is_a_set(folder, archive):
    for source in (folder / "b" / "3.png", str(archive / "b" / "3.png")):
        found = ImageSet(source)
        assert (len(found), found.names, found[0].shape) == (1, ["3.png"], (8, 10, 3))


@pytest.mark.parametrize("short_side", [5, 8, 20])
def test_the_shorter_side_is_resized_and_the_aspect_kept(tmp_path, short_side):
    Image.fromarray(noise(16, 8)).save(tmp_path / "tall.png")
    Image.fromarray(noise(8, 16)).save(tmp_path / "wide.png")
    tall, wide = ImageSet(tmp_path, short_side=short_side)
    assert tall.shape == (2 * short_side, short_side, 3)
    assert wide.shape == (short_side, 2 * short_side, 3)
    expected = Image.fromarray(noise(8, 16)).resize((2 * short_side, short_side), Image.BICUBIC)
    assert np.array_equal(wide, expected)


def test_a_line_of_pixels_is_not_enlarged_beyond_the_limit(tmp_path, monkeypatch):
    Image.new("RGB", (1000, 1)).save(tmp_path / "line.png")
    monkeypatch.setattr(images, "PIXEL_LIMIT", 50_000)
    with pytest.raises(UserError, match=r"line.png' would become 8000x8; type a smaller"):
        ImageSet(tmp_path, short_side=8)[0]


def test_the_cache_keeps_what_fits_and_nothing_more(tmp_path):
    for k in range(3):
        Image.new("RGB", (4, 4), (k, k, k)).save(tmp_path / f"{k}.png")
    found = ImageSet(tmp_path, cache_bytes=100)  # an image takes 48
    before = list(found)
    assert found.cached_bytes == 96
    assert [found[k] is before[k] for k in range(3)] == [True, True, False]
    with pytest.raises(ValueError, match="read-only"):
        found[0][0, 0] = 9
    for path in tmp_path.iterdir():
        path.unlink()
    assert found[1][0, 0, 0] == 1
    with pytest.raises(UserError, match=r"cannot read '.*2.png': No such file"):
        found[2]


def _red(found, index):
    return int(found[index][0, 0, 0])


def test_a_set_may_be_pickled_and_forked(archive):
    found = ImageSet(archive)
    assert found[0][0, 0, 0] == 1
    copy = pickle.loads(pickle.dumps(found))
    assert copy.cached_bytes == 0
    assert all(map(np.array_equal, found, copy))
    with multiprocessing.get_context("fork").Pool(2) as pool:
        reds = pool.starmap(_red, [(found, k) for k in range(5)])
    assert reds == [1, 2, 0, 3, 4]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("painting", "has no 'painting'; did you mean 'paintings'?"),
        ("paintings/c/d", "has no 'c'; allowed: a, b, top.png"),
        ("paintings/top.pgn", "did you mean 'top.png'?"),
        ("empty/x", "has no 'x'; that folder is empty"),
        ("empty", "has no images; searched for: .jpg, .jpeg, .png, .webp"),
        ("set.tar/A1", "set.tar' has no images in 'A1'; did you mean 'a'?"),
        ("set.tar/b/3.pgn", "did you mean 'b/3.png'"),
        ("set.tar/b/3.PNG", "did you mean 'b/3.png'"),
        ("flat.tar/a", "flat.tar' has no images in 'a'; type '"),
        ("set.tar/xyz", "set.tar' has no images in 'xyz'; allowed: a, b"),
        ("none.tar", "none.tar' has no images; searched for"),
        ("none.tar/a", "none.tar/a' has no images; searched for"),
        ("packed.tar", "packed.tar' is damaged, or compressed"),
        ("cut.tar", "cut.tar' is damaged, or compressed"),
        ("data.npz", "data.npz' is no folder, plain .tar or image (.jpg"),
        ("data.npz/a", "data.npz' is no folder, plain .tar or image (.jpg"),
    ],
)
def test_a_mistyped_source_says_what_to_type(folder, archive, source, message):
    root = folder.parent
    (root / "empty").mkdir()
    (root / "data.npz").write_bytes(b"zip")
    (root / "cut.tar").write_bytes(archive.read_bytes()[:1800])
    with tarfile.open(root / "none.tar", "w") as tar:
        tar.add(folder / "a" / "notes.txt", arcname="notes.txt")
    with tarfile.open(root / "flat.tar", "w") as tar:
        tar.add(folder / "top.png", arcname="top.png")
    with tarfile.open(root / "packed.tar", "w:gz") as tar:
        tar.add(folder, arcname=".")
    with pytest.raises(UserError) as error:
        ImageSet(root / source)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("source", "options"), [("", {}), (".", {"short_side": 0})])
def test_impossible_options_are_refused(source, options):
    with pytest.raises(UserError):
        ImageSet(source, **options)


def test_an_unreadable_image_is_named(folder):
    (folder / "a" / "bad.jpg").write_text("no image")
    found = ImageSet(folder)
    with pytest.raises(UserError, match=r"cannot read '.*paintings/a/bad.jpg': not an image"):
        found[found.names.index("a/bad.jpg")]


# --- crops and tensors


def test_crops_are_pieces_of_the_image_and_half_are_mirrored():
    # Every pixel says where it lies.
    rows, columns = np.mgrid[0:6, 0:9].astype(np.uint8)
    image = np.stack([rows, columns, columns], axis=-1)
    generator = np.random.default_rng(0)
    seen = Counter()
    for _ in range(2000):
        patch = crop(image, 4, generator)
        mirrored = bool(patch[0, 0, 1] > patch[0, 1, 1])
        upright = patch[:, ::-1] if mirrored else patch
        top, left, _ = (int(x) for x in upright[0, 0])
        assert np.array_equal(upright, image[top : top + 4, left : left + 4])
        seen[top, left, mirrored] += 1
    assert len(seen) == 3 * 6 * 2  # every place, both ways
    assert abs(sum(n for (_, _, mirrored), n in seen.items() if mirrored) / 2000 - 0.5) < 0.05


def test_without_flip_the_same_places_are_cropped():
    image = noise(9, 9)
    plain, mirrored = np.random.default_rng(3), np.random.default_rng(3)
    for _ in range(20):
        a, b = crop(image, 5, plain, flip=False), crop(image, 5, mirrored)
        assert np.array_equal(a, b) or np.array_equal(a, b[:, ::-1])


def test_too_small_an_image_is_refused():
    assert np.array_equal(crop(noise(5, 5), 5, np.random.default_rng(0), flip=False), noise(5, 5))
    with pytest.raises(UserError, match="9x4 pixels are too few for a crop of 5x5"):
        crop(noise(4, 9), 5, np.random.default_rng(0))


def test_tensors_round_trip_exactly():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    batch = [levels, noise(16, 16)]
    tensor = to_tensor(batch)
    assert (tensor.shape, tensor.dtype) == ((2, 3, 16, 16), torch.float32)
    assert (tensor[0].min(), tensor[0].max()) == (-1, 1)
    assert tensor.is_contiguous()
    assert np.array_equal(to_uint8(tensor), np.stack(batch))


def test_values_are_rounded_and_clamped():
    values = torch.tensor([-3.0, -1.0, 0.51 / 127.5 - 1, 0.49 / 127.5 - 1, 1.0, 7.0])
    tensor = values.reshape(1, 1, 1, 6).expand(1, 3, 1, 6)
    assert to_uint8(tensor)[0, 0, :, 0].tolist() == [0, 0, 1, 0, 255, 255]
    assert to_uint8(tensor.bfloat16()).shape == (1, 1, 6, 3)
    assert values[0] == -3
