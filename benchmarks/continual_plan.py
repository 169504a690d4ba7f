"""What the study of continual learning runs: streams, learners, one network, one recipe."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rlgen.continual.experience import Experience
from rlgen.continual.recipe import Recipe
from rlgen.continual.streams import open_stream
from rlgen.core.errors import UserError, closest
from rlgen.nets.classifiers import make_classifier
from rlgen.nets.classifiers.resnet import BasicBlock
from rlgen.nets.classifiers.staged import start_weights

THREE, SPLIT = "three", "split"
STREAMS = (THREE, SPLIT)
SETS = ("mnist", "fashion_mnist", "cifar10")
BASELINES = ("finetune", "joint", "ewc", "lwf", "packnet", "replay")
INDICES = ("gan", "autoencoder", "prototype", "density")
HCNET = "hcnet"
PLANNED = (HCNET, "packnet")  # are told how many tasks will come
THIN = "thin"
SPLIT_TASKS = 5


@dataclass
class ContinualOptions:
    """Options of the study; the defaults take a few hours of one CPU core.

    ``index`` is that of HC-Net's rows among the learners; ``indices`` are compared with each other.
    ``only`` names learners (``hcnet`` with all its indices); empty: all. A train or test of 0 is
    all pictures. ``network`` is ``thin`` (with ``width``) or a classifier's name.
    """

    streams: list[str] = field(default_factory=lambda: [*STREAMS])
    only: list[str] = field(default_factory=list)
    index: str = "gan"
    indices: list[str] = field(default_factory=lambda: [*INDICES])
    index_options: dict[str, dict[str, Any]] = field(default_factory=dict)  # by index
    # By learner. Long training leaves small Fisher diagonals: EWC needs stiffer springs for it.
    learner_options: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {"ewc": {"weight": 30.0}}
    )
    split: str = "mnist"
    seeds: int = 3
    size: int = 32
    train: int = 3000  # pictures of each task of the three sets
    test: int = 1000
    epochs: int = 15
    split_train: int = 1000  # pictures of each task of the split
    split_test: int = 500
    split_epochs: int = 4
    batch_size: int = 32
    lr: float = 0.1
    network: str = THIN
    width: int = 16
    threads: int = 1
    jobs: int = 1
    report: bool = False  # tables of what is there, without a run
    page: str | None = None  # whose marks the tables go between
    out: str = "runs/continual"


class Run(NamedTuple):
    """One learner on one stream."""

    stream: str
    learner: str  # hcnet-INDEX for HC-Net
    seed: int

    def folder(self, out: str) -> Path:
        """Returns where its result is."""
        return Path(out) / self.stream / self.learner / f"seed{self.seed}"

    @property
    def index(self) -> str | None:
        """The index of HC-Net; None for other learners."""
        name, _, index = self.learner.partition("-")
        return index if name == HCNET else None


class ThinResNet(nn.Module):
    """A residual network for one CPU core: half the resolution from the first layer on.

    Args:
        width: Channels of the first block; the later two have twice and four times as many.
        classes: Size of the output.
    """

    def __init__(self, width: int, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.blocks = nn.Sequential(
            BasicBlock(width, width),
            BasicBlock(width, 2 * width, 2),
            BasicBlock(2 * width, 4 * width, 2),
        )
        self.head = nn.Linear(4 * width, classes)
        start_weights(self)

    def forward(self, images: Tensor) -> Tensor:
        """Maps pictures (B, 3, H, W) to logits (B, classes)."""
        logits: Tensor = self.head(self.blocks(self.stem(images)).mean((2, 3)))
        return logits


def make_network(name: str, width: int, seed: int) -> nn.Module:
    """Returns the network that all learners of a seed are given."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ThinResNet(width) if name == THIN else make_classifier(name)


def check_study(options: ContinualOptions) -> None:
    """Checks what the types leave open.

    Raises:
        UserError: If a name is unknown or a number too small.
    """
    for key, allowed in (
        ("streams", STREAMS),
        ("only", (HCNET, *BASELINES)),
        ("indices", INDICES),
        ("index", INDICES),
        ("index_options", INDICES),
        ("learner_options", (HCNET, *BASELINES)),
    ):
        given = getattr(options, key)
        for name in [given] if isinstance(given, str) else given:
            if name not in allowed:
                raise UserError(f"{key}: unknown {name!r}; {closest(name, allowed)}")
    for key in ("seeds", "epochs", "split_epochs", "threads", "jobs", "width"):
        if getattr(options, key) < 1:
            raise UserError(f"{key}={getattr(options, key)} is too small; type {key}=1 or more")


def plan(options: ContinualOptions, stream: str) -> list[Run]:
    """Returns the runs of a stream, seed by seed: a study that was cut is balanced."""
    wanted = [name for name in (HCNET, *BASELINES) if not options.only or name in options.only]
    indices = dict.fromkeys((options.index, *options.indices))
    learners = [f"{HCNET}-{index}" for index in indices if HCNET in wanted]
    learners += [name for name in wanted if name != HCNET]
    return [Run(stream, name, seed) for seed in range(options.seeds) for name in learners]


def recipe_of(options: ContinualOptions, stream: str) -> Recipe:
    """Returns the training of each task, the same for all learners."""
    epochs = options.epochs if stream == THREE else options.split_epochs
    return Recipe(epochs=epochs, batch_size=options.batch_size, lr=options.lr)


def settings_of(options: ContinualOptions, run: Run) -> dict[str, Any]:
    """Returns what was typed that a run's result depends on; defaults are those of the package."""
    counts = (options.train, options.test)
    if run.stream == SPLIT:
        counts = (options.split_train, options.split_test)
    settings: dict[str, Any] = {
        "stream": list(SETS) if run.stream == THREE else f"split_{options.split}",
        **dict(zip(("train", "test"), counts, strict=True)),
        "size": options.size,
        "network": f"{THIN}-{options.width}" if options.network == THIN else options.network,
        "recipe": asdict(recipe_of(options, run.stream)),
        "learner": run.learner,
        "seed": run.seed,
    }
    name = HCNET if run.index is not None else run.learner
    settings["learner_options"] = dict(options.learner_options.get(name, {}))
    if run.index is not None:
        settings["index_options"] = dict(options.index_options.get(run.index, {}))
    plain: dict[str, Any] = json.loads(json.dumps(settings))  # as it is read back
    return plain


@cache
def tasks_of(
    names: str | tuple[str, ...], size: int, train: int, test: int, seed: int
) -> Sequence[Experience]:
    """Opens a stream once for all runs of a seed, whose pictures the seed chooses."""
    counts = {"train": train or None, "test": test or None}
    return open_stream(names, size=size, **counts, seed=seed, tasks=SPLIT_TASKS)


def stream_of(settings: dict[str, Any]) -> Sequence[Experience]:
    """Returns the tasks of a run."""
    names = settings["stream"]
    return tasks_of(
        names if isinstance(names, str) else tuple(names),
        *(settings[key] for key in ("size", "train", "test", "seed")),
    )
