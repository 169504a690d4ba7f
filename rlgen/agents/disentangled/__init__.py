"""Disentangled agents: the action-conditional beta-VAE, and what reads and steers its latent."""

from rlgen.agents.disentangled.actions import ActionCoding
from rlgen.agents.disentangled.algorithm import DisentangledA2C, DisentangledPPO
from rlgen.agents.disentangled.behavior import play, sweep
from rlgen.agents.disentangled.callback import DisentangleCallback
from rlgen.agents.disentangled.dci import DCIScores, completeness, disentanglement
from rlgen.agents.disentangled.extractor import DisentangledExtractor, acting_extractor
from rlgen.agents.disentangled.govern import Governor
from rlgen.agents.disentangled.indicators import (
    NextStateErrors,
    kl_per_coordinate,
    next_state_errors,
)
from rlgen.agents.disentangled.loss import (
    Objective,
    ObjectiveTerms,
    beta_objective,
    capacity_at,
    capacity_objective,
    kl_divergence,
    reconstruction_nll,
)
from rlgen.agents.disentangled.model import ActionConditionalVAE, VAEOutputs
from rlgen.agents.disentangled.offline import OfflineRecord, train_offline
from rlgen.agents.disentangled.policy import DisentangledPolicy
from rlgen.agents.disentangled.random_policy import DisentangledRandom
from rlgen.agents.disentangled.rules import Clamp, Overwrite, Scale, Schedule, parse_rules
from rlgen.agents.disentangled.transitions import Transitions
from rlgen.agents.disentangled.traverse import (
    coverage,
    effect_sizes,
    mapping_ratio,
    traversal_sheet,
    traversal_video,
)
from rlgen.agents.disentangled.visited import VisitedLatents, fit_visited

__all__ = [
    "ActionCoding",
    "ActionConditionalVAE",
    "Clamp",
    "DCIScores",
    "DisentangleCallback",
    "DisentangledA2C",
    "DisentangledExtractor",
    "DisentangledPPO",
    "DisentangledPolicy",
    "DisentangledRandom",
    "Governor",
    "NextStateErrors",
    "Objective",
    "ObjectiveTerms",
    "OfflineRecord",
    "Overwrite",
    "Scale",
    "Schedule",
    "Transitions",
    "VAEOutputs",
    "VisitedLatents",
    "acting_extractor",
    "beta_objective",
    "capacity_at",
    "capacity_objective",
    "completeness",
    "coverage",
    "disentanglement",
    "effect_sizes",
    "fit_visited",
    "kl_divergence",
    "kl_per_coordinate",
    "mapping_ratio",
    "next_state_errors",
    "parse_rules",
    "play",
    "reconstruction_nll",
    "sweep",
    "train_offline",
    "traversal_sheet",
    "traversal_video",
]
