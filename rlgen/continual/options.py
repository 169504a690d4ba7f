"""Options of continual learning from the command line: name, type, default, meaning.

Those of a learner are the keywords of its class or function, with the same defaults; their meaning
stands there. A test holds both together. This file imports no torch, for ``--help``.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class LearnerOptions:
    """Options under ``learner.`` of every learner.

    Attributes:
        name: Of the learner.
    """

    name: str = "???"


@dataclass
class CNetOptions(LearnerOptions):
    """See :class:`rlgen.continual.cnet_learner.CNetLearner`.

    Attributes:
        tasks: How many tasks share the channels equally; null: those of the stream.
        fractions: Rising shares instead, such as [0.5,0.75,1.0].
        grow: Whether tasks beyond these widen the network.
        start: First weights of new channels: random or old.
    """

    tasks: int | None = None
    fractions: list[float] | None = None
    grow: bool = False
    start: str = "random"


@dataclass
class HCNetOptions(CNetOptions):
    """See :class:`rlgen.continual.hcnet.HCNet`.

    Attributes:
        index: Finds the task of a picture: gan, autoencoder, prototype or density.
        index_options: Keywords of the index, such as learner.index_options.width=32.
    """

    index: str = "gan"
    index_options: dict[str, Any] = field(default_factory=dict)


@dataclass
class EWCOptions(LearnerOptions):
    """See :class:`rlgen.continual.baselines.ewc.EWC`."""

    weight: float = 10.0
    fisher_samples: int = 500


@dataclass
class LwFOptions(LearnerOptions):
    """See :class:`rlgen.continual.baselines.lwf.LwF`."""

    weight: float = 1.0
    temperature: float = 2.0


@dataclass
class PackNetOptions(LearnerOptions):
    """See :class:`rlgen.continual.baselines.packnet.PackNet`.

    Attributes:
        tasks: How many tasks share each layer's weights equally; null: by ``prune``.
        prune: Share of the free weights that each task gives back instead; null: 0.5.
        retrain: Share of a task's steps that come after pruning.
        start: First values of free weights after the first task: zero or random.
    """

    tasks: int | None = None
    prune: float | None = None
    retrain: float = 0.5
    start: str = "zero"


@dataclass
class ReplayOptions(LearnerOptions):
    """See :class:`rlgen.continual.baselines.replay.Replay`."""

    memory: int = 500
    weight: float = 1.0


@dataclass
class LearnerTrainOptions:
    """Options of every run of continual learning; those of the learner are under ``learner.``.

    The recipe is that of the spec hc_net, section d (reconstructed there), with fewer epochs.

    Attributes:
        learner: The learner's options.
        stream: Sets in their order, a task each: mnist, usps, fashion_mnist, cifar10 or cifar100 in
            a folder of RLGEN_DATA, a path, hub:NAME, synthetic:shapes; split_NAME and
            permuted_NAME stand for ``tasks`` tasks of one set, drawn for three drawn ones.
        tasks: Into how many tasks a set is split or permuted.
        size: Side to which all pictures are brought, in pixels.
        channels: 1 for grey, 3 for colours.
        train: Pictures to learn from in each task; null: all.
        test: Pictures to be judged by in each task; null: all.
        network: Classifier that all tasks share, by its name.
        epochs: Passes over the pictures of each task; the spec's recipe has 160.
        steps_per_task: Steps of each task instead of ``epochs``.
        batch_size: Pictures per step.
        lr: Learning rate at the start of each task.
        momentum: Of SGD.
        weight_decay: Of what a task trains.
        milestones: Where the rate falls, as shares of a task's steps.
        gamma: Factor by which it falls.
        padding: Border for random crops, in pixels.
        flip: Whether half of the pictures are mirrored.
        export: Whether each task of a C-net is saved as a plain smaller network.
        seed: Seed of everything random.
        device: auto, cpu, cuda.
        threads: Torch threads; null for torch's own number.
        run_root: Folder of all runs.
        run_dir: Folder of this run; null for a new one under run_root.
        resume: latest, or a run folder, to go on with it.
        preset: full, or smoke: a short run on drawn pictures that leaves everything a real one
            does.
        log_every: Steps between rows of progress.csv.
        checkpoint_every: Steps between checkpoints; there is one after each task too.
    """

    learner: Any = None
    stream: Any = field(default_factory=lambda: ["mnist", "fashion_mnist", "cifar10"])
    tasks: int = 5
    size: int = 32
    channels: int = 3
    train: int | None = None
    test: int | None = None
    network: str = "resnet20"
    epochs: int = 10
    steps_per_task: int | None = None
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    milestones: list[float] = field(default_factory=lambda: [0.5, 0.75])
    gamma: float = 0.1
    padding: int = 0
    flip: bool = False
    export: bool = True
    seed: int = 0
    device: str = "auto"
    threads: int | None = None
    run_root: str = "runs"
    run_dir: str | None = None
    resume: str | None = None
    preset: str = "full"
    log_every: int = 50
    checkpoint_every: int = 500


# Fine-tuning and joint training have no options of their own.
OPTIONS: dict[str, type[LearnerOptions]] = {
    "cnet": CNetOptions,
    "ewc": EWCOptions,
    "finetune": LearnerOptions,
    "hcnet": HCNetOptions,
    "joint": LearnerOptions,
    "lwf": LwFOptions,
    "packnet": PackNetOptions,
    "replay": ReplayOptions,
}

SCHEMAS: dict[str, type] = {
    "train_learner_schema": LearnerTrainOptions,
    **{f"learner/{name}_schema": options for name, options in OPTIONS.items()},
}
