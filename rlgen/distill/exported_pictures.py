"""Trained super-resolution networks as files, and their use on a picture.

Three lines enlarge one::

    network, _ = load_super_resolver(find_exported("runs/lsfd-edsr_small-x2-div2k"))
    large = upscale(network, np.asarray(read_image("small.png")))
    Image.fromarray(large).save("large.png")
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from rlgen.core.errors import UserError
from rlgen.data.images import Pixels
from rlgen.data.super_resolution import pixels_to_unit
from rlgen.distill.batches import home_of
from rlgen.distill.exported import CONFIG, load_weights, save_network
from rlgen.nets.super_resolution import SuperResolver, make_super_resolver

TASK = "super_resolution"


@dataclass(frozen=True)
class Enlargement:
    """What is to be known of a trained network beside its weights.

    Attributes:
        model: Name in ``rlgen.nets.super_resolution.SUPER_RESOLVERS``.
        scale: By how much each side grows.
        channels: Of its pictures.
    """

    model: str
    scale: int
    channels: int


def save_super_resolver(folder: Path, network: nn.Module, known: Enlargement) -> None:
    """Saves a network so that its folder is complete or as it was before."""
    save_network(folder, network, {"task": TASK, **asdict(known)})


def load_super_resolver(path: Path) -> tuple[SuperResolver, Enlargement]:
    """Builds the network of a file, in evaluation, and loads its weights.

    Args:
        path: As :func:`rlgen.distill.exported.find_exported` gives it.

    Raises:
        UserError: If file and description are damaged, of another task, or do not fit.
    """
    file = path.with_name(CONFIG)
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if values.get("task") != TASK:
            raise ValueError("it is of no super-resolution network")
        known = Enlargement(str(values["model"]), int(values["scale"]), int(values["channels"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"cannot read {file}: {error}") from None
    network = make_super_resolver(known.model, known.scale, known.channels)
    load_weights(network, path)
    return network.eval(), known


@torch.no_grad()
def upscale(network: nn.Module, image: Pixels) -> Pixels:
    """Enlarges one picture in float32; the network is used in the mode it is in.

    Args:
        network: Of :func:`load_super_resolver`.
        image: uint8 (h, w, 3).

    Returns:
        uint8 (scale h, scale w, 3).
    """
    low = pixels_to_unit(image[None]).to(home_of(network))
    high = network(low).float().mul(255).round().clamp(0, 255).to(torch.uint8)
    pixels: Pixels = np.ascontiguousarray(high[0].permute(1, 2, 0).cpu().numpy())
    return pixels
