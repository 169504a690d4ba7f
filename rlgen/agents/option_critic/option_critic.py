"""The option-critic: options learnt end to end, in tables or by a deep Q-learner of options.

Paper: P.-L. Bacon, J. Harb, D. Precup, "The Option-Critic Architecture", AAAI 2017 (arXiv
1609.05140). Losses and tabular rules were seen in the authors' code. Execution is call-and-return;
with option w running, action a and next state s',

    y      = r + gamma [(1 - beta_w(s')) Q'(s', w) + beta_w(s') (max_k Q'(s', k) - eta)]
    L_Q    = mean_replay Huber(y - Q(s, w))                   trains trunk and Q head
    L_pi   = - mean_newest [log pi_w(a|s) (y - Q(s, w)) + c_ent H(pi_w(.|s))]
    L_beta = mean_newest beta_w(s') [Q(s', w) - max_k Q(s', k) + eta + termination_reg]

where y = r at a terminal state, Q' is the target network, and y, the beta in it and the brackets
are held fixed. L_pi and L_beta train their heads only. The policy over options is greedy in Q with
probability 1 - eps_o, else uniform. In tables: :mod:`rlgen.agents.option_critic.tabular`.

Seen in the authors' code and kept: the target, max_k Q for V_Omega(s) whatever the exploration, a
schedule of eps_o from 1 to 0.1, heads that train on the newest samples. Corrected, with the code's
form behind an option: L_beta where the termination was tested (``termination_at="current"``: at s).
Ours: Adam, means over samples, one step of the heads per update on all samples since the last one
(the code takes one per step), an entropy bonus by default, several environments, time limits that
bootstrap, the deliberation cost of A2OC (arXiv 1709.04571) as an expectation in the target, the
Hellinger regularizer, options that act already in the warm-up, and two further rules of tables.
"""

from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.base_class import maybe_make_env
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import MaybeCallback, Schedule

from rlgen.agents.on_policy import fuse
from rlgen.agents.option_critic.deep import DeepRules
from rlgen.agents.option_critic.hellinger import mean_hellinger
from rlgen.agents.option_critic.off_policy import (
    DeepOptionCnnPolicy,
    DeepOptionPolicy,
    check_options,
    check_policy,
)
from rlgen.agents.option_critic.option_replay import OptionReplay, OptionUsage
from rlgen.agents.option_critic.tabular import (
    TabularPolicy,
    TabularRules,
    TabularStep,
    check_rules,
    steps_between,
)
from rlgen.agents.registry import AGENTS
from rlgen.core.device import torch_threads
from rlgen.core.errors import NonFiniteLossError
from rlgen.core.seeding import spawn_generators

Self = TypeVar("Self", bound="OptionCritic")
IntArray = npt.NDArray[np.int64]
# Arguments that tables and networks share.
_COMMON = ("gamma", "baseline", "deliberation_cost", "termination_reg", "hellinger_coef")
_OF_TABLES = ("lr_critic", "lr_intra", "lr_term", "policy_gradient", "intra_option")


@AGENTS.register("option_critic")
class OptionCritic(OffPolicyAlgorithm):
    """The option-critic for discrete actions.

    ``TabularPolicy`` learns from each step once, in tables, as it comes; ``MlpPolicy`` and
    ``CnnPolicy`` learn from a replay buffer, as DQN does.

    Args:
        policy: ``TabularPolicy``, ``MlpPolicy``, ``CnnPolicy`` or a :class:`DiscreteOptionPolicy`.
        env: An environment or vector environment with discrete actions.
        learning_rate: Of the deep variant.
        n_options: K.
        deliberation_cost: eta, in units of the reward.
        termination_reg: Added to the advantage in the termination loss alone.
        hellinger_coef: Weight of the options' mean Hellinger distance, which is raised; 0: none.
        termination_at: ``next``: terminations are learnt for the option that was tested;
            ``current``: for the option that then acts, as in released code.
        baseline: Subtract Q(s, w) from what trains the options' policies.
        temperature: Of the options' policies; in tables of the choice of options too. None: 0.01 in
            tables, else 1.
        lr_critic: Step size of values in tables.
        lr_intra: Step size of the options' policies in tables.
        lr_term: Step size of terminations in tables.
        policy_gradient: In tables, what trains the options' policies: ``value``, as the released
            code does, or ``td``, the error of the step, as L_pi does.
        intra_option: In tables, values of all options learn from each step, not the acting one's.
        option_eps: eps_o at the end of its schedule; what follows is the deep variant's, too.
        option_eps_start: eps_o at the beginning.
        exploration_fraction: Share of the training over which eps_o falls.
        ent_coef: Weight of the entropy of the options' policies.
        max_grad_norm: Gradients are clipped to this norm, those of the heads on their own.
        buffer_size: Transitions that are kept.
        learning_starts: Steps before the first update.
        batch_size: Transitions per update of the values.
        train_freq: Steps of every environment between updates.
        gradient_steps: Updates of the values each time; None: one per environment, so that one
            comes every ``train_freq`` transitions.
        target_update_interval: Steps, of all environments together, between target updates.
        precision: Accepted as our other agents take it; this one computes in fp32.
        n_threads: Torch threads while learning; None: one for small networks on the CPU.
        **kwargs: Those of SB3's ``OffPolicyAlgorithm``: gamma, seed, device, ...

    Attributes:
        options: Option of each environment, (n_envs,).
        eps: eps_o now.
        generators: The NumPy generators that acting and replay draw from.

    Raises:
        UserError: If an argument, the policy or a space does not fit.

    Example:
        >>> from rlgen.agents.option_critic.option_critic import OptionCritic
        >>> OptionCritic("TabularPolicy", "rlgen/FourRooms-v0").learn(10_000)  # doctest: +SKIP
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "TabularPolicy": TabularPolicy,
        "MlpPolicy": DeepOptionPolicy,
        "CnnPolicy": DeepOptionCnnPolicy,
    }
    policy: Any  # TabularPolicy or DeepOptionPolicy
    replay_buffer: OptionReplay

    def __init__(
        self,
        policy: Any,
        env: Any,
        learning_rate: float | Schedule = 1e-4,
        *,
        n_options: int = 4,
        deliberation_cost: float = 0.0,
        termination_reg: float = 0.0,
        hellinger_coef: float = 0.0,
        termination_at: str = "next",
        baseline: bool = True,
        temperature: float | None = None,
        lr_critic: float = 0.5,
        lr_intra: float = 0.25,
        lr_term: float = 0.25,
        policy_gradient: str = "value",
        intra_option: bool = False,
        option_eps: float = 0.1,
        option_eps_start: float = 1.0,
        exploration_fraction: float = 0.1,
        ent_coef: float = 0.01,
        max_grad_norm: float = 10.0,
        buffer_size: int = 100_000,
        learning_starts: int = 100,
        batch_size: int = 32,
        train_freq: int | tuple[int, str] = 4,
        gradient_steps: int | None = None,
        target_update_interval: int = 10_000,
        precision: str = "auto",
        n_threads: int | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        device: Any = "auto",
        _init_setup_model: bool = True,
        **kwargs: Any,
    ) -> None:
        policy_class = check_policy(policy, self.policy_aliases)
        self.tabular = issubclass(policy_class, TabularPolicy)
        self.n_options, self.baseline, self.termination_at = n_options, baseline, termination_at
        self.deliberation_cost, self.termination_reg = deliberation_cost, termination_reg
        self.hellinger_coef, self.ent_coef = hellinger_coef, ent_coef
        usual = 1e-2 if self.tabular else 1.0
        self.temperature = usual if temperature is None else temperature
        self.lr_critic, self.lr_intra, self.lr_term = lr_critic, lr_intra, lr_term
        check_rules(policy_gradient, intra_option, self.tabular)
        self.policy_gradient, self.intra_option = policy_gradient, intra_option
        self.option_eps, self.option_eps_start = option_eps, option_eps_start
        self.exploration_fraction, self.max_grad_norm = exploration_fraction, max_grad_norm
        self.target_update_interval = target_update_interval
        self.precision, self.n_threads = precision, n_threads
        check_options(vars(self))
        self.eps = option_eps_start
        self.generators: dict[str, np.random.Generator] = {}
        policy_kwargs = dict(policy_kwargs or {}, n_options=n_options, temperature=self.temperature)
        if self.tabular:  # each step is learnt from as it comes, entry by entry, on the CPU
            buffer_size, learning_starts, train_freq, device = 1, 0, 1, "cpu"
        else:
            policy_kwargs["option_eps"] = option_eps
        if env is not None:
            env = maybe_make_env(env, 0)
            policy_class.check_spaces(env.observation_space, env.action_space)
        super().__init__(
            policy,
            env,
            learning_rate,
            buffer_size,
            learning_starts,
            batch_size,
            train_freq=train_freq,
            gradient_steps=1 if gradient_steps is None else gradient_steps,
            replay_buffer_class=OptionReplay,
            policy_kwargs=policy_kwargs,
            device=device,
            sde_support=False,
            support_multi_env=True,
            **kwargs,
        )
        if gradient_steps is None:
            self.gradient_steps = getattr(self, "n_envs", 1)
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        super()._setup_model()
        if not self.generators:  # a loaded model brings its own, in the state it had
            self.generators = spawn_generators(self.seed, "actions", "options", "replay")
        small = self.policy.features_extractor_class.__name__ == "FlattenExtractor"
        if self.n_threads is None and self.device.type == "cpu" and small:
            self.n_threads = 1
        self.options: IntArray = np.zeros(self.n_envs, dtype=np.int64)
        self._actions: IntArray = np.zeros(self.n_envs, dtype=np.int64)
        self._starts = np.ones(self.n_envs, dtype=bool)
        self._chosen = False  # in tables, whether the next actions are there
        self._steps: list[TabularStep] = []  # in tables, the newest of each environment
        self._n_calls = self._fresh = 0
        self.usage = OptionUsage(self.n_options)
        common: dict[str, Any] = {name: getattr(self, name) for name in _COMMON}
        common |= {"policy": self.policy, "generators": self.generators}
        common["at_next"] = self.termination_at == "next"
        if self.tabular:
            common |= {name: getattr(self, name) for name in _OF_TABLES}
            self._tables = TabularRules(**common)
        else:
            self._deep = DeepRules(
                **common, ent_coef=self.ent_coef, max_grad_norm=self.max_grad_norm
            )
            for optimizer in (self.policy.optimizer, self.policy.option_optimizer):
                fuse(optimizer)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_tables", "_deep"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        deep = [] if self.tabular else ["policy.optimizer", "policy.option_optimizer"]
        return ["policy", *deep], []

    def _setup_learn(
        self, total_timesteps: int, callback: MaybeCallback = None, *args: Any, **kwargs: Any
    ) -> tuple[int, BaseCallback]:
        before = self._last_obs
        result = super()._setup_learn(total_timesteps, callback, *args, **kwargs)
        if self._last_obs is not before:  # new episodes, new options
            self._starts[:], self._chosen = True, False
        return result

    def learn(self: Self, *args: Any, log_interval: int | None = None, **kwargs: Any) -> Self:
        """Trains the agent; see SB3's ``learn``, whose defaults stand where None is given.

        Raises:
            NonFiniteLossError: If a loss becomes NaN or infinite.
        """
        kwargs.setdefault("tb_log_name", type(self).__name__)
        if log_interval is not None:
            kwargs["log_interval"] = log_interval
        with torch_threads(self.n_threads):
            return super().learn(*args, **kwargs)

    # Acting ---------------------------------------------------------------------------------

    def _sample_action(
        self, learning_starts: int, action_noise: Any = None, n_envs: int = 1
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        if not self.tabular:
            obs, _ = self.policy.obs_to_tensor(self._last_obs)
            entered = self._deep.enter(obs, self.options, self._starts, self.eps)
            self.options, self._actions, ended = entered
            self.usage.add(self.options, int(ended.sum()), int(self._starts.sum()))
        elif not self._chosen:  # later ones are chosen by ``train``, before it learns
            for env, state in enumerate(self.policy.numbers(self._last_obs)):
                self.options[env], self._actions[env], _ = self._tables.enter(state, 0, True)
            self.usage.add(self.options, 0, n_envs)
            self._chosen = True
        return self.policy.within_bounds(self._actions), self._actions

    def _store_transition(
        self,
        replay_buffer: Any,
        buffer_action: npt.NDArray[Any],
        new_obs: Any,
        reward: npt.NDArray[Any],
        dones: npt.NDArray[np.bool_],
        infos: list[dict[str, Any]],
    ) -> None:
        self._starts = dones.copy()
        if not self.tabular:
            replay_buffer.options[replay_buffer.pos] = self.options
            self._fresh = self._fresh + 1 if self.num_timesteps > self.learning_starts else 0
            super()._store_transition(replay_buffer, buffer_action, new_obs, reward, dones, infos)
            return
        before: Any = self._last_obs
        self._steps = steps_between(self.policy, before, reward, new_obs, dones, infos)
        self._last_obs = new_obs

    # Learning -------------------------------------------------------------------------------

    def train(self, gradient_steps: int, batch_size: int = 32) -> None:
        """Learns from the newest step in tables; takes gradient steps on values, one on heads.

        Raises:
            NonFiniteLossError: If a loss becomes NaN or infinite.
        """
        if self.tabular:
            self._learn_in_tables()
            return
        self.policy.set_training_mode(True)
        self._update_learning_rate([self.policy.optimizer, self.policy.option_optimizer])
        sizes = (max(self._fresh, 1), gradient_steps, batch_size)
        losses = self._deep.learn(self.replay_buffer, *sizes, self._vec_normalize_env)
        for name, value in losses.items():
            if not np.isfinite(value):
                raise NonFiniteLossError(name, self.num_timesteps)
            self.logger.record(f"train/{name}", value)
        self._fresh = 0
        self._n_updates += gradient_steps
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/option_eps", self.eps)

    def _learn_in_tables(self) -> None:
        ended, errors = 0, 0.0
        states = self.policy.numbers(self._last_obs)
        for env, (step, start) in enumerate(zip(self._steps, self._starts.tolist(), strict=True)):
            option, action = int(self.options[env]), int(self._actions[env])
            after = self._tables.learn(step, option, action, states[env], start)
            self.options[env], self._actions[env], terminated, error = after
            ended, errors = ended + terminated, errors + abs(error)
        self.usage.add(self.options, ended, int(np.add.reduce(self._starts)))
        self._n_updates += len(self._steps)
        self.logger.record("train/td_error", errors / len(self._steps))

    def _on_step(self) -> None:
        self._n_calls += 1
        if self.tabular:
            return
        if self._n_calls % max(self.target_update_interval // self.n_envs, 1) == 0:
            self.policy.update_target()
        done = min((1 - self._current_progress_remaining) / max(self.exploration_fraction, 1e-9), 1)
        self.eps = self.option_eps_start + done * (self.option_eps - self.option_eps_start)

    def dump_logs(self) -> None:
        """Logs SB3's values, and how options were used since the last time."""
        for name, value in self.usage.figures().items():
            self.logger.record(f"options/{name}", value)
        self.logger.record("options/hellinger", self.distance())
        self.usage = OptionUsage(self.n_options)
        super().dump_logs()

    def distance(self, samples: int = 64) -> float:
        """Returns the mean of Hbar over all numbered states, or over the newest samples."""
        policy, logits = self.policy, torch.zeros(1, self.n_options, 1)
        with torch.no_grad():
            if self.tabular:
                logits = policy.preferences / policy.temperature
            elif self.replay_buffer.size():
                count = max(samples // self.n_envs, 1)
                batch = self.replay_buffer.newest(count, self._vec_normalize_env)
                logits = policy.logits(policy.latent(batch.observations))
            return float(mean_hellinger(logits, eps=0.0).mean())

    def extra_state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Returns what a checkpoint needs beyond weights, optimisers, counters and generators.

        Returns:
            The replay's filled part as tensors, and JSON values.
        """
        tensors, values = ({}, {}) if self.tabular else self.replay_buffer.state()
        counters = {"calls": self._n_calls, "fresh": self._fresh, "eps": self.eps}
        return tensors, {**counters, "replay": values, "usage": self.usage.state()}

    def restore_extra(self, tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> None:
        """Puts back what :meth:`extra_state` returned; environments begin new episodes.

        Raises:
            UserError: If the replay is of another shape.
        """
        if not self.tabular:
            self.replay_buffer.restore(tensors, values["replay"])
        self._n_calls, self._fresh, self.eps = (values[n] for n in ("calls", "fresh", "eps"))
        self.usage.restore(values["usage"])
        self._last_obs = None
