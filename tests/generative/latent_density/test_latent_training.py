"""The run: artefacts, exact resume in both stages, the spec's invariants, mistakes."""

import csv
import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rlgen.core.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from rlgen.core.errors import UserError
from rlgen.core.loop import make_accelerator
from rlgen.generative.job import check_config, compose_train_config
from rlgen.generative.latent_density import load_latent_pipeline
from rlgen.generative.latent_density.measures import prefix_errors, quantiles
from rlgen.generative.latent_density.training import LatentDensityTrainer
from rlgen.train import main

SMOKE = ["model=latent_density", "preset=smoke", "precision=fp32", "device=cpu"]
SMALL = ["size=8", "model.width=4", "model.dim=4", "batch_size=16"]
SHORT = [
    *SMALL,
    *("total_steps=12", "model.density_steps=6"),
    *("log_every=2", "sample_every=4", "checkpoint_every=2"),
]


def trainer(*options: str) -> LatentDensityTrainer:
    config = compose_train_config([*SMOKE, *SMALL, *options])
    check_config(config)
    return LatentDensityTrainer(config, make_accelerator("cpu", "fp32"))


def final_state(run: Path):
    return load_checkpoint(list_checkpoints(run / "checkpoints")[-1])


def save(made: LatentDensityTrainer, run: Path, step: int) -> None:
    tensors, state = made.state()
    save_checkpoint(run / "checkpoints", step, tensors, {**state, "step": step})


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    assert main([*SMOKE, *SHORT, f"run_dir={run}"]) == 0
    return run


def test_a_run_leaves_what_a_run_leaves(whole_run: Path):
    run = whole_run
    for name in ("config.yaml", "card.md", "samples.png"):
        assert (run / name).stat().st_size > 0, name
    assert (run / "learning_curve.png").exists()
    sheets = sorted((run / "samples").iterdir())
    assert [path.name[-6:-4] for path in sheets] == ["04", "08", "12"]
    heights = [len(picture(path)) for path in sheets]
    assert heights[0] < heights[1]  # samples stand in it once there is a density
    with (run / "progress.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4", "6", "8", "10", "12"]
    assert [bool(row["loss/autoencoder"]) for row in rows] == [True] * 3 + [False] * 3
    assert [bool(row["loss/density"]) for row in rows] == [False] * 3 + [True] * 3
    card = (run / "card.md").read_text()
    assert "# latent_density: lde on synthetic:shapes" in card
    assert "by coordinates kept (pixels 0 to 1): 1: 0." in card
    assert "nats a vector" in card
    assert f"python -m rlgen.generate model={run} count=64 grid=true" in card
    pipeline = load_latent_pipeline(run)
    assert len(pipeline.sample(2)) == 2
    assert len(pipeline.config.reference) == 101


@pytest.mark.parametrize("cut", [4, 6, 10])
def test_a_resumed_run_equals_an_uninterrupted_one(
    whole_run: Path, cwd: Path, cut: int, capsys: pytest.CaptureFixture
):
    """The process dies in the first stage, between the stages, in the second."""
    shutil.copytree(whole_run, "part")
    shutil.rmtree("part/checkpoints")
    first = trainer("total_steps=12", "model.density_steps=6")
    for step in range(cut):
        first.train_step(step)
    save(first, Path("part"), cut)
    for name in ("card.md", "samples.png"):
        Path("part", name).unlink()
    assert main(["resume=part"]) == 0
    assert f"resumed at step {cut}" in capsys.readouterr().err
    (whole, state), (part, other) = final_state(whole_run), final_state(Path("part"))
    assert state == other
    assert state["step"] == 12
    groups = {"autoencoder", "density", "density_optimizer", "density_best"}
    assert whole.keys() == part.keys() == groups
    for group, tensors in whole.items():
        for name, tensor in tensors.items():
            assert torch.equal(tensor, part[group][name]), f"{group}/{name}"
    assert (whole_run / "progress.csv").read_text() == Path("part/progress.csv").read_text()
    assert np.array_equal(picture(whole_run / "samples.png"), picture(Path("part/samples.png")))


def test_the_second_stage_leaves_the_autoencoder_alone():
    """Invariant 10."""
    made = trainer("total_steps=8", "model.density_steps=5")
    for step in range(3):
        made.train_step(step)
    before = {name: value.clone() for name, value in made.autoencoder.state_dict().items()}
    losses = [made.train_step(step)["loss/density"].item() for step in range(3, 8)]
    assert len(set(losses)) == 5
    for name, value in made.autoencoder.state_dict().items():
        assert torch.equal(value, before[name]), name


def write_patterns(path: Path) -> None:
    """Writes images that are sums of four orthogonal patterns with random weights."""
    random = np.random.default_rng(0)
    halves = np.sign(np.arange(8) - 3.5)
    quarters = np.sign(np.cos(np.arange(8) * np.pi / 4 + np.pi / 8))
    ones = np.ones(8)
    pairs = ((ones, ones), (ones, halves), (quarters, ones), (halves, quarters))
    patterns = np.stack([np.outer(*pair) for pair in pairs])
    weights = random.uniform(-1, 1, (512, 4)) * np.array([0.2, 0.14, 0.1, 0.06])
    x = np.round(255 * (0.5 + np.einsum("nk,khw->nhw", weights, patterns))).astype(np.uint8)
    y = np.arange(512) % 2
    np.savez(path, x_train=x, y_train=y, x_test=x[:64], y_test=y[:64])


def test_prefixes_tell_more_the_longer_they_are_where_coordinates_were_opened_in_turn(cwd: Path):
    """Invariant 9."""
    write_patterns(cwd / "patterns.npz")
    errors = []
    for warmup in ("model.warmup=6", "model.warmup=0"):
        made = trainer(
            *("data=patterns.npz", "total_steps=301", "model.density=prior", warmup),
            *("model.learning_rate=1e-2", "model.width=8"),
        )
        for step in range(300):
            made.train_step(step)
        made.autoencoder.eval()
        errors.append(prefix_errors(made.codec, made.sets.test, range(5), made.device))
    opened, plain = errors
    assert all(b < a for a, b in itertools.pairwise(opened))
    assert opened[2] < 0.6 * plain[2]
    assert opened[3] < 0.4 * plain[3]
    assert opened[4] < 2 * plain[4]


def test_coordinates_open_over_half_of_the_training_by_default():
    made = trainer("total_steps=26", "model.density_steps=10")
    assert [made.opened(step) for step in range(0, 10, 2)] == [1, 2, 3, 4, 4]
    given = trainer("total_steps=26", "model.density_steps=10", "model.warmup=2")
    assert made.batches.steps_per_epoch == 48
    assert [given.opened(step) for step in (0, 23, 24, 48, 95, 96)] == [1, 1, 2, 3, 4, 4]


def test_the_learning_rate_is_halved_at_its_milestones():
    made = trainer("total_steps=110", "model.density_steps=10", "model.milestones=[0.1,0.5]")
    rates = [made.learning_rate(step) for step in (0, 9, 10, 49, 50, 99)]
    assert rates == [1e-3, 1e-3, 5e-4, 5e-4, 2.5e-4, 2.5e-4]


def test_coordinates_stay_open_where_a_resumed_run_is_longer():
    first = trainer("total_steps=18", "model.density_steps=8")
    for step in range(5):
        first.train_step(step)
    longer, fresh = (trainer("total_steps=88", "model.density_steps=8") for _ in range(2))
    longer.restore(*first.state())
    opened = [longer.opened(step) for step in (5, 10, 20, 40)]
    assert opened[0] == first.opened(4) > fresh.opened(5)
    assert opened == sorted(opened)


def test_what_cannot_be_fitted_is_told_before_the_autoencoder_is_trained():
    with pytest.raises(UserError, match=r"components=999 for \d+ latents"):
        trainer("model.density=gmm", "model.density_options={components: 999}")


@pytest.mark.parametrize("density", ["gaussian", "prior", "flow", "vae", "diffusion"])
def test_every_density_can_be_trained(density):
    made = trainer(
        "total_steps=4",
        f"model.density={density}",
        "model.density_steps=2",
        "model.density_options={}",
    )
    for step in range(4):
        assert all(value.isfinite() for value in made.train_step(step).values())
    assert made.fitted
    assert made.autoencoder_steps == (3 if density in ("gaussian", "prior") else 2)
    assert len(made.pipeline().sample(2)) == 2
    assert made.density.has_log_prob == any("nats" in line for line in made.describe())


def test_a_density_that_takes_one_step_is_resumed(cwd: Path, capsys):
    options = ["model.density=gaussian", "run_dir=run"]
    assert main([*SMOKE, *SHORT, *options, "total_steps=4", "sample_every=0"]) == 0
    assert main(["resume=run"]) == 0
    assert "has its 4 steps already" in capsys.readouterr().err
    assert main(["resume=run", "total_steps=9"]) == 2
    assert "its density gaussian took one step" in capsys.readouterr().err


def test_a_finished_density_is_trained_further(whole_run: Path, cwd: Path):
    shutil.copytree(whole_run, "run")
    before = final_state(cwd / "run")[0]
    assert main(["resume=run", "total_steps=14"]) == 0
    after, state = final_state(cwd / "run")
    assert (state["step"], state["autoencoder_steps"], state["density_step"]) == (14, 6, 8)
    for name, value in before["autoencoder"].items():
        assert torch.equal(value, after["autoencoder"][name])
    assert not torch.equal(before["density"]["head.weight"], after["density"]["head.weight"])


def test_the_share_held_out_reaches_the_density():
    for share in (0.25, 0.0):
        made = trainer("total_steps=6", "model.density_steps=4", f"model.density_holdout={share}")
        for step in range(3):
            made.train_step(step)
        assert made.fit is not None
        total = len(made.fit.rows) + len(made.fit.held_out)
        assert total == len(made.sets.train)
        assert len(made.fit.held_out) == round(share * total)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["total_steps=100"], "leaves no step for the autoencoder"),
        (["model.density=lda"], "unknown model.density 'lda'; did you mean 'lde'"),
        (["model.density_options={kernel: 3}"], "do not fit model.density=lde"),
        (["model.channels=2"], "model.channels=2; allowed: 1 (grey) and 3 (RGB)"),
        (["model.milestones=[20,50]"], "shares from 0 to 1 are needed"),
        (["domains={a: reconstruction}"], "domains= is for model=sgn"),
        (["size=4"], "size=4 is too small"),
        (["size=30"], "size=30 cannot be halved"),
        (["data=nowhere/at/all"], "no images at 'nowhere/at/all'"),
        (["model.dim=0"], "model.dim=0 is too small"),
        (["model.width=x"], "model.width"),
    ],
)
def test_mistakes_are_one_line(cwd: Path, capsys, arguments, part):
    assert main([*SMOKE, *arguments]) == 2
    told = capsys.readouterr().err
    assert part in told
    assert told.count("\n") == 1
    assert not (cwd / "runs").exists()


def test_no_data_is_told(cwd: Path, capsys):
    assert main(["model=latent_density"]) == 2
    assert "data.photos is not set" in capsys.readouterr().err


def test_another_size_or_density_does_not_resume(whole_run: Path, cwd: Path, capsys):
    shutil.copytree(whole_run, "run")
    assert main(["resume=run", "size=16", "total_steps=14"]) == 2
    assert "leave out size= and data=" in capsys.readouterr().err
    assert main(["resume=run", "model.density=flow", "total_steps=14"]) == 2
    assert "it cannot go on with model.density=flow" in capsys.readouterr().err


def test_data_is_short_for_the_photos():
    config = compose_train_config(["model=latent_density", "data=mnist"])
    assert config["data"] == {"photos": "mnist", "flip": False}
    assert compose_train_config(["model=sgn", "data=x"])["data"] == {"photos": "x", "flip": True}


def test_flipped_and_perceptual_options_reach_the_trainer():
    made = trainer("total_steps=4", "model.density_steps=2", "data.flip=true")
    assert made.batches.flip
    with pytest.raises(UserError, match=r"there is no file none\.npz"):
        trainer(
            "total_steps=4", "model.density_steps=2", "model.perceptual=0.1", "perceptual=none.npz"
        )


def test_quantiles_go_from_the_least_to_the_greatest():
    values = quantiles(torch.arange(201.0))
    assert (values[0], values[50], values[100]) == (0, 100, 200)
