"""The SGN generator: a CycleGAN ResNet with three CCAMs, as a diffusers model.

Paper: Chang, Park, Yang, Kwak, "Sym-Parameterized Dynamic Inference for Mixed-Domain Image
Translation", ICCV 2019 (arXiv 1811.12362). Layers and parameter counts are those of the authors'
released code for its Model 1. Ours: other widths and depths, names of the domains kept in the
configuration, images of any size, and statistics taken from a small copy of an image for its tiles
(see :meth:`SGNGenerator.using_statistics`).
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn
from torch.nn import functional as F

from rlgen.core.errors import UserError
from rlgen.generative.sgn.ccam import CCAM

MULTIPLE = 4  # two stages of stride 2
SMALLEST = 8  # pixels; below this reflection padding and statistics mean nothing


@dataclass
class Statistics:
    """What instance normalisations and CCAMs saw of an image, in the order in which they ran.

    Attributes:
        moments: Mean and reciprocal standard deviation per normalisation, (batch, C, 1, 1) each.
        pooled: Mean over space per CCAM, (batch, C).
    """

    moments: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)
    pooled: list[torch.Tensor] = field(default_factory=list)


class _Norm(nn.Module):
    """Instance normalisation without parameters; its moments can be recorded and given."""

    eps = 1e-5

    def __init__(self) -> None:
        super().__init__()
        self.record: Statistics | None = None
        self.given: tuple[torch.Tensor, torch.Tensor] | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.given is not None:
            mean, scale = self.given
            return ((x - mean) * scale).to(x.dtype)
        if self.record is not None:
            variance, mean = torch.var_mean(x.float(), dim=(2, 3), correction=0, keepdim=True)
            self.record.moments.append((mean, torch.rsqrt(variance + self.eps)))
        return F.instance_norm(x, eps=self.eps)


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")
        self.norm1 = _Norm()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")
        self.norm2 = _Norm()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.relu(self.norm1(self.conv1(x)))
        return x + self.norm2(self.conv2(h))


class SGNGenerator(ModelMixin, ConfigMixin):
    """G(x, s): translates images under a sym-parameter.

    Args:
        domains: Names of the coordinates of s, in order, all different; one alone makes a plain
            network, the peer that mixtures are compared with.
        width: Channels of the stem; 64 in the paper.
        n_blocks: Residual blocks; 9 in the paper.
        reduction: Of the CCAMs; 4 in the paper.

    Raises:
        UserError: If a size is not positive, or there are too few or equal names.
    """

    @register_to_config
    def __init__(
        self,
        *,  # diffusers takes what is given by position for defaults when it copies a model
        domains: Sequence[str] = ("photo", "adversarial", "style"),
        width: int = 64,
        n_blocks: int = 9,
        reduction: int = 4,
    ) -> None:
        super().__init__()
        if not domains or len(set(domains)) < len(domains):
            raise UserError(f"domains={list(domains)}: different names are needed, one or more")
        if min(width, reduction) < 1 or n_blocks < 0:
            raise UserError(
                f"width={width}, n_blocks={n_blocks}, reduction={reduction}: widths and reduction "
                "are 1 or more, n_blocks 0 or more"
            )
        d = len(domains)
        self.stem = nn.Conv2d(3, width, 7, padding=3, padding_mode="reflect")
        self.stem_norm = _Norm()
        self.gate0 = CCAM(width, d, reduction)
        self.down1 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.down1_norm = _Norm()
        self.down2 = nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1)
        self.down2_norm = _Norm()
        self.gate1 = CCAM(4 * width, d, reduction)
        self.blocks: Any = nn.ModuleList(_Residual(4 * width) for _ in range(n_blocks))
        self.gate2 = CCAM(4 * width, d, reduction)
        self.up1 = nn.ConvTranspose2d(
            4 * width, 2 * width, 3, stride=2, padding=1, output_padding=1
        )
        self.up1_norm = _Norm()
        self.up2 = nn.ConvTranspose2d(2 * width, width, 3, stride=2, padding=1, output_padding=1)
        self.up2_norm = _Norm()
        self.out = nn.Conv2d(width, 3, 7, padding=3, padding_mode="reflect")
        self._record: Statistics | None = None
        self._given: Statistics | None = None

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the coordinates of the sym-parameter."""
        return tuple(self.config["domains"])

    def forward(self, images: torch.Tensor, sym: torch.Tensor) -> torch.Tensor:
        """Translates images.

        Args:
            images: (batch, 3, H, W), -1 to 1, H and W at least 8.
            sym: (batch, d) or (d,) for all images. In training a point of the simplex; any real
                numbers are taken.

        Returns:
            (batch, 3, H, W), -1 to 1, float32.

        Raises:
            UserError: If a shape is wrong.
        """
        height, width = self._check(images, sym)
        sym = sym.to(images).expand(len(images), -1)
        x = F.pad(images, (0, -width % MULTIPLE, 0, -height % MULTIPLE), mode="reflect")
        x = F.relu(self.stem_norm(self.stem(x)))
        x = self._gate(0, self.gate0, x, sym)
        x = F.relu(self.down1_norm(self.down1(x)))
        x = F.relu(self.down2_norm(self.down2(x)))
        x = self._gate(1, self.gate1, x, sym)
        for block in self.blocks:
            x = block(x)
        x = self._gate(2, self.gate2, x, sym)
        x = F.relu(self.up1_norm(self.up1(x)))
        x = F.relu(self.up2_norm(self.up2(x)))
        return torch.tanh(self.out(x).float())[:, :, :height, :width]

    def _check(self, images: torch.Tensor, sym: torch.Tensor) -> tuple[int, int]:
        d = len(self.domains)
        if images.dim() != 4 or images.shape[1] != 3 or min(images.shape[2:]) < SMALLEST:
            raise UserError(
                f"images of shape {tuple(images.shape)}; (batch, 3, height, width) is needed, "
                f"{SMALLEST} pixels or more each way"
            )
        if sym.shape[-1] != d or sym.dim() > 2 or (sym.dim() == 2 and len(sym) != len(images)):
            raise UserError(
                f"sym-parameter of shape {tuple(sym.shape)} for {len(images)} images; "
                f"({len(images)}, {d}) is needed, a column for each of {', '.join(self.domains)}"
            )
        return images.shape[2], images.shape[3]

    def _gate(self, number: int, gate: CCAM, x: torch.Tensor, sym: torch.Tensor) -> torch.Tensor:
        if self._given is not None:
            return gate(x, sym, self._given.pooled[number].to(x.dtype))
        if self._record is not None:
            self._record.pooled.append(x.mean(dim=(2, 3)))
        return gate(x, sym)

    @torch.no_grad()
    def statistics(self, images: torch.Tensor, sym: torch.Tensor) -> Statistics:
        """Returns the moments and means that images have inside the network."""
        record = Statistics()
        norms = self._norms()
        try:
            self._record = record
            for norm in norms:
                norm.record = record
            self(images, sym)
        finally:
            self._record = None
            for norm in norms:
                norm.record = None
        return record

    @contextlib.contextmanager
    def using_statistics(self, statistics: Statistics) -> Iterator[None]:
        """Inside the block every image is normalised and gated with these statistics.

        A tile of an image then comes out as it would inside the whole image, except near its
        border: the only parts of the network that look further than the kernels are the
        normalisations and the CCAMs' means.
        """
        norms = self._norms()
        try:
            self._given = statistics
            for norm, moments in zip(norms, statistics.moments, strict=True):
                norm.given = moments
            yield
        finally:
            self._given = None
            for norm in norms:
                norm.given = None

    def _norms(self) -> list[_Norm]:
        inside = [norm for block in self.blocks for norm in (block.norm1, block.norm2)]
        before = [self.stem_norm, self.down1_norm, self.down2_norm]
        return [*before, *inside, self.up1_norm, self.up2_norm]
