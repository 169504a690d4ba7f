"""G2N: agents whose hidden units are gated by chromosomes that a genetic algorithm evolves."""

from rlgen.agents.g2n.g2ac import G2AC
from rlgen.agents.g2n.g2ppo import G2PPO
from rlgen.agents.g2n.gates import GatedMlpExtractor
from rlgen.agents.g2n.policy import (
    GatedActorCriticCnnPolicy,
    GatedActorCriticPolicy,
    GatedMultiInputPolicy,
)
from rlgen.agents.g2n.population import next_generation, selection_probabilities
from rlgen.agents.options import GeneticOptions

__all__ = [
    "G2AC",
    "G2PPO",
    "GatedActorCriticCnnPolicy",
    "GatedActorCriticPolicy",
    "GatedMlpExtractor",
    "GatedMultiInputPolicy",
    "GeneticOptions",
    "next_generation",
    "selection_probabilities",
]
