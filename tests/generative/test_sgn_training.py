"""Training from the command line: artefacts, exact resume, identity at photo=1, mistakes."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from rlgen.core.checkpoint import list_checkpoints, load_checkpoint
from rlgen.core.loop import make_accelerator
from rlgen.evaluate import main as evaluate
from rlgen.generative.job import compose_train_config
from rlgen.generative.sgn import load_pipeline
from rlgen.generative.sgn.training import SGNTrainer
from rlgen.train import main

SMOKE = ["model=sgn", "preset=smoke", "precision=fp32", "device=cpu"]
SHORT = ["total_steps=6", "log_every=2", "sample_every=3", "checkpoint_every=2", "size=24"]
# Histories that are full by the time a run is cut.
FEW = ["domains.night.adversarial.history=3", "domains.stripes.adversarial.history=3"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, drawn_curves) -> Path:
    """A run of six steps with its learning curve; change none."""
    run = tmp_path_factory.mktemp("sgn") / "whole"
    with drawn_curves():
        assert main([*SMOKE, *SHORT, *FEW, f"run_dir={run}"]) == 0
    return run


@pytest.fixture
def run(whole: Path, cwd: Path) -> Path:
    """A copy of that run, ``run`` in the current folder."""
    return Path(shutil.copytree(whole, cwd / "run"))


def test_a_run_leaves_what_a_run_leaves(run: Path, whole: Path):
    for name in ("config.yaml", "card.md", "learning_curve.png", "samples.png"):
        assert (run / name).stat().st_size > 0, name
    assert list(run.glob("events.out.tfevents*"))
    assert [p.name for p in sorted((run / "samples").iterdir())] == [
        "step-0000003.png",
        "step-0000006.png",
    ]
    first, last = (np.asarray(Image.open(p)) for p in sorted((run / "samples").iterdir()))
    assert (first != last).any()
    with (run / "progress.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4", "6"]
    columns = {"loss/generator", "photo/reconstruction", "stripes/adversarial", "night/identity"}
    assert columns <= set(rows[0])
    assert all(float(row[c]) > 0 for row in rows for c in columns)
    card = (run / "card.md").read_text()
    assert f"run_dir={whole}" in card
    assert "6 steps" in card
    pipeline = load_pipeline(run)
    assert pipeline.domains == ("photo", "stripes", "night")


def final_state(run: Path):
    return load_checkpoint(list_checkpoints(run / "checkpoints")[-1])


def test_a_resumed_run_equals_an_uninterrupted_one(whole: Path, run: Path):
    """The process died after step 4."""
    shutil.rmtree(list_checkpoints(run / "checkpoints")[-1])
    assert [p.name[-1] for p in list_checkpoints(run / "checkpoints")] == ["4"]
    (run / "card.md").unlink()
    assert main(["resume=run"]) == 0
    (first, state), (part, other) = final_state(whole), final_state(run)
    assert state == other
    assert state["step"] == 6
    assert first.keys() == part.keys()
    for group, tensors in first.items():
        for name, tensor in tensors.items():
            assert torch.equal(tensor, part[group][name]), f"{group}/{name}"
    assert (whole / "progress.csv").read_text() == (run / "progress.csv").read_text()


def test_a_damaged_checkpoint_gives_way_to_the_one_before(run: Path, capsys):
    newest = list_checkpoints(run / "checkpoints")[-1]
    weights = newest / "generator.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    assert main(["resume=run", "total_steps=8"]) == 0
    told = capsys.readouterr().err
    assert "generator.safetensors is damaged" in told
    assert "resumed at step 4" in told


def test_the_photo_corner_learns_to_reconstruct():
    """Invariant 10: G(x, photo) comes nearer to x than the other corner does."""
    steps = 60
    domains = "domains={photo: reconstruction, night: {adversarial: {images: 'synthetic:night'}}}"
    options = [
        *SMOKE,
        "size=24",
        f"total_steps={steps}",
        "model.learning_rate=3e-3",
        domains,
        "domains.night.adversarial.width=8",
    ]
    trainer = SGNTrainer(compose_train_config(options), make_accelerator("cpu", "fp32"))
    x = torch.cat([trainer.photos.at(1000 + k) for k in range(4)])

    def distances() -> list[float]:
        generator = trainer.averaged_generator()
        with torch.no_grad():
            return [(generator(x, corner) - x).abs().mean().item() for corner in torch.eye(2)]

    for step in range(steps):
        trainer.train_step(step)
    photo, night = distances()
    assert photo < 0.8 * night


def test_averaged_weights_follow_the_decay():
    config = compose_train_config([*SMOKE, "size=24", "model.ema_decay=0.05"])
    trainer = SGNTrainer(config, make_accelerator("cpu", "fp32"))
    expected = [p.detach().clone() for p in trainer.generator.parameters()]
    for step in range(3):
        trainer.train_step(step)
        # use_ema_warmup: decay 1 - (1 + k)^(-2/3) after k steps, at most ema_decay
        decay = min(1 - (1 + step) ** (-2 / 3), 0.05)
        now = trainer.generator.parameters()
        expected = [
            decay * e + (1 - decay) * p.detach() for e, p in zip(expected, now, strict=True)
        ]
    for mine, theirs in zip(trainer.averaged_generator().parameters(), expected, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_without_an_average_the_weights_themselves_are_taken():
    config = compose_train_config([*SMOKE, "size=24", "model.ema_decay=0"])
    trainer = SGNTrainer(config, make_accelerator("cpu", "fp32"))
    trainer.train_step(0)
    assert trainer.ema is None
    for mine, theirs in zip(
        trainer.averaged_generator().parameters(), trainer.generator.parameters(), strict=True
    ):
        assert torch.equal(mine, theirs)


def test_the_learning_rate_is_constant_and_then_falls_to_0():
    config = compose_train_config([*SMOKE, "total_steps=100", "model.learning_rate=2e-4"])
    trainer = SGNTrainer(config, make_accelerator("cpu", "fp32"))
    rates = [trainer.learning_rate(step) for step in (0, 50, 75, 100)]
    assert rates == pytest.approx([2e-4, 2e-4, 1e-4, 0])


def test_discriminators_step_apart_from_the_generator():
    config = compose_train_config([*SMOKE, "size=24"])
    trainer = SGNTrainer(config, make_accelerator("cpu", "fp32"))

    def moved(step) -> tuple[bool, bool]:
        networks = [trainer.generator, *trainer.discriminators.values()]
        before = [[p.detach().clone() for p in network.parameters()] for network in networks]
        step(0)
        changed = [
            any(not torch.equal(a, b) for a, b in zip(old, network.parameters(), strict=True))
            for old, network in zip(before, networks, strict=True)
        ]
        return changed[0], any(changed[1:])

    assert moved(trainer.train_step) == (True, True)
    for optimizer in trainer.discriminator_optimizers.values():
        optimizer.step = lambda: None
    assert moved(trainer.train_step) == (True, False)  # the generator's loss does not train them
    assert all(p.requires_grad for d in trainer.discriminators.values() for p in d.parameters())


@pytest.fixture
def vgg(tmp_path: Path) -> Path:
    """A file of weights of VGG-16's shape."""
    generator, widths = torch.Generator().manual_seed(0), [3, 64, 64, 128, 128, 256, 256, 256]
    widths += [512, 512, 512]
    names = ["1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "4_1", "4_2", "4_3"]
    weights = {}
    for name, a, b in zip(names, widths[:-1], widths[1:], strict=True):
        weights[f"conv{name}.weight"] = torch.randn(b, a, 3, 3, generator=generator) / (3 * a**0.5)
        weights[f"conv{name}.bias"] = torch.zeros(b)
    save_file(weights, tmp_path / "vgg.safetensors")
    return tmp_path / "vgg.safetensors"


def test_a_style_domain_trains_and_leaves_the_features_alone(vgg: Path):
    """Invariant 11, and a domain of two losses."""
    both = "{style: 'synthetic:night', adversarial: {images: 'synthetic:night', width: 8}}"
    domains = f"domains={{photo: reconstruction, night: {both}}}"
    options = [*SMOKE, "size=24", domains, f"perceptual={vgg}", "model.learning_rate=1e-2"]
    trainer = SGNTrainer(compose_train_config(options), make_accelerator("cpu", "fp32"))
    style = trainer.domains["night"][0]
    frozen = [*trainer.features.parameters(), *style.buffers()]
    before = [tensor.clone() for tensor in frozen]
    terms = [trainer.train_step(step) for step in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(before, frozen, strict=True))
    names = {"night/style", "night/content", "night/adversarial", "night/identity"}
    assert names | {"photo/reconstruction", "loss/discriminator_night"} <= set(terms[0])
    assert terms[1]["night/style"] != terms[0]["night/style"]


MISTAKES = [
    (["model=sgm"], "unknown model 'sgm'; did you mean 'sgn'?"),
    (["model=sgn"], "data.photos is not set; type data.photos=FOLDER"),
    (["model=sgn", "agent=g2n"], "agent and model are given"),
    (["model=sgn", "data.photos=synthetic:photos"], "domains is empty; name two or more"),
    ([*SMOKE, "size=8"], "size=8 is too small; type size=16 or more"),
    ([*SMOKE, "size=20"], "size=20 is too small for a discriminator"),
    ([*SMOKE, "batch_size=0"], "batch_size=0 is too small"),
    ([*SMOKE, "model.widht=8"], "unknown option model.widht; did you mean 'model.width'"),
    ([*SMOKE, "total_steps=many"], "total_steps"),
    ([*SMOKE, "model.alpha=0"], "model.alpha=0.0 is too small"),
    ([*SMOKE, "model.ema_decay=2"], "model.ema_decay=2.0; a number from 0 to 1"),
    ([*SMOKE, "model.beta1=1.5"], "model.beta1=1.5; a number from 0 to 1"),
    ([*SMOKE, "size=1000000"], "size=1000000; a whole number from 16 to 4096"),
    ([*SMOKE, "seed=100000000000000000000"], "seed"),
    ([*SMOKE, "domains={a: reconstruction, b: {style: 5}}"], "one path is needed, or a list"),
    ([*SMOKE, "domains={a: reconstruction, b: {style: []}}"], "one path is needed, or a list"),
    (
        [*SMOKE, "domains={a: reconstruction, b: {adversarial: {images: x.png, width: 8.5}}}"],
        "width=8.5; a whole number",
    ),
    (
        [*SMOKE, "domains={a: reconstruction, b: {adversarial: {images: x.png, width: 0}}}"],
        "width=0 is too small",
    ),
    ([*SMOKE, "data.photos=/nowhere"], "no images at '/nowhere'"),
    ([*SMOKE, "precision=fp17"], "precision='fp17' is unknown"),
    ([*SMOKE, "device=tpu"], "device='tpu' is unknown; allowed: auto, cpu, cuda, mps"),
    ([*SMOKE, "preset=smok"], "unknown preset 'smok'; did you mean 'smoke'"),
    ([*SMOKE, "domains={photo: reconstruction, a: {style: /nowhere.jpg}}"], "no images at"),
    ([*SMOKE, "perceptual=/nowhere", "domains={a: reconstruction, b: {style: x.png}}"], "nowhere"),
]


@pytest.mark.parametrize(("arguments", "part"), MISTAKES, ids=[part for _, part in MISTAKES])
def test_mistakes_are_told_in_one_line(cwd: Path, capsys, arguments, part):
    Image.new("RGB", (20, 20)).save(cwd / "x.png")
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert part in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not (cwd / "runs").exists()


def test_other_domains_cannot_go_on_with_a_run(run: Path, capsys):
    text = (run / "config.yaml").read_text().replace("stripes:\n    adv", "plaid:\n    adv")
    (run / "config.yaml").write_text(text)
    assert main(["resume=run", "total_steps=8"]) == 2
    assert "names and order must stay when a run goes on" in capsys.readouterr().err


def test_another_size_cannot_go_on_with_a_run(run: Path, capsys):
    before = (run / "config.yaml").read_text()
    assert main(["resume=run", "total_steps=8", "size=32"]) == 2
    assert "cannot go on with size=32" in capsys.readouterr().err
    assert (run / "config.yaml").read_text() == before


def test_a_run_killed_before_its_card_gets_it_on_resume(run: Path):
    for name in ("card.md", "pipeline"):
        path = run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert main(["resume=run"]) == 0
    assert (run / "card.md").exists()
    assert load_pipeline(run).domains == ("photo", "stripes", "night")


@pytest.mark.parametrize("change", ["domains=5", "data=5", "model.width=null", "size=null"])
def test_wrong_changes_on_resume_are_told_in_one_line(run: Path, capsys, change):
    capsys.readouterr()
    assert main(["resume=run", "total_steps=8", change]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_a_models_run_is_not_evaluated_as_an_agent(run: Path, capsys):
    assert evaluate(["run"]) == 2
    assert "is no agent's run" in capsys.readouterr().err


def test_the_state_names_domains_and_files(run: Path):
    path = list_checkpoints(run / "checkpoints")[-1]
    state = json.loads((path / "state.json").read_text())
    assert state["domains"] == ["photo", "stripes", "night"]
    assert {p.name for p in path.iterdir()} >= {"ema.safetensors", "discriminator-1-0.safetensors"}


@pytest.mark.slow
def test_two_processes_train_one_run(cwd: Path):
    arguments = [*SMOKE, *SHORT, "size=24", "run_dir=run"]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    for given in (arguments, ["resume=run", "total_steps=8"]):
        result = subprocess.run(
            [*command, "-m", "rlgen.train", *given],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert result.returncode == 0, result.stderr
    assert result.stderr.count("run folder: run") == 1
    with (cwd / "run/progress.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["2", "4", "6", "8"]
    assert load_pipeline(cwd / "run").domains == ("photo", "stripes", "night")
