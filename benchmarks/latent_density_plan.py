"""What the study of latent densities runs: sets, rows, options, and where results are."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from latent_density_rivals import PYTHAE, has_pythae

from rlgen.core.errors import UserError, closest
from rlgen.generative.latent_density import DENSITIES

INCREMENTAL, PLAIN = "incremental", "plain"
REAL, RECONSTRUCTION, WHOLE = "real", "reconstruction", "whole-vae"
LDE_SHARED = "lde-shared"  # the estimator with one head for all coordinates, as in the paper
HELD_OUT, HOLDOUT = "-held-out", 0.05  # rows whose density is the best on 5 % of the latents
PARZEN = ("mnist",)  # sets whose Parzen log-likelihood is told, as in the paper
BATCH = 64  # images per step of the autoencoder and of the whole VAE


class Setting(NamedTuple):
    """How a set is learned: the autoencoder, and how many images are drawn."""

    size: int
    dim: int
    width: int
    steps: int
    samples: int


SETTINGS = {
    "fashion_mnist": Setting(size=28, dim=32, width=32, steps=6000, samples=10_000),
    "mnist": Setting(size=28, dim=8, width=32, steps=3000, samples=10_000),
    "fairface64": Setting(size=64, dim=32, width=16, steps=2000, samples=1000),
    "synthetic:shapes": Setting(size=16, dim=4, width=8, steps=40, samples=200),  # for a try
}


@dataclass
class StudyOptions:
    """Options of the study."""

    sets: list[str] = field(default_factory=lambda: ["fashion_mnist", "fairface64"])
    only: list[str] = field(default_factory=list)  # rows, such as lde or whole-vae-1; empty: all
    seeds: int = 3
    plain: bool = True  # the autoencoder with all coordinates from the start as well
    steps: int = 0  # of the autoencoder; 0: the set's own
    samples: int = 0  # images drawn; 0: the set's own
    density_steps: int = 5000
    density_batch_size: int = 128
    lde_learning_rate: float = 4e-3  # its usual one; the paper's 2e-4 is for far longer fits
    mixtures: list[int] = field(default_factory=lambda: [100])  # Gaussians of further mixtures
    betas: list[float] = field(default_factory=lambda: [1.0])  # of the whole VAE
    feature_epochs: int = 3
    perceptual: str | None = None  # VGG-16's weights, for sets without labels
    device: str = "cpu"
    threads: int = 1
    report: bool = False  # tables of what is there, without a run
    out: str = "runs/latent_density"


def rows_of(options: StudyOptions, variant: str) -> list[str]:
    """Returns the rows of a variant's table.

    Raises:
        UserError: If ``only`` has an unknown one.
    """
    whole = [f"{WHOLE}-{beta:g}" for beta in options.betas]
    rivals = list(PYTHAE) if has_pythae() or options.report else []
    mixtures = [f"gmm-{count}" for count in options.mixtures]
    variants = [LDE_SHARED, f"lde{HELD_OUT}", f"flow{HELD_OUT}"]
    everything = [REAL, RECONSTRUCTION, *DENSITIES, *variants, *mixtures, *rivals, *whole]
    for name in options.only:
        if name not in everything and name not in PYTHAE:
            raise UserError(f"only: unknown row {name!r}; {closest(name, everything)}")
    once = (REAL, *whole)  # these do not depend on how the autoencoder was trained
    wanted = [name for name in everything if not options.only or name in options.only]
    return [name for name in wanted if variant == INCREMENTAL or name not in once]


def density_of(row: str) -> tuple[str, dict[str, Any]]:
    """Returns a row's density and its options; those of ``gmm-100`` are 100 components."""
    if row == LDE_SHARED:
        return "lde", {"own_heads": False}
    if row.endswith(HELD_OUT):
        return row.removesuffix(HELD_OUT), {}
    name, _, gaussians = row.partition("-")
    return name, {"components": int(gaussians)} if gaussians else {}


def folder_of(options: StudyOptions, data: str, variant: str, row: str, seed: int) -> Path:
    """Returns where a run's result is."""
    slug = data.replace(":", "-")
    return Path(options.out) / slug / variant / row / f"seed{seed}"


def steps_of(options: StudyOptions, data: str) -> int:
    """Returns the steps of a set's autoencoder."""
    return options.steps or SETTINGS[data].steps


def settings_of(options: StudyOptions, data: str) -> dict[str, Any]:
    """Returns what results of a set depend on."""
    kept = ("density_steps", "density_batch_size", "lde_learning_rate", "feature_epochs")
    told: dict[str, Any] = {key: asdict(options)[key] for key in kept}
    setting = SETTINGS[data]._replace(steps=steps_of(options, data))
    setting = setting._replace(samples=options.samples or setting.samples)
    return told | setting._asdict() | {"vgg": options.perceptual is not None}


def check_study(options: StudyOptions) -> None:
    """Checks what the types leave open.

    Raises:
        UserError: If a set or row is unknown or a number too small.
    """
    for data in options.sets:
        if data not in SETTINGS:
            raise UserError(f"sets: unknown set {data!r}; {closest(data, SETTINGS)}")
    for key in ("seeds", "density_steps", "feature_epochs", "threads"):
        if getattr(options, key) < 1:
            raise UserError(f"{key}={getattr(options, key)} is too small; type {key}=1 or more")
    rows_of(options, INCREMENTAL)
