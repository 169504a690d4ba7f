"""What networks that enlarge pictures share: stages at low resolution, an upsampler at the end.

    head -> stage1 -> stage2 -> stage3 -> fuse -> + head's output -> upsampler -> tail

The stages are thirds of the residual blocks. Spec lsfd, section c: FAKD's code distils the features
after about a third and two thirds of the body and those at its end; these are the taps here.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from rlgen.core.errors import UserError, closest
from rlgen.core.registry import Registry

SCALES = (2, 3, 4)
# Of the pictures of DIV2K, as EDSR's code has it; taken off the input and put on the output.
MEAN = (0.4488, 0.4371, 0.4040)
LUMA = (0.299, 0.587, 0.114)
PLACES = {"stages": ("stage1", "stage2", "upsampler:input"), "last": ("upsampler:input",)}


class SuperResolver(nn.Module):
    """A network from pictures (B, channels, h, w) to (B, channels, scale h, scale w), in [0, 1].

    Layers ``head stage1 stage2 stage3 fuse upsampler tail``; no activation works in place. What
    goes into ``upsampler`` is the end of the body, the long shortcut included. The output is not
    clamped.

    Args:
        head: From channels to the width of the body.
        blocks: Residual blocks, 3 or more; stages are made of them.
        fuse: Last layers of the body before the long shortcut is added.
        upsampler: Enlarges the features.
        tail: From features to channels.
        scale: By how much each side grows.
        channels: 3 or 1.

    Attributes:
        places: Tap names, shallow to deep, by what a distillation method wants: ``"stages"`` and
            ``"last"``. There is no ``"preactivation"``: the stages end in a sum, without a ReLU.

    Raises:
        UserError: If there are fewer than three blocks.
    """

    mean: Tensor
    places: Mapping[str, tuple[str, ...]] = PLACES

    def __init__(
        self,
        head: nn.Module,
        blocks: Sequence[nn.Module],
        fuse: nn.Module,
        upsampler: nn.Module,
        tail: nn.Module,
        scale: int,
        channels: int,
    ) -> None:
        super().__init__()
        if len(blocks) < 3:
            raise UserError(f"blocks={len(blocks)}: three stages need 3 or more")
        self.scale, self.channels = scale, channels
        cuts = [round(len(blocks) * k / 3) for k in range(4)]
        self.head = head
        self.stage1, self.stage2, self.stage3 = (
            nn.Sequential(*blocks[first:end]) for first, end in pairwise(cuts)
        )
        self.fuse = fuse
        self.upsampler = upsampler
        self.tail = tail
        mean = MEAN if channels == 3 else (sum(m * y for m, y in zip(MEAN, LUMA, strict=True)),)
        # Known from the code, so that it is not among the saved weights.
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)

    def tap_names(self, place: str) -> tuple[str, ...]:
        """Returns the tap names of a place.

        Raises:
            UserError: If there is no such place.
        """
        if place not in self.places:
            raise UserError(f"unknown place {place!r} to tap; {closest(place, self.places)}")
        return self.places[place]

    def forward(self, low: Tensor) -> Tensor:
        """Maps pictures (B, channels, h, w) in [0, 1] to (B, channels, scale h, scale w)."""
        x = self.head(low - self.mean)
        body = self.fuse(self.stage3(self.stage2(self.stage1(x)))) + x
        high: Tensor = self.tail(self.upsampler(body)) + self.mean
        return high


SUPER_RESOLVERS: Registry[Callable[[int, int], SuperResolver]] = Registry(
    "super-resolution network", "super_resolvers"
)


def make_super_resolver(name: str, scale: int = 2, channels: int = 3) -> SuperResolver:
    """Builds a network by its registered name, such as ``"edsr_small"``.

    Args:
        name: A name of ``SUPER_RESOLVERS``.
        scale: 2, 3 or 4.
        channels: Of the pictures: 3, or 1 for grey ones.

    Raises:
        UserError: If the name is unknown or a number is another.
    """
    build = SUPER_RESOLVERS[name]
    if scale not in SCALES:
        raise UserError(f"scale={scale} is unknown; allowed: {', '.join(map(str, SCALES))}")
    if channels not in (1, 3):
        raise UserError(f"channels={channels}: pictures have 3 in colour, or 1")
    return build(scale, channels)


def conv(inputs: int, outputs: int, size: int = 3) -> nn.Conv2d:
    """Returns a convolution with bias that keeps height and width."""
    return nn.Conv2d(inputs, outputs, size, padding=size // 2)


def shuffles(width: int, scale: int, activation: Callable[[], nn.Module] | None) -> nn.Sequential:
    """Returns the upsampler: for each factor a convolution and a pixel shuffle.

    Factors are 2, 3, or 2 and 2 for 4, as in EDSR's code.

    Args:
        width: Channels in and out.
        scale: 2, 3 or 4.
        activation: Makes what follows each shuffle; None: nothing.
    """
    layers: list[nn.Module] = []
    for factor in [2, 2] if scale == 4 else [scale]:
        layers += [conv(width, width * factor**2), nn.PixelShuffle(factor)]
        if activation is not None:
            layers.append(activation())
    return nn.Sequential(*layers)
