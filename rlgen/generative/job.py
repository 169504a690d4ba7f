"""The training job of an image model: its options, its configuration, its session."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlgen.core.errors import UserError, closest
from rlgen.core.ranges import check_range
from rlgen.generative.options import SCHEMAS, ImageTrainOptions

if TYPE_CHECKING:  # they bring torch, which --help does not need
    from rlgen.core.job import Once, Session

_TRAINERS = {  # modules that register their model's trainer
    "sgn": "rlgen.generative.sgn.training",
    "latent_density": "rlgen.generative.latent_density.training",
}
_RANGES = {
    "batch_size": (1, 4096),
    "total_steps": (1, 10**12),
    "seed": (0, 2**63 - 1),
    "log_every": (1, 10**12),
    "checkpoint_every": (1, 10**12),
    "sample_every": (0, 10**12),
}
_MODEL_RANGES: dict[str, tuple[float, float]] = {
    "width": (1, 4096),
    "n_blocks": (0, 1024),
    "reduction": (1, 4096),
    "alpha": (1e-3, 1e3),
    "learning_rate": (0.0, 1e3),
    "beta1": (0.0, 0.9999999),
    "beta2": (0.0, 0.9999999),
    "decay_from": (0.0, 1.0),
    "ema_decay": (0.0, 0.9999999),
    "dim": (1, 65_536),
    "norm_scale": (0.0, 10.0),
    "perceptual": (0.0, 1e6),
    "density_steps": (1, 10**12),
    "density_batch_size": (2, 10**7),
    "density_holdout": (0.0, 0.5),
    "temperature": (1e-3, 1e3),
}
_MODEL_OPTIONAL: dict[str, tuple[float, float]] = {
    "channels": (1, 3),
    "warmup": (0.0, 1e9),
    "density_learning_rate": (1e-9, 1e3),
}


def compose_train_config(arguments: Sequence[str]) -> dict[str, Any]:
    """Composes the configuration of a new run from the groups and the user's arguments.

    Raises:
        UserError: If an argument is wrong.
    """
    from rlgen.core.compose import CONF, compose_config, given, load_yaml, options

    arguments = [f"data.photos={a[5:]}" if a.startswith("data=") else a for a in arguments]
    preset = given(arguments).get("preset", "full")
    if preset not in options("presets"):
        raise UserError(f"unknown preset {preset!r}; {closest(preset, options('presets'))}")
    sections = load_yaml(CONF / "presets" / f"{preset}.yaml")
    typed = {argument.split("=")[0] for argument in arguments}
    # What smoke draws for itself gives way to what the user names.
    section = (
        "model" if given(arguments).get("model", "sgn") == "sgn" else given(arguments)["model"]
    )
    short = [f"{k}={v}" for k, v in sections.get(section, {}).items() if k not in typed]
    return compose_config("train_model", [*short, *arguments], SCHEMAS)


def job_name(config: dict[str, Any]) -> str:
    """Returns the name of the folder that holds runs of this model."""
    return str(config["model"]["name"])


def check_config(config: dict[str, Any]) -> None:
    """Checks what the types of the options leave open.

    Raises:
        UserError: If a value is wrong, or the configuration is not that of a model's run.
    """
    absent = sorted({f.name for f in fields(ImageTrainOptions)} - set(config))
    if absent or not isinstance(config["model"], dict):
        raise UserError(f"config.yaml is not that of a training run: {' '.join(absent) or 'model'}")
    for key, (smallest, largest) in _RANGES.items():
        check_range(key, config[key], smallest, largest)
    native = config["model"].get("name") == "latent_density"  # takes images as they are
    check_range("size", config["size"], 8 if native else 16, 4096, optional=native)
    if not isinstance(config["domains"], dict) or not isinstance(config["data"], dict):
        raise UserError("domains and data are mappings, such as data.photos=FOLDER")
    for name, bounds in _MODEL_RANGES.items():
        if name in config["model"]:
            check_range(f"model.{name}", config["model"][name], *bounds)
    for name, bounds in _MODEL_OPTIONAL.items():
        check_range(f"model.{name}", config["model"].get(name), *bounds, optional=True)
    if config["threads"] is not None:
        check_range("threads", config["threads"], 1, 4096)
    if (config["threads"] or 1) > (os.cpu_count() or 1):
        raise UserError(f"threads={config['threads']} is more than the {os.cpu_count()} cores here")
    if config["data"]["photos"] is None:
        raise UserError(
            "data.photos is not set; type data.photos=FOLDER of your photos (or preset=smoke)"
        )


@contextlib.contextmanager
def opened(config: dict[str, Any]) -> "Iterator[tuple[Callable[[Path], Session], Once]]":
    """Builds the trainer; inside the block a run folder makes a session of it.

    Yields:
        What makes the session, and what does something in the first process for all of them.

    Raises:
        UserError: If an option, a folder or a file is wrong.
    """
    from rlgen.core.loop import for_all, make_accelerator
    from rlgen.generative.registry import MODELS
    from rlgen.generative.session import ImageSession

    name = config["model"]["name"]
    if name in _TRAINERS:
        import_module(_TRAINERS[name])
    accelerator = make_accelerator(config["device"], config["precision"])
    trainer = MODELS[name](config, accelerator)
    yield (
        lambda folder: ImageSession(folder, config, trainer, accelerator),
        lambda work: for_all(accelerator, work),
    )
