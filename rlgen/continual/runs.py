"""From a run's configuration to its learner, and from a run folder to what it has learned."""

from pathlib import Path
from typing import Any

import torch

from rlgen.continual.learner import Learner
from rlgen.continual.learners import LEARNERS
from rlgen.continual.recipe import Recipe
from rlgen.core.errors import UserError
from rlgen.core.run import find_run, read_config
from rlgen.nets.classifiers import StagedClassifier, make_classifier

LEARNED = "learner"  # in a run's folder: the newest state between two tasks


def make_network(config: dict[str, Any], classes: int = 2) -> StagedClassifier:
    """Makes the network of a configuration with its first weights.

    Args:
        config: As the train command composes it.
        classes: Outputs; learners put heads of their own in their place.

    Raises:
        UserError: If there is no such network.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config["seed"])
        return make_classifier(config["network"], classes, config["channels"])


def make_learner(config: dict[str, Any], device: torch.device | str = "cpu") -> Learner:
    """Makes the learner of a configuration, before its first task.

    Args:
        config: As the train command composes it.
        device: Where.

    Raises:
        UserError: If an option is wrong, or the learner cannot take the network.
    """
    recipe = Recipe(
        epochs=config["epochs"],
        total_steps=config["steps_per_task"],
        batch_size=config["batch_size"],
        lr=config["lr"],
        momentum=config["momentum"],
        weight_decay=config["weight_decay"],
        milestones=tuple(config["milestones"]),
        gamma=config["gamma"],
        padding=config["padding"],
        flip=config["flip"],
    )
    options = {key: value for key, value in config["learner"].items() if key != "name"}
    if options.get("fractions") is not None:
        options["tasks"] = None  # shares are typed one way or the other
    shape = (config["channels"], config["size"], config["size"])
    make = LEARNERS[config["learner"]["name"]]
    network = make_network(config)
    return make(network, shape, recipe, seed=config["seed"], device=device, **options)


def load_learner(run: str | Path, device: torch.device | str = "cpu") -> Learner:
    """Loads what a run of ``python -m rlgen.train learner=...`` has learned so far.

    A run that goes on, or was stopped inside a task, gives what it had after the last whole task.
    Where its index is ``density``, import :mod:`rlgen.density_index` before.

    Args:
        run: The run folder, or a folder of such folders (its newest run).
        device: Where.

    Raises:
        UserError: If there is no such run, or it has not learned a task yet.
    """
    folder = find_run(str(run), Path("runs"))
    config = read_config(folder)
    if not isinstance(config.get("learner"), dict):
        raise UserError(f"{run} is no run of continual learning; train one by learner=hcnet")
    if not (folder / LEARNED).is_dir():
        raise UserError(
            f"{run} has not learned a task yet; go on with python -m rlgen.train resume={run}"
        )
    learner = make_learner(config, device)
    learner.load(folder / LEARNED)
    return learner
