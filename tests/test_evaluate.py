"""The evaluate command: the table, the elite beside open gates, the video, mistakes."""

import re
import shutil
from pathlib import Path

import cv2
import pytest
import torch

from rlgen.agents import scoring
from rlgen.core.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from rlgen.evaluate import main
from rlgen.train import main as train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a short run of G2N and one of PPO; copy what you change."""
    folder = tmp_path_factory.mktemp("evaluate")
    for agent in ("g2n", "ppo"):
        named = [f"agent={agent}", "env=CartPole-v1", f"run_dir={folder / agent}"]
        assert train([*named, "preset=smoke", "video=false"]) == 0
    return folder


@pytest.fixture
def run(trained: Path, cwd: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The current folder's ``run``: a copy of the run of G2N."""
    shutil.copytree(trained / "g2n", cwd / "run")
    capsys.readouterr()
    return cwd / "run"


def rows(out: str) -> dict[str, list[str]]:
    """Returns the cells of the printed table by the name in their first column."""
    found = {}
    for line in out.splitlines():
        cells = [cell.strip() for cell in re.split("[│┃|]", line)][1:-1]
        if len(cells) == 6:
            found[cells[0]] = cells[1:]
    return found


@pytest.fixture(autouse=True)
def _wide_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


@pytest.mark.usefixtures("run")
def test_the_table_has_mean_interval_and_range(capsys):
    assert main(["run", "episodes=5"]) == 0
    table = rows(capsys.readouterr().out)
    mean, interval, low, high, length = table["g2ppo, elite's gates"]
    begin, end = map(float, interval.strip("[]").split(", "))
    assert float(low) <= begin <= float(mean) <= end <= float(high) <= 200
    assert float(length) == pytest.approx(float(mean), abs=0.5)  # as on CartPole


@pytest.mark.usefixtures("run")
def test_the_title_names_environment_steps_and_episodes(capsys):
    assert main(["run", "episodes=3", "which=last"]) == 0
    assert "CartPole-v1 after 2,048 steps, 3 episodes" in capsys.readouterr().out


@pytest.mark.usefixtures("run")
def test_a_gated_agent_is_scored_with_its_elite_and_with_open_gates(capsys):
    assert main(["run", "episodes=2"]) == 0
    agents = list(rows(capsys.readouterr().out))
    assert agents == ["agent", "g2ppo, elite's gates", "g2ppo, all gates open"]


def test_the_gates_are_those_that_the_table_names(run, monkeypatch):
    tensors, state = load_checkpoint(list_checkpoints(run / "checkpoints")[-1])
    elite = tensors["policy"]["mlp_extractor.elite"]
    elite[:] = (torch.arange(len(elite)) % 4 == 0).to(elite.dtype)
    save_checkpoint(run / "checkpoints", 9999, tensors, state)
    real, shares = scoring.score, []

    def score(model, *args, **kwargs):
        shares.append(float(model.gates.elite.mean()))
        return real(model, *args, **kwargs)

    monkeypatch.setattr(scoring, "score", score)
    assert main(["run", "episodes=1", "which=last"]) == 0
    assert shares == [0.25, 1.0]


def test_another_agent_is_scored_once(trained, cwd, capsys):
    capsys.readouterr()
    assert main([str(trained / "ppo"), "episodes=2"]) == 0
    assert list(rows(capsys.readouterr().out)) == ["agent", "ppo"]


@pytest.mark.parametrize(("which", "folder"), [("best", "best"), ("last", "checkpoints")])
def test_best_and_last_are_told_apart_by_their_steps(run, capsys, which, folder):
    step = int(list_checkpoints(run / folder)[-1].name.removeprefix("step-"))
    assert main(["run", "episodes=1", f"which={which}"]) == 0
    assert f"after {step:,} steps" in capsys.readouterr().out


def test_without_a_best_model_the_last_is_scored(run, capsys):
    shutil.rmtree(run / "best")
    assert main(["run", "episodes=1"]) == 0
    assert "after 2,048 steps" in capsys.readouterr().out


@pytest.mark.usefixtures("run")
def test_the_same_seed_gives_the_same_score(capsys):
    tables = []
    for seed in (0, 0, 1):
        assert main(["run", "episodes=4", "deterministic=true", f"seed={seed}"]) == 0
        tables.append(rows(capsys.readouterr().out))
    assert tables[0] == tables[1] != tables[2]


@pytest.mark.usefixtures("run")
def test_episodes_are_cut_at_the_wanted_length(capsys):
    assert main(["run", "episodes=3", "max_steps=6"]) == 0
    assert rows(capsys.readouterr().out)["g2ppo, elite's gates"] == [
        "6.00",
        "[6.00, 6.00]",
        "6.0",
        "6.0",
        "6",
    ]


def test_a_video_is_written_where_it_is_said(run, capsys):
    assert main(["run", "episodes=1", "video=true"]) == 0
    assert capsys.readouterr().out.endswith("video: run/video/evaluation.mp4\n")
    video = cv2.VideoCapture(str(run / "video" / "evaluation.mp4"))
    frames = [frame for _, frame in iter(video.read, (False, None))]
    video.release()
    assert len(frames) >= 8
    assert frames[0].std() > 5


@pytest.mark.usefixtures("run")
def test_latest_is_looked_for_under_the_root(capsys):
    assert main(["latest", "run_root=.", "episodes=1"]) == 0
    assert "g2ppo, elite's gates" in rows(capsys.readouterr().out)


@pytest.mark.usefixtures("run")
def test_of_a_folder_of_runs_the_newest_is_scored(capsys):
    assert main([".", "episodes=1"]) == 0
    assert "g2ppo, elite's gates" in rows(capsys.readouterr().out)


def test_a_damaged_checkpoint_is_told_and_skipped(run, capsys):
    path = list_checkpoints(run / "checkpoints")[-1] / "policy.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert main(["run", "episodes=1", "which=last"]) == 0
    out, err = capsys.readouterr()
    assert err.startswith("skipped a checkpoint: step-000000002048/policy.safetensors is damaged")
    assert err.count("\n") == 1
    assert "after 1,536 steps" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "0 runs are named; type one: python -m rlgen.evaluate RUN"),
        (["run", "other"], "2 runs are named; type one"),
        (["rum"], "rum is not a run folder; did you mean 'run'?"),
        (["latest"], "there is no run under runs"),
        (["run", "episodes=0"], "episodes=0 is too small; type episodes=1 or more"),
        (["run", "episodes=many"], "episodes=many: Value 'many' of type 'str' could not be conve"),
        (["run", "which=first"], "which='first' is unknown; allowed: best, last"),
        (["run", "episode=3"], "unknown option episode; did you mean 'episodes'?"),
        (["run", "episodes=[3"], "cannot read the argument 'episodes=[3'"),
    ],
)
@pytest.mark.usefixtures("run")
def test_a_mistake_is_one_line_and_code_2(capsys, arguments, message):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1


def test_a_run_without_checkpoints_is_told(run, capsys):
    shutil.rmtree(run / "best")
    shutil.rmtree(run / "checkpoints")
    assert main(["run"]) == 2
    assert capsys.readouterr().err == (
        "error: run has no readable checkpoint yet; train it: resume=run\n"
    )


def test_a_damaged_configuration_is_one_line(run, capsys):
    (run / "config.yaml").write_text("a: [1")
    assert main(["run"]) == 2
    assert capsys.readouterr().err.startswith("error: cannot read run/config.yaml: ")


def test_indicators_of_options(cwd: Path, capsys: pytest.CaptureFixture[str]):
    short = ["preset=smoke", "total_timesteps=512", "eval_every=0", "video=false", "run_dir=run"]
    assert train(["agent=ppoc", "env=FourRooms", *short]) == 0
    capsys.readouterr()
    arguments = ["run", "episodes=2", "indicators=true", "record_steps=200", "max_steps=60"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    for name in ("share", "duration mean", "hellinger mean", "mi state option", "return only"):
        assert name in out
    made = {path.name for path in (cwd / "run" / "options").iterdir()}
    assert made == {"distances.png", "timeline.png", "map.png", "indicators.json"}


@pytest.mark.usefixtures("run")
def test_indicators_need_options(capsys: pytest.CaptureFixture[str]):
    assert main(["run", "indicators=true", "episodes=1"]) == 2
    assert "G2PPO has no options; indicators=true is for" in capsys.readouterr().err
