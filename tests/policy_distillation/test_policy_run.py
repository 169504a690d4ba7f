"""Policy distillation by the train command: what a run leaves, resume, evaluation, plain SB3."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import stable_baselines3
import torch
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

from rlgen.agents.build import build_agent, build_env
from rlgen.agents.session import load_trained
from rlgen.core.checkpoint import list_checkpoints, load_checkpoint
from rlgen.core.record import read_rows
from rlgen.core.run import read_config
from rlgen.envs import make_vec
from rlgen.evaluate import main as evaluate
from rlgen.policy_distillation import load_student
from rlgen.train import main

SHORT = ["distiller=policy", "n_envs=4", "total_steps=60", "batch_size=64", "collect_every=20"]
SHORT += ["collect_states=200", "log_every=20", "checkpoint_every=20", "eval_every=40"]
SHORT += ["eval_episodes=2", "eval_max_steps=100", "device=cpu"]


@pytest.fixture(scope="module")
def distilled(teachers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A longer run that is taught by the elite of a population; copy what you change."""
    run = tmp_path_factory.mktemp("policy_run") / "run"
    more = ["total_steps=400", "lr=0.01", "eval_every=200", "distiller.feed_weight=0.1"]
    assert main([*SHORT, *more, f"teacher={teachers / 'g2n'}", f"run_dir={run}"]) == 0
    return run


def test_a_run_leaves_what_a_run_leaves(distilled, teachers):
    for name in ("config.yaml", "card.md", "model.zip", "result.json"):
        assert (distilled / name).stat().st_size > 0, name
    assert (distilled / "learning_curve.png").exists()
    assert list(distilled.glob("events.out.tfevents*"))
    rows = read_rows(distilled / "progress.csv")
    assert [int(row["step"]) for row in rows] == list(range(20, 401, 20))
    assert {"loss", "loss/kl", "loss/feed", "agreement"} <= set(rows[0])
    assert [row["step"] for row in rows if row["return/student"]] == ["200", "400"]
    result = json.loads((distilled / "result.json").read_text())
    assert len(result["returns"]) == len(result["teacher_returns"]) == 2
    sizes = result["parameters"]
    assert sizes["student"] <= 0.25 * sizes["teacher"]["open"]
    assert sizes["teacher"]["acting"] == 4610 + 64
    config = read_config(distilled)
    first, second = config["agent"]["widths"]
    assert first == second
    assert sizes["student"] == 5 * first + (first + 1) * first + (first + 1) * 2
    card = (distilled / "card.md").read_text()
    assert f"student {sizes['student']:,} (hidden layers [{first}, {first}])" in card
    assert f"of `{teachers / 'g2n'}` after 512 steps" in card
    assert "the whole population of 4, genes included: 4,866" in card
    assert not [p for p in distilled.rglob("*") if p.name.startswith(".")]


def test_the_student_learns_what_the_elite_does(distilled):
    rows = read_rows(distilled / "progress.csv")
    first, last = (float(row["loss/kl"]) for row in (rows[0], rows[-1]))
    assert last < 0.1 * first
    assert float(rows[-1]["loss/feed"]) < float(rows[0]["loss/feed"])
    assert float(rows[-1]["agreement"]) > 0.95


def test_evaluate_takes_the_run_as_an_agents(distilled, capsys):
    assert evaluate([str(distilled), "episodes=3"]) == 0
    out = capsys.readouterr().out
    assert "distilled_ppo" in out
    assert "after 4,000 steps, 3 episodes" in out  # 20 collections of 200 states


def test_the_student_is_a_plain_sb3_model(distilled):
    ours = load_student(distilled)
    assert type(ours) is stable_baselines3.PPO
    plain = stable_baselines3.PPO.load(distilled / "model.zip", device="cpu")
    states = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    mine, theirs = (m.predict(states, deterministic=True)[0] for m in (ours, plain))
    assert np.array_equal(mine, theirs)
    mean, _ = evaluate_policy(plain, make_vec("CartPole-v1", 2), 2)
    assert mean > 0


def test_a_student_teaches_too(distilled, cwd):
    assert main([*SHORT, f"teacher={distilled}", "student=[3]", "run_dir=next"]) == 0
    assert "as distilled_ppo of" in (cwd / "next/card.md").read_text()
    assert read_config(cwd / "next")["agent"]["widths"] == [3]


def cut(run: Path, step: int) -> None:
    """Makes a run one that was killed after a checkpoint."""
    (run / "card.md").unlink()
    for path in list_checkpoints(run / "checkpoints"):
        if int(path.name.removeprefix("step-")) > step:
            shutil.rmtree(path)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("g2n", ["distiller.teachers=all", "distiller.feed_weight=1", "buffer_size=450"]),
        ("ppoc", []),
        pytest.param("normalised", [], marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_equals_an_uninterrupted_one(teachers, cwd, name, options):
    assert main([*SHORT, *options, f"teacher={teachers / name}", "run_dir=whole"]) == 0
    shutil.copytree("whole", "part")
    cut(cwd / "part", 40)
    assert main(["resume=part"]) == 0
    whole, part = (
        load_checkpoint(list_checkpoints(cwd / run / "checkpoints")[-1])
        for run in ("whole", "part")
    )
    assert whole[1] == part[1]
    assert (whole[1]["step"], whole[1]["counters"]["num_timesteps"]) == (60, 600)
    for group, tensors in whole[0].items():
        for key, tensor in tensors.items():
            assert torch.equal(tensor, part[0][group][key]), f"{group}/{key}"
    for file in ("progress.csv", "result.json"):
        assert (cwd / "whole" / file).read_text() == (cwd / "part" / file).read_text()


def test_a_finished_run_goes_on_to_more_steps(distilled, cwd, capsys):
    shutil.copytree(distilled, "run")
    assert main(["resume=run"]) == 0
    assert "has its 400 steps already; type total_steps=800" in capsys.readouterr().err
    assert main(["resume=run", "student=[9,9]", "total_steps=420"]) == 2
    assert "leave student out, or start a new run" in capsys.readouterr().err
    assert main(["resume=run", "total_steps=420"]) == 0
    assert read_rows(cwd / "run/progress.csv")[-1]["step"] == "420"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("g2n", ["distiller.teachers=mean", "algorithm=a2c"]),
        ("ppoc", ["distiller.option_target=marginal", "distiller.feed_weight=1"]),
        ("binary", ["distiller.feed_weight=1"]),
        pytest.param("tables", [], marks=pytest.mark.slow),
        pytest.param(
            "disentangled", ["distiller.feed_weight=1", "student=[8]"], marks=pytest.mark.slow
        ),
    ],
)
def test_every_kind_of_agent_teaches(teachers, cwd, name, options, capsys):
    assert main([*SHORT, *options, f"teacher={teachers / name}", "run_dir=run"]) == 0
    rows = read_rows(cwd / "run/progress.csv")
    assert all(np.isfinite(float(row["loss"])) for row in rows)
    assert evaluate(["run", "episodes=1"]) == 0
    assert "distilled_" in capsys.readouterr().out


def test_normalisation_is_the_teachers(teachers, cwd):
    assert main([*SHORT, f"teacher={teachers / 'normalised'}", "run_dir=run"]) == 0
    config = read_config(teachers / "normalised")
    env = build_env(config)
    agent = build_agent(config, env)
    load_trained(teachers / "normalised", agent, "last")
    student = load_student(cwd / "run")
    mine = student.get_vec_normalize_env()
    assert isinstance(mine, VecNormalize)
    assert isinstance(env, VecNormalize)
    assert np.array_equal(mine.obs_rms.mean, env.obs_rms.mean)
    assert np.array_equal(mine.obs_rms.var, env.obs_rms.var)
    assert not mine.training
    tensors, _ = load_checkpoint(list_checkpoints(cwd / "run/checkpoints")[-1])
    kept = tensors["replay"]["observations"]
    assert kept.abs().max() <= 5  # clipped as the agent's are
    env.close()


@pytest.mark.slow
def test_a_short_teacher_is_trained_first(cwd, capsys):
    quick = ["preset=smoke", "total_steps=40", "collect_states=100", "run_dir=run"]
    assert main(["distiller=policy", *quick]) == 0
    run = cwd / "run"
    assert (run / "teacher/card.md").exists()
    assert "of `run/teacher` after 2,048 steps" in (run / "card.md").read_text()
    # The student's run is the newest one, which "latest" means.
    stamps = [(p / "config.yaml").stat().st_mtime_ns for p in (run / "teacher", run)]
    assert stamps[0] < stamps[1]
    teacher = (run / "teacher/model.zip").read_bytes()
    capsys.readouterr()
    assert main(["resume=run", "total_steps=60"]) == 0
    assert "training a short teacher" not in capsys.readouterr().err
    assert (run / "teacher/model.zip").read_bytes() == teacher
