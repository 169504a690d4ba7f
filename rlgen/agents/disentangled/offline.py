"""Training of the model on stored steps, without a policy.

Paper: Yang, Lee, Chang, Kwak, ACML 2019 (arXiv 1811.04350), which trains this way for dSprites.
Reconstructed: Adam with 5e-4 and minibatches of 64, from a public re-implementation of Burgess et
al. (2018).
"""

import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch

from rlgen.agents.disentangled.loss import Objective, ObjectiveTerms
from rlgen.agents.disentangled.model import ActionConditionalVAE
from rlgen.agents.disentangled.transitions import Batch, Transitions, as_float
from rlgen.core.errors import NonFiniteLossError, UserError
from rlgen.core.progress import StepBar

_STATISTICS_ROWS = 4096


@dataclass
class OfflineRecord:
    """Means over each stretch of updates; the lists have equal lengths.

    Attributes:
        updates: Updates done at the end of each stretch.
        nll: Negative log-likelihood of the next state, in nats.
        kl: KL divergence over all coordinates, in nats.
        kl_per_coordinate: The same by coordinate, n numbers each.
    """

    updates: list[int] = field(default_factory=list)
    nll: list[float] = field(default_factory=list)
    kl: list[float] = field(default_factory=list)
    kl_per_coordinate: list[list[float]] = field(default_factory=list)


def train_offline(
    model: ActionConditionalVAE,
    transitions: Transitions,
    *,
    updates: int,
    batch_size: int = 64,
    beta: float = 4.0,
    objective: str = "beta",
    gamma_c: float = 1000.0,
    capacity: float = 25.0,
    capacity_steps: int = 100_000,
    learning_rate: float = 5e-4,
    seed: int = 0,
    record_every: int = 100,
    progress: bool = False,
) -> OfflineRecord:
    """Minimises the objective on stored steps; the same arguments give the same weights.

    Args:
        model: Trained in place, on its own device.
        transitions: The steps; all of them enter the statistics of a Gaussian model's targets.
        updates: Gradient steps.
        batch_size: Steps per minibatch.
        beta: Weight of the KL in the ``beta`` objective.
        objective: ``beta`` or ``capacity``.
        gamma_c: Weight in the ``capacity`` objective.
        capacity: Nats that its C rises to.
        capacity_steps: Updates in which it does.
        learning_rate: Of Adam.
        seed: Of the order of the steps and of the noise.
        record_every: Updates per entry of the record.
        progress: Show a progress bar.

    Raises:
        UserError: If a number or a shape is not valid.
        NonFiniteLossError: If the loss becomes NaN or infinite.
    """
    for name, value in (("batch_size", batch_size), ("record_every", record_every)):
        if value < 1:
            raise UserError(f"{name}={value} is too small; type {name}=1 or more")
    goal = Objective(objective, beta, gamma_c, capacity, capacity_steps)
    generator = np.random.default_rng(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    _take_statistics(model, transitions)
    model.train()
    record = OfflineRecord()
    stretch: list[torch.Tensor] = []  # (1 + n,) each: the NLL and the KL of every coordinate
    batches = _endless(transitions, batch_size, generator)
    with StepBar(updates) if progress else nullcontext() as bar:
        for step in range(updates):
            terms = _losses(model, next(batches), goal, step, generator)
            optimizer.zero_grad()
            terms.loss.backward()
            optimizer.step()
            stretch.append(torch.cat((terms.nll[None], terms.kl_per_coordinate)).detach())
            if (step + 1) % record_every == 0 or step + 1 == updates:
                _add(record, stretch, step + 1)
                stretch.clear()
                if bar is not None:
                    bar.update(step + 1, {"nll": record.nll[-1], "kl": record.kl[-1]})
    return record


def _endless(
    transitions: Transitions, batch_size: int, generator: np.random.Generator
) -> Iterator[Batch]:
    while True:
        yield from transitions.minibatches(batch_size, generator)


def _take_statistics(model: ActionConditionalVAE, transitions: Transitions) -> None:
    """Takes all targets into the statistics that a Gaussian model standardises by."""
    for part in transitions.next_observations.split(_STATISTICS_ROWS):
        model.update_target_statistics(as_float(part).to(model.device))


def _losses(
    model: ActionConditionalVAE,
    batch: Batch,
    goal: Objective,
    step: int,
    generator: np.random.Generator,
) -> ObjectiveTerms:
    observations, actions, after = (part.to(model.device) for part in batch)
    shape = (len(actions), model.latent_dim)
    eps = torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))
    outputs = model(observations, actions, eps.to(model.device))
    return goal(
        outputs.prediction,
        model.targets(after),
        outputs.mu,
        outputs.sigma,
        likelihood=model.likelihood,
        step=step,
    )


def _add(record: OfflineRecord, stretch: list[torch.Tensor], updates: int) -> None:
    means = torch.stack(stretch).mean(dim=0).tolist()
    if not all(map(math.isfinite, means)):
        raise NonFiniteLossError("nll" if not math.isfinite(means[0]) else "kl", updates)
    record.updates.append(updates)
    record.nll.append(means[0])
    record.kl.append(sum(means[1:]))
    record.kl_per_coordinate.append(means[1:])
