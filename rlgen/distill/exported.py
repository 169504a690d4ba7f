"""Trained networks as files: safetensors and JSON, the plain network and nothing else.

A folder holds ``model.safetensors``, with the keys of the network as ``make_classifier`` builds it,
and ``config.json``: of a classifier its name and sizes, and the normalisation of its pictures.
:mod:`rlgen.distill.exported_pictures` has what is of super-resolution networks.
"""

import json
import math
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from rlgen.core.errors import UserError
from rlgen.core.run import find_run
from rlgen.nets.classifiers import StagedClassifier, make_classifier

WEIGHTS, CONFIG, STUDENT = "model.safetensors", "config.json", "student"


@dataclass(frozen=True)
class Description:
    """What is to be known of a trained classifier beside its weights.

    Attributes:
        model: Name in ``rlgen.nets.classifiers.CLASSIFIERS``.
        classes: Names of the classes, in the order of the outputs.
        shape: Of its pictures, (C, H, W).
        mean: Of each channel, in 0 to 1, which is taken off its pictures.
        deviation: By which they are divided then.
    """

    model: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


def save_classifier(folder: Path, network: nn.Module, description: Description) -> None:
    """Saves a classifier; see :func:`save_network`.

    Args:
        folder: Is replaced.
        network: Of the description's kind.
        description: What ``config.json`` says.
    """
    save_network(folder, network, asdict(description))


def save_network(folder: Path, network: nn.Module, description: dict[str, Any]) -> None:
    """Saves a network so that its folder is complete or as it was before.

    Args:
        folder: Is replaced.
        network: Any network.
        description: What ``config.json`` says.
    """
    fresh = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    # Clones, because safetensors refuses tensors that share memory.
    weights = {k: v.detach().cpu().contiguous().clone() for k, v in network.state_dict().items()}
    save_file(weights, fresh / WEIGHTS, {"format": "pt"})
    text = json.dumps(description, indent=1)
    (fresh / CONFIG).write_text(text + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def find_exported(source: str) -> Path:
    """Finds the weights that ``teacher=`` or ``start=`` names.

    Args:
        source: A ``.safetensors`` file, a folder with one, a run, or a folder of runs (the newest
            is taken).

    Returns:
        The ``.safetensors`` file.

    Raises:
        UserError: If there is none, or nothing tells which network it is of.
    """
    path = Path(source)
    if path.is_dir():
        inside = [path / WEIGHTS, path / STUDENT / WEIGHTS]
        found = next((file for file in inside if file.exists()), None)
        if found is None:
            found = find_run(source, path) / STUDENT / WEIGHTS
        path = found
    if not path.exists():
        raise UserError(f"{source} has no {STUDENT}/{WEIGHTS}; its training has not ended yet")
    if path.suffix != ".safetensors":
        raise UserError(f"{source} is no trained network; name a run or a .safetensors file")
    if not path.with_name(CONFIG).exists():
        raise UserError(f"{path} has no {CONFIG} beside it, which names the network")
    return path


def read_description(path: Path) -> Description:
    """Reads the description beside a file of weights.

    Raises:
        UserError: If it is damaged.
    """
    file = path.with_name(CONFIG)
    try:
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        channels, height, width = (int(side) for side in values["shape"])
        mean, deviation = (tuple(map(float, values[key])) for key in ("mean", "deviation"))
        usable = all(map(math.isfinite, (*mean, *deviation))) and min(deviation) > 0
        if not usable or not len(mean) == len(deviation) == channels:
            raise ValueError("mean and deviation are no values for each channel")
        classes, model = tuple(map(str, values["classes"])), str(values["model"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"cannot read {file}: {reason}") from None
    return Description(model, classes, (channels, height, width), mean, deviation)


def load_classifier(path: Path) -> tuple[StagedClassifier, Description]:
    """Builds the network of a file and loads its weights.

    Args:
        path: As :func:`find_exported` gives it.

    Raises:
        UserError: If file and description are damaged or do not fit.
    """
    description = read_description(path)
    network = make_classifier(
        description.model, len(description.classes), channels=description.shape[0]
    )
    load_weights(network, path)
    return network, description


def load_weights(network: nn.Module, path: Path) -> None:
    """Loads a file of weights into a network.

    Raises:
        UserError: If the file is damaged or of another network.
    """
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise UserError(f"{path} does not fit {type(network).__name__}: {reason}") from None
