"""CSV records: whole whenever the process dies, and continued after a resume."""

import os
from pathlib import Path

import numpy as np
import pytest

from rlgen.core.record import CSVRecord, CSVWriter, read_rows

STEP = "time/total_timesteps"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "progress.csv"


def write(path: Path, *rows: dict, **kwargs) -> None:
    record = CSVRecord(path, **kwargs)
    for row in rows:
        record.add(row)
    record.close()


def test_rows_are_on_the_disk_at_once(path):
    record = CSVRecord(path)
    record.add({"a": 1, "b": 2.5})
    assert path.read_text() == "a,b\n1,2.5\n"
    record.close()


def test_missing_columns_stay_empty(path):
    write(path, {"a": 1, "b": 2}, {"b": 3})
    assert path.read_text() == "a,b\n1,2\n,3\n"


def test_a_new_column_rewrites_the_file(path):
    write(path, {"a": 1}, {"a": 2, "b": 5}, {"b": 6})
    assert path.read_text() == "a,b\n1,\n2,5\n,6\n"


@pytest.mark.parametrize("text", ["a,b", 'say "x"', "two\nlines", "ä", ""])
def test_any_text_comes_back(path, text):
    write(path, {"a": text, "b": "end"})
    assert read_rows(path) == [{"a": text, "b": "end"}]


@pytest.mark.parametrize("value", [0.1, 1e-17, 123456789.123456, np.float64(1 / 3)])
def test_numbers_come_back_exactly(path, value):
    write(path, {"a": value})
    assert float(read_rows(path)[0]["a"]) == value


def test_a_resumed_record_appends(path):
    write(path, {STEP: 1, "a": 1})
    write(path, {STEP: 2, "b": 2}, last_step=1)
    assert path.read_text() == f"{STEP},a,b\n1,1,\n2,,2\n"


@pytest.mark.parametrize(("last_step", "left"), [(None, 4), (400, 4), (300, 3), (250, 2), (0, 0)])
def test_rows_beyond_the_checkpoint_are_dropped(path, last_step, left):
    write(path, *({STEP: step} for step in (100, 200, 300, 400)))
    write(path, last_step=last_step)
    assert [row[STEP] for row in read_rows(path)] == ["100", "200", "300", "400"][:left]


def test_the_column_of_steps_can_be_named(path):
    write(path, {"step": 100}, {"step": 200})
    write(path, last_step=100, step_column="step")
    assert path.read_text() == "step\n100\n"


@pytest.mark.parametrize("rest", ["3", "3,", "3,4", '3,"4'])
def test_a_half_written_last_line_is_dropped(path, rest):
    path.write_text("a,b\n1,2\n" + rest)
    assert read_rows(path) == [{"a": "1", "b": "2"}]


def test_rows_follow_a_half_written_line_on_their_own_line(path):
    path.write_text("a,b\n1,2\n3,")
    write(path, {"a": 5, "b": 6})
    assert path.read_text() == "a,b\n1,2\n5,6\n"


@pytest.mark.parametrize("text", ["", "a,b", "a,b\n"])
def test_a_file_without_rows_is_taken(path, text):
    path.write_text(text)
    write(path, {"a": 1})
    assert read_rows(path) == [{"a": "1"}]


def test_a_failing_rewrite_leaves_the_old_file(path, monkeypatch):
    record = CSVRecord(path)
    record.add({"a": 1})

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        record.add({"b": 2})
    record.close()
    assert path.read_text() == "a\n1\n"


def test_no_temporary_file_stays(path):
    write(path, {"a": 1}, {"b": 2})
    assert [entry.name for entry in path.parent.iterdir()] == ["progress.csv"]


def test_the_logger_writes_scalars_in_order(path):
    writer = CSVWriter(path)
    values = {"b": np.float32(0.5), "a": 1, "c": np.array(2), "picture": np.zeros((2, 2))}
    writer.write(values, dict.fromkeys(values, ()))
    writer.close()
    assert path.read_text() == "a,b,c\n1,0.5,2\n"


def test_the_logger_leaves_out_what_is_excluded_from_csv(path):
    writer = CSVWriter(path)
    writer.write({"a": 1, "b": 2}, {"a": ("csv",), "b": ("tensorboard",)})
    writer.close()
    assert path.read_text() == "b\n2\n"


def test_a_resumed_logger_drops_later_rows(path):
    write(path, {STEP: 100}, {STEP: 200})
    CSVWriter(path, last_step=100).close()
    assert path.read_text() == f"{STEP}\n100\n"
