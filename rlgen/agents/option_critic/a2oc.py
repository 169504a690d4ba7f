"""A2OC: the advantage option-critic on synchronous environments; see
:mod:`rlgen.agents.option_critic.learner` for the losses and their sources.

Ours, against the released code: synchronous environments with segments of ``n_steps`` steps instead
of asynchronous threads with segments of 5 to 30; log-softmax without an offset of 1e-4; learning
rates, RMSprop and gradient clipping are SB3's A2C's.
"""

from typing import Any, ClassVar

from rlgen.agents.a2c import A2C
from rlgen.agents.option_critic.learner import OptionLearner
from rlgen.agents.registry import AGENTS
from rlgen.core.errors import UserError


@AGENTS.register("a2oc")
class A2OC(OptionLearner, A2C):
    """Advantage actor-critic with K options, chosen by their values.

    pi_Omega is greedy in Q with probability 1 - eps_o, else uniform, so that
    V(s) = (1 - eps_o) max_w Q(s, w) + eps_o mean_w Q(s, w). The n-step return

        R_t = r~_t + gamma R_{t+1},  R_T = V(s_T) if the option ended there, else Q(s_T, w)

    trains Q(s_t, w_t), and R_t - Q(s_t, w_t) the option's policy. All terms train the trunk.

    Args:
        policy: ``MlpPolicy``, ``CnnPolicy`` or an :class:`OptionPolicy` class.
        env: An environment or vector environment.
        option_eps: eps_o.
        **kwargs: Those of :class:`OptionLearner`, of :class:`rlgen.agents.A2C` and of SB3's A2C.

    Example:
        >>> from rlgen.agents import A2OC
        >>> from rlgen.envs import make_vec
        >>> model = A2OC("MlpPolicy", make_vec("CartPole-v1", 8), n_options=4)
        >>> model.learn(10_000)  # doctest: +SKIP
    """

    over_options: ClassVar[str] = "greedy"
    detach_terminations: ClassVar[bool] = False

    def __init__(
        self, policy: Any, env: Any, *args: Any, option_eps: float = 0.1, **kwargs: Any
    ) -> None:
        if not 0 <= option_eps <= 1:
            raise UserError(f"option_eps={option_eps} is no probability; allowed: 0 to 1")
        policy_kwargs = {**(kwargs.pop("policy_kwargs", None) or {}), "option_eps": option_eps}
        super().__init__(policy, env, *args, policy_kwargs=policy_kwargs, **kwargs)
