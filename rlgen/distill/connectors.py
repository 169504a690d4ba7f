"""The small trained modules between two networks' features; none is needed at test time.

Scope, by paper (specs ofd, kd_baselines, feed, ffl, afd):

* OFD, AB: 1x1 convolution and batch norm from student to teacher channels, seen in official code
  with its initialisation.
* FitNets: the regressor of RepDistiller with its size cases, seen in that code; the paper's own is
  not specified.
* FT: paraphraser and translator, seen in official code. FEED: one transform per teacher; three 3x3
  convolutions are what readers' notes tell, channels and activations are reconstructed after FT.
* FFL: fusion module, seen in official code for two equal networks; unequal channels and sizes are
  reconstructed.
* AFD: convolution, batch norm, leaky ReLU, convolution, sigmoid by third-party code and
  recollection; sizes and the transfer layer are reconstructed.

All modules take maps (batch, channels, height, width), see :func:`rlgen.distill.maps.as_map`.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from rlgen.core.errors import UserError
from rlgen.distill.maps import map_shape, pool_to

Shape = tuple[int, ...]


def through(module: nn.Module, features: torch.Tensor) -> torch.Tensor:
    """Returns a module's output for features brought to the type of its parameters.

    Losses hold features in float32; a distiller that was cast to half as a whole has connectors in
    half.

    Args:
        module: A connector.
        features: (batch, ...).
    """
    parameter = next(module.parameters(), None)
    return module(features if parameter is None else features.to(parameter.dtype))


class ConvNormConnector(nn.Sequential):
    """1x1 convolution without bias, then batch norm: OFD's and AB's r.

    The weights start as N(0, 2 / C_T), with C_T the teacher's channels, as in the official code.

    Args:
        student: Shape of the student's tap without the batch.
        teacher: Shape of the teacher's.
    """

    def __init__(self, student: Shape, teacher: Shape) -> None:
        channels = map_shape(teacher)[0]
        conv = nn.Conv2d(map_shape(student)[0], channels, 1, bias=False)
        nn.init.normal_(conv.weight, std=(2 / channels) ** 0.5)
        super().__init__(conv, nn.BatchNorm2d(channels))


class HintRegressor(nn.Module):
    """Convolution, batch norm and ReLU that bring a student's map to the teacher's shape.

    Equal sizes: 1x1; the student's twice as large: 3x3, stride 2; half as large: transposed 4x4,
    stride 2; larger otherwise: a kernel of the difference + 1.

    Args:
        student: Shape of the student's tap without the batch.
        teacher: Shape of the teacher's.
        relu: End in a ReLU, for hints that are taken after one.

    Raises:
        UserError: If the student's map is smaller than the teacher's, but not by half.
    """

    def __init__(self, student: Shape, teacher: Shape, relu: bool = True) -> None:
        super().__init__()
        (c, *ours), (out, *theirs) = map_shape(student), map_shape(teacher)
        self.conv: nn.Conv2d | nn.ConvTranspose2d
        if ours == theirs:
            self.conv = nn.Conv2d(c, out, 1)
        elif ours == [2 * size for size in theirs]:
            self.conv = nn.Conv2d(c, out, 3, stride=2, padding=1)
        elif [2 * size for size in ours] == theirs:
            self.conv = nn.ConvTranspose2d(c, out, 4, stride=2, padding=1)
        elif ours[0] >= theirs[0] and ours[1] >= theirs[1]:
            self.conv = nn.Conv2d(c, out, (ours[0] - theirs[0] + 1, ours[1] - theirs[1] + 1))
        else:
            raise UserError(
                f"a hint regressor cannot bring the student's {ours[0]}x{ours[1]} map to the "
                f"teacher's {theirs[0]}x{theirs[1]}; allowed: equal, larger or half as large; "
                "tap a shallower layer of the student or a deeper one of the teacher"
            )
        self.norm = nn.BatchNorm2d(out)
        self.relu = relu

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Maps the student's (B, C_S, h, w) to the teacher's shape (B, C_T, H, W)."""
        x = self.norm(self.conv(features))
        return F.relu(x) if self.relu else x


def _conv3(cin: int, cout: int, transposed: bool = False) -> nn.Module:
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    return kind(cin, cout, 3, padding=1)


def _stack(layers: Sequence[nn.Module], slope: float, batch_norm: bool = False) -> nn.Sequential:
    """Returns the layers with leaky ReLUs behind each, and batch norms before those if asked."""
    modules: list[nn.Module] = []
    for layer in layers:
        modules.append(layer)
        if batch_norm:
            modules.append(nn.BatchNorm2d(int(layer.out_channels)))  # type: ignore[arg-type]
        modules.append(nn.LeakyReLU(slope))
    return nn.Sequential(*modules)


class Paraphraser(nn.Module):
    """FT's auto-encoder of the teacher's map, whose code is the teacher's factor.

    Three 3x3 convolutions C -> C -> kC -> kC, three transposed ones back, a leaky ReLU behind each,
    the last included; no batch norm.

    Args:
        channels: C of the teacher's map.
        rate: k; the factor has round(k C) channels, at least one.
        slope: Of the leaky ReLUs below 0.
    """

    def __init__(self, channels: int, rate: float = 0.5, slope: float = 0.1) -> None:
        super().__init__()
        code = factor_channels(channels, rate)
        plan = [channels, channels, code, code]
        down = [_conv3(a, b) for a, b in pairwise(plan)]
        up = [_conv3(b, a, True) for a, b in pairwise(plan)]
        self.encoder = _stack(down, slope)
        self.decoder = _stack(up[::-1], slope)

    def encode(self, features: torch.Tensor) -> torch.Tensor:
        """Returns the factor (B, round(k C), H, W) of the teacher's map (B, C, H, W)."""
        return self.encoder(features)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Returns the reconstruction (B, C, H, W) of the teacher's map."""
        return self.decoder(self.encoder(features))


def factor_channels(channels: int, rate: float) -> int:
    """Returns the channels of FT's factor, round(k C) and at least one.

    Args:
        channels: C of the teacher's map.
        rate: k.
    """
    return max(round(channels * rate), 1)


class Translator(nn.Sequential):
    """Three 3x3 convolutions C_S -> C_S -> C_out -> C_out, a leaky ReLU behind each.

    With C_out = k C_T it is FT's translator; with C_out = C_T it is the non-linear transform of
    FEED.

    Args:
        channels: C_S of the student's map.
        out_channels: C_out.
        slope: Of the leaky ReLUs below 0.
        batch_norm: Normalise before each leaky ReLU; off in FT's code.
    """

    def __init__(
        self, channels: int, out_channels: int, slope: float = 0.1, batch_norm: bool = False
    ) -> None:
        plan = [channels, channels, out_channels, out_channels]
        layers = [_conv3(a, b) for a, b in pairwise(plan)]
        super().__init__(*_stack(layers, slope, batch_norm))


class FusionModule(nn.Module):
    """FFL's fused classifier on the concatenated maps of all sub-networks.

    z_F = FC(GAP(ReLU(BN(PW1x1(ReLU(BN(DW3x3(concat h_k)))))))), with z_F the fused logits.

    Args:
        shapes: Shapes of the sub-networks' maps without the batch.
        classes: Number of logits.
        out_channels: Channels behind the pointwise convolution; None: the largest of the maps'.
        align: What to do with maps of unequal size: ``"pool"`` averages all to the smallest,
            ``"conv"`` learns strided 3x3 convolutions, ``"off"`` refuses.

    Raises:
        UserError: If the sizes differ with ``"off"``, or by no whole factor with ``"conv"``.
    """

    def __init__(
        self,
        shapes: Sequence[Shape],
        classes: int,
        *,
        out_channels: int | None = None,
        align: str = "pool",
    ) -> None:
        super().__init__()
        maps = [map_shape(shape) for shape in shapes]
        self.size = (min(m[1] for m in maps), min(m[2] for m in maps))
        self.align = nn.ModuleList(_aligner(m, self.size, align) for m in maps)
        total = sum(m[0] for m in maps)
        out = out_channels or max(m[0] for m in maps)
        self.depthwise = nn.Conv2d(total, total, 3, padding=1, groups=total, bias=False)
        self.depth_norm = nn.BatchNorm2d(total)
        self.pointwise = nn.Conv2d(total, out, 1, bias=False)
        self.point_norm = nn.BatchNorm2d(out)
        self.classify = nn.Linear(out, classes)

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Returns the fused logits (B, classes) of the sub-networks' maps (B, C_k, H_k, W_k)."""
        aligned = [
            pool_to(align(features), self.size)
            for align, features in zip(self.align, maps, strict=True)
        ]
        x = F.relu(self.depth_norm(self.depthwise(torch.cat(aligned, dim=1))))
        x = F.relu(self.point_norm(self.pointwise(x)))
        return self.classify(x.mean(dim=(2, 3)))


def _aligner(shape: tuple[int, int, int], size: tuple[int, int], align: str) -> nn.Module:
    """Returns what is learnt to bring one map to the common size; pooling learns nothing."""
    channels, height, width = shape
    if (height, width) == size or align == "pool":
        return nn.Identity()
    stride = (height // size[0], width // size[1])
    if align == "off" or (stride[0] * size[0], stride[1] * size[1]) != (height, width):
        raise UserError(
            f"a fusion module with align={align} cannot bring a {height}x{width} map to "
            f"{size[0]}x{size[1]}; use align=pool, or tap layers of equal size"
        )
    conv = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU())


class Discriminator(nn.Sequential):
    """AFD's judge of maps: the probability that a map comes from the partner network.

    Convolution 3x3 to half the channels, stride 2; batch norm; leaky ReLU; a convolution over all
    that remains; sigmoid.

    Args:
        shape: Shape of the maps without the batch.
        slope: Of the leaky ReLU below 0.
    """

    def __init__(self, shape: Shape, slope: float = 0.2) -> None:
        channels, height, width = map_shape(shape)
        hidden = max(channels // 2, 1)
        super().__init__(
            nn.Conv2d(channels, hidden, 3, stride=2, padding=1),
            nn.BatchNorm2d(hidden),
            nn.LeakyReLU(slope),
            nn.Conv2d(hidden, 1, ((height + 1) // 2, (width + 1) // 2)),
            nn.Flatten(),
            nn.Sigmoid(),
        )


class TransferLayer(nn.Module):
    """AFD's T: brings a network's map to the common shape at which discriminators read.

    1x1 convolution, batch norm and ReLU where the channels differ, averaging where the size does;
    nothing where neither does.

    Args:
        shape: Shape of the network's map without the batch.
        common: Common shape (C, H, W).
    """

    def __init__(self, shape: Shape, common: tuple[int, int, int]) -> None:
        super().__init__()
        channels, *_ = map_shape(shape)
        self.size = common[1:]
        self.convert: nn.Module = nn.Identity()
        if channels != common[0]:
            conv = nn.Conv2d(channels, common[0], 1, bias=False)
            self.convert = nn.Sequential(conv, nn.BatchNorm2d(common[0]), nn.ReLU())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Maps (B, C_k, H_k, W_k) to (B, C, H, W)."""
        return pool_to(self.convert(features), self.size)
