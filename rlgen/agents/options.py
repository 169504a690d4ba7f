"""The options of each agent as the command line takes them: name, type, default, meaning.

The YAML files of ``rlgen/conf`` hold only what differs from these per agent and environment family.
"""

from dataclasses import dataclass, field


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
class GateOptions:
    """Options of the genetic gates; see :class:`rlgen.agents.g2n.GeneticOptions`.

    Attributes:
        population_size: Individuals.
        crossover: Probability that a child mixes two parents.
        mutation: Probability that a gene flips.
        episodes: Episodes per individual and generation.
        selection: ``roulette`` or ``uniform``.
        elitism: Keep the best individual.
        elite_margin: Return by which a rival must beat the elite.
        evolve: Run the genetic algorithm.
        initial_open: Probability of an open gate in the first population.
        max_gen_steps: Steps after which an unfinished individual is scored.
        train_on: ``all`` samples of the evolving phase, or the ``elite``'s.
        gate_layers: Gated hidden layers, -1 for the last.
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


SCHEMAS: dict[str, type] = {
    "agent/ppo_schema": PPOOptions,
    "agent/a2c_schema": A2COptions,
    "agent/g2ppo_schema": G2PPOOptions,
    "agent/g2ac_schema": G2ACOptions,
}
