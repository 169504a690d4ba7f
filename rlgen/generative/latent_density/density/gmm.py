"""A mixture of Gaussians with full covariances, fitted by scikit-learn.

What it found is kept as tensors: scoring, sampling, saving and loading need neither scikit-learn
nor a pickle. It is the usual way of sampling from a plain autoencoder.
"""

import warnings
from importlib.util import find_spec

import torch
from diffusers.configuration_utils import register_to_config

from rlgen.core.errors import MissingExtraError, UserError
from rlgen.core.ranges import check_range
from rlgen.generative.latent_density.density.base import DENSITIES, FitOptions, LatentDensity
from rlgen.generative.latent_density.density.draws import Generators, normal, uniform
from rlgen.generative.latent_density.density.gaussian import component_log_prob, whiten
from rlgen.generative.latent_density.density.mixture import pick


@DENSITIES.register("gmm")
class GMM(LatentDensity):
    """A mixture of Gaussians over whole vectors.

    Its temperature divides the logits of the weights, as the LDE's does.

    Args:
        dim: D, coordinates of a latent vector.
        components: K, Gaussians.
        ridge: Is added to the diagonal of every covariance, in units of the latents it is fitted
            to.
        standardize: Learn on standardised coordinates.

    Raises:
        UserError: If an option is out of range.
    """

    can_complete = True
    log_weights: torch.Tensor
    means: torch.Tensor
    factors: torch.Tensor

    @register_to_config
    def __init__(
        self, *, dim: int, components: int = 10, ridge: float = 1e-4, standardize: bool = True
    ) -> None:
        super().__init__(dim, standardize)
        check_range("components", components, 1, 10_000)
        check_range("ridge", ridge, 0.0, 1e3)
        self._ridge = ridge
        weights = torch.full((components,), 1 / components)
        self.register_buffer("log_weights", weights.log())
        self.register_buffer("means", torch.zeros(components, dim))
        self.register_buffer("factors", torch.eye(dim).repeat(components, 1, 1))

    def check_fit(self, count: int) -> None:
        """See :meth:`LatentDensity.check_fit`; there have to be as many latents as Gaussians."""
        super().check_fit(count)
        if find_spec("sklearn") is None:
            raise MissingExtraError("a Gaussian mixture (gmm)", "gmm")
        if count < len(self.means):
            given = f"components={len(self.means)} for {count} latents"
            raise UserError(f"{given}; type components={count} or fewer")

    def _fit(self, rows: torch.Tensor, options: FitOptions) -> list[float]:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        components = len(self.means)
        model = GaussianMixture(
            components,
            reg_covar=self._ridge,
            max_iter=options.steps,
            random_state=options.seed % 2**32,
        )
        with warnings.catch_warnings():
            # Fewer iterations than would converge are what the caller asked for; fewer distinct
            # rows than components leave some of these empty, which does no harm.
            warnings.simplefilter("ignore", ConvergenceWarning)
            try:
                model.fit(rows.double().cpu().numpy())
            except ValueError as error:  # of scikit-learn: a covariance is singular
                raise UserError(
                    f"components={components} cannot be fitted to these latents (a covariance is "
                    "singular); type fewer components or a larger ridge"
                ) from error
        self.log_weights.copy_(torch.from_numpy(model.weights_).log())
        self.means.copy_(torch.from_numpy(model.means_))
        self.factors.copy_(torch.linalg.cholesky(torch.from_numpy(model.covariances_)))
        return self._whole_fit(rows, options.on_step)

    def _log_prob(self, u: torch.Tensor) -> torch.Tensor:
        return (self.log_weights + component_log_prob(u, self.means, self.factors)).logsumexp(1)

    def _complete(self, known: torch.Tensor, generator: Generators, tau: float) -> torch.Tensor:
        rows, k = known.shape
        # What is known changes the weights, before the temperature does.
        posterior = self.log_weights + component_log_prob(known, self.means, self.factors)
        chosen = pick(posterior / tau, uniform((rows,), generator, known))
        fixed = whiten(known, self.means, self.factors)[torch.arange(rows), chosen]
        free = normal((rows, self.dim - k), generator, known)
        moves = torch.cat([fixed, free], 1)[:, :, None]
        return self.means[chosen] + (self.factors[chosen] @ moves)[:, :, 0]
