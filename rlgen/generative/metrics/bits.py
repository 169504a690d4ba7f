"""Bits per latent dimension: how well a density tells latents it was not fitted to.

Spec section f (seen in the released code of arXiv 1902.04294): mean and deviation of -log p(z_i)
over the test set. Here in bits, -log2 p(z) / D. It is the density of continuous latents: it may be
negative, it moves with the latents' scale, and only densities of one autoencoder's latents can be
compared. It is no likelihood of pixels.
"""

import math
from typing import NamedTuple

import numpy as np
import torch

from rlgen.core.errors import UserError
from rlgen.core.ranges import check_range


class BitsPerDimension(NamedTuple):
    """Bits per latent dimension over a set of vectors; less is better.

    Attributes:
        mean: Over vectors.
        deviation: Over vectors.
        standard_error: Of the mean.
        vectors: How many.
    """

    mean: float
    deviation: float
    standard_error: float
    vectors: int


def bits_per_dimension(log_prob: object, dim: int) -> BitsPerDimension:
    """Returns -log2 p(z) / D over a set of vectors.

    Args:
        log_prob: log p of each vector in nats, (N,), 2 or more.
        dim: D.

    Raises:
        UserError: If the shape is another or numbers are not finite.
    """
    check_range("dim", dim, 1, 10**9)
    given = np.asarray(log_prob) if isinstance(log_prob, list) else log_prob
    scores = torch.as_tensor(given).detach().double()
    if scores.dim() != 1 or len(scores) < 2:
        raise UserError(f"log_prob of shape {tuple(scores.shape)}; (count,) of 2 or more is needed")
    if not bool(scores.isfinite().all()):
        raise UserError("log_prob has numbers that are not finite; remove them first")
    bits = scores / (-dim * math.log(2))
    deviation = float(bits.std())
    error = deviation / math.sqrt(len(bits))
    return BitsPerDimension(float(bits.mean()), deviation, error, len(bits))
