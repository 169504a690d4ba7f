"""Frozen VGG-16 features, Gram matrices and a distance between images built on them.

The trunk is that of ImageNet VGG-16 (Simonyan and Zisserman, 2015) from conv1_1 to conv4_3: all
that the style losses of Gatys et al. (2016) and Johnson et al. (2016) use. The distance follows
LPIPS (Zhang et al., 2018) on four of its five layers; see :class:`PerceptualDistance`.

Weights come from a file or from PyTorch's site, never from a random initialisation: the loss would
still fall, and nothing would tell that it means something else.
"""

import pickle
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from rlgen.core.errors import UserError, closest

LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
WIDTHS = (64, 128, 256, 512)  # channels of each of LAYERS
DEPTHS = (2, 2, 3, 3)  # convolutions of each block; every block but the last ends in a max-pool
SMALLEST = 16  # pixels a side: relu4_3 is then 2x2

WEIGHTS_URL = "https://download.pytorch.org/models/vgg16-397923af.pth"
EPS = 1e-10  # LPIPS's guard for places where every channel is zero

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet, pixels in [0, 1]


def _layout() -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Returns the trunk's shapes by name, and its names by those of torchvision."""
    shapes: dict[str, tuple[int, ...]] = {}
    names: dict[str, str] = {}
    channels, index = 3, 0
    for block, (width, depth) in enumerate(zip(WIDTHS, DEPTHS, strict=True), start=1):
        for layer in range(1, depth + 1):
            name = f"conv{block}_{layer}"
            shapes |= {f"{name}.weight": (width, channels, 3, 3), f"{name}.bias": (width,)}
            names |= {f"features.{index}.{part}": f"{name}.{part}" for part in ("weight", "bias")}
            channels, index = width, index + 2  # a convolution and its ReLU
        index += 1  # the max-pool
    return shapes, names


_TRUNK, _NAMES = _layout()
_HEADS: dict[str, tuple[int, ...]] = {f"lpips_lin{i}": (width,) for i, width in enumerate(WIDTHS)}
_NAMES |= {name: name for name in (*_TRUNK, *_HEADS)}


class VGG16Features(nn.Module):
    """ImageNet VGG-16 up to relu4_3, frozen and in eval mode by construction.

    It follows autocast, may be moved to bfloat16 or channels-last, and passes gradients to images.

    Args:
        weights: ``conv1_1.weight``, ``conv1_1.bias`` ... ``conv4_3.bias``, kernels as (out, in,
            3, 3). They are copied to float32. :func:`load_vgg16` reads them from a file.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        for key, shape in _TRUNK.items():
            if key.endswith(".weight"):
                # No random initialisation: it would take time and advance torch's generator.
                layer = nn.utils.skip_init(nn.Conv2d, shape[1], shape[0], 3, padding=1)
                self.add_module(key.removesuffix(".weight"), layer)
        # On images in [-1, 1], ((x + 1) / 2 - mean) / std is (x - shift) / scale with these, in
        # fewer operations. They are also LPIPS's constants (-.030, -.088, -.188; .458, .448, .450).
        mean, std = torch.tensor(_MEAN).view(1, 3, 1, 1), torch.tensor(_STD).view(1, 3, 1, 1)
        self.register_buffer("shift", 2 * mean - 1, persistent=False)
        self.register_buffer("scale", 2 * std, persistent=False)
        self.load_state_dict({key: weights[key] for key in _TRUNK})
        self.requires_grad_(False).train(False)

    def train(self, mode: bool = True) -> Self:
        """Stays in eval mode, whatever the ``mode`` of the module that holds this one."""
        return super().train(False)

    def forward(self, images: Tensor, upto: str = LAYERS[-1]) -> dict[str, Tensor]:
        """Computes the activations after the last ReLU of each block.

        Args:
            images: RGB in [-1, 1], (batch, 3, height, width), at least 16 pixels a side.
            upto: The last layer wanted; nothing after it is computed.

        Returns:
            Activations by name, in the order of ``LAYERS``, the one named by ``upto`` included.
        """
        if upto not in LAYERS:
            raise UserError(f"unknown VGG-16 layer {upto!r}; {closest(upto, LAYERS)}")
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise UserError(
                f"VGG-16 takes float images (batch, 3, height, width) in [-1, 1]; "
                f"given {str(images.dtype).removeprefix('torch.')} {tuple(images.shape)}"
            )
        if min(images.shape[2:]) < SMALLEST:
            raise UserError(
                f"VGG-16 needs images of at least {SMALLEST}x{SMALLEST} pixels; "
                f"given {images.shape[2]}x{images.shape[3]}: use a larger image size"
            )
        x = ((images - self.shift) / self.scale).to(self.get_parameter("conv1_1.weight").dtype)
        features = {}
        for name, convolution in self.named_children():
            x = F.relu(convolution(x))
            layer = name.replace("conv", "relu")
            if layer in LAYERS:
                features[layer] = x
                if layer == upto:
                    break
                x = F.max_pool2d(x, 2)
        return features


def gram(features: Tensor) -> Tensor:
    """Computes the Gram matrices of feature maps, in float32 also under autocast.

    Args:
        features: Activations F, (batch, channels, height, width).

    Returns:
        F F^T / (channels * height * width), (batch, channels, channels).
    """
    # A sum over all places: in half precision it would overflow or lose the small terms.
    with torch.autocast(features.device.type, enabled=False):
        flat = features.float().flatten(2)  # (batch, channels, places)
        return flat @ flat.mT / (flat.shape[1] * flat.shape[2])


class PerceptualDistance(nn.Module):
    """Distance of two images in the features of VGG-16, weighted as LPIPS weights them.

    LPIPS v0.1 (Zhang et al., 2018) sums over five layers. The trunk here ends at relu4_3, so the
    term of relu5_3 (``lpips_lin4``) is left out: values lie below those of LPIPS and must not be
    compared with published ones, only with each other. The four other terms are LPIPS's own, and
    so is the scaling of the images, which equals ImageNet's mean and deviation.

    Args:
        features: The trunk, which other losses may share.
        heads: One weight per channel for each of ``LAYERS``, (channels,).
    """

    def __init__(self, features: VGG16Features, heads: Sequence[Tensor]) -> None:
        super().__init__()
        self.features = features
        for i, (head, width) in enumerate(zip(heads, WIDTHS, strict=True)):
            self.register_buffer(f"lin{i}", head.detach().float().clone().view(1, width, 1, 1))

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        """Computes the distance of each image to its counterpart.

        Args:
            images: RGB in [-1, 1], (batch, 3, height, width).
            others: As many images of the same size.

        Returns:
            Distances (batch,), float32, zero for equal images.
        """
        if images.shape != others.shape:
            raise UserError(
                f"the perceptual distance compares images of one shape; "
                f"given {tuple(images.shape)} and {tuple(others.shape)}"
            )
        # Two passes: one over both batches would keep activations for the side without gradient.
        return self.between(self.features(images), self.features(others))

    def between(self, first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> Tensor:
        """Computes the distances (batch,) from features that were computed before."""
        total = torch.zeros(len(first[LAYERS[0]]), device=first[LAYERS[0]].device)
        for i, layer in enumerate(LAYERS):
            squares = (_unit(first[layer]) - _unit(second[layer])).square()
            total = total + (self.get_buffer(f"lin{i}") * squares).sum(1).mean((1, 2))
        return total


def _unit(features: Tensor) -> Tensor:
    """Scales the channels at each place to length one, in float32."""
    features = features.float()
    return features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + EPS)


def load_vgg16(source: str | Path | None = None) -> VGG16Features:
    """Loads the trunk with ImageNet weights.

    Args:
        source: A local file, read without running any code in it: ``.npz`` or ``.safetensors``
            with the names of :class:`VGG16Features`, or ``.pth``/``.pt``, a state dict as
            torchvision saves it. None takes torch.hub's copy of that, or downloads one.

    Returns:
        The frozen trunk, float32, on the CPU.
    """
    if source is None:
        source = Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS_URL.rpartition("/")[2]
        if not source.is_file():
            return VGG16Features(_download())
    return VGG16Features(_read(source, _TRUNK))


def load_perceptual_distance(source: str | Path) -> PerceptualDistance:
    """Loads trunk and heads of the distance from one file.

    Args:
        source: A file as :func:`load_vgg16` takes it, which holds ``lpips_lin0`` ...
            ``lpips_lin3``, (channels,), too. Torchvision's file has no such heads.

    Returns:
        The frozen distance, float32, on the CPU.
    """
    weights = _read(source, _TRUNK | _HEADS)
    return PerceptualDistance(VGG16Features(weights), [weights[name] for name in _HEADS])


def _read_npz(path: Path) -> dict[Any, Any]:
    # NumPy leaves a damaged archive open, hence the stream of our own.
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        return {key: torch.from_numpy(archive[key]) for key in archive.files if key in _NAMES}


def _read_pth(path: Path) -> dict[Any, Any]:
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise ValueError("not a state dict")
    return state


_READERS: dict[str, Callable[[Path], dict[Any, Any]]] = {
    ".npz": _read_npz,
    ".safetensors": load_file,
    ".pth": _read_pth,
    ".pt": _read_pth,
}
# What the readers raise on files that are cut off, damaged or of another kind.
_DAMAGED = (pickle.UnpicklingError, zipfile.BadZipFile, zlib.error, SafetensorError, EOFError)
_FOREIGN = (AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError)
_UNREADABLE = (*_DAMAGED, *_FOREIGN)


def _read(source: str | Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Reads the named weights from a file and checks them."""
    path = Path(source).expanduser()
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"cannot tell the kind of {path}; allowed: {', '.join(_READERS)}")
    if not path.is_file():
        raise UserError(f"there is no file {path}; type perceptual=PATH of VGG-16's weights")
    try:
        return _checked(reader(path), shapes, str(path))
    except _UNREADABLE as error:
        raise UserError(
            f"{path} cannot be read as VGG-16's weights ({_reason(error)}); "
            f"type perceptual=PATH of another file"
        ) from error


def _download() -> dict[str, Tensor]:
    """Fetches torchvision's weights into torch.hub's checkpoint folder."""
    try:
        state = torch.hub.load_state_dict_from_url(
            WEIGHTS_URL, map_location="cpu", progress=False, check_hash=True, weights_only=True
        )
    except (*_UNREADABLE, HTTPException) as error:
        raise UserError(
            f"the perceptual loss needs VGG-16's weights, and {WEIGHTS_URL} could not be "
            f"fetched ({_reason(error)}); type perceptual=PATH of a local copy"
        ) from error
    return _checked(state, _TRUNK, WEIGHTS_URL)


def _checked(
    state: Mapping[Any, Any], shapes: Mapping[str, tuple[int, ...]], origin: str
) -> dict[str, Tensor]:
    """Returns the weights under the names used here, or says what is wrong with them."""
    found = {_NAMES[key]: value for key, value in state.items() if key in _NAMES}
    for name, shape in shapes.items():
        value = found.get(name)
        if not isinstance(value, Tensor):
            whose = "LPIPS head" if name in _HEADS else "VGG-16 weight"
            raise UserError(
                f"{origin} lacks the {whose} {name}; type perceptual=PATH of a full set"
            )
        if tuple(value.shape) != shape:
            raise UserError(f"{origin}: {name} has shape {tuple(value.shape)}, VGG-16's is {shape}")
        if not value.is_floating_point() or not bool(value.isfinite().all()):
            raise UserError(f"{origin}: {name} holds values that are not finite floats")
    return {name: found[name] for name in shapes}


def _reason(error: BaseException) -> str:
    """Names an error in a few words: the texts of the readers run over many lines."""
    text = getattr(error, "strerror", None) or getattr(error, "reason", None) or ""
    return " ".join(f"{type(error).__name__} {text}".split())
