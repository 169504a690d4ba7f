"""The options of each agent as the command line takes them: name, type, default, meaning.

The YAML files of ``rlgen/conf`` hold only what differs from these per agent and environment family.
"""

from dataclasses import dataclass, field

from rlgen.core.errors import UserError

SELECTIONS = ("roulette", "uniform")


@dataclass
class AgentOptions:
    """Options of every on-policy agent.

    Attributes:
        name: Registered name of the algorithm.
        base: Family of default settings, ppo or a2c.
        policy: SB3 policy name, or ``auto``: CnnPolicy for images, else MlpPolicy.
        net_arch: Hidden layers of actor and critic; None for SB3's own.
        fast: Take the fast path; False runs SB3's code unchanged.
        learning_rate: Step size of the optimiser.
        lr_schedule: ``constant``, or ``linear`` to 0 over the training.
        n_steps: Steps per environment and update.
        gamma: Discount factor.
        gae_lambda: Bias-variance trade-off of the advantages.
        ent_coef: Weight of the entropy bonus.
        vf_coef: Weight of the value loss.
        max_grad_norm: Gradients are clipped to this norm.
        normalize_advantage: Standardise the advantages of a batch.
        normalize: Keep running statistics of observations and returns (``VecNormalize``).
    """

    name: str = "???"
    base: str = "???"
    policy: str = "auto"
    net_arch: list[int] | None = None
    fast: bool = True
    learning_rate: float = 3e-4
    lr_schedule: str = "constant"
    n_steps: int = 256
    gamma: float = 0.99
    gae_lambda: float = 0.95
    ent_coef: float = 0.0
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    normalize_advantage: bool = True
    normalize: bool = False


@dataclass
class PPOOptions(AgentOptions):
    """Options of PPO.

    Attributes:
        batch_size: Samples per gradient step.
        n_epochs: Passes over a rollout.
        clip_range: eps of the clipped objective.
        clip_schedule: ``constant``, or ``linear`` to 0.
        target_kl: Stop the passes once the approximate KL exceeds 1.5 times this; None: never.
    """

    batch_size: int = 64
    n_epochs: int = 10
    clip_range: float = 0.2
    clip_schedule: str = "constant"
    target_kl: float | None = None


@dataclass
class A2COptions(AgentOptions):
    """Options of A2C.

    Attributes:
        use_rms_prop: RMSprop, as in the paper; False for Adam.
        rms_prop_eps: Its epsilon.
    """

    learning_rate: float = 7e-4
    n_steps: int = 5
    gae_lambda: float = 1.0
    normalize_advantage: bool = False
    use_rms_prop: bool = True
    rms_prop_eps: float = 1e-5


@dataclass
class GeneticOptions:
    """Options of the genetic algorithm.

    Attributes:
        population_size: Individuals N; a multiple or a divisor of the number of environments.
        crossover: Probability p_cross that a child mixes two parents gene by gene.
        mutation: Probability p_mut that a gene of a child flips.
        episodes: Episodes K per individual and generation that its fitness averages.
        selection: ``roulette`` on F - min F, or ``uniform`` (an ablation: random gates).
        elitism: Keep the best individual unmutated as the next elite.
        elite_margin: A rival takes the elite's place only with a fitness above its by more than
            this, in units of the return.
        evolve: Run the genetic algorithm; False leaves the base algorithm with open gates.
        initial_open: Probability that a gene of the initial population is open; the initial elite
            is all open.
        max_gen_steps: Steps of an individual in one generation after which it is scored by the
            partial return of its running episode.
    """

    population_size: int = 16
    crossover: float = 0.8
    mutation: float = 0.03
    episodes: int = 1
    selection: str = "roulette"
    elitism: bool = True
    elite_margin: float = 0.0
    evolve: bool = True
    initial_open: float = 0.5
    max_gen_steps: int = 27_000

    def check(self, n_envs: int) -> None:
        """Checks the values.

        Raises:
            UserError: If one is out of its range, or N does not divide over the environments.
        """
        size = self.population_size
        if size < 1:
            raise UserError(f"population_size={size} is too small; type population_size=1 or more")
        if size % n_envs and n_envs % size:
            near = max(1, round(size / n_envs)) * n_envs
            raise UserError(
                f"population_size={size} does not divide over n_envs={n_envs}: one must be a "
                f"multiple of the other; type population_size={near} or another n_envs"
            )
        for name in ("crossover", "mutation", "initial_open"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise UserError(f"{name}={value} is not a probability; allowed: 0 to 1")
        if self.selection not in SELECTIONS:
            raise UserError(
                f"selection={self.selection!r} is unknown; allowed: {', '.join(SELECTIONS)}"
            )
        for name in ("episodes", "max_gen_steps"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)} is too small; allowed: 1 or more")


@dataclass
class GateOptions(GeneticOptions):
    """Options of the gates: those of the genetic algorithm, and how they enter the learning.

    Attributes:
        train_on: ``all`` samples of the evolving phase, or the ``elite``'s.
        gate_layers: Gated hidden layers, -1 for the last.
    """

    train_on: str = "all"
    gate_layers: list[int] = field(default_factory=lambda: [-1])


@dataclass
class G2PPOOptions(GateOptions, PPOOptions):
    """Options of G2PPO: PPO's and those of the gates."""


@dataclass
class G2ACOptions(GateOptions, A2COptions):
    """Options of G2AC: A2C's and those of the gates.

    Attributes:
        is_clip: Cap of the importance weight of foreign samples; None: no weight.
    """

    is_clip: float | None = None


@dataclass
class OptionOptions:
    """Options of agents with options.

    Attributes:
        n_options: Number of options K.
        deliberation_cost: eta: subtracted from the reward of a step that ended an option, and added
            to its advantage in the termination loss; in units of the reward that is learnt from.
        termination_reg: Added to the advantage in the termination loss alone.
        hellinger_coef: lambda_hd of the Hellinger regularizer; 0 for none.
        termination_at: Where the termination loss is taken: ``next``, at the state where the
            running option was tested, or ``current``, for the option that acted there, as in
            released code.
        termination_lr: Learning rate of terminations and of the policy over options; None: the
            agent's.
    """

    n_options: int = 4
    deliberation_cost: float = 0.0
    termination_reg: float = 0.0
    hellinger_coef: float = 0.05
    termination_at: str = "next"
    termination_lr: float | None = None


@dataclass
class PPOCOptions(OptionOptions, PPOOptions):
    """Options of PPOC: PPO's and those of the options.

    Attributes:
        option_ent_coef: Weight of the entropy of the policy over options.
    """

    option_ent_coef: float = 0.1


@dataclass
class A2OCOptions(OptionOptions, A2COptions):
    """Options of A2OC: A2C's and those of the options.

    Attributes:
        option_eps: Probability that any option is chosen instead of the best.
    """

    option_eps: float = 0.1


@dataclass
class LatentOptions:
    """Options of agents on the latent of an action-conditional beta-VAE.

    Attributes:
        latent_dim: Size n of the latent; None: 2m for continuous actions, m + 2 for discrete ones,
            where m is the size of the action vector.
        alpha: Weight of the model's objective beside the policy's; 0 for none.
        beta: Weight of the KL divergence in the ``beta`` objective.
        objective: ``beta``, or ``capacity``: gamma_c |KL - C|.
        gamma_c: Weight in the ``capacity`` objective.
        capacity: Nats that C rises to, from 0.
        capacity_steps: Gradient steps in which it does.
        critic: ``own``: with a trunk of its own; ``detached``: it reads the latent, held fixed.
        network: Of the model: ``mlp``, ``nature``, ``conv``, or ``auto``: by the observation.
        hidden: Widths of its fully connected layers; None for its own defaults.
    """

    latent_dim: int | None = None
    alpha: float = 1e-3
    beta: float = 4.0
    objective: str = "beta"
    gamma_c: float = 1000.0
    capacity: float = 25.0
    capacity_steps: int = 100_000
    critic: str = "own"
    network: str = "auto"
    hidden: list[int] | None = None


@dataclass
class DisentangledPPOOptions(LatentOptions, PPOOptions):
    """Options of disentangled PPO: PPO's and those of the latent."""


@dataclass
class DisentangledA2COptions(LatentOptions, A2COptions):
    """Options of disentangled A2C: A2C's and those of the latent."""


@dataclass
class DisentangledRandomOptions(LatentOptions):
    """Options of the random policy beside which only the model learns.

    Attributes:
        name: Registered name of the algorithm.
        base: Family of default settings.
        policy: SB3 policy name, or ``auto``.
        net_arch: Unused: nothing learns to act.
        normalize: Keep running statistics of observations and returns (``VecNormalize``).
        gamma: Discount factor of these statistics.
        alpha: Weight of the objective, above 0; hardly matters where it stands alone.
        learning_rate: Step size of Adam.
        lr_schedule: ``constant``, or ``linear`` to 0 over the training.
        n_steps: Steps per environment and rollout.
        batch_size: Samples per gradient step.
        n_epochs: Passes over a rollout.
    """

    name: str = "???"
    base: str = "???"
    policy: str = "auto"
    net_arch: list[int] | None = None
    normalize: bool = False
    gamma: float = 0.99
    alpha: float = 1.0
    learning_rate: float = 5e-4
    lr_schedule: str = "constant"
    n_steps: int = 64
    batch_size: int = 64
    n_epochs: int = 1


@dataclass
class OptionCriticOptions:
    """Options of the option-critic: tables for numbered states, else a deep learner with replay.

    Attributes:
        name: Registered name of the algorithm.
        base: Family of default settings.
        policy: SB3 policy name, or ``auto``: TabularPolicy for numbered states, CnnPolicy for
            images, else MlpPolicy.
        net_arch: Hidden layers; None for SB3's own.
        normalize: Keep running statistics of observations and returns (``VecNormalize``).
        n_options: Number of options K.
        deliberation_cost: eta, in units of the reward.
        termination_reg: Added to the advantage in the termination loss alone.
        hellinger_coef: Weight of the options' mean Hellinger distance, which is raised; 0: none.
        termination_at: Where the termination loss is taken: ``next`` or ``current``.
        gamma: Discount factor.
        baseline: Subtract Q(s, w) from what trains the options' policies.
        temperature: Of the options' policies; None: 0.01 in tables, else 1.
        lr_critic: Step size of values in tables.
        lr_intra: Step size of the options' policies in tables.
        lr_term: Step size of terminations in tables.
        policy_gradient: What trains the options' policies in tables: ``value`` or ``td``.
        intra_option: In tables, values of all options learn from each step.
        learning_rate: Of the deep variant, as all that follows.
        lr_schedule: ``constant``, or ``linear`` to 0 over the training.
        option_eps: Probability of any option at the end of its schedule.
        option_eps_start: The same at the beginning.
        exploration_fraction: Share of the training over which it falls.
        ent_coef: Weight of the entropy bonus of the options' policies.
        max_grad_norm: Gradients are clipped to this norm.
        buffer_size: Transitions that are kept; a checkpoint holds them.
        learning_starts: Steps before the first update.
        batch_size: Transitions per update of the values.
        train_freq: Steps of every environment between updates.
        target_update_interval: Steps between updates of the target network.
    """

    name: str = "???"
    base: str = "???"
    policy: str = "auto"
    net_arch: list[int] | None = None
    normalize: bool = False
    n_options: int = 4
    deliberation_cost: float = 0.0
    termination_reg: float = 0.0
    hellinger_coef: float = 0.0
    termination_at: str = "next"
    gamma: float = 0.99
    baseline: bool = True
    temperature: float | None = None
    lr_critic: float = 0.5
    lr_intra: float = 0.25
    lr_term: float = 0.25
    policy_gradient: str = "value"
    intra_option: bool = False
    learning_rate: float = 1e-4
    lr_schedule: str = "constant"
    option_eps: float = 0.1
    option_eps_start: float = 1.0
    exploration_fraction: float = 0.1
    ent_coef: float = 0.01
    max_grad_norm: float = 10.0
    buffer_size: int = 100_000
    learning_starts: int = 1000
    batch_size: int = 32
    train_freq: int = 4
    target_update_interval: int = 10_000


SCHEMAS: dict[str, type] = {
    "agent/ppo_schema": PPOOptions,
    "agent/maskable_ppo_schema": PPOOptions,
    "agent/a2c_schema": A2COptions,
    "agent/g2ppo_schema": G2PPOOptions,
    "agent/g2ac_schema": G2ACOptions,
    "agent/ppoc_schema": PPOCOptions,
    "agent/a2oc_schema": A2OCOptions,
    "agent/option_critic_schema": OptionCriticOptions,
    "agent/disentangled_ppo_schema": DisentangledPPOOptions,
    "agent/disentangled_a2c_schema": DisentangledA2COptions,
    "agent/disentangled_random_schema": DisentangledRandomOptions,
}
