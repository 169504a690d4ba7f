"""Options of distilling an agent's policy: name, type, default, meaning.

This file imports no torch, for ``--help``.
"""

from dataclasses import dataclass, field
from typing import Any

TEACHERS = ("elite", "mean", "all")
OPTION_TARGETS = ("active", "marginal")
ALGORITHMS = ("ppo", "a2c")
FROM_TEACHER = ("env_kwargs", "backend", "agent")  # options that nobody types


@dataclass
class PolicyOptions:
    """Options under ``distiller.`` of ``distiller=policy``.

    Attributes:
        name: Always policy.
        teachers: Of a population, who plays and what is learnt: ``elite``: the elite does both;
            ``mean``: all members play, the target is the mean of their distributions; ``all``: each
            member plays and teaches its own episodes. Other agents are one member: no difference.
        temperature: tau of the teacher's distribution, p^(1/tau); below 1 sharpens it. Discrete
            actions only.
        feed_weight: Weight of FEED on the features of all members; 0: none.
        student_states: Share of the environments that the student plays after the first collection;
            the teacher labels the states.
        option_target: Of agents with options: the policy of the ``active`` option, or the
            ``marginal`` over options.
    """

    name: str = "policy"
    teachers: str = "elite"
    temperature: float = 1.0
    feed_weight: float = 0.0
    student_states: float = 0.5
    option_target: str = "active"


@dataclass
class PolicyTrainOptions:
    """Options of every run of ``distiller=policy``.

    Attributes:
        distiller: The method's options.
        teacher: Run of an agent; with preset=smoke null trains a short one first, in the same run.
        which: The teacher's best or last checkpoint.
        student: Widths of the student's hidden layers, the first of pictures being the end of its
            convolutional network; null: as wide as ``student_size`` allows.
        student_size: Largest share of the teacher's acting parameters; null: 0.25, or no limit
            where ``student`` is given.
        algorithm: SB3 class of the student: ppo or a2c.
        env: The teacher's environment; another one is refused.
        env_kwargs: The teacher's.
        backend: The teacher's.
        n_envs: Environments that are played side by side.
        total_steps: Gradient steps.
        batch_size: States per step.
        lr: Learning rate of Adam at the start.
        lr_schedule: ``linear`` to 0, or ``constant``.
        collect_every: Steps between collections of states; 0: the first one alone.
        collect_states: States of each collection. All begin new episodes: it should be several
            times the length of an episode for each environment.
        buffer_size: States that are kept, the newest; null: 100,000, or as many as fit into
            256 MB.
        seed: Seed of everything random.
        device: auto, cpu, cuda; auto: the CPU for vectors.
        threads: Torch threads; null for one on vectors, torch's own number on pictures.
        run_root: Folder of all runs.
        run_dir: Folder of this run; null for a new one under run_root.
        resume: latest, or a run folder, to go on with it.
        preset: full, or smoke: a short run that leaves everything a real one does.
        log_every: Steps between rows of progress.csv.
        checkpoint_every: Steps between checkpoints.
        eval_every: Steps between evaluations of the student; 0 for the end only.
        eval_episodes: Episodes of an evaluation.
        eval_deterministic: Whether evaluations take the most probable action.
        eval_max_steps: Steps after which an evaluation episode is cut; null: the teacher's.
        agent: How environment and student are built; set by the command.
    """

    distiller: Any = None
    teacher: str | None = None
    which: str = "best"
    student: list[int] | None = None
    student_size: float | None = None
    algorithm: str = "ppo"
    env: str | None = None
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    backend: str = "auto"
    n_envs: int = 8
    total_steps: int = 10_000
    batch_size: int = 256
    lr: float = 1e-3
    lr_schedule: str = "linear"
    collect_every: int = 1000
    collect_states: int = 10_000
    buffer_size: int | None = None
    seed: int = 0
    device: str = "auto"
    threads: int | None = None
    run_root: str = "runs"
    run_dir: str | None = None
    resume: str | None = None
    preset: str = "full"
    log_every: int = 100
    checkpoint_every: int = 1000
    eval_every: int = 2000
    eval_episodes: int = 20
    eval_deterministic: bool = False
    eval_max_steps: int | None = None
    agent: Any = None


SCHEMAS: dict[str, type] = {
    "train_policy_schema": PolicyTrainOptions,
    "distiller/policy_schema": PolicyOptions,
}
