"""Options of distillation from the command line: name, type, default, meaning.

Those of a loss are the keywords of its class, with the same defaults; their meaning stands there. A
test holds both together. This file imports no torch, for ``--help``.
"""

from dataclasses import dataclass, field
from typing import Any

ONLINE = ("afd", "dml", "ffl", "one")  # peers learn from each other, without a teacher
PLAIN = "none"  # labels alone
OPTIMIZERS = ("sgd", "adam")

# Methods for super-resolution, whose networks give no class logits, with what differs from their
# options for classifiers: hints lie behind a sum and not behind a ReLU, and their weight is beside
# an L1 of some grey levels (ours; with 100 the hints would be most of the objective).
FOR_PICTURES: dict[str, dict[str, Any]] = {
    "at": {},
    "feed": {},
    "fitnets": {"relu": "false", "weight": 1.0},
    "ft": {},
    "lsfd": {},
}


@dataclass
class DistillerOptions:
    """Options under ``distiller.`` of every method.

    Attributes:
        name: Name of the loss; none for a student that learns from the labels alone.
        weight: Of the loss; null: the usual one.
        task_weight: Of cross-entropy.
    """

    name: str = "???"
    weight: float | None = None
    task_weight: float = 1.0


@dataclass
class KDOptions(DistillerOptions):
    """See :class:`rlgen.distill.losses.kd.KD`."""

    temperature: float = 4.0


@dataclass
class FitNetsOptions(DistillerOptions):
    """See :class:`rlgen.distill.losses.fitnets.FitNets`."""

    relu: bool = True


@dataclass
class FTOptions(DistillerOptions):
    """See :class:`rlgen.distill.losses.ft.FT`."""

    rate: float = 0.5
    tap: int = -1
    epochs: int = 6
    learning_rate: float = 0.1
    joint: float = 0.002


@dataclass
class ABOptions(DistillerOptions):
    """See :class:`rlgen.distill.losses.ab.AB`."""

    margin: float = 1.0
    teacher_bn: str = "batch"


@dataclass
class RKDOptions(DistillerOptions):
    """See :class:`rlgen.distill.losses.rkd.RKD`."""

    distance: float = 25.0
    angle: float = 50.0
    tap: int = -1


@dataclass
class DMLOptions(DistillerOptions):
    """See :class:`rlgen.distill.losses.dml.DML`."""

    temperature: float = 1.0


@dataclass
class ONEOptions(DistillerOptions):
    """See :class:`rlgen.distill.losses.one.ONE`."""

    temperature: float = 3.0
    ramp_epochs: float = 80.0
    tap: int = -1


@dataclass
class OFDOptions(DistillerOptions):
    """See :class:`rlgen.distill.losses.ofd.OFD`."""

    margin: str = "auto"
    teacher_bn: str = "batch"


@dataclass
class FEEDOptions(DistillerOptions):
    """See :class:`rlgen.distill.losses.feed.FEED`."""

    reduction: str = "mean"
    teacher_reduction: str = "sum"
    tap: int = -1
    batch_norm: bool = False


@dataclass
class FFLOptions(DistillerOptions):
    """See :class:`rlgen.distill.losses.ffl.FFL`."""

    temperature: float = 3.0
    ramp_epochs: float = 80.0
    tap: int = -1
    out_channels: int | None = None
    align: str = "pool"


@dataclass
class AFDOptions(DistillerOptions):
    """See :class:`rlgen.distill.losses.afd.AFD`."""

    temperature: float = 3.0
    kl: float = 1.0
    adversarial: float = 1.0
    tap: int = -1


@dataclass
class LSFDOptions(DistillerOptions):
    """See :class:`rlgen.distill.losses.lsfd.LSFD`."""

    local: str = "pixel"
    distance: str = "l1"
    selective: bool = True
    source: str = "auto"
    attention: str = "ratio"
    temperature: float = 1.0
    keep: float = 0.25
    clip: float = 10.0
    regressor: bool | None = None


@dataclass
class DistillTrainOptions:
    """Options of every run of distillation; those of the method are under ``distiller.``.

    The recipe is that of OFD's official code on CIFAR (spec ofd, section d), whose milestones are
    also those of the online methods.

    Attributes:
        distiller: The method's options.
        task: classification, or super_resolution, whose own defaults are in
            conf/task/super_resolution.yaml.
        data: cifar10, cifar100, fashion_mnist or mnist in a folder of RLGEN_DATA, a path,
            hub:NAME, or synthetic:shapes. Of super-resolution: large pictures, a folder, an
            archive, div2k, bsd100, urban100 and the like, or synthetic:photos; or a list.
        test: Of super-resolution: set5, set14, bsd100, urban100 or what data= takes; or a list.
        scale: Of super-resolution: 2, 3 or 4.
        patch_size: Of super-resolution: side of the small patches; large ones have ``scale`` times
            as much.
        alpha: Of super-resolution: share of the teacher's picture in the pixel loss, the rest is
            the true picture's.
        epoch_steps: Of super-resolution: steps that count as an epoch; null: as many as hold all
            pixels once.
        size: Side to which pictures of folders are brought (of super-resolution: the shorter one);
            null: as they are.
        student: Network to be trained, by its name.
        teacher: Network to be trained first in the same run, or a run, or a .safetensors file;
            a list for several.
        n_teachers: How many teachers are trained where one network is named.
        peers: Of online methods: how many students learn together, or a list of classifiers.
        branch_at: Of online methods: first layer that each peer has for itself, such as layer3;
            null: they share nothing.
        stages: Students in a row, each taught by the one before; the last one counts.
        start: Run or .safetensors file from whose weights the student starts; null: at random.
        taps: Layers that the loss reads, a list or by role; null: those of the paper.
        epochs: Passes over the training set.
        teacher_epochs: Of teachers that are trained first; null: as ``epochs``.
        total_steps: Steps of the student, instead of ``epochs``; null: as many as these have.
        batch_size: Pictures per step and process.
        optimizer: sgd or adam.
        lr: Learning rate at the start.
        momentum: Of SGD.
        nesterov: Whether it is Nesterov's.
        weight_decay: Of the optimiser.
        milestones: Where the learning rate falls: shares of the run below 1, else epochs.
        gamma: Factor by which it falls.
        augment: Whether training pictures are changed at random, as the next three say; patches
            of super-resolution are flipped and turned by quarters.
        padding: Border for random crops, in pixels.
        border: zero or reflect.
        flip: Whether half of the pictures are mirrored.
        seed: Seed of everything random.
        device: auto, cpu, cuda.
        precision: auto, fp32, bf16.
        threads: Torch threads; null for torch's own number.
        run_root: Folder of all runs.
        run_dir: Folder of this run; null for a new one under run_root.
        resume: latest, or a run folder, to go on with it.
        preset: full, or smoke: a short run on drawn pictures that leaves everything a real one
            does.
        log_every: Steps between rows of progress.csv; null: an epoch.
        checkpoint_every: Steps between checkpoints; null: an epoch.
        eval_every: Epochs between evaluations on the test set; 0 for the end only.
    """

    distiller: Any = None
    task: str = "classification"
    data: Any = "cifar10"
    test: Any = None
    scale: int = 2
    patch_size: int = 48
    alpha: float = 0.0
    epoch_steps: int | None = None
    size: int | None = None
    student: str = "resnet20"
    teacher: Any = None
    n_teachers: int = 1
    peers: Any = 2
    branch_at: str | None = None
    stages: int = 1
    start: str | None = None
    taps: Any = None
    epochs: int = 200
    teacher_epochs: int | None = None
    total_steps: int | None = None
    batch_size: int = 128
    optimizer: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    milestones: list[float] = field(default_factory=lambda: [0.5, 0.75])
    gamma: float = 0.1
    augment: bool = True
    padding: int = 4
    border: str = "zero"
    flip: bool = True
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    run_root: str = "runs"
    run_dir: str | None = None
    resume: str | None = None
    preset: str = "full"
    log_every: int | None = None
    checkpoint_every: int | None = None
    eval_every: int = 1


# AT has no options of its own.
OPTIONS: dict[str, type[DistillerOptions]] = {
    PLAIN: DistillerOptions,
    "ab": ABOptions,
    "afd": AFDOptions,
    "at": DistillerOptions,
    "dml": DMLOptions,
    "feed": FEEDOptions,
    "ffl": FFLOptions,
    "fitnets": FitNetsOptions,
    "ft": FTOptions,
    "kd": KDOptions,
    "lsfd": LSFDOptions,
    "ofd": OFDOptions,
    "one": ONEOptions,
    "rkd": RKDOptions,
}

SCHEMAS: dict[str, type] = {
    "train_distiller_schema": DistillTrainOptions,
    **{f"distiller/{name}_schema": options for name, options in OPTIONS.items()},
}
