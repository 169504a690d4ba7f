"""How large teachers and students are: the parameters that acting needs, and students of a share.

Counted is what the action distribution depends on (features, actor, its head, deviations; with
options also the choice and the ends of options), found by the graph of the computation. The critic
is left out, on both sides. Closed gates make units of the elite superfluous, so its size is told
without them too, and that smaller number is what a student's share is of.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import nn

from rlgen.agents.option_critic.tabular import TabularPolicy
from rlgen.core.errors import UserError
from rlgen.policy_distillation.student import policy_of
from rlgen.policy_distillation.teacher import ActorTeacher, Teacher, actor_latent

WIDEST = 1024
SHARE = 0.25


@dataclass(frozen=True)
class TeacherSize:
    """Numbers of a teacher.

    Attributes:
        acting: Parameters that one member needs to act, its genes included.
        open: The same without the units that the elite's gates close, and without genes.
        population: Shared parameters and the genes of all members.
        members: Of the population; 1 for other agents.
    """

    acting: int
    open: int
    population: int
    members: int

    def as_dict(self) -> dict[str, int]:
        """Returns the numbers by name."""
        return asdict(self)


def count_used(outputs: Iterable[torch.Tensor], parameters: Iterable[nn.Parameter]) -> int:
    """Returns how many numbers of some parameters outputs depend on."""
    trained = [p for p in parameters if p.requires_grad]
    total = torch.stack([output.sum() for output in outputs if output.requires_grad]).sum()
    found = torch.autograd.grad(total, trained, allow_unused=True)
    return sum(p.numel() for p, g in zip(trained, found, strict=True) if g is not None)


def teacher_size(teacher: Teacher, observations: torch.Tensor) -> TeacherSize:
    """Counts a teacher's acting parameters.

    Args:
        teacher: The teacher.
        observations: Any, (batch, ...).
    """
    policy = teacher.policy
    if isinstance(policy, TabularPolicy):
        tables = (policy.preferences, policy.terminations, policy.option_values)
        used = sum(table.numel() for table in tables)
        return TeacherSize(used, used, used, 1)
    used = count_used(teacher.acting_outputs(observations), policy.parameters())
    if not isinstance(teacher, ActorTeacher) or teacher.gates is None:
        return TeacherSize(used, used, used, 1)
    genes = teacher.gates.shape[1]
    saved = closed_parameters(policy)
    return TeacherSize(used + genes, used - saved, used + teacher.members * genes, teacher.members)


def closed_parameters(policy: ActorCriticPolicy) -> int:
    """Returns how many parameters of a gated actor the elite's closed gates make superfluous.

    A closed unit needs neither the row that computes it nor the column that reads it.
    """
    extractor: Any = policy.mlp_extractor
    before = [m for m in policy.features_extractor.modules() if isinstance(m, nn.Linear)][-1:]
    hidden = [m for m in extractor.policy_net if isinstance(m, nn.Linear)]
    # Position k of the gates lies behind layer k; 0 are the features.
    layers: list[nn.Linear | None] = [*(before or [None]), *hidden, policy.action_net]  # type: ignore[list-item]
    genes = extractor.split(extractor.elite)
    closed = {position: int((gates == 0).sum()) for position, gates in genes.items()}
    saved = 0
    for position, layer in enumerate(layers):
        if layer is None:
            continue
        inputs = layer.in_features - (closed.get(position - 1, 0) if position else 0)
        outputs = layer.out_features - closed.get(position, 0)
        saved += (layer.in_features + 1) * layer.out_features - (inputs + 1) * outputs
    return saved


def student_parameters(space: spaces.Space, actions: spaces.Space, widths: Sequence[int]) -> int:
    """Returns the acting parameters of a student.

    Args:
        space: Of observations as policies take them: channels first, normalised.
        actions: Of the environment.
        widths: See :func:`rlgen.policy_distillation.student.policy_of`.
    """
    policy_class, kwargs = policy_of(space, widths)
    with torch.random.fork_rng(devices=[]):  # the weights that are drawn here are thrown away
        policy = policy_class(space, actions, lambda _: 1e-3, ortho_init=False, **kwargs)
    sample = torch.as_tensor(space.sample()).unsqueeze(0)
    outputs = [policy.action_net(actor_latent(policy, sample))]
    if hasattr(policy, "log_std"):
        outputs.append(policy.log_std)
    return count_used(outputs, policy.parameters())


def choose_widths(
    asked: Sequence[int] | None,
    share: float | None,
    teacher: int,
    count: Callable[[Sequence[int]], int],
    layers: int,
) -> list[int]:
    """Returns the widths of a student's hidden layers.

    Args:
        asked: Widths that the user named, or None: the largest equal ones within the share.
        share: Largest share of the teacher's parameters; None: 0.25, or any where widths are named.
        teacher: The teacher's acting parameters.
        count: Returns the parameters of a student by its widths.
        layers: How many layers it has where none are named.

    Raises:
        UserError: If the student is larger than its share, or nothing fits into it.
    """
    if asked is not None:
        if share is not None and count(asked) > share * teacher:
            fits = _widest(share * teacher, count, len(asked))
            hint = f"type student={fits}" if fits else "type a larger student_size"
            raise UserError(
                f"student={list(asked)} has {count(asked):,} acting parameters, more than "
                f"student_size={share:g} of the teacher's {teacher:,}; {hint}"
            )
        return list(asked)
    allowed = (SHARE if share is None else share) * teacher
    widths = _widest(allowed, count, layers)
    if not widths:
        raise UserError(
            f"no student fits into {allowed:,.0f} parameters, {allowed / teacher:g} of the "
            f"teacher; the smallest has {count([1] * layers):,}; type a larger student_size"
        )
    return widths


def _widest(allowed: float, count: Callable[[Sequence[int]], int], layers: int) -> list[int]:
    """Returns the largest equal widths within a number of parameters; none where none fits."""
    low, high = 0, WIDEST + 1  # low fits, high does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count([middle] * layers) <= allowed else (low, middle)
    return [low] * layers if low else []
