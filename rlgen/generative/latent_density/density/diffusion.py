"""A small diffusion of latents by diffusers' schedulers, a rival of the estimator.

Papers: Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models" (2020); Song, Meng, Ermon,
"Denoising Diffusion Implicit Models" (2021); the velocity as the target is Salimans and Ho's
("Progressive Distillation for Fast Sampling of Diffusion Models", 2022). ``DDPMScheduler`` adds the
noise in training and ``DDIMScheduler`` takes it away. The denoiser is ours: a residual perceptron
that is told the time.
"""

from typing import Any

import torch
from diffusers import DDIMScheduler, DDPMScheduler
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import get_timestep_embedding
from torch import nn
from torch.nn import functional as F

from rlgen.core.ranges import check_range
from rlgen.generative.latent_density.density.base import DENSITIES
from rlgen.generative.latent_density.density.draws import Generators, normal, uniform
from rlgen.generative.latent_density.density.training import GradientDensity

TIMES = 1000
_TIME_CHANNELS = 64
_SCHEDULE = {
    "num_train_timesteps": TIMES,
    "beta_schedule": "squaredcos_cap_v2",
    "prediction_type": "v_prediction",  # at the last time all is noise, and tells nothing of rows
    "clip_sample": False,  # for pixels; latents have no range
}


class _Block(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.time = nn.Linear(_TIME_CHANNELS, hidden)
        self.rise = nn.Linear(hidden, hidden)
        self.fall = nn.Linear(hidden, hidden)

    def forward(self, x: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        hidden = self.rise(self.norm(x)) + self.time(times)
        return x + self.fall(F.silu(hidden))


@DENSITIES.register("diffusion")
class LatentDiffusion(GradientDensity):
    """Denoising diffusion of whole vectors. It has no log-density.

    Its temperature multiplies the standard deviation of the first noise.

    Args:
        dim: D, coordinates of a latent vector.
        hidden: Units of the denoiser.
        depth: Its residual blocks.
        sampling_steps: DDIM steps of a sample, from 1 to 1000.
        standardize: Learn on standardised coordinates.

    Raises:
        UserError: If an option is out of range.
    """

    has_log_prob = False
    learning_rate = 1e-3

    @register_to_config
    def __init__(
        self,
        *,
        dim: int,
        hidden: int = 256,
        depth: int = 4,
        sampling_steps: int = 50,
        standardize: bool = True,
    ) -> None:
        super().__init__(dim, standardize)
        check_range("hidden", hidden, 1, 65_536)
        check_range("depth", depth, 1, 1_000)
        check_range("sampling_steps", sampling_steps, 1, TIMES)
        self._sampling_steps = sampling_steps
        self.enter = nn.Linear(dim, hidden)
        self.blocks: Any = nn.ModuleList(_Block(hidden) for _ in range(depth))
        self.norm = nn.LayerNorm(hidden)
        self.leave = nn.Linear(hidden, dim)
        self._noising = DDPMScheduler(**_SCHEDULE)

    def reset(self) -> None:
        """Draws fresh weights."""
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.LayerNorm)):
                module.reset_parameters()

    def loss(self, rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Returns the mean squared error of the velocity that is predicted at random times."""
        noise = normal(tuple(rows.shape), generator, rows)
        times = (TIMES * uniform((len(rows),), generator, rows)).long()
        noisy = self._noising.add_noise(rows, noise, times)
        return F.mse_loss(self(noisy, times), self._noising.get_velocity(rows, noise, times))

    def forward(self, noisy: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        """Returns the velocity (B, D) of noisy standardised vectors: sqrt(a) noise - sqrt(1-a) u.

        Args:
            noisy: (B, D).
            times: (B,), whole numbers from 0, hardly any noise, to 999.
        """
        embedded = get_timestep_embedding(times, _TIME_CHANNELS).to(noisy.dtype)
        hidden = self.enter(noisy)
        for block in self.blocks:
            hidden = block(hidden, embedded)
        return self.leave(F.silu(self.norm(hidden)))

    def _complete(self, known: torch.Tensor, generator: Generators, tau: float) -> torch.Tensor:
        x = tau * normal((len(known), self.dim), generator, known)
        scheduler = DDIMScheduler(**_SCHEDULE, timestep_spacing="trailing")
        scheduler.set_timesteps(self._sampling_steps)
        for time in scheduler.timesteps:
            predicted = self(x, time.to(x.device).expand(len(x)))
            x = scheduler.step(predicted, time, x).prev_sample
        return x
