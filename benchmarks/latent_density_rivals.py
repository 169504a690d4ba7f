"""What latent densities are compared with: a VAE trained as a whole, and pythae's samplers.

pythae is no dependency of rlgen. It needs no torchvision; for a virtual environment of its own:

    pip install --no-deps pythae
    pip install pydantic cloudpickle imageio typing-extensions tqdm scikit-learn
"""

import contextlib
import importlib.util
import io
import logging
import math
import tempfile
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from rlgen.data.pixels import PixelBatches
from rlgen.generative.latent_density.autoencoder import LatentAutoencoder
from rlgen.generative.latent_density.codec import LatentCodec
from rlgen.generative.latent_density.measures import to_signed

PYTHAE = ("pythae-gmm", "pythae-maf", "pythae-iaf")
COMPONENTS = 10  # Gaussians of pythae's mixture, as many as ours has
LOG_VARIANCE = 10.0  # bound of the encoder's, either way


class WholeVAE(nn.Module):
    """The autoencoder's two networks as a VAE; the encoder's last layer is twice as wide.

    Loss per image: 1/2 |x~ - x|^2 + beta KL(q(z|x) || N(0, 1)), pixels in the network's range.

    Args:
        beta: Weight of the divergence.
        options: Of :class:`LatentAutoencoder`.
    """

    def __init__(self, beta: float, **options: Any) -> None:
        super().__init__()
        self.beta = beta
        self.network = LatentAutoencoder(**options)
        wide = LatentAutoencoder(**{**options, "dim": 2 * options["dim"]})
        self.network.encoder = wide.encoder

    def forward(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Returns the mean loss of images (B, channels, n, n) in the network's range."""
        mean, log_variance = self.network.encode(x).chunk(2, dim=1)
        log_variance = log_variance.clamp(-LOG_VARIANCE, LOG_VARIANCE)
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        output = self.network.decode(mean + (0.5 * log_variance).exp() * noise)
        error = 0.5 * (output - x).square().sum((1, 2, 3))
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
        return (error + self.beta * divergence).mean()


def train_whole_vae(
    beta: float,
    batches: PixelBatches,
    steps: int,
    seed: int,
    device: torch.device,
    learning_rate: float = 1e-3,
    milestones: tuple[float, ...] = (0.1, 0.25, 0.5),
    **options: Any,
) -> LatentCodec:
    """Trains a VAE as the command trains the autoencoder, and returns its decoder.

    Args:
        beta: Weight of the divergence.
        batches: Those that the autoencoder sees.
        steps: Of training.
        seed: Of weights and noise.
        device: Where it is trained.
        learning_rate: Adam's.
        milestones: Shares of the training after each of which the rate is halved.
        options: Of :class:`LatentAutoencoder`.
    """
    torch.manual_seed(seed)
    model = WholeVAE(beta, **options).to(device).train()
    codec = LatentCodec(model.network)
    model.train()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), learning_rate, (0.5, 0.999), fused=True)
    for step in range(steps):
        passed = sum(step >= share * steps for share in milestones)
        optimizer.param_groups[0]["lr"] = learning_rate * 0.5**passed
        loss = model(codec.to_range(to_signed(batches.at(step))), generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    if not math.isfinite(float(loss.detach())):
        raise RuntimeError(f"the VAE with beta {beta} diverged")
    model.eval()
    return codec


def has_pythae() -> bool:
    """Returns whether pythae is installed."""
    return importlib.util.find_spec("pythae") is not None


class PythaeSampler:
    """A sampler of pythae on latent vectors: its autoencoder passes them through unchanged.

    Latents are standardised, as ours are by default.

    Args:
        name: One of ``PYTHAE``.
        dim: D.
    """

    def __init__(self, name: str, dim: int) -> None:
        from pythae import samplers
        from pythae.models import AE, AEConfig
        from pythae.models.base.base_utils import ModelOutput
        from pythae.models.nn import BaseDecoder, BaseEncoder

        class Shift(BaseEncoder):  # pythae wants data from 0 on, with a maximum of 1 or more
            low = 0.0

            def forward(self, x: torch.Tensor) -> Any:
                return ModelOutput(embedding=x + self.low)

        class Same(BaseDecoder):
            def forward(self, z: torch.Tensor) -> Any:
                return ModelOutput(reconstruction=z)

        self.shift = Shift()
        config = AEConfig(input_dim=(dim,), latent_dim=dim)
        model = AE(config, encoder=self.shift, decoder=Same()).eval()
        makers = {
            "pythae-gmm": lambda: samplers.GaussianMixtureSampler(
                model, samplers.GaussianMixtureSamplerConfig(n_components=COMPONENTS)
            ),
            "pythae-maf": lambda: samplers.MAFSampler(model, samplers.MAFSamplerConfig()),
            "pythae-iaf": lambda: samplers.IAFSampler(model, samplers.IAFSamplerConfig()),
        }
        self.name = name
        self.sampler: Any = makers[name]()

    def fit(self, latents: torch.Tensor, steps: int, batch_size: int, seed: int) -> None:
        """Learns latents (N, D), for as many whole epochs as hold the steps.

        Networks are of pythae's own sizes; the rate falls from 1e-3 by half a cosine, as ours.
        """
        latents = latents.cpu()
        self.mean, self.scale = latents.mean(0), latents.std(0).clamp(min=1e-6)
        rows = (latents - self.mean) / self.scale
        self.shift.low = float(rows.min())
        given = (rows - self.shift.low).clamp(min=0)
        torch.manual_seed(seed)
        if self.name == "pythae-gmm":
            self.sampler.fit(given)
            return
        from pythae.trainers import BaseTrainerConfig

        with tempfile.TemporaryDirectory() as folder, silent():
            epochs = max(round(steps * batch_size / len(rows)), 1)
            training = BaseTrainerConfig(
                output_dir=folder,
                num_epochs=epochs,
                per_device_train_batch_size=batch_size,
                learning_rate=1e-3,
                scheduler_cls="CosineAnnealingLR",
                scheduler_params={"T_max": epochs},
                seed=seed,
                no_cuda=True,
            )
            self.sampler.fit(given, training_config=training)

    def sample(self, count: int, seed: int) -> torch.Tensor:
        """Draws latent vectors, (count, D)."""
        torch.manual_seed(seed)
        with torch.no_grad(), silent():
            drawn: torch.Tensor = self.sampler.sample(num_samples=count)
        return drawn.cpu() * self.scale + self.mean


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Inside the block nothing is printed: pythae logs, and draws a bar for every epoch."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
