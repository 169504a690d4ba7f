"""Training one stage of a run: a distiller on the batches of a task.

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
from rlgen.distill.chain import Stage
from rlgen.distill.distiller import Distiller
from rlgen.distill.exported import STUDENT, find_exported, load_weights
from rlgen.distill.losses import USUAL_WEIGHTS
from rlgen.distill.online import share_below
from rlgen.distill.tasks import TASKS, Task
from rlgen.distill.tasks.base import count, evaluated
from rlgen.distill.updates import Updates, make_updates, needs_preparation

COMMON = ("name", "weight", "task_weight")  # of distiller., the rest are the loss's own
RECIPES = {
    "sgd": ("lr", "momentum", "nesterov", "weight_decay"),
    "adam": ("lr", "weight_decay"),
}


class DistillTrainer:
    """Trains the networks of a stage.

    Args:
        config: As the train command composes it.
        stage: Which training of the run.
        task: Data, networks and measures.
        accelerator: Device, precision and peers.
        teachers: The stage's fixed networks.

    Raises:
        UserError: If networks, loss, options or data do not fit each other.
    """

    def __init__(
        self,
        config: dict[str, Any],
        stage: Stage,
        task: Task,
        accelerator: Accelerator,
        teachers: Sequence[nn.Module],
    ) -> None:
        self.config, self.stage, self.task = config, stage, task
        self.sets = task.sets
        self.accelerator = accelerator
        self._updates: Updates | None = None
        self.batches = task.batches(
            stage.seed, accelerator.process_index, accelerator.num_processes
        )
        self.steps_per_epoch = self.batches.steps_per_epoch
        self.total_steps = self._count_steps()
        self.distiller = self._build(self._networks(), teachers)
        # Channels last is what convolutions on the CPU and on tensor cores want.
        moved: Any = self.distiller  # torch's signature knows no memory format
        moved.to(device=accelerator.device, memory_format=torch.channels_last)

    def _count_steps(self) -> int:
        config = self.config
        if not self.stage.distilled and self.stage.folder:  # a teacher
            return self.steps_per_epoch * int(config["teacher_epochs"] or config["epochs"])
        return int(config["total_steps"] or self.steps_per_epoch * config["epochs"])

    def _networks(self) -> list[nn.Module]:
        """Builds the networks that are trained, from their seed alone."""
        torch.manual_seed(self.stage.seed)
        networks = [self.task.make_network(name) for name in self.stage.networks]
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
            example=self.task.inputs,
            options={name: own} if losses else None,
            task=self.task.criterion,
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
        optimizer = self.config["optimizer"]
        recipe = {name: self.config[name] for name in RECIPES[optimizer]}
        objective = self.task.objective(self.distiller)
        self._updates = make_updates(
            self.distiller, self.accelerator, objective, optimizer, **recipe
        )
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

    def evaluate(self) -> dict[str, float]:
        """Returns the task's figures by column."""
        return evaluated(self.task, self.distiller)

    def draw(self, folder: Path) -> None:
        """Draws the task's own pictures into a folder, with the networks in evaluation."""
        self.distiller.eval()
        try:
            self.task.draw(folder, self.distiller)
        finally:
            self.distiller.train()

    def export(self, folder: Path) -> None:
        """Saves the plain networks: ``student``, and ``peers/1`` and on where there are others."""
        for number, network in enumerate(self.distiller.networks):
            place = folder / (f"peers/{number}" if number else STUDENT)
            self.task.save_network(place, self.stage.networks[number], network)

    def describe(self) -> list[str]:
        """Returns lines for the run's card."""
        lines = self.task.describe()
        for name, network in zip(self.stage.networks, self.distiller.networks, strict=True):
            lines.append(f"{name} of {count(network):,} parameters")
        for teacher, network in zip(self.stage.teachers, self.distiller.teachers, strict=False):
            where = f" (`{teacher.folder}`)" if teacher.folder else ""
            lines.append(
                f"taught by {teacher.name}{where} of {count(network):,} parameters, "
                f"{self.task.measure(network)}"
            )
        return lines

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
        sets: The data, as the task opens them.
        accelerator: Device, precision and peers.

    Raises:
        UserError: If trained networks do not fit each other.
    """

    def __init__(self, config: dict[str, Any], sets: Any, accelerator: Accelerator) -> None:
        self.config, self.accelerator = config, accelerator
        self.task = TASKS[config["task"]](config, accelerator, sets)

    def __call__(self, stage: Stage, run: Path | None) -> DistillTrainer:
        """Makes a trainer.

        Args:
            stage: Which training.
            run: The run folder; None for teachers that are not trained yet, which serve to find
                mistakes.

        Raises:
            UserError: If a trained network does not fit the data.
        """
        teachers: list[nn.Module] = []
        for teacher in stage.teachers:
            if teacher.folder is None:
                teachers.append(self.task.load_network(teacher.name))
            elif run is None:
                teachers.append(self.task.make_network(teacher.name))
            else:
                teachers.append(self.task.load_network(str(run / teacher.folder)))
        return DistillTrainer(self.config, stage, self.task, self.accelerator, teachers)


class _FirstEpoch:
    """The first epoch's batches, the same in all processes; may be iterated several times."""

    def __init__(self, trainer: DistillTrainer) -> None:
        self.trainer = trainer

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.trainer.task.batches(self.trainer.stage.seed).first_epoch()


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
