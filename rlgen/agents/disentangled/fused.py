"""The encoder, actor, critic and decoder of vector tasks as two nodes of the autograd graph.

For a few hundred rows and 64 units a torch call costs more than its arithmetic (see
:mod:`rlgen.nets.towers`). Here the four networks are computed in NumPy on the memory of their torch
parameters. Numbers agree with those of the modules to rounding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rlgen.agents.disentangled.loss import Objective, capacity_at
from rlgen.agents.disentangled.model import LOGVAR_RANGE
from rlgen.nets.towers import Tower

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LatentTowers:
    """The networks of a policy on vectors.

    Attributes:
        encoder: From observations to mu and logvar, 2n numbers.
        actor: From h = [mu ; sigma] to action parameters.
        critic: From observations to the value; from h where ``detached``.
        decoder: From z plus the mapped action to the prediction, flat.
        detached: Whether the critic reads h, without sending a gradient back.
    """

    encoder: Tower
    actor: Tower
    critic: Tower
    decoder: Tower
    detached: bool

    def latents(self, x: FloatArray) -> FloatArray:
        """Returns h, (batch, 2n), of observations (batch, D)."""
        return _latents(self.encoder.forward(x))

    def act(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Returns action parameters, (batch, A), and values, (batch,)."""
        h = self.latents(x)
        return self.actor.forward(h), self.critic.forward(h if self.detached else x)[:, 0]

    def values(self, x: FloatArray) -> FloatArray:
        """Returns values, (batch,)."""
        return self.critic.forward(self.latents(x) if self.detached else x)[:, 0]

    def evaluate(self, x: FloatArray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns action parameters, values (batch, 1) and h, differentiable in the parameters."""
        towers = (self.encoder, self.actor, self.critic)
        parameters = [p for tower in towers for p in tower.parameters]
        outputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = _Evaluation.apply(
            x, self, *parameters
        )
        return outputs


def _latents(raw: FloatArray) -> FloatArray:
    """Turns mu and logvar, (batch, 2n), into mu and sigma."""
    n = raw.shape[1] // 2
    h = raw.copy()
    sigma = h[:, n:]
    np.clip(sigma, *LOGVAR_RANGE, out=sigma)
    sigma *= 0.5
    np.exp(sigma, out=sigma)
    return h


class _Evaluation(torch.autograd.Function):
    """See :meth:`LatentTowers.evaluate`."""

    @staticmethod
    def forward(
        ctx: Any, x: FloatArray, towers: LatentTowers, *_: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        raw, encoder_kept = towers.encoder.forward_keeping(x, {})
        h = _latents(raw)
        pi, actor_kept = towers.actor.forward_keeping(h, {})
        value, critic_kept = towers.critic.forward_keeping(h if towers.detached else x, {})
        ctx.work = (towers, raw, h, encoder_kept, actor_kept, critic_kept)
        ctx.set_materialize_grads(False)  # None for what no loss reads
        return tuple(map(torch.from_numpy, (pi, value, h)))

    @staticmethod
    def backward(ctx: Any, *grads_of_outputs: torch.Tensor | None) -> Any:
        towers, raw, h, encoder_kept, actor_kept, critic_kept = ctx.work
        to_pi, to_value, to_h = (None if g is None else g.numpy() for g in grads_of_outputs)
        of_actor: list[Any] = [None] * len(towers.actor.parameters)
        of_critic: list[Any] = [None] * len(towers.critic.parameters)
        of_encoder: list[Any] = [None] * len(towers.encoder.parameters)
        if to_pi is not None:
            of_actor, by_actor = towers.actor.backward_to_input(to_pi, actor_kept)
            to_h = by_actor if to_h is None else by_actor + to_h
        if to_value is not None:
            of_critic = towers.critic.backward(to_value, critic_kept, {})
        if to_h is not None:
            of_encoder = towers.encoder.backward(_to_raw(to_h, raw, h), encoder_kept, {})
        grads = (*of_encoder, *of_actor, *of_critic)
        return None, None, *(None if g is None else torch.from_numpy(g) for g in grads)


def _to_raw(to_h: FloatArray, raw: FloatArray, h: FloatArray) -> FloatArray:
    """Turns a gradient of h into one of mu and logvar: dsigma/dlogvar = sigma / 2, 0 where cut."""
    n = h.shape[1] // 2
    low, high = LOGVAR_RANGE
    logvar = raw[:, n:]
    to_raw = to_h.copy()
    slope = h[:, n:] * np.float32(0.5)
    if logvar.max() > high or logvar.min() < low:  # hardly ever
        slope *= (logvar >= low) & (logvar <= high)
    to_raw[:, n:] *= slope
    return to_raw


def model_loss(
    h: torch.Tensor,
    decoder: Tower,
    eps: FloatArray,
    actions: FloatArray,
    target: FloatArray,
    *,
    alpha: float,
    objective: Objective,
    likelihood: str,
    step: int = 0,
) -> torch.Tensor:
    """Returns alpha times the model's objective on a minibatch.

    The gradient of h is weighted by alpha. That of the decoder, which no other term trains, is not:
    see :mod:`rlgen.agents.disentangled.algorithm`.

    Args:
        h: [mu ; sigma], (batch, 2n).
        decoder: From (batch, n) to flat predictions.
        eps: Standard normal noise, (batch, n).
        actions: Action vectors, (batch, m).
        target: What the decoder should say, flat.
        alpha: Weight.
        objective: ``beta`` or ``capacity``, with its numbers.
        likelihood: ``gaussian`` or ``bernoulli``.
        step: Updates done, for the capacity.
    """
    arguments = (decoder, eps, actions, target, alpha, _weight_of(objective, step), likelihood)
    loss: torch.Tensor = _ModelLoss.apply(h, arguments, *decoder.parameters)
    return loss


Regulariser = Callable[[float], tuple[float, float]]


def _weight_of(objective: Objective, step: int) -> Regulariser:
    """Returns a function from the mean KL to the regulariser and its derivative."""
    if objective.name == "beta":
        return lambda kl: (objective.beta * kl, objective.beta)
    capacity = capacity_at(step, steps=objective.capacity_steps, last=objective.capacity)
    gamma_c = objective.gamma_c
    return lambda kl: (gamma_c * abs(kl - capacity), gamma_c * float(np.sign(kl - capacity)))


class _ModelLoss(torch.autograd.Function):
    """See :func:`model_loss`."""

    @staticmethod
    def forward(
        ctx: Any, latents: torch.Tensor, arguments: tuple[Any, ...], *_: torch.Tensor
    ) -> torch.Tensor:
        decoder, eps, actions, target, alpha, regularise, likelihood = arguments
        h = latents.numpy()
        batch, n = eps.shape
        mu, sigma = h[:, :n], h[:, n:]
        z = sigma * eps
        z += mu
        z[:, : actions.shape[1]] += actions
        prediction, kept = decoder.forward_keeping(z, {})
        nll, to_prediction = _reconstruction(prediction, target, likelihood)
        kl = (0.5 * (np.vdot(h, h) - mu.size) - float(np.log(sigma).sum())) / batch
        penalty, weight = regularise(kl)
        ctx.work = (decoder, kept, to_prediction, h, eps, alpha, weight)
        return torch.tensor(alpha * (nll + penalty), dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        decoder, kept, to_prediction, h, eps, alpha, weight = ctx.work
        factor = grads[0].item()  # 1 where losses are summed
        if factor != 1:
            to_prediction = to_prediction * np.float32(factor)
        of_decoder, to_z = decoder.backward_to_input(to_prediction, kept)
        n = to_z.shape[1]
        to_z *= np.float32(alpha)
        share = np.float32(alpha * factor * weight / len(h))
        to_h = h * share  # of the KL: mu, and sigma - 1 / sigma
        to_h[:, :n] += to_z
        to_z *= eps
        to_z -= share / h[:, n:]
        to_h[:, n:] += to_z
        return torch.from_numpy(to_h), None, *map(torch.from_numpy, of_decoder)


def _reconstruction(
    prediction: FloatArray, target: FloatArray, likelihood: str
) -> tuple[float, FloatArray]:
    """Returns the mean negative log-likelihood, in nats, and its gradient for the prediction."""
    batch = len(prediction)
    if likelihood == "gaussian":
        error = prediction - target
        nll = 0.5 * float(np.vdot(error, error)) / batch
    else:
        nll = float(np.logaddexp(0, prediction).sum() - np.vdot(prediction, target)) / batch
        error = 0.5 * (1 + np.tanh(0.5 * prediction)) - target
    error *= np.float32(1 / batch)
    return nll, error
