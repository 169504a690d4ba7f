"""Figures about a trained model: which coordinates it uses, and whether it heeds the action.

Paper: Yang, Lee, Chang, Kwak, ACML 2019 (arXiv 1811.04350). The paper prints no such figures; all
here are reconstructed checks of what it claims: coordinates that carry nothing have a KL near 0,
and the action that was taken predicts the next state better than another one.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from rlgen.agents.disentangled.loss import kl_divergence
from rlgen.agents.disentangled.model import ActionConditionalVAE
from rlgen.core.errors import UserError

_BATCH = 512


def kl_per_coordinate(
    vae: ActionConditionalVAE, observations: torch.Tensor
) -> npt.NDArray[np.float64]:
    """Returns the mean KL of each coordinate, in nats, (n,).

    Args:
        vae: The model.
        observations: (batch, *observation_shape), float; images within 0..1.
    """
    _check(len(observations) > 0, "there are no observations; give one or more")
    with torch.no_grad():
        parts = [kl_divergence(*vae.encode(part)) for part in observations.split(_BATCH)]
        return np.asarray(torch.cat(parts).mean(dim=0).cpu().double().numpy())


@dataclass(frozen=True)
class NextStateErrors:
    """Mean squared errors of the prediction, in the data's own units squared.

    Attributes:
        true: With the action that was taken.
        shuffled: With an action that another transition of the batch had.
        zero: With no action.
    """

    true: float
    shuffled: float
    zero: float

    @property
    def gain(self) -> float:
        """The action gain, shuffled - true; positive if the model heeds the action."""
        return self.shuffled - self.true


def next_state_errors(
    vae: ActionConditionalVAE,
    observations: torch.Tensor,
    actions: torch.Tensor,
    next_observations: torch.Tensor,
    generator: torch.Generator | None = None,
) -> NextStateErrors:
    """Compares predictions from mu + a_map, without noise, with what came next.

    Args:
        vae: The model.
        observations: States s_t, (batch, *observation_shape), float; images within 0..1.
        actions: Action vectors a_t, (batch, m).
        next_observations: (batch, *target_shape), or observations whose newest frame that is.
        generator: Shuffles the actions. None: each transition gets the next one's.

    Raises:
        UserError: If there are fewer than two transitions, or the numbers of rows differ.
    """
    count = len(observations)
    _check(
        count == len(actions) == len(next_observations) and count > 1,
        f"{count} observations, {len(actions)} actions and {len(next_observations)} next "
        "observations do not fit; give two or more of each, as many",
    )
    # A cyclic shift of a shuffled order: no transition keeps its own place.
    order = torch.arange(count) if generator is None else torch.randperm(count, generator=generator)
    others = torch.empty_like(order)
    others[order] = order.roll(-1)
    variants = (actions, actions[others.to(actions.device)], torch.zeros_like(actions))
    sums = [0.0] * len(variants)
    with torch.no_grad():
        for rows in torch.arange(count).split(_BATCH):
            mu, _ = vae.encode(observations[rows])
            target = _targets(vae, next_observations[rows])
            for k, variant in enumerate(variants):
                predicted = vae.predict(mu + vae.map_action(variant[rows]))
                error = (predicted - target).square().flatten(1).mean(dim=1)
                sums[k] += float(error.double().sum())
    return NextStateErrors(*(total / count for total in sums))


def _targets(vae: ActionConditionalVAE, next_observations: torch.Tensor) -> torch.Tensor:
    """Returns the newest frame of stacks; anything else as it is."""
    if len(vae.target_shape) == 3 and next_observations.dim() == 4:
        return next_observations[:, -vae.target_shape[0] :]
    return next_observations


def _check(fits: bool, message: str) -> None:
    if not fits:
        raise UserError(message)
