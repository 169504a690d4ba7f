"""Labelled pictures and small classifiers; what is measured is accuracy."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from rlgen.core.errors import UserError
from rlgen.data.classification import LabelledBatches, LabelledSets, open_classification
from rlgen.distill.distiller import Distiller
from rlgen.distill.exported import (
    Description,
    find_exported,
    load_classifier,
    read_description,
    save_classifier,
)
from rlgen.distill.losses.ffl import FFL
from rlgen.distill.losses.one import ONE
from rlgen.distill.options import ONLINE, PLAIN
from rlgen.distill.tasks.base import Task
from rlgen.nets.classifiers import CLASSIFIERS, make_classifier

ALIKE = 0.05  # how far the normalisations of several teachers may lie apart
Statistics = tuple[list[float], list[float]]


class ClassificationTask(Task):
    """Classifiers of small pictures.

    Args:
        config: As the train command composes it.
        accelerator: Device and precision.
        sets: Labelled pictures.

    Attributes:
        statistics: Mean and deviation of each channel by which pictures are normalised.

    Raises:
        UserError: If trained networks normalise pictures differently.
    """

    name = "classification"
    networks = CLASSIFIERS
    noun = "classifier"
    examples = ("resnet56", "resnet20")
    teaching = "distiller=kd"
    measured = "test accuracy"
    shown = ("accuracy/student",)

    def __init__(
        self, config: dict[str, Any], accelerator: Accelerator, sets: LabelledSets
    ) -> None:
        super().__init__(config, accelerator, sets)
        self.sets: LabelledSets = sets
        self.inputs = sets.shape
        self.statistics = self._choose_statistics()
        self._tests: LabelledBatches | None = None

    @classmethod
    def check(cls, config: dict[str, Any]) -> None:
        """See :meth:`Task.check`."""
        if not isinstance(config["data"], str):
            raise UserError(f"data={config['data']}: one set is wanted, such as data=cifar10")
        if config["alpha"]:
            raise UserError(
                f"alpha={config['alpha']:g} is of task=super_resolution; classifiers learn from a "
                "teacher's output by distiller=kd"
            )

    @classmethod
    def open(cls, config: dict[str, Any]) -> LabelledSets:
        """See :meth:`Task.open`."""
        return open_classification(config["data"], config["size"])

    def make_network(self, name: str) -> nn.Module:
        """See :meth:`Task.make_network`."""
        return make_classifier(name, len(self.sets.classes), self.sets.shape[0])

    def load_network(self, source: str) -> nn.Module:
        """See :meth:`Task.load_network`."""
        network, description = load_classifier(find_exported(source))
        classes, shape = len(description.classes), description.shape
        if (classes, shape[0]) != (len(self.sets.classes), self.sets.shape[0]):
            raise UserError(
                f"{source} was trained on {classes} classes and {shape[0]} channels; "
                f"{self.sets.source} has {len(self.sets.classes)} and {self.sets.shape[0]}"
            )
        return network

    def save_network(self, folder: Path, name: str, network: nn.Module) -> None:
        """See :meth:`Task.save_network`."""
        normalisation = (tuple(values) for values in self.statistics)
        description = Description(name, self.sets.classes, self.sets.shape, *normalisation)
        save_classifier(folder, network, description)

    def batches(self, seed: int, rank: int = 0, world: int = 1) -> LabelledBatches:
        """See :meth:`Task.batches`."""
        config = self.config
        made = LabelledBatches(
            self.sets,
            config["batch_size"],
            seed,
            self.accelerator.device,
            padding=config["padding"] if config["augment"] else 0,
            border=config["border"],
            flip=config["flip"] and config["augment"],
            statistics=self.statistics,
            rank=rank,
            world=world,
        )
        self._tests = made  # the last ones, so that the device holds the pictures once
        return made

    @property
    def tests(self) -> LabelledBatches:
        """What gives the test pictures; their order depends on nothing."""
        return self.batches(0) if self._tests is None else self._tests

    def evaluate(self, distiller: Distiller) -> dict[str, float]:
        """Returns accuracies on the test set, in percent, by what gave the prediction.

        ``student`` is the student, or the first peer; ``peer_1`` and on are the others; with peers
        there are also ``ensemble``, of their mean logits, and FFL's or ONE's own classifier.
        """
        hits: dict[str, Tensor] = {}
        for images, labels in self.tests.tests():
            with self.accelerator.autocast():
                predictions = _predict(distiller, images)
            for name, logits in predictions.items():
                right = (logits.argmax(dim=1) == labels).sum()
                hits[name] = hits.get(name, torch.zeros_like(right)) + right
        total = len(self.sets.test)
        return {f"accuracy/{name}": 100 * float(right) / total for name, right in hits.items()}

    def told(self, figures: Mapping[str, float]) -> str:
        """See :meth:`Task.told`."""
        named = {name.removeprefix("accuracy/"): value for name, value in figures.items()}
        return ", ".join(f"{name} {value:.2f} %" for name, value in named.items())

    @torch.no_grad()
    def measure(self, network: nn.Module) -> str:
        """See :meth:`Task.measure`."""
        right = torch.zeros((), dtype=torch.long, device=self.accelerator.device)
        for images, labels in self.tests.tests():
            with self.accelerator.autocast():
                right += (network(images).argmax(dim=1) == labels).sum()
        return f"accuracy {100 * float(right) / len(self.sets.test):.2f} %"

    def describe(self) -> list[str]:
        """See :meth:`Task.describe`."""
        train, test = len(self.sets.train), len(self.sets.test)
        channels, height, width = self.sets.shape
        return [
            f"data: {self.sets.source}, {train:,} pictures to train on and {test:,} to test on, "
            f"{width}x{height}, {channels} channels, {len(self.sets.classes)} classes"
        ]

    def _choose_statistics(self) -> Statistics:
        """Returns the normalisation that trained networks know, or else that of the pictures."""
        method = self.config["distiller"]
        taught = method["name"] not in (PLAIN, *ONLINE) and method["weight"] != 0
        given = self.config["teacher"] if taught else None
        sources = [*(given if isinstance(given, list) else [given]), self.config["start"]]
        paths = [str(s) for s in sources if s is not None and Path(str(s)).exists()]
        known = [read_description(find_exported(path)) for path in paths]
        both = [[*d.mean, *d.deviation] for d in known if len(d.mean) == self.sets.shape[0]]
        _require_alike(paths, both)
        if not both:
            return self.sets.statistics()
        return both[0][: self.sets.shape[0]], both[0][self.sets.shape[0] :]


def _require_alike(paths: Sequence[str], both: Sequence[list[float]]) -> None:
    for path, values in zip(paths, both, strict=False):
        if any(abs(a - b) > ALIKE for a, b in zip(values, both[0], strict=True)):
            raise UserError(f"{path} and {paths[0]} normalise pictures differently")


def _predict(distiller: Distiller, images: Tensor) -> dict[str, Tensor]:
    """Returns logits by what gave them."""
    if len(distiller.networks) == 1:
        return {"student": distiller.networks[0](images)}
    seen = distiller.observe(images)
    logits = [snapshot.logits for snapshot in seen.networks if snapshot.logits is not None]
    named = {"student": logits[0], **{f"peer_{k}": z for k, z in enumerate(logits) if k}}
    named["ensemble"] = torch.stack([z.float() for z in logits]).mean(dim=0)
    for name in distiller.weights:
        loss, features = distiller.losses[name], distiller.features(name, seen)
        if isinstance(loss, FFL):
            named["fused"] = loss.fused_logits(features)
        if isinstance(loss, ONE):
            named["gated"] = loss.ensemble_logits(features)
    return named
