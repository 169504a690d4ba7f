"""Any frozen encoder and decoder as one of flat latent vectors.

Besides :class:`LatentAutoencoder` these are the autoencoders of diffusers, such as
``AutoencoderKL``: its latent is the mean of its posterior, less its shift, times its scaling
factor, and flattened, channel after channel. So a density can be learned on what another project
has trained.
"""

from typing import Any

import torch
from torch import nn

from rlgen.core.errors import UserError
from rlgen.generative.latent_density.autoencoder import LatentAutoencoder


class LatentCodec:
    """Encodes images in -1 to 1 as vectors (B, D) and decodes them.

    Args:
        network: A :class:`LatentAutoencoder`, or an autoencoder of diffusers. It is put into eval
            mode.
        size: Side of the images, in pixels; None for a :class:`LatentAutoencoder`'s own.

    Attributes:
        size: Side of the images, in pixels.
        channels: 1 or 3.
        dim: D.

    Raises:
        UserError: If the network cannot be used, or the size does not fit.
    """

    def __init__(self, network: Any, size: int | None = None) -> None:
        self.network: nn.Module = network.eval()
        own = isinstance(network, LatentAutoencoder)
        if not own and not all(hasattr(network, name) for name in ("encode", "decode", "config")):
            raise UserError(
                f"{type(network).__name__} has no encode, decode and config; allowed: "
                "LatentAutoencoder and the autoencoders of diffusers"
            )
        config = network.config
        if own:
            if size not in (None, config.size):
                raise UserError(f"size={size}; the autoencoder's images have {config.size} pixels")
            self.size, self.channels = int(config.size), int(config.channels)
            self.low, self.high = (float(value) for value in config.output_range)
            self.shape: tuple[int, ...] = (network.dim,)
        else:
            if size is None:
                raise UserError(
                    f"{type(network).__name__} takes images of many sizes; type size=64, say"
                )
            self.size, self.channels = int(size), int(config.get("in_channels", 3))
            self.low, self.high = -1.0, 1.0
            self.shift = float(config.get("shift_factor") or 0.0)
            self.factor = float(config.get("scaling_factor") or 1.0)
            self.shape = tuple(self._measure().shape[1:])
        self.dim = int(torch.Size(self.shape).numel())

    def _parameter(self) -> torch.Tensor:
        return next(self.network.parameters())

    @torch.no_grad()
    def _measure(self) -> torch.Tensor:
        """Returns the latent of one black image, before flattening."""
        black = torch.zeros(1, self.channels, self.size, self.size).to(self._parameter())
        try:
            return self._latent(black)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"images of {self.size} pixels do not fit: {reason}") from None

    def _latent(self, x: torch.Tensor) -> torch.Tensor:
        output = self.network.encode(x)  # type: ignore[operator]
        if (distribution := getattr(output, "latent_dist", None)) is not None:
            return (distribution.mode() - self.shift) * self.factor
        for name in ("latents", "latent"):  # diffusers' classes differ
            latent = getattr(output, name, None)
            if isinstance(latent, torch.Tensor):
                return (latent - self.shift) * self.factor
        raise UserError(
            f"{type(self.network).__name__}.encode returns no latent_dist, latents or latent, as "
            "the autoencoders of diffusers do"
        )

    @torch.no_grad()
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Returns latent vectors, (B, D) float32.

        Args:
            images: (B, channels, size, size), -1 to 1.
        """
        x = images.to(self._parameter())
        if isinstance(self.network, LatentAutoencoder):
            return self.network.encode(self.to_range(x)).float()
        return self._latent(x).flatten(1).float()

    @torch.no_grad()
    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Returns images (B, channels, size, size), float32, clamped to -1 to 1.

        Args:
            z: (B, D).

        Raises:
            UserError: If the latent is of another size.
        """
        if z.dim() != 2 or z.shape[1] != self.dim:
            raise UserError(f"a latent of shape {tuple(z.shape)}; (count, {self.dim}) is needed")
        z = z.to(self._parameter())
        if isinstance(self.network, LatentAutoencoder):
            x = (self.network.decode(z) - self.low) * (2 / (self.high - self.low)) - 1
        else:
            latent = z.view(-1, *self.shape) / self.factor + self.shift
            x = self.network.decode(latent).sample  # type: ignore[operator]
        return x.float().clamp(-1, 1)

    def to_range(self, images: torch.Tensor) -> torch.Tensor:
        """Maps images from -1 to 1 to the network's range of pixels."""
        return (images + 1) * ((self.high - self.low) / 2) + self.low
