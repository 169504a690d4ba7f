"""Options of ``python -m rlgen.study``: name, type, default, meaning, range; no torch here."""

from dataclasses import asdict, dataclass, field
from typing import Any

from rlgen.core.errors import UserError, closest
from rlgen.core.ranges import check_range

NONE = "none"
PROTOCOLS = ("interaction", "bagging")
RECIPES = ("crossed", "finetune")
# What a study may be given more of, or run on elsewhere, without a change to the runs it has.
FREE = ("method", "technique", "seeds", "members", "device", "threads", "out", "preset")


@dataclass
class StudyOptions:
    """Options of the command.

    The recipe is the spec's section (d), all of it reconstructed: RepDistiller's for training,
    60 epochs at a fifth of the rate for fine-tuning.

    Attributes:
        method: Distillation losses to cross, each with its weight behind a colon (``kd:0.5``);
            none, for labels alone, is always among them.
        technique: Techniques to cross, each with its setting behind a colon (``pruning:90``); none
            is always among them.
        protocol: interaction, the 2x2 comparisons; or bagging, the spec's test of the analysis.
        recipe: crossed: the method teaches in both phases, by the larger network. finetune: labels
            alone first, then the trained network teaches its pruned or quantised self.
        data: As of the train command.
        size: Side to which drawn pictures and those of folders are brought; null: as they are.
        shrink: Factor by which pictures are made smaller, by averaging pixels.
        train_pictures: How many to train on, drawn once; null: all.
        test_pictures: How many to test on, drawn once; null: all.
        student: The network that is trained.
        teacher: The larger network that teaches it; one is trained for each seed.
        epochs: Of the first phase.
        finetune_epochs: Of the second phase, which every run has.
        teacher_epochs: Of the teacher; null: as ``epochs``.
        batch_size: Pictures per step.
        lr: Learning rate of SGD in the first phase.
        finetune_lr: In the second phase.
        momentum: Of SGD, Nesterov's.
        weight_decay: Of SGD.
        milestones: Where the rate of the first phase falls, shares of it.
        finetune_milestones: Likewise in the second phase.
        gamma: Factor by which it falls.
        padding: Border for random crops, in every run.
        flip: Whether half of the pictures are mirrored, in every run.
        temperature: Of KD.
        alpha: Of the beta distribution of mixup and CutMix.
        seeds: How many: 0, 1, ...
        members: Students on resamples, of the bagging protocol.
        device: auto, cpu, cuda.
        precision: auto, fp32, bf16; of training, evaluation is always in fp32.
        threads: Torch threads; null for torch's own number.
        out: Folder of the study; one that has runs is gone on with.
        preset: full, or smoke.
    """

    method: Any = field(default_factory=lambda: [NONE, "kd", "feed"])
    technique: Any = field(default_factory=lambda: [NONE, "pruning", "int8", "augment", "small"])
    protocol: str = "interaction"
    recipe: str = "crossed"
    data: str = "cifar10"
    size: int | None = None
    shrink: int = 1
    train_pictures: int | None = None
    test_pictures: int | None = None
    student: str = "resnet20"
    teacher: str = "resnet56"
    epochs: int = 240
    finetune_epochs: int = 60
    teacher_epochs: int | None = None
    batch_size: int = 64
    lr: float = 0.05
    finetune_lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    milestones: list[float] = field(default_factory=lambda: [0.625, 0.75, 0.875])
    finetune_milestones: list[float] = field(default_factory=lambda: [0.5, 0.75])
    gamma: float = 0.1
    padding: int = 4
    flip: bool = True
    temperature: float = 4.0
    alpha: float = 1.0
    seeds: int = 3
    members: int = 5
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    out: str = "study"
    preset: str = "full"


PRESETS: dict[str, list[str]] = {
    "full": [],
    "smoke": [
        f"method=[{NONE},kd]",
        "technique=[none,pruning,int8,augment,small:separable]",
        "data=synthetic:shapes",
        "train_pictures=128",
        "student=resnet8",
        "teacher=resnet14",
        "epochs=2",
        "finetune_epochs=1",
        "batch_size=32",
        "padding=1",
        "seeds=2",
        "members=2",
    ],
}

# Name, least, greatest, whether null stands for something.
RANGES: tuple[tuple[str, float, float, bool], ...] = (
    ("shrink", 1, 64, False),
    ("train_pictures", 2, 10**9, True),
    ("test_pictures", 1, 10**9, True),
    ("epochs", 1, 10**6, False),
    ("finetune_epochs", 1, 10**6, False),
    ("teacher_epochs", 1, 10**6, True),
    ("batch_size", 2, 10**6, False),
    ("lr", 1e-9, 1e3, False),
    ("finetune_lr", 1e-9, 1e3, False),
    ("momentum", 1e-9, 1.0, False),
    ("weight_decay", 0.0, 1.0, False),
    ("gamma", 1e-9, 1.0, False),
    ("padding", 0, 10**3, False),
    ("temperature", 1e-3, 1e3, False),
    ("alpha", 1e-3, 1e3, False),
    ("seeds", 1, 10**4, False),
    ("members", 2, 10**4, False),
    ("threads", 1, 10**4, True),
)


def check_study(options: StudyOptions) -> StudyOptions:
    """Returns the options with lists in place of single values, after a check of their ranges.

    Raises:
        UserError: If one is out of range.
    """
    for name, least, greatest, optional in RANGES:
        check_range(name, getattr(options, name), least, greatest, optional=optional)
    for name, choices in (("protocol", PROTOCOLS), ("recipe", RECIPES)):
        value = getattr(options, name)
        if value not in choices:
            raise UserError(f"{name}={value} is unknown; {closest(value, choices)}")
    for name in ("milestones", "finetune_milestones"):
        if not all(0 < share < 1 for share in getattr(options, name)):
            raise UserError(
                f"{name}={getattr(options, name)}: shares of the phase, above 0 and below 1"
            )
    for name in ("method", "technique"):
        setattr(options, name, _names(name, getattr(options, name)))
    return options


def _names(key: str, value: Any) -> list[str]:
    """Returns what is to be crossed, with none first."""
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise UserError(f"{key}={value}: names are wanted; type {key}=[none,...]")
    return list(dict.fromkeys([NONE, *listed]))


def difference(old: dict[str, Any], options: StudyOptions) -> str | None:
    """Returns the first option in which a study differs from an older one, as it was, or None.

    Args:
        old: The older configuration.
        options: The new one.
    """
    new = {key: value for key, value in asdict(options).items() if key not in FREE}
    return next((f"{key}={old.get(key)}" for key in new if old.get(key) != new[key]), None)
