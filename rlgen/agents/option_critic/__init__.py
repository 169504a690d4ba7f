"""Options: option-critic agents, the Hellinger regularizer, and indicators of what options do."""

from rlgen.agents.option_critic.a2oc import A2OC
from rlgen.agents.option_critic.hellinger import (
    HellingerRegularizer,
    hellinger,
    mean_hellinger,
    pairwise_hellinger,
)
from rlgen.agents.option_critic.indicators import OptionRecord, summarize
from rlgen.agents.option_critic.option_critic import OptionCritic
from rlgen.agents.option_critic.policy import OptionCnnPolicy, OptionPolicy
from rlgen.agents.option_critic.ppoc import PPOC
from rlgen.agents.option_critic.study import record_options, study_options

__all__ = [
    "A2OC",
    "PPOC",
    "HellingerRegularizer",
    "OptionCnnPolicy",
    "OptionCritic",
    "OptionPolicy",
    "OptionRecord",
    "hellinger",
    "mean_hellinger",
    "pairwise_hellinger",
    "record_options",
    "study_options",
    "summarize",
]
