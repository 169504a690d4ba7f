"""SGN: one network for every mixture of image domains."""

from rlgen.generative.sgn.ccam import CCAM
from rlgen.generative.sgn.domains import LOSSES, Context, DomainLoss, View, build_domains
from rlgen.generative.sgn.generator import SGNGenerator
from rlgen.generative.sgn.mix import resolve_mix
from rlgen.generative.sgn.pipeline import SGNPipeline, load_pipeline
from rlgen.generative.sgn.sampling import History, sample_sym

__all__ = [
    "CCAM",
    "LOSSES",
    "Context",
    "DomainLoss",
    "History",
    "SGNGenerator",
    "SGNPipeline",
    "View",
    "build_domains",
    "load_pipeline",
    "resolve_mix",
    "sample_sym",
]
