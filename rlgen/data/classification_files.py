"""Readers of files of labelled pictures; none of them can execute code.

Known are ``.npz`` (x_train, y_train, x_test, y_test and perhaps classes), the binary version of
CIFAR, IDX (MNIST's own format, also gzipped), parquet of encoded pictures, folders or a tar archive
of one folder per class, and sets of the Hugging Face hub. CIFAR's Python version is refused: it is
pickled. Pictures of folders, parquet and the hub have to be of one size, or ``size`` makes them so.
"""

import gzip
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from rlgen.core.errors import MissingExtraError, UserError
from rlgen.data.images import ImageSet, Pixels, read_image

Labels = npt.NDArray[np.int64]
Arrays = tuple[Pixels, Labels]  # (N, H, W, C) and (N,)
TEST_NAMES = ("test", "val", "validation", "valid")
LABEL_COLUMNS = ("fine_label", "label", "labels")
CIFAR_SIDE = 32
EXTRA = "hub"


class ReadSets(NamedTuple):
    """What a reader gives.

    Attributes:
        train: Pictures (N, H, W, C) and classes (N,).
        test: The same.
        classes: Names of the classes; None where the files do not tell.
    """

    train: Arrays
    test: Arrays
    classes: tuple[str, ...] | None = None


def read_sets(path: Path, size: int | None = None) -> ReadSets:
    """Reads a file or folder of any known kind.

    Args:
        path: The file or folder.
        size: Side to which pictures of folders and parquet are resized and cropped.

    Raises:
        UserError: If there is none, it is damaged, or of no known kind.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist; name an .npz file or a folder of pictures")
    if path.is_file():
        if path.suffix == ".npz":
            return read_npz(path)
        if path.suffix == ".tar":
            return read_class_folders(path, size)
        raise UserError(f"{path} is of no known kind; allowed: .npz, .tar, or a folder")
    readers: list[tuple[tuple[str, ...], Callable[[], ReadSets]]] = [
        (("*.bin",), lambda: read_cifar(path)),
        (("*-ubyte", "*-ubyte.gz"), lambda: read_idx(path)),
        (("*.parquet", "*/*.parquet"), lambda: read_parquet(path, size)),
        (("data_batch_1", "meta"), lambda: _refuse_pickles(path)),
    ]
    for patterns, read in readers:
        if any(next(path.glob(pattern), None) for pattern in patterns):
            return read()
    return read_class_folders(path, size)


def read_npz(path: Path) -> ReadSets:
    """Reads x_train, y_train, x_test, y_test, and classes where the file has them."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            absent = {"x_train", "y_train", "x_test", "y_test"} - set(file.files)
            if absent:
                raise UserError(f"{path} has no {', '.join(sorted(absent))}")
            train, test = ((file[f"x_{part}"], file[f"y_{part}"]) for part in ("train", "test"))
            names = tuple(map(str, file["classes"])) if "classes" in file.files else None
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"cannot read {path}: {str(error).splitlines()[0]}") from None
    return ReadSets(_checked(path, *train), _checked(path, *test), names)


def _checked(path: Path, images: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Arrays:
    """Returns pictures with a channel axis and flat labels, if they are such."""
    if images.ndim == 3:
        images = images[..., None]
    labels = labels.reshape(-1)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise UserError(
            f"{path}: pictures are {images.dtype} {images.shape}; uint8 (N, H, W) or (N, H, W, 3) "
            "are needed"
        )
    if len(labels) != len(images) or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"{path}: {len(images)} pictures have {len(labels)} {labels.dtype} labels")
    return images, labels.astype(np.int64)


def read_cifar(folder: Path) -> ReadSets:
    """Reads the binary version of CIFAR-10 or CIFAR-100 (fine labels).

    A record is one label, or the coarse and the fine one, and 3072 bytes: red, green, blue rows.
    """
    ten = sorted(folder.glob("data_batch_*.bin"))
    train, test = (ten, "test_batch.bin") if ten else ([folder / "train.bin"], "test.bin")
    header, names = (1, "batches.meta.txt") if ten else (2, "fine_label_names.txt")
    if not train[0].exists() or not (folder / test).exists():
        raise UserError(f"{folder} has not all .bin files of CIFAR; {test} or train files lack")
    meta, classes = folder / names, None
    if meta.exists():
        classes = tuple(meta.read_text(encoding="utf-8").split())
    return ReadSets(_cifar_records(train, header), _cifar_records([folder / test], header), classes)


def _cifar_records(paths: Sequence[Path], header: int) -> Arrays:
    length = header + 3 * CIFAR_SIDE**2
    parts = []
    for path in paths:
        data = np.fromfile(path, np.uint8)
        if not len(data) or len(data) % length:
            raise UserError(f"{path} is damaged: {len(data)} bytes are no records of {length}")
        parts.append(data.reshape(-1, length))
    records = np.concatenate(parts)
    pixels = records[:, header:].reshape(-1, 3, CIFAR_SIDE, CIFAR_SIDE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pixels), records[:, header - 1].astype(np.int64)


def read_idx(folder: Path) -> ReadSets:
    """Reads MNIST's own four files, as MNIST, Fashion-MNIST and others are published."""
    train, test = (
        _checked(folder, _idx(folder, f"{part}-images"), _idx(folder, f"{part}-labels"))
        for part in ("train", "t10k")
    )
    return ReadSets(train, test)


def _idx(folder: Path, name: str) -> Pixels:
    path = next(folder.glob(f"{name}*-ubyte*"), None)
    if path is None:
        raise UserError(f"{folder} has no {name}-idx?-ubyte")
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
        axes = data[3]
        shape = np.frombuffer(data, ">u4", axes, 4)
        if data[:3] != b"\0\0\x08":
            raise ValueError("it holds no bytes")
        return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape).copy()
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise UserError(f"cannot read {path}: {error}") from None


def read_class_folders(path: Path, size: int | None) -> ReadSets:
    """Reads ``train/CLASS/*.jpg`` and ``test/CLASS/*.jpg`` of a folder or a tar archive."""
    train = ImageSet(path / "train", short_side=size)
    test = None
    for name in TEST_NAMES:
        try:
            test = ImageSet(path / name, short_side=size)
            break
        except UserError:
            continue
    if test is None:
        raise UserError(f"{path} has train/ and no {' or '.join(TEST_NAMES)}/ beside it")
    classes = sorted({name.split("/")[0] for name in train.names if "/" in name})
    arrays = [_of_folder(path, images, classes, size) for images in (train, test)]
    return _without_colour(ReadSets(arrays[0], arrays[1], tuple(classes)))


def _of_folder(path: Path, images: ImageSet, classes: list[str], size: int | None) -> Arrays:
    labels = []
    for name in images.names:
        if name.split("/")[0] not in classes or "/" not in name:
            raise UserError(f"{path}: '{name}' is in no folder of the classes that train/ has")
        labels.append(classes.index(name.split("/")[0]))
    pixels = (images[k] for k in range(len(images)))
    return _stacked(str(path), pixels, size), np.array(labels, dtype=np.int64)


def read_parquet(folder: Path, size: int | None) -> ReadSets:
    """Reads parquet files of encoded pictures, as the Hugging Face hub stores them."""
    try:
        parquet = import_module("pyarrow.parquet")
    except ImportError:
        raise MissingExtraError(f"data={folder} holds parquet files, which", EXTRA) from None

    def part(names: Sequence[str]) -> Arrays:
        files = sorted(
            file for name in names for file in folder.rglob(f"{name}*.parquet") if file.is_file()
        )
        if not files:
            raise UserError(f"{folder} has no {' or '.join(f'{n}*.parquet' for n in names)}")
        tables = [parquet.read_table(file) for file in files]
        image, label = _columns(str(folder), tables[0].column_names)
        encoded = (row["bytes"] for t in tables for row in t.column(image).to_pylist())
        labels = np.concatenate([t.column(label).to_numpy() for t in tables])
        return _decoded(str(folder), encoded, labels, size)

    return _without_colour(ReadSets(part(("train",)), part(TEST_NAMES)))


def read_hub(name: str, size: int | None) -> ReadSets:
    """Reads a set of the Hugging Face hub, or of a local folder in its layout.

    Args:
        name: As ``datasets.load_dataset`` takes it, such as ``"uoft-cs/cifar10"``.
        size: As in :func:`read_sets`.

    Raises:
        UserError: If it cannot be had or has no such columns.
    """
    try:
        datasets = import_module("datasets")
    except ImportError:
        raise MissingExtraError(f"data=hub:{name}", EXTRA) from None
    try:
        found = datasets.load_dataset(name)
    except Exception as error:  # network, names, versions: the library raises nearly anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"data=hub:{name} cannot be had: {reason}") from None
    test = next((part for part in TEST_NAMES if part in found), None)
    if "train" not in found or test is None:
        raise UserError(f"data=hub:{name} has {', '.join(found)}; train and test are needed")
    image, label = _columns(f"hub:{name}", found["train"].column_names)

    def part(key: str) -> Arrays:
        rows = found[key].cast_column(image, datasets.Image(decode=False))
        encoded = (row["bytes"] or Path(row["path"]).read_bytes() for row in rows[image])
        return _decoded(f"hub:{name}", encoded, np.array(rows[label]), size)

    classes = getattr(found["train"].features[label], "names", None)
    return _without_colour(ReadSets(part("train"), part(test), classes and tuple(classes)))


def _columns(source: str, names: Sequence[str]) -> tuple[str, str]:
    image = next((name for name in ("img", "image") if name in names), None)
    label = next((name for name in LABEL_COLUMNS if name in names), None)
    if image is None or label is None:
        raise UserError(
            f"{source} has the columns {', '.join(names)}; img or image and "
            f"{' or '.join(LABEL_COLUMNS)} are needed"
        )
    return image, label


def _decoded(
    source: str, encoded: Iterable[bytes], labels: npt.NDArray[Any], size: int | None
) -> Arrays:
    images = (np.array(_resized(read_image(data), size)) for data in encoded)
    return _stacked(source, images, size), labels.astype(np.int64)


def _resized(image: Image.Image, size: int | None) -> Image.Image:
    if size is None or min(image.size) == size:
        return image
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def _stacked(source: str, images: Iterable[Pixels], size: int | None) -> Pixels:
    """Stacks pictures of one size, or their middle squares."""
    each = [image if size is None else _middle(image, size) for image in images]
    shapes = {image.shape for image in each}
    if len(shapes) > 1:
        raise UserError(f"{source}: pictures are of {len(shapes)} sizes; type size=32")
    return np.stack(each)


def _middle(image: Pixels, size: int) -> Pixels:
    top, left = ((side - size) // 2 for side in image.shape[:2])
    return image[top : top + size, left : left + size]


def _without_colour(sets: ReadSets) -> ReadSets:
    """Leaves one channel of pictures that are grey, as decoders give three."""
    (x, y), (x_test, y_test), classes = sets
    if all(bool((images[..., :1] == images).all()) for images in (x, x_test)):
        return ReadSets((x[..., :1], y), (x_test[..., :1], y_test), classes)
    return sets


def _refuse_pickles(folder: Path) -> ReadSets:
    raise UserError(
        f"{folder} is CIFAR's Python version, whose pickles may execute code; take the binary "
        "version (cifar-10-binary.tar.gz), or an .npz file"
    )
