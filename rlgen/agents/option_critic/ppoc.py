"""PPOC: proximal policy optimisation of options; see :mod:`rlgen.agents.option_critic.learner`.

Ours, against the released code: several environments; minibatches hold samples of all options
instead of one option's at a time; advantages are standardised per minibatch, as SB3 does; the
policy over options is trained where it chose, by the advantage of the option over V_Omega, and has
an optimiser with the terminations whose learning rate is the algorithm's (``termination_lr``;
released: 5e-7 through the moments of the main one).
"""

from typing import Any, ClassVar

import torch

from rlgen.agents.on_policy import PolicyOutputs
from rlgen.agents.option_critic.learner import OptionLearner
from rlgen.agents.option_critic.samples import OptionedOutputs
from rlgen.agents.option_critic.terms import array_of, option_policy_loss
from rlgen.agents.ppo import PPO
from rlgen.agents.registry import AGENTS
from rlgen.core.errors import UserError


@AGENTS.register("ppoc")
class PPOC(OptionLearner, PPO):
    """PPO with K options and a learned policy over them, for discrete and continuous actions.

    Each sample's advantage is GAE on the values of the options that were active,
    delta_t = r_t + gamma Q(s_{t+1}, w_{t+1}) - Q(s_t, w_t), and its ratio is that of its option's
    policy. Where options were chosen,

        L_Omega = -mean_t [log pi_Omega(w_t|s_t) (R_t - V_Omega(s_t)) + c H(pi_Omega(.|s_t))].

    Terminations and pi_Omega train their own heads alone.

    Args:
        policy: ``MlpPolicy``, ``CnnPolicy`` or an :class:`OptionPolicy` class.
        env: An environment or vector environment.
        option_ent_coef: c.
        **kwargs: Those of :class:`OptionLearner`, of :class:`rlgen.agents.PPO` and of SB3's PPO.

    Example:
        >>> from rlgen.agents import PPOC
        >>> from rlgen.envs import make_vec
        >>> model = PPOC("MlpPolicy", make_vec("CartPole-v1", 8), n_steps=32, batch_size=256)
        >>> model.learn(10_000)  # doctest: +SKIP
    """

    over_options: ClassVar[str] = "softmax"
    detach_terminations: ClassVar[bool] = True

    def __init__(
        self, policy: Any, env: Any, *args: Any, option_ent_coef: float = 0.1, **kwargs: Any
    ) -> None:
        if not 0 <= option_ent_coef < float("inf"):
            raise UserError(f"option_ent_coef={option_ent_coef} is too small; type 0 or more")
        self.option_ent_coef = option_ent_coef
        super().__init__(policy, env, *args, **kwargs)

    def auxiliary_loss(self, outputs: PolicyOutputs) -> dict[str, torch.Tensor]:
        """Adds L_Omega; see the class and the base class."""
        assert isinstance(outputs, OptionedOutputs)
        terms = super().auxiliary_loss(outputs)
        if self.n_options == 1:
            return terms
        heads, samples = outputs.heads, outputs.samples
        assert self.policy.option_net is not None
        batch = outputs.batch
        advantage = array_of(batch.returns) - outputs.mean_values
        if self.normalize_advantage:
            # In the units of the actions' advantages; the sign is that of A_Omega.
            advantage = advantage / (array_of(batch.advantages.std()) + 1e-8)
        loss = option_policy_loss(
            heads.latent_pi,
            self.policy.option_net,
            array_of(heads.option_log_probs).T,
            samples.acted,
            advantage,
            samples.chose,
            self.option_ent_coef,
        )
        return {**terms, "option_policy_loss": loss}
