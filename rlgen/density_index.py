"""Task index by latent densities: the task under whose density a picture is likeliest.

An alternative to the paper's generative memory of HC-Net (spec hc_net; all of it is ours,
reconstructed), from the latent-density autoencoder of arXiv 1902.04294: per task an autoencoder
E, Dec and, on its latents, the estimator p. A picture's score under task J approximates the
log-density of its pixels by a Gaussian of the task's own error around the decoder's output,

    s_J(x) = log p_J(E_J(x)) - n / 2 (e_J(x) / v_J + log v_J),

with e the mean squared error of its n pixels and v_J its mean over the task's training pictures. It
joins two families, so it lives above both; importing this module registers ``density`` in
``TASK_INDICES``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rlgen.continual.experience import Experience
from rlgen.continual.hnet import TASK_INDICES, TaskIndex
from rlgen.continual.hnet.descent import Descent
from rlgen.continual.hnet.index import Tensors
from rlgen.continual.hnet.reconstruction import errors
from rlgen.core.ranges import check_range
from rlgen.generative.latent_density import LatentAutoencoder
from rlgen.generative.latent_density.density import LDE, GradientFit


@TASK_INDICES.register("density")
class DensityIndex(TaskIndex):
    """An autoencoder and a density of its latents per task.

    Args:
        shape: Of a picture, (C, H, W).
        dim: Length of the latent vector.
        width: Channels of the encoder's first layer and before the decoder's last.
        steps: Of each autoencoder.
        rate: Its learning rate (Adam).
        density_steps: Of each density.
        density_rate: Its learning rate at the start.
        components: Gaussians of each conditional of the density.
        max_width: Most channels of the density's layers.
        size: Side to which pictures are brought, in pixels.
        batch_size: Pictures per step.
        seed: Of everything random.
        device: Where.

    Attributes:
        coders: One autoencoder per task, frozen.
        densities: One density per task, frozen.
        errors: (T,), v of each task.

    Raises:
        UserError: If an option is out of range.
    """

    name = "density"

    def __init__(
        self,
        shape: Sequence[int],
        *,
        dim: int = 16,
        width: int = 8,
        steps: int = 300,
        rate: float = 1e-3,
        density_steps: int = 300,
        density_rate: float = 1e-3,
        components: int = 10,
        max_width: int = 64,
        size: int = 16,
        batch_size: int = 64,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(shape, size=size, batch_size=batch_size, seed=seed, device=device)
        check_range("steps", steps, 1, 10**9)
        check_range("rate", rate, 0.0, 1.0)
        check_range("density_steps", density_steps, 1, 10**9)
        check_range("density_rate", density_rate, 1e-9, 1e3)
        self.dim, self.width, self.steps, self.rate = dim, width, steps, rate
        self.density_steps, self.density_rate = density_steps, density_rate
        self.components, self.max_width = components, max_width
        self.coders: list[LatentAutoencoder] = []
        self.densities: list[LDE] = []
        self.errors = torch.zeros(0, device=self.device)
        with self._drawing(-1):
            self._made()  # an option out of range is told before the first task
        self._descent: Descent | None = None
        self._fit: GradientFit | None = None
        self._density: LDE | None = None

    def _made(self) -> tuple[LatentAutoencoder, LDE]:
        coder = LatentAutoencoder(
            size=self.size,
            channels=3,
            dim=self.dim,
            width=self.width,
            output_range=(-1.0, 1.0),
            norm_scale=1.0,  # the release's 0 stalls short trainings
        )
        density = LDE(
            dim=self.dim,
            components=self.components,
            max_width=self.max_width,
            own_heads=False,  # one density per task: a small one
        )
        return coder.to(self.device), density.to(self.device)

    def _open(self, experience: Experience) -> int:
        coder, self._density = self._made()
        self._descent, self._fit = Descent(coder, self.rate), None
        return self.steps + self.density_steps

    def _take_step(self, step: int) -> dict[str, Tensor]:
        assert self._descent is not None
        if step >= self.steps:
            if self._fit is None:
                self._fit = self._begun()
            return {"density": torch.tensor(self._fit.step())}
        loss = errors(self._descent.network, self.batch(step)[0]).mean()
        self._descent.descend(loss)
        return {"reconstruction": loss.detach()}

    @torch.no_grad()
    def _begun(self) -> GradientFit:
        """Begins the density: the autoencoder is done and encodes the task's pictures once."""
        assert self._density is not None
        coder = self._coder()
        latents = [coder.encode(images * 2 - 1) for images, _ in self.all_batches()]
        return GradientFit(
            self._density,
            self._density.standardise_on(torch.cat(latents)),
            steps=self.density_steps,
            batch_size=self.batch_size,
            seed=self.seed * 10_007 + self.count,
            learning_rate=self.density_rate,
        )

    def _coder(self) -> LatentAutoencoder:
        assert self._descent is not None
        network = self._descent.network.eval().requires_grad_(False)
        assert isinstance(network, LatentAutoencoder)
        return network

    @torch.no_grad()
    def _close(self, experience: Experience) -> None:
        assert self._density is not None
        coder = self._coder()
        own = [errors(coder, images) for images, _ in self.all_batches()]
        self.errors = torch.cat([self.errors, torch.cat(own).mean()[None]])
        self.coders.append(coder)
        self.densities.append(self._density.eval().requires_grad_(False))
        self._descent = self._fit = self._density = None

    def _scores(self, images: Tensor) -> Tensor:
        signed = images * 2 - 1
        scores = []
        for coder, density, error in zip(self.coders, self.densities, self.errors, strict=True):
            latents = coder.encode(signed)
            found = (coder.decode(latents) - signed).square().mean((1, 2, 3))
            pixels = signed[0].numel()
            scores.append(density.log_prob(latents) - pixels / 2 * (found / error + error.log()))
        return torch.stack(scores, 1)

    def _kept(self) -> Tensors:
        return {
            "coders": dict(nn.ModuleList(self.coders).state_dict()),
            "densities": dict(nn.ModuleList(self.densities).state_dict()),
            "standards": {"errors": self.errors},
        }

    def _keep(self, tensors: Tensors) -> None:
        made = [self._made() for _ in range(self.count)]
        self.coders, self.densities = [coder for coder, _ in made], [one for _, one in made]
        for name, networks in (
            ("coders", nn.ModuleList(self.coders)),
            ("densities", nn.ModuleList(self.densities)),
        ):
            networks.load_state_dict(tensors.get(name, {}))
            networks.eval().requires_grad_(False)
        self.errors = tensors["standards"]["errors"].to(self.device)

    def _progress(self) -> tuple[Tensors, dict[str, Any]]:
        assert self._descent is not None
        tensors = self._descent.state("coder_under_way")
        if self._fit is None:
            return tensors, {}
        of_fit, values = self._fit.state()
        return {"coder_under_way": tensors["coder_under_way"], **of_fit}, values

    def _go_on(self, tensors: Tensors, values: Mapping[str, Any]) -> None:
        assert self._descent is not None
        self._descent.restore("coder_under_way", tensors)
        if "density_step" in values:
            self._fit = self._begun()
            self._fit.restore(tensors, dict(values))
