"""What learners with options keep of a rollout, and hand to their losses."""

from dataclasses import dataclass

from rlgen.agents.on_policy import PolicyOutputs
from rlgen.agents.option_critic.acting import OptionOutputs
from rlgen.agents.option_critic.terms import Array


@dataclass(frozen=True)
class Entry:
    """What happened to options on entering states; axis 0 is the environments.

    Attributes:
        options: Options from here on.
        entered: Options under which the states were entered.
        tested: Where the running option could end: not at an episode's start.
        terminated: Where it did.
    """

    options: Array
    entered: Array
    tested: Array
    terminated: Array


@dataclass(frozen=True)
class OptionSamples:
    """What happened to options at the samples of a minibatch, as float32 numbers.

    Attributes:
        acted: Options that acted, one-hot (K, batch).
        asked: Options whose terminations are trained, one-hot (K, batch).
        tested: 1 where a termination was tested, else 0, (batch,).
        chose: 1 where an option was chosen, else 0, (batch,).
    """

    acted: Array
    asked: Array
    tested: Array
    chose: Array


@dataclass(frozen=True)
class OptionedOutputs(PolicyOutputs):
    """Those of the options that acted, and beside them everything under every option.

    Attributes:
        heads: Everything under every option.
        samples: What happened to options. This and the next hold arrays of
            :mod:`rlgen.agents.option_critic.terms`.
        mean_values: V_Omega(s), (batch,).
    """

    heads: OptionOutputs = None  # type: ignore[assignment]  # follows fields with defaults
    samples: OptionSamples = None  # type: ignore[assignment]
    mean_values: Array = None
