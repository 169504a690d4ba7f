"""Learning curves: the numbers against a plain loop, the pictures by looking at them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rlgen.core.curves import draw_groups, draw_losses, draw_run, read_episodes, smooth


@pytest.fixture(autouse=True)
def _drawn(drawn_curves):
    with drawn_curves():
        yield


def make_run(path: Path, rows: list[tuple[float, float]]) -> Path:
    path.mkdir(parents=True)
    lines = [f"{step},{value},10,0.5" for step, value in rows]
    (path / "episodes.csv").write_text("\n".join(["step,return,length,seconds", *lines]) + "\n")
    return path


def colours(path: Path) -> int:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        picture.load()
        return len(picture.convert("RGB").getcolors(1 << 24) or [])


def slow_smooth(steps, returns, grid, window):
    result = []
    for point in grid:
        seen = [value for step, value in zip(steps, returns, strict=True) if step <= point]
        result.append(np.mean(seen[-window:]) if seen else np.nan)
    return np.array(result)


@pytest.mark.parametrize("window", [1, 3, 100])
def test_smooth_is_the_mean_of_the_last_episodes(window):
    generator = np.random.default_rng(window)
    steps = np.sort(generator.integers(0, 500, size=60)).astype(float)  # some coincide
    returns = generator.normal(size=60)
    grid = np.linspace(-10, 600, 77)
    expected = slow_smooth(steps, returns, grid, window)
    np.testing.assert_allclose(smooth(steps, returns, grid, window), expected, atol=1e-12)


def test_smooth_by_hand():
    curve = smooth(np.array([2.0, 4.0, 6.0]), np.array([1.0, 3.0, 8.0]), np.arange(8.0), window=2)
    np.testing.assert_array_equal(curve, [np.nan, np.nan, 1, 1, 2, 2, 5.5, 5.5])


def test_smooth_of_nothing_is_nan():
    empty = np.zeros(0)
    assert np.isnan(smooth(empty, empty, np.arange(3.0))).all()


def test_episodes_are_read(tmp_path):
    steps, returns = read_episodes(make_run(tmp_path / "run", [(10, 1.5), (20, -2.0)]))
    assert (steps.tolist(), returns.tolist()) == ([10.0, 20.0], [1.5, -2.0])


@pytest.mark.parametrize("content", [None, "", "step,return,length,seconds\n"])
def test_a_run_without_episodes_is_empty(tmp_path, content):
    if content is not None:
        (tmp_path / "episodes.csv").write_text(content)
    steps, returns = read_episodes(tmp_path)
    assert len(steps) == len(returns) == 0


def test_the_curve_of_a_run_is_drawn(tmp_path):
    run = make_run(tmp_path / "run", [(10.0 * i, i % 7) for i in range(1, 50)])
    assert draw_run(run) == run / "learning_curve.png"
    assert colours(run / "learning_curve.png") > 20


def test_a_run_without_episodes_has_a_picture_that_says_so(tmp_path):
    assert colours(draw_run(tmp_path)) > 5
    assert [path.name for path in tmp_path.iterdir()] == ["learning_curve.png"]


def test_another_run_has_another_picture(tmp_path):
    rows = [(10.0 * i, i % 7) for i in range(1, 50)]
    other = [(step, -value) for step, value in rows]
    first, second = (
        draw_run(make_run(tmp_path / name, r)) for name, r in (("a", rows), ("b", other))
    )
    assert first.read_bytes() != second.read_bytes()


def test_every_column_of_losses_has_a_picture(tmp_path):
    sizes = []
    for columns in (1, 4):  # one line of three pictures, and two
        names = [f"loss/{number}" for number in range(columns)]
        rows = [",".join(str(step * (n + 1)) for n in range(columns)) for step in range(1, 5)]
        lines = [f"{step},{row}" for step, row in enumerate(rows)]
        (tmp_path / "progress.csv").write_text("\n".join([",".join(["step", *names]), *lines]))
        picture = draw_losses(tmp_path)
        assert colours(picture) > 20
        with Image.open(picture) as image:
            sizes.append(image.size)
    (width, height), other = sizes
    assert other == (width, 2 * height)


def test_a_column_that_begins_late_is_drawn_too(tmp_path):
    (tmp_path / "progress.csv").write_text("step,early,late\n1,3,\n2,4,5\n3,,7\n")
    assert colours(draw_losses(tmp_path)) > 20


def test_groups_are_summed_up_at_the_last_common_step(tmp_path):
    runs = [
        make_run(tmp_path / "a", [(10, 1.0), (20, 3.0), (30, 5.0)]),  # mean of all: 3
        make_run(tmp_path / "b", [(10, 0.0), (30, 10.0), (40, 90.0)]),  # up to step 30: 5
    ]
    summary = draw_groups({"ppo": runs}, tmp_path / "curves.png")
    assert summary["ppo"].keys() == {"runs", "steps", "iqm", "low", "high"}
    assert list(summary["ppo"].values()) == pytest.approx([2, 30, 4, 3, 5])
    assert colours(tmp_path / "curves.png") > 20


def test_each_group_adds_to_the_picture(tmp_path):
    rows = [(10.0 * i, float(i)) for i in range(1, 9)]
    a = make_run(tmp_path / "a", rows)
    b = make_run(tmp_path / "b", [(step, 2 * value) for step, value in rows])
    draw_groups({"one": [a]}, tmp_path / "one.png")
    summary = draw_groups({"one": [a], "two": [b]}, tmp_path / "two.png")
    assert [row["iqm"] for row in summary.values()] == [4.5, 9.0]
    assert (tmp_path / "one.png").read_bytes() != (tmp_path / "two.png").read_bytes()


def test_a_group_without_episodes_is_left_out(tmp_path):
    (tmp_path / "empty").mkdir()
    full = make_run(tmp_path / "full", [(10, 1.0)])
    groups = {"empty": [tmp_path / "empty"], "full": [full, tmp_path / "empty"]}
    summary = draw_groups(groups, tmp_path / "curves.png")
    assert list(summary) == ["full"]
    assert summary["full"]["runs"] == 1
