"""Readers of labelled pictures, on files written here byte by byte."""

import gzip
import pickle
import struct
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from rlgen.core.errors import MissingExtraError, UserError
from rlgen.data.classification_files import read_hub, read_sets

X = np.arange(4 * 5 * 6 * 3, dtype=np.uint8).reshape(4, 5, 6, 3)
Y = np.array([0, 1, 1, 2])


def npz(path, **changes):
    arrays = {"x_train": X, "y_train": Y, "x_test": X[:2], "y_test": Y[:2], **changes}
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


def test_an_npz_file_is_read(tmp_path):
    sets = read_sets(npz(tmp_path / "a.npz", classes=np.array(["a", "b", "c"])))
    assert (sets.train[0] == X).all()
    assert sets.train[1].tolist() == [0, 1, 1, 2]
    assert sets.train[1].dtype == np.int64
    assert len(sets.test[0]) == 2
    assert sets.classes == ("a", "b", "c")


def test_grey_pictures_and_columns_of_labels_are_brought_into_shape(tmp_path):
    grey = {"x_train": X[..., 0], "x_test": X[:2, ..., 0], "y_train": Y[:, None].astype(np.uint8)}
    sets = read_sets(npz(tmp_path / "a.npz", **grey))
    assert sets.train[0].shape == (4, 5, 6, 1)
    assert sets.train[1].tolist() == [0, 1, 1, 2]
    assert sets.classes is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_test": None}, "a.npz has no y_test"),
        ({"x_train": X.astype(np.float32)}, "pictures are float32"),
        ({"x_train": X[..., :2]}, r"pictures are uint8 \(4, 5, 6, 2\)"),
        ({"y_train": Y[:3]}, "4 pictures have 3 int64 labels"),
        ({"y_train": Y.astype(float)}, "4 pictures have 4 float64 labels"),
        ({"y_train": np.array([{}] * 4)}, "cannot read .*a.npz"),
    ],
)
def test_an_npz_file_of_another_kind_is_told(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        read_sets(npz(tmp_path / "a.npz", **changes))


class Evil:
    def __reduce__(self):
        return (exec, ("raise RuntimeError('this was executed')",))


def test_pickles_in_an_npz_file_are_not_executed(tmp_path):
    with pytest.raises(UserError, match="cannot read"):
        read_sets(npz(tmp_path / "a.npz", y_train=np.array([Evil()] * 4)))


@pytest.mark.parametrize("name", ["data_batch_1", "meta"])
def test_the_python_version_of_cifar_is_refused_unread(tmp_path, name):
    (tmp_path / name).write_bytes(pickle.dumps(Evil()))
    with pytest.raises(UserError, match="take the binary version"):
        read_sets(tmp_path)


def test_a_damaged_npz_file_is_told(tmp_path):
    path = npz(tmp_path / "a.npz")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"cannot read .*a.npz"):
        read_sets(path)


def record(header: list[int], pixel: tuple[int, int, int]) -> bytes:
    """One record of CIFAR: a picture of one colour, whose second pixel of row 1 is white."""
    planes = np.empty((3, 32, 32), np.uint8)
    planes[:] = np.array(pixel)[:, None, None]
    planes[:, 0, 1] = 255
    return bytes(header) + planes.tobytes()


@pytest.mark.parametrize("hundred", [False, True])
def test_the_binary_versions_of_cifar_are_read(tmp_path, hundred):
    coarse = [9] if hundred else []
    one, two = record([*coarse, 3], (10, 20, 30)), record([*coarse, 1], (1, 2, 3))
    names = ("fine_label_names.txt", "train.bin", "test.bin")
    if not hundred:
        names = ("batches.meta.txt", "data_batch_1.bin", "test_batch.bin")
        (tmp_path / "data_batch_2.bin").write_bytes(two)
    (tmp_path / names[0]).write_text("a\nb\nc\nd\n\n")
    (tmp_path / names[1]).write_bytes(one + two * hundred)
    (tmp_path / names[2]).write_bytes(two)
    sets = read_sets(tmp_path)
    assert sets.train[0].shape == (2, 32, 32, 3)
    assert sets.train[0][0, 5, 5].tolist() == [10, 20, 30]
    assert sets.train[0][0, 0, 1].tolist() == [255, 255, 255]
    assert sets.train[0][0, 1, 0].tolist() == [10, 20, 30]
    assert sets.train[1].tolist() == [3, 1]
    assert sets.test[1].tolist() == [1]
    assert sets.classes == ("a", "b", "c", "d")


def test_a_broken_record_of_cifar_is_told(tmp_path):
    (tmp_path / "data_batch_1.bin").write_bytes(b"\0" * 3072)
    (tmp_path / "test_batch.bin").write_bytes(record([0], (0, 0, 0)))
    with pytest.raises(UserError, match="3072 bytes are no records of 3073"):
        read_sets(tmp_path)


def idx(array: np.ndarray, kind: int = 8) -> bytes:
    shape = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, kind, array.ndim]) + shape + array.tobytes()


@pytest.mark.parametrize("end", ["", ".gz"])
def test_idx_files_are_read(tmp_path, end):
    arrays = {
        "train-images-idx3": X[..., 0],
        "train-labels-idx1": Y.astype(np.uint8),
        "t10k-images-idx3": X[:1, ..., 0],
        "t10k-labels-idx1": Y[:1].astype(np.uint8),
    }
    for name, array in arrays.items():
        data = gzip.compress(idx(array)) if end else idx(array)
        (tmp_path / f"{name}-ubyte{end}").write_bytes(data)
    sets = read_sets(tmp_path)
    assert (sets.train[0][..., 0] == X[..., 0]).all()
    assert sets.train[0].flags.writeable
    assert sets.train[1].tolist() == [0, 1, 1, 2]
    assert sets.test[0].shape == (1, 5, 6, 1)


@pytest.mark.parametrize("data", [b"", idx(X[..., 0])[:-1], idx(X[..., 0], kind=13), b"\0\0\x08"])
def test_a_damaged_idx_file_is_told(tmp_path, data):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(data)
    with pytest.raises(UserError, match=r"cannot read .*train-images-idx3-ubyte"):
        read_sets(tmp_path)


def picture(path, color, size=(8, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "set"
    for part, count in (("train", 3), ("val", 1)):
        for number in range(count):
            picture(root / part / "sea" / f"{number}.png", (0, 0, 200 + number))
            picture(root / part / "ant" / f"{number}.png", (90, 0, 0))
    return root


@pytest.mark.parametrize("tar", [False, True])
def test_folders_of_classes_are_read(folder, tar):
    if tar:
        with tarfile.open(folder.with_suffix(".tar"), "w") as archive:
            archive.add(folder, arcname=".")
        folder = folder.with_suffix(".tar")
    sets = read_sets(folder)
    assert sets.classes == ("ant", "sea")
    assert sets.train[0].shape == (6, 6, 8, 3)
    assert sets.train[1].tolist() == [0, 0, 0, 1, 1, 1]
    assert sets.train[0][4, 0, 0].tolist() == [0, 0, 201]
    assert sets.test[1].tolist() == [0, 1]


def test_pictures_of_several_sizes_want_one(folder):
    picture(folder / "train" / "ant" / "wide.png", (1, 2, 3), (20, 10))
    with pytest.raises(UserError, match="2 sizes; type size=32"):
        read_sets(folder)
    assert read_sets(folder, size=4).train[0].shape == (7, 4, 4, 3)


def test_the_middle_of_a_picture_is_kept(folder):
    stripes = np.zeros((4, 12, 3), np.uint8)
    stripes[:, 4:8] = 255
    Image.fromarray(stripes).save(folder / "train" / "ant" / "stripes.png")
    sets = read_sets(folder, size=4)
    assert (sets.train[0][3] == 255).all()


def test_grey_pictures_of_folders_have_one_channel(tmp_path):
    for part in ("train", "test"):
        for name in "ab":
            picture(tmp_path / part / name / "0.png", (7, 7, 7))
    assert read_sets(tmp_path).train[0].shape == (2, 6, 8, 1)
    picture(tmp_path / "test" / "a" / "1.png", (7, 7, 8))
    assert read_sets(tmp_path).train[0].shape == (2, 6, 8, 3)


def test_a_class_that_was_never_seen_is_told(folder):
    picture(folder / "val" / "owl" / "0.png", (0, 0, 0))
    with pytest.raises(UserError, match=r"'owl/0.png' is in no folder of the classes"):
        read_sets(folder)


def test_a_folder_without_tests_is_told(folder):
    (folder / "val").rename(folder / "more")
    with pytest.raises(UserError, match="has train/ and no test or val"):
        read_sets(folder)


@pytest.mark.parametrize("name", ["nothing", "a.txt"])
def test_what_is_no_set_is_told(tmp_path, name):
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(UserError, match=r"does not exist|no known kind"):
        read_sets(tmp_path / name)


def test_parquet_and_the_hub_are_an_extra(tmp_path, monkeypatch):
    for name in ("pyarrow", "pyarrow.parquet", "datasets"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "train-0.parquet").write_bytes(b"PAR1")
    with pytest.raises(MissingExtraError, match=r'pip install "rlgen\[hub\]"'):
        read_sets(tmp_path)
    with pytest.raises(MissingExtraError, match="data=hub:cifar10 needs"):
        read_hub("cifar10", None)


def test_parquet_files_are_read(tmp_path):
    pytest.importorskip("pyarrow", exc_type=ImportError)
    write_parquet(tmp_path)
    sets = read_sets(tmp_path)
    assert sets.train[0].shape == (2, 2, 2, 3)
    assert sets.train[0][1, 0, 0].tolist() == [1, 99, 0]
    assert sets.train[1].tolist() == [4, 5]
    assert sets.test[1].tolist() == [4]


def write_parquet(folder):
    import io

    import pyarrow as pa
    from pyarrow import parquet

    for part, count in (("train", 2), ("test", 1)):
        rows = []
        for number in range(count):
            data = io.BytesIO()
            Image.new("RGB", (2, 2), (number, 99, 0)).save(data, "PNG")
            rows.append({"bytes": data.getvalue(), "path": None})
        table = pa.table({"img": rows, "label": [4 + k for k in range(count)]})
        parquet.write_table(table, folder / f"{part}-00000-of-00001.parquet")
