"""How good generated images are: distances of features, precision and recall, likelihoods."""

from rlgen.generative.metrics.bits import BitsPerDimension, bits_per_dimension
from rlgen.generative.metrics.feature_training import (
    FeatureTraining,
    cached_feature_net,
    train_feature_net,
)
from rlgen.generative.metrics.features import (
    FeatureNet,
    PixelFeatures,
    SmallFeatureNet,
    VGGFeatures,
    extract,
    to_bytes,
)
from rlgen.generative.metrics.frechet import FrechetDistance, frechet_distance, gaussian_distance
from rlgen.generative.metrics.kernel import KernelDistance, kernel_distance, squared_discrepancy
from rlgen.generative.metrics.parzen import (
    MNIST_SIGMAS,
    TFD_SIGMAS,
    ParzenScore,
    parzen_log_prob,
    parzen_score,
)
from rlgen.generative.metrics.precision_recall import PrecisionRecall, precision_recall

__all__ = [
    "MNIST_SIGMAS",
    "TFD_SIGMAS",
    "BitsPerDimension",
    "FeatureNet",
    "FeatureTraining",
    "FrechetDistance",
    "KernelDistance",
    "ParzenScore",
    "PixelFeatures",
    "PrecisionRecall",
    "SmallFeatureNet",
    "VGGFeatures",
    "bits_per_dimension",
    "cached_feature_net",
    "extract",
    "frechet_distance",
    "gaussian_distance",
    "kernel_distance",
    "parzen_log_prob",
    "parzen_score",
    "precision_recall",
    "squared_discrepancy",
    "to_bytes",
    "train_feature_net",
]
