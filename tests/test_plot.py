"""The plot command: curves over seeds, grouping, mistakes."""

import re
from pathlib import Path

import pytest
from PIL import Image

from rlgen.core.curves import read_episodes
from rlgen.plot import main
from rlgen.train import main as train


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two seeds of G2N, and one whose population does not evolve."""
    folder = tmp_path_factory.mktemp("plot")
    short = ["env=CartPole-v1", "preset=smoke", "eval_every=0", "video=false"]
    for name, *options in (
        ("zero", "seed=0"),
        ("one", "seed=1"),
        ("fixed", "seed=0", "agent.evolve=false"),
    ):
        assert train(["agent=g2n", *short, *options, f"run_dir={folder / name}"]) == 0
    return folder


@pytest.fixture(autouse=True)
def _wide_output(monkeypatch, cwd, runs, capsys):
    monkeypatch.setenv("COLUMNS", "160")
    capsys.readouterr()


def rows(out: str) -> dict[str, list[str]]:
    """Returns the cells of the printed table by the name of the group."""
    found = {}
    for line in out.splitlines():
        cells = [cell.strip() for cell in re.split("[│┃|]", line)][1:-1]
        if len(cells) == 5 and cells[0] != "group":
            found[cells[0]] = cells[1:]
    return found


def test_two_seeds_are_one_curve_with_an_interval(cwd, runs, capsys):
    assert main([str(runs / "zero"), str(runs / "one")]) == 0
    out = capsys.readouterr().out
    count, steps, middle, interval = rows(out)["g2ppo on CartPole"]
    last = [read_episodes(runs / name)[0][-1] for name in ("zero", "one")]
    assert (count, int(steps.replace(",", ""))) == ("2", min(last))
    low, high = map(float, interval.strip("[]").split(", "))
    assert low < float(middle) < high
    assert out.endswith("picture: curves.png\n")


def test_the_number_is_the_mean_of_the_last_100_episodes(runs, capsys):
    assert main([str(runs / "zero")]) == 0
    _, _, middle, _ = rows(capsys.readouterr().out)["g2ppo on CartPole"]
    returns = read_episodes(runs / "zero")[1]
    assert float(middle) == pytest.approx(returns[-100:].mean(), abs=0.006)


def test_the_picture_goes_where_it_is_wanted(cwd, runs):
    assert main([str(runs), "out=my_curves.png"]) == 0
    assert [path.name for path in cwd.iterdir()] == ["my_curves.png"]
    with Image.open(cwd / "my_curves.png") as picture:
        assert picture.format == "PNG"
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 20


def test_runs_are_grouped_by_a_key_of_their_configuration(runs, capsys):
    assert main([str(runs), "by=agent.evolve"]) == 0
    table = rows(capsys.readouterr().out)
    assert {name: cells[0] for name, cells in table.items()} == {
        "g2ppo on CartPole, agent.evolve=False": "1",
        "g2ppo on CartPole, agent.evolve=True": "2",
    }


def test_runs_are_grouped_by_two_keys(runs, capsys):
    assert main([str(runs), "by=agent.evolve+seed"]) == 0
    assert list(rows(capsys.readouterr().out)) == [
        "g2ppo on CartPole, agent.evolve=False, seed=0",
        "g2ppo on CartPole, agent.evolve=True, seed=0",
        "g2ppo on CartPole, agent.evolve=True, seed=1",
    ]


def test_a_run_named_twice_counts_once(runs, capsys):
    assert main([str(runs / "zero"), str(runs / "zero")]) == 0
    assert rows(capsys.readouterr().out)["g2ppo on CartPole"][0] == "1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no folder is named; type: python -m rlgen.plot runs/*"),
        (["nowhere"], "nowhere does not exist; name run folders or a folder of them"),
        (["."], "no run folder in .; train first: python -m rlgen.train"),
        (["RUNS", "out=far/away.png"], "out=far/away.png: the folder far does not exist"),
        (["RUNS", "to=x.png"], "unknown option to; allowed: by, out"),
        (["RUNS", "by=agent.evolves"], "by=agent.evolves: "),
        (["RUNS", "out=[x"], "cannot read the argument 'out=[x'"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(cwd, runs, capsys, arguments, message):
    assert main([a.replace("RUNS", str(runs)) for a in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1
    assert list(cwd.iterdir()) == []
