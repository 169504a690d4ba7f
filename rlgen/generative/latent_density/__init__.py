"""Latent densities: generate images by learning how a latent vector is distributed."""

from rlgen.generative.latent_density.autoencoder import LatentAutoencoder, open_coordinates
from rlgen.generative.latent_density.codec import LatentCodec
from rlgen.generative.latent_density.density import DENSITIES, LatentDensity, load_density
from rlgen.generative.latent_density.pipeline import (
    Interpolation,
    LatentDensityPipeline,
    load_latent_pipeline,
)

__all__ = [
    "DENSITIES",
    "Interpolation",
    "LatentAutoencoder",
    "LatentCodec",
    "LatentDensity",
    "LatentDensityPipeline",
    "load_density",
    "load_latent_pipeline",
    "open_coordinates",
]
