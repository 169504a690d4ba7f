"""One task of a C-net as files: a plain smaller network, without the others.

A folder holds ``model.safetensors``, whose keys are those of the network that was given to the
C-net, and ``config.json``: the widths of its channel groups, classes, and the normalisation of its
pictures.
"""

import glob
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from rlgen.continual.cnet import CNet
from rlgen.continual.experience import TaskRecord
from rlgen.continual.stacking import INPUT, resized, trace_layout
from rlgen.core.errors import UserError

WEIGHTS, CONFIG = "model.safetensors", "config.json"


@dataclass(frozen=True)
class ExportedTask:
    """A network for one task.

    Attributes:
        network: In eval mode; maps normalised pictures (B, C, H, W) to logits (B, C_J).
        record: Name, classes and normalisation of the task.
    """

    network: nn.Module
    record: TaskRecord


def export_task(cnet: CNet, task: int, record: TaskRecord, folder: Path) -> None:
    """Saves a task's portion so that its folder is complete or absent, never half of one.

    Args:
        cnet: Has learned the task.
        task: Its number from 0.
        record: Of the task.
        folder: Is replaced.

    Raises:
        UserError: If there is no such task, or the folder holds something else.
    """
    module = cnet.assemble(task)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists() and any(path.name not in (WEIGHTS, CONFIG) for path in folder.iterdir()):
        raise UserError(f"{folder} holds other files; name a new folder to export to")
    for leftover in folder.parent.glob(f".{glob.escape(folder.name)}.*-tmp"):  # of a killed process
        shutil.rmtree(leftover, ignore_errors=True)
    fresh, old = (folder.with_name(f".{folder.name}.{age}-tmp") for age in ("new", "old"))
    fresh.mkdir()
    weights = {name: v.cpu().contiguous().clone() for name, v in module.state_dict().items()}
    save_file(weights, fresh / WEIGHTS, {"format": "pt"})
    widths = {group: width for group, width in cnet.widths(task).items() if group != INPUT}
    text = json.dumps({"shape": cnet.shape, "widths": widths, **vars(record)}, indent=1)
    (fresh / CONFIG).write_text(text + "\n", encoding="utf-8")
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load_task(network: nn.Module, folder: Path) -> ExportedTask:
    """Loads an exported task.

    Args:
        network: Of the kind given to the C-net, at full width; it is not changed.
        folder: Written by :func:`export_task`.

    Raises:
        UserError: If files are missing, damaged, or of another network.
    """
    try:
        values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        classes, mean, deviation = (tuple(values[key]) for key in ("classes", "mean", "deviation"))
        record = TaskRecord(values["name"], classes, mean, deviation)
        layout = trace_layout(network, values["shape"])
        small = resized(network, layout, values["widths"], len(classes))
        small.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[-1].strip() if str(error) else "damaged"
        raise UserError(f"{folder} is no exported task of this network: {reason}") from None
    return ExportedTask(small.eval().requires_grad_(False), record)
