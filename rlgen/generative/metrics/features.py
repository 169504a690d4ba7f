"""Feature nets: what images are compared by, under a name that belongs to every figure.

* :class:`PixelFeatures`: the pixels themselves, the floor.
* :class:`SmallFeatureNet`: what a small classifier, trained on the labelled set itself, has after
  its last pooling (see :mod:`rlgen.generative.metrics.feature_training`).
* :class:`VGGFeatures`: VGG-16's relu4_3, averaged over places, from weights that the user gives.

Left out: the Inception network of the published FID. Its layers are in none of rlgen's
dependencies (torchmetrics takes them from torch-fidelity, which needs torchvision), so no figure
here may be compared with published ones.

All take bytes, real and generated images alike: images that a model makes are rounded to 8 bits as
the real ones were.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from rlgen.core.errors import UserError
from rlgen.nets.classifiers import make_classifier
from rlgen.nets.perceptual import LAYERS, SMALLEST, load_vgg16


class FeatureNet(Protocol):
    """What turns images into features.

    Attributes:
        title: Name to tell beside every figure.
    """

    @property
    def title(self) -> str:
        """Name to tell beside every figure."""
        ...

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Returns features (B, F), float32, of images: uint8 (B, channels, H, W)."""
        ...


def extract(net: FeatureNet, images: torch.Tensor, batch_size: int = 256) -> torch.Tensor:
    """Returns the features of a set of images, (N, F), float32, on the CPU.

    Args:
        net: A feature net.
        images: uint8 (N, channels, H, W).
        batch_size: Images at a time.

    Raises:
        UserError: If there is no image, or images are of another kind than the net takes.
    """
    if images.dim() != 4 or images.dtype != torch.uint8 or not len(images):
        kind = str(images.dtype).removeprefix("torch.")
        raise UserError(f"{kind} {tuple(images.shape)}; images as uint8 (N, C, H, W) are needed")
    with torch.no_grad():
        return torch.cat([net.features(part).cpu() for part in images.split(batch_size)])


def to_bytes(images: torch.Tensor) -> torch.Tensor:
    """Returns images as uint8, of the same shape.

    Args:
        images: Values in -1 to 1, as :meth:`LatentCodec.decode` returns them; what lies outside
            is clamped.
    """
    return ((images + 1) * 127.5).round_().clamp_(0, 255).to(torch.uint8)


class PixelFeatures:
    """The pixels, 0 to 1, in one row.

    Args:
        device: Where features are computed.
    """

    title = "pixels"

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = device

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Returns (B, channels H W), 0 to 1, of uint8 (B, channels, H, W)."""
        return images.to(self.device).flatten(1).float().div_(255)


class VGGFeatures:
    """ImageNet VGG-16's relu4_3, averaged over places: 512 features.

    Args:
        weights: File of the weights, as :func:`rlgen.nets.perceptual.load_vgg16` takes it; None:
            torch.hub's copy.
        device: Where features are computed.

    Raises:
        UserError: If the file is not there or not VGG-16's.
    """

    title = "VGG-16 relu4_3"

    def __init__(self, weights: str | Path | None, device: torch.device | str = "cpu") -> None:
        self.device = device
        self.trunk = load_vgg16(weights).to(device)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Returns (B, 512) of uint8 (B, 1 or 3, H, W), 16 pixels a side or more."""
        if images.shape[1] not in (1, 3) or min(images.shape[2:]) < SMALLEST:
            raise UserError(
                f"images of shape {tuple(images.shape[1:])}; VGG-16 takes 1 or 3 channels and "
                f"{SMALLEST} pixels a side or more"
            )
        signed = images.to(self.device).float().div_(127.5).sub_(1).expand(-1, 3, -1, -1)
        return self.trunk(signed)[LAYERS[-1]].mean((2, 3))


class SmallFeatureNet(ModelMixin, ConfigMixin):
    """A small classifier of a labelled set and its features after the last pooling.

    Args:
        architecture: A name of :data:`rlgen.nets.classifiers.CLASSIFIERS`.
        channels: Of the images.
        classes: It was trained on.
        mean: Of each channel, pixels 0 to 1; images are normalised by it.
        deviation: Likewise.
        source: Set it was trained on.
        accuracy: On the set's test images, 0 to 1; None before training.

    Raises:
        UserError: If the architecture is unknown.
    """

    @register_to_config
    def __init__(
        self,
        architecture: str = "resnet8",
        channels: int = 1,
        classes: int = 10,
        mean: Sequence[float] = (0.5,),
        deviation: Sequence[float] = (0.5,),
        source: str = "",
        accuracy: float | None = None,
    ) -> None:
        super().__init__()
        self.body: Any = make_classifier(architecture, classes, channels)
        self.head: Any = self.body.classifier
        self.body.classifier = nn.Identity()  # so that the body ends with its last pooling

    @property
    def title(self) -> str:
        """Architecture, set and accuracy."""
        config = self.config
        known = "" if config.accuracy is None else f", {100 * config.accuracy:.1f} % right"
        return f"{config.architecture} trained on {config.source or 'nothing'}{known}"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns logits (B, classes) of normalised images (B, channels, H, W)."""
        logits: torch.Tensor = self.head(self.body(x))
        return logits

    def normalized(self, images: torch.Tensor) -> torch.Tensor:
        """Maps uint8 images to mean 0 and deviation 1 per channel, on the net's device."""
        mean, deviation = (
            torch.tensor(values, device=self.device)[:, None, None]
            for values in (self.config.mean, self.config.deviation)
        )
        return images.to(self.device).float().div_(255).sub_(mean).div_(deviation)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Returns (B, F), in eval mode, of uint8 (B, channels, H, W).

        Raises:
            UserError: If the images have another number of channels.
        """
        if images.shape[1] != self.config.channels:
            raise UserError(
                f"images have {images.shape[1]} channels; {self.title} takes {self.config.channels}"
            )
        self.eval()
        found: torch.Tensor = self.body(self.normalized(images))
        return found
