"""Densities of latent vectors: the paper's estimator and its rivals, by name in ``DENSITIES``."""

from rlgen.generative.latent_density.density.base import DENSITIES, LatentDensity
from rlgen.generative.latent_density.density.diffusion import LatentDiffusion
from rlgen.generative.latent_density.density.flow import MAF
from rlgen.generative.latent_density.density.gaussian import FullGaussian, StandardNormal
from rlgen.generative.latent_density.density.gmm import GMM
from rlgen.generative.latent_density.density.lde import LDE
from rlgen.generative.latent_density.density.loading import load_density
from rlgen.generative.latent_density.density.training import GradientDensity, GradientFit
from rlgen.generative.latent_density.density.vae import LatentVAE

__all__ = [
    "DENSITIES",
    "GMM",
    "LDE",
    "MAF",
    "FullGaussian",
    "GradientDensity",
    "GradientFit",
    "LatentDensity",
    "LatentDiffusion",
    "LatentVAE",
    "StandardNormal",
    "load_density",
]
