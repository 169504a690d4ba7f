"""Training one stage of a run: a distiller on labelled pictures.

Everything random in step k is drawn from generators made of (seed, k), so that a resumed run goes
on exactly. A student's first weights and batches depend on its seed alone, so that runs of several
methods with one seed differ in the method only.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from rlgen.core.errors import UserError
from rlgen.core.job import Tensors
from rlgen.data.classification import LabelledBatches, LabelledSets
from rlgen.distill.chain import Stage
from rlgen.distill.distiller import Distiller
from rlgen.distill.exported import (
    STUDENT,
    Description,
    find_exported,
    load_classifier,
    load_weights,
    read_description,
    save_classifier,
)
from rlgen.distill.losses import USUAL_WEIGHTS
from rlgen.distill.losses.ffl import FFL
from rlgen.distill.losses.one import ONE
from rlgen.distill.online import share_below
from rlgen.distill.options import ONLINE, PLAIN
from rlgen.distill.updates import Updates, make_updates, needs_preparation
from rlgen.nets.classifiers import make_classifier

COMMON = ("name", "weight", "task_weight")  # of distiller., the rest are the loss's own
ALIKE = 0.05  # how far the normalisations of several teachers may lie apart
RECIPE = ("lr", "momentum", "nesterov", "weight_decay")


class DistillTrainer:
    """Trains the networks of a stage.

    Args:
        config: As the train command composes it.
        stage: Which training of the run.
        sets: Labelled pictures.
        accelerator: Device, precision and peers.
        teachers: The stage's fixed networks.
        statistics: Mean and deviation of each channel by which pictures are normalised.

    Raises:
        UserError: If networks, loss, options or pictures do not fit each other.
    """

    def __init__(
        self,
        config: dict[str, Any],
        stage: Stage,
        sets: LabelledSets,
        accelerator: Accelerator,
        teachers: Sequence[nn.Module],
        statistics: tuple[list[float], list[float]],
    ) -> None:
        self.config, self.stage, self.sets = config, stage, sets
        self.accelerator = accelerator
        self.statistics = statistics
        self._updates: Updates | None = None
        processes = {"rank": accelerator.process_index, "world": accelerator.num_processes}
        self.batches = self._batches(**processes)
        self.steps_per_epoch = self.batches.steps_per_epoch
        self.total_steps = self._count_steps()
        self.distiller = self._build(self._networks(), teachers)
        # Channels last is what convolutions on the CPU and on tensor cores want.
        moved: Any = self.distiller  # torch's signature knows no memory format
        moved.to(device=accelerator.device, memory_format=torch.channels_last)

    def _batches(self, **processes: int) -> LabelledBatches:
        config = self.config
        return LabelledBatches(
            self.sets,
            config["batch_size"],
            self.stage.seed,
            self.accelerator.device,
            padding=config["padding"] if config["augment"] else 0,
            border=config["border"],
            flip=config["flip"] and config["augment"],
            statistics=self.statistics,
            **processes,
        )

    def _count_steps(self) -> int:
        config = self.config
        if not self.stage.distilled and self.stage.folder:  # a teacher
            return self.steps_per_epoch * int(config["teacher_epochs"] or config["epochs"])
        return int(config["total_steps"] or self.steps_per_epoch * config["epochs"])

    def _networks(self) -> list[nn.Module]:
        """Builds the networks that are trained, from their seed alone."""
        torch.manual_seed(self.stage.seed)
        shape, classes = self.sets.shape, len(self.sets.classes)
        networks: list[nn.Module] = [
            make_classifier(name, classes, shape[0]) for name in self.stage.networks
        ]
        config = self.config
        if self.stage.distilled or not self.stage.folder:
            if config["start"] is not None:
                load_weights(networks[0], find_exported(config["start"]))
            if len(networks) > 1 and config["branch_at"] is not None:
                share_below(networks, config["branch_at"])
        return networks

    def _build(self, networks: list[nn.Module], teachers: Sequence[nn.Module]) -> Distiller:
        options = self.config["distiller"]
        name, task_weight = options["name"], options["task_weight"]
        weight = options["weight"]
        if not self.stage.distilled:
            options, task_weight, weight = {}, 1.0, 0.0
        elif weight is None:
            weight = USUAL_WEIGHTS[name]
        if not weight and not task_weight:
            raise UserError("distiller.weight=0 and distiller.task_weight=0 leave nothing to learn")
        # Without its loss a run is, to the last bit, one from the labels alone.
        losses = {name: weight} if weight else {}
        own = {key: value for key, value in options.items() if key not in COMMON}
        return Distiller(
            student=networks[0] if len(networks) == 1 else None,
            peers=networks if len(networks) > 1 else (),
            teachers=teachers if losses else (),
            losses=losses,
            taps=self.config["taps"],
            example=self.sets.shape,
            options={name: own} if losses else None,
            task_weight=task_weight,
            seed=self.stage.seed,
        )

    @property
    def updates(self) -> Updates:
        """The optimisers; :meth:`prepare` or :meth:`restore` makes them."""
        if self._updates is None:
            raise RuntimeError("call prepare() or restore() first")
        return self._updates

    def prepare(self) -> None:
        """Does what comes before the first step, unless it was done or restored.

        Losses learn from the teachers (FT's paraphraser, OFD's margins), and optimisers are made
        of what is not frozen then.
        """
        if self._updates is None:
            if needs_preparation(self.distiller):
                self.distiller.prepare(_FirstEpoch(self))
            self._make_updates()

    def _make_updates(self) -> None:
        recipe = {name: self.config[name] for name in RECIPE}
        self._updates = make_updates(self.distiller, self.accelerator, **recipe)
        self.distiller.train()

    def rate_factor(self, step: int) -> float:
        """Returns the learning rate of a step by that of the first."""
        passed = 0
        for milestone in self.config["milestones"]:
            at = milestone * (self.total_steps if milestone < 1 else self.steps_per_epoch)
            passed += step >= at
        return float(self.config["gamma"] ** passed)

    def train_step(self, step: int) -> dict[str, Tensor]:
        """Takes one step on one batch.

        Args:
            step: Number of the step, from 0.

        Returns:
            The objective and its terms by name.
        """
        self.updates.scale_rates(self.rate_factor(step))
        self.distiller.set_epoch(step / self.steps_per_epoch)
        return self.updates.step(self.batches.at(step))

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Returns accuracies on the test set, in percent, by what gave the prediction.

        ``student`` is the student, or the first peer; ``peer_1`` and on are the others; with peers
        there are also ``ensemble``, of their mean logits, and FFL's or ONE's own classifier.
        """
        distiller = self.distiller
        distiller.eval()
        hits: dict[str, Tensor] = {}
        try:
            for images, labels in self.batches.tests():
                with self.accelerator.autocast():
                    predictions = self._predict(images)
                for name, logits in predictions.items():
                    right = (logits.argmax(dim=1) == labels).sum()
                    hits[name] = hits.get(name, torch.zeros_like(right)) + right
        finally:
            distiller.train()
        count = len(self.sets.test)
        return {f"accuracy/{name}": 100 * float(right) / count for name, right in hits.items()}

    def _predict(self, images: Tensor) -> dict[str, Tensor]:
        distiller = self.distiller
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

    def export(self, folder: Path) -> None:
        """Saves the plain networks: ``student``, and ``peers/1`` and on where there are others."""
        for number, network in enumerate(self.distiller.networks):
            place = folder / (f"peers/{number}" if number else STUDENT)
            description = Description(
                self.stage.networks[number],
                self.sets.classes,
                self.sets.shape,
                *(tuple(values) for values in self.statistics),
            )
            save_classifier(place, network, description)

    def describe(self) -> list[str]:
        """Returns lines for the run's card."""
        train, test = len(self.sets.train), len(self.sets.test)
        channels, height, width = self.sets.shape
        lines = [
            f"data: {self.sets.source}, {train:,} pictures to train on and {test:,} to test on, "
            f"{width}x{height}, {channels} channels, {len(self.sets.classes)} classes"
        ]
        for name, network in zip(self.stage.networks, self.distiller.networks, strict=True):
            lines.append(f"{name} of {_count(network):,} parameters")
        for teacher, network in zip(self.stage.teachers, self.distiller.teachers, strict=False):
            where = f" (`{teacher.folder}`)" if teacher.folder else ""
            accuracy = self._accuracy_of(network)
            lines.append(
                f"taught by {teacher.name}{where} of {_count(network):,} parameters, accuracy "
                f"{accuracy:.2f} %"
            )
        return lines

    @torch.no_grad()
    def _accuracy_of(self, network: nn.Module) -> float:
        right = torch.zeros((), dtype=torch.long, device=self.accelerator.device)
        for images, labels in self.batches.tests():
            with self.accelerator.autocast():
                right += (network(images).argmax(dim=1) == labels).sum()
        return 100 * float(right) / len(self.sets.test)

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """Returns all that training changes."""
        moments, settings = self.updates.state()
        tensors: Tensors = {"distiller": dict(self.distiller.state_dict())}
        tensors |= {f"optimizer-{name}": values for name, values in moments.items()}
        return tensors, {"optimizers": settings, **self._identity()}

    def _identity(self) -> dict[str, Any]:
        return {
            "networks": list(self.stage.networks),
            "losses": list(self.distiller.weights),
            "steps_per_epoch": self.steps_per_epoch,
        }

    def restore(self, tensors: Tensors, state: dict[str, Any]) -> None:
        """Puts a state from :meth:`state` back.

        Raises:
            UserError: If it is of other networks, another method, or other batches.
        """
        for key, now in self._identity().items():
            if state.get(key) != now:
                raise UserError(
                    f"the checkpoint has {key} {_shown(state.get(key))}, the configuration "
                    f"{_shown(now)}; these must stay when a run goes on"
                )
        try:
            self.distiller.load_state_dict(tensors["distiller"])
            self._make_updates()
            moments = {name: tensors[f"optimizer-{name}"] for name in self.updates.optimizers}
            self.updates.restore(moments, state["optimizers"])
        except (KeyError, RuntimeError, ValueError) as error:
            reason = str(error).split("\n")[-1].strip()
            raise UserError(f"the checkpoint does not fit the networks: {reason}") from None


class TrainerMaker:
    """Makes the trainer of each stage, with the teachers that earlier stages have left.

    Args:
        config: As the train command composes it.
        sets: Labelled pictures.
        accelerator: Device, precision and peers.

    Raises:
        UserError: If a trained network does not fit the pictures.
    """

    def __init__(
        self, config: dict[str, Any], sets: LabelledSets, accelerator: Accelerator
    ) -> None:
        self.config, self.sets, self.accelerator = config, sets, accelerator
        self.statistics = self._choose_statistics()

    def __call__(self, stage: Stage, run: Path | None) -> DistillTrainer:
        """Makes a trainer.

        Args:
            stage: Which training.
            run: The run folder; None for teachers that are not trained yet, which serve to find
                mistakes.
        """
        teachers: list[nn.Module] = []
        for teacher in stage.teachers:
            if teacher.folder is not None and run is None:
                classes, channels = len(self.sets.classes), self.sets.shape[0]
                teachers.append(make_classifier(teacher.name, classes, channels))
            else:
                place = teacher.name if teacher.folder is None else str(run / teacher.folder)  # type: ignore[operator]
                teachers.append(self._trained(place))
        return DistillTrainer(
            self.config, stage, self.sets, self.accelerator, teachers, self.statistics
        )

    def _trained(self, source: str) -> nn.Module:
        network, description = load_classifier(find_exported(source))
        classes, shape = len(description.classes), description.shape
        if (classes, shape[0]) != (len(self.sets.classes), self.sets.shape[0]):
            raise UserError(
                f"{source} was trained on {classes} classes and {shape[0]} channels; "
                f"{self.sets.source} has {len(self.sets.classes)} and {self.sets.shape[0]}"
            )
        return network

    def _choose_statistics(self) -> tuple[list[float], list[float]]:
        """Returns the normalisation that trained networks know, or else that of the pictures."""
        method = self.config["distiller"]
        taught = method["name"] not in (PLAIN, *ONLINE) and method["weight"] != 0
        given = self.config["teacher"] if taught else None
        sources = [*(given if isinstance(given, list) else [given]), self.config["start"]]
        paths = [str(s) for s in sources if s is not None and Path(str(s)).exists()]
        known = [read_description(find_exported(path)) for path in paths]
        both = [[*d.mean, *d.deviation] for d in known if len(d.mean) == self.sets.shape[0]]
        for path, values in zip(paths, both, strict=False):
            if any(abs(a - b) > ALIKE for a, b in zip(values, both[0], strict=True)):
                raise UserError(f"{path} and {paths[0]} normalise pictures differently")
        if not both:
            return self.sets.statistics()
        return both[0][: self.sets.shape[0]], both[0][self.sets.shape[0] :]


class _FirstEpoch:
    """The first epoch's batches, the same in all processes; may be iterated several times."""

    def __init__(self, trainer: DistillTrainer) -> None:
        self.trainer = trainer

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.trainer._batches(rank=0, world=1).first_epoch()


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
