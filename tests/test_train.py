"""The train command: what a short run leaves behind, for every agent."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3
from PIL import Image

from rlgen.core.checkpoint import list_checkpoints, load_checkpoint
from rlgen.core.record import read_rows
from rlgen.core.run import read_config
from rlgen.train import main

AGENTS = ["g2n", "g2ac", "ppo", "a2c"]
GATED = ["g2n", "g2ac"]
FORMER = {"g2n": "g2ppo"}  # the name that an alias resolves to


def smoke(agent: str) -> list[str]:
    return [f"agent={agent}", "env=CartPole-v1", "preset=smoke"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, drawn_curves) -> Iterator[Path]:
    """A folder in which every agent has trained once, by its short preset."""
    folder = tmp_path_factory.mktemp("train")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with drawn_curves():
            for agent in AGENTS:
                assert main(smoke(agent)) == 0
        yield folder


@pytest.fixture(params=AGENTS)
def agent(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def run(root: Path, agent: str) -> Path:
    (folder,) = (root / "runs" / f"{FORMER.get(agent, agent)}-CartPole").iterdir()
    return folder


def test_the_folder_is_named_by_time_and_seed(run):
    assert re.fullmatch(r"\d{8}-\d{6}-seed0", run.name)


def test_no_temporary_file_stays(run):
    assert [path.name for path in run.rglob("*") if path.name.startswith(".")] == []


def test_the_configuration_is_resolved(run, agent):
    config = read_config(run)
    assert config["agent"]["name"] == FORMER.get(agent, agent)
    assert (config["env"], config["n_envs"], config["total_timesteps"]) == ("CartPole-v1", 4, 2048)


def test_settings_of_family_and_preset_reach_the_agent(run, agent):
    options = read_config(run)["agent"]
    if options["base"] == "ppo":
        assert (options["gamma"], options["n_steps"], options["n_epochs"]) == (0.98, 64, 2)
    assert options["lr_schedule"] == "linear"
    assert options.get("population_size") == (4 if agent in GATED else None)


def test_progress_has_rows_with_losses(run):
    rows = read_rows(run / "progress.csv")
    assert len(rows) >= 3
    losses = [float(row["train/value_loss"]) for row in rows if row.get("train/value_loss")]
    assert losses
    assert np.isfinite(losses).all()


def test_steps_of_the_progress_rise(run):
    column = "time/total_timesteps"
    steps = [int(row[column]) for row in read_rows(run / "progress.csv") if row[column]]
    assert steps == sorted(steps)
    assert steps[-1] >= 2000


@pytest.mark.parametrize("column", ["g2n/evolving", "g2n/generation", "g2n/fitness_max"])
def test_only_gated_agents_report_on_their_population(run, agent, column):
    rows = read_rows(run / "progress.csv")
    assert any(row.get(column) for row in rows) is (agent in GATED)


def test_episodes_are_recorded_with_rising_steps(run):
    rows = read_rows(run / "episodes.csv")
    assert list(rows[0]) == ["step", "return", "length", "seconds"]
    steps = [int(row["step"]) for row in rows]
    assert steps == sorted(steps)
    assert all(float(row["return"]) == float(row["length"]) for row in rows)  # as on CartPole
    assert 2048 - 4 * 500 <= sum(int(row["length"]) for row in rows) <= steps[-1]


def test_tensorboard_shows_the_returns(run):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(run))
    events.Reload()
    values = [scalar.value for scalar in events.Scalars("rollout/ep_rew_mean")]
    assert values
    assert 5 < np.mean(values) < 200


def test_two_complete_checkpoints_stay(run):
    saved = list_checkpoints(run / "checkpoints")
    assert len(saved) == 2
    for path in saved:
        state = load_checkpoint(path)[1]
        assert path.name == f"step-{state['counters']['num_timesteps']:012d}"
    assert state["counters"]["num_timesteps"] >= 2048


def test_the_best_model_is_kept_with_its_score(run):
    (path,) = list_checkpoints(run / "best")
    assert 8 <= load_checkpoint(path)[1]["run"]["mean_return"] <= 200


def test_the_learning_curve_is_drawn(run):
    with Image.open(run / "learning_curve.png") as picture:
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 20


def test_the_video_can_be_played(run):
    (path,) = (run / "video").iterdir()
    assert re.fullmatch(r"step-\d+\.mp4", path.name)
    video = cv2.VideoCapture(str(path))
    frames = [frame for _, frame in iter(video.read, (False, None))]
    video.release()
    assert 8 <= len(frames) <= 101
    assert np.abs(frames[0].astype(int) - frames[-1]).max() > 50  # the pole moves


def test_the_result_holds_every_return(run):
    result = json.loads((run / "result.json").read_text())
    assert 2048 <= result["steps"] < 2048 + 64
    assert len(result["returns"]) == 2
    assert all(8 <= value <= 200 for value in result["returns"])


def test_the_card_holds_command_result_and_next_steps(run, agent, root):
    card = (run / "card.md").read_text()
    returns = json.loads((run / "result.json").read_text())["returns"]
    assert f"Command: `python -m rlgen.train {' '.join(smoke(agent))}`\n" in card
    assert f"final agent: return {np.mean(returns):.2f} [" in card
    assert f"resume={run.relative_to(root)}" in card
    assert "evaluation episodes were cut after 200 steps" in card


def test_the_model_loads_in_plain_sb3_and_predicts(run, agent):
    base = "PPO" if read_config(run)["agent"]["base"] == "ppo" else "A2C"
    model = getattr(stable_baselines3, base).load(run / "model.zip", device="cpu")
    env = gym.make("CartPole-v1")
    observation, _ = env.reset(seed=0)
    action, _ = model.predict(observation, deterministic=True)
    assert env.action_space.contains(int(action))
    env.close()


def test_the_same_seed_trains_the_same(cwd):
    small = ["total_timesteps=256", "eval_every=0", "video=false"]
    for name in ("a", "b"):
        assert main([*smoke("g2n"), *small, f"run_dir={name}"]) == 0
    one, two = (load_checkpoint(list_checkpoints(cwd / n / "checkpoints")[-1]) for n in "ab")
    for name, value in one[0]["policy"].items():
        assert (two[0]["policy"][name] == value).all(), name


@pytest.mark.parametrize(
    ("env", "options"),
    [
        ("Breakout", ["total_timesteps=128", "eval_every=64", "eval_max_steps=20"]),
        ("Pendulum-v1", ["total_timesteps=512", "eval_every=256", "agent.normalize=true"]),
    ],
    ids=["pictures", "continuous"],
)
def test_gated_ppo_runs_on_other_spaces(cwd, env, options):
    rollout = ["agent.n_steps=16", "agent.batch_size=32", "video_steps=20", "run_dir=run"]
    assert main(["agent=g2ppo", f"env={env}", "preset=smoke", *rollout, *options]) == 0
    left = {path.name for path in (cwd / "run").iterdir()}
    assert left >= {"config.yaml", "progress.csv", "episodes.csv", "card.md", "model.zip", "best"}
    assert len(list((cwd / "run" / "video").glob("*.mp4"))) == 1
    assert len(list_checkpoints(cwd / "run" / "checkpoints")) == 2


def test_a_sweep_makes_a_run_per_value(cwd, capsys):
    small = ["total_timesteps=256", "eval_every=0", "video=false"]
    assert main(["-m", *smoke("ppo"), *small, "seed=3,4"]) == 0
    runs = sorted((cwd / "runs" / "ppo-CartPole").iterdir())
    assert sorted(read_config(run)["seed"] for run in runs) == [3, 4]
    assert all((run / "card.md").exists() for run in runs)
    assert "run 2 of 2: agent=ppo env=CartPole-v1 preset=smoke" in capsys.readouterr().err


def test_without_ffmpeg_a_run_has_no_video_but_a_card(cwd, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio.v2", None)
    small = ["total_timesteps=256", "eval_every=0", "run_dir=run"]
    assert main([*smoke("ppo"), *small]) == 0
    hint = 'no video: a video needs an optional dependency; run: pip install "rlgen[video]"'
    assert hint in capsys.readouterr().err
    assert (cwd / "run" / "card.md").exists()
    assert not (cwd / "run" / "video").exists()


def test_where_nothing_can_be_drawn_a_run_has_no_video_but_a_card(cwd, capsys, monkeypatch):
    def fail(env):
        raise RuntimeError("no OpenGL\nat all")

    monkeypatch.setattr("rlgen.envs.GymVecEnv.get_images", fail)
    small = ["total_timesteps=256", "eval_every=0", "run_dir=run"]
    assert main([*smoke("ppo"), *small]) == 0
    hint = "no video: the environment cannot be drawn here (no OpenGL)\n"
    assert hint in capsys.readouterr().err
    assert (cwd / "run" / "card.md").exists()
