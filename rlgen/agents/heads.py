"""Action distributions of the fast path: sampled in NumPy, differentiated in torch.

They compute what SB3's ``CategoricalDistribution`` and ``DiagGaussianDistribution`` compute,
without building a distribution object at each step. A *parameter array* has the batch on axis 0:
logits (batch, actions) for a categorical, means (batch, dimensions) for a Gaussian.
"""

import math
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.distributions import (
    CategoricalDistribution,
    DiagGaussianDistribution,
)
from stable_baselines3.common.policies import ActorCriticPolicy
from torch.nn import functional as F

FloatArray = npt.NDArray[np.float32]


class Head(Protocol):
    """What the rollout and the updates need of an action distribution."""

    def sample(
        self, parameters: FloatArray, generator: np.random.Generator
    ) -> tuple[npt.NDArray[Any], FloatArray]:
        """Draws actions (batch, ...) and returns them with their log-probabilities (batch,)."""

    def evaluate(
        self, parameters: torch.Tensor, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns log-probabilities and entropies, each (batch,), differentiable."""

    def kl(self, p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        """Returns KL(p || q), (batch,), of two parameter arrays."""


Kept = tuple[torch.Tensor, ...]


def categorical_terms(
    logits: torch.Tensor, actions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, Kept]:
    """Returns log-probabilities of actions and entropies, (batch,), and what the gradient needs."""
    log_probs = F.log_softmax(logits, dim=1)
    column = actions.unsqueeze(1)
    probs = log_probs.exp()
    entropy = -(probs * log_probs).sum(dim=1)
    return log_probs.gather(1, column).squeeze(1), entropy, (column, log_probs, probs, entropy)


def categorical_gradient(
    kept: Kept, to_log_prob: torch.Tensor, to_entropy: torch.Tensor
) -> torch.Tensor:
    """Returns the gradient of logits z, (batch, actions), from those of the two terms, (batch,).

    With p = softmax(z) and H the entropy, d log p_a / dz = onehot(a) - p and
    dH / dz = -p (log p + H).
    """
    column, log_probs, probs, entropy = kept
    to_action = to_log_prob.unsqueeze(1)
    weight = to_action + to_entropy.unsqueeze(1) * (log_probs + entropy.unsqueeze(1))
    return (-probs * weight).scatter_add_(1, column, to_action)


class _Categorical(torch.autograd.Function):
    """Log-probability and entropy of a categorical as one node: its graph would have eight."""

    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        log_prob, entropy, kept = categorical_terms(logits, actions)
        ctx.save_for_backward(*kept)
        return log_prob, entropy

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        return categorical_gradient(ctx.saved_tensors, grads[0], grads[1]), None


class CategoricalHead:
    """One of ``n`` actions; parameters are logits."""

    def sample(
        self, parameters: FloatArray, generator: np.random.Generator
    ) -> tuple[npt.NDArray[np.int64], FloatArray]:
        """Draws by inverting the cumulative distribution; see :class:`Head`."""
        logits = parameters - parameters.max(axis=1, keepdims=True)
        weights = np.exp(logits)
        cumulative = weights.cumsum(axis=1)
        total = cumulative[:, -1]
        threshold = generator.random(len(logits), dtype=np.float32) * total
        actions = (cumulative <= threshold[:, None]).sum(axis=1)
        # Rounding can put the threshold on the total itself.
        np.minimum(actions, logits.shape[1] - 1, out=actions)
        log_probs = logits[np.arange(len(logits)), actions] - np.log(total)
        return actions, log_probs

    def evaluate(
        self, parameters: torch.Tensor, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`Head`; actions are int64 (batch,)."""
        log_prob, entropy = _Categorical.apply(parameters, actions)
        return log_prob, entropy

    def kl(self, p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        """See :class:`Head`."""
        log_p, log_q = F.log_softmax(p, dim=1), F.log_softmax(q, dim=1)
        return (log_p.exp() * (log_p - log_q)).sum(dim=1)


class MultiCategoricalHead:
    """Several choices at once, independent given the state; parameters are all logits in a row.

    :func:`head_of` does not offer it: policies that take this road build it themselves.

    Args:
        choices: Number of actions of each part, (parts,).
    """

    def __init__(self, choices: npt.NDArray[np.int64]) -> None:
        self.choices = [int(n) for n in choices]
        self._ends = np.cumsum(self.choices)[:-1]
        self._one = CategoricalHead()

    def sample(
        self, parameters: FloatArray, generator: np.random.Generator
    ) -> tuple[npt.NDArray[np.int64], FloatArray]:
        """See :class:`Head`; actions are (batch, parts)."""
        parts = np.split(parameters, self._ends, axis=1)
        drawn = [self._one.sample(logits, generator) for logits in parts]
        actions = np.stack([actions for actions, _ in drawn], axis=1)
        log_probs: FloatArray = np.sum([log_probs for _, log_probs in drawn], axis=0)
        return actions, log_probs

    def evaluate(
        self, parameters: torch.Tensor, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`Head`; actions are int64 (batch, parts)."""
        parts = zip(parameters.split(self.choices, dim=1), actions.unbind(1), strict=True)
        terms = [self._one.evaluate(logits, chosen) for logits, chosen in parts]
        log_prob = torch.stack([log_prob for log_prob, _ in terms]).sum(0)
        return log_prob, torch.stack([entropy for _, entropy in terms]).sum(0)

    def kl(self, p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        """See :class:`Head`."""
        pairs = zip(p.split(self.choices, dim=1), q.split(self.choices, dim=1), strict=True)
        return torch.stack([self._one.kl(one, other) for one, other in pairs]).sum(0)


class GaussianHead:
    """Independent Gaussians; parameters are means, the log deviation is the policy's own vector.

    Args:
        log_std: The policy's parameter (dimensions,).
    """

    def __init__(self, log_std: torch.nn.Parameter) -> None:
        self.log_std = log_std

    def sample(
        self, parameters: FloatArray, generator: np.random.Generator
    ) -> tuple[FloatArray, FloatArray]:
        """See :class:`Head`; actions are not clipped to the space."""
        log_std = self.log_std.detach().cpu().numpy()
        noise = generator.standard_normal(parameters.shape, dtype=np.float32)
        actions = parameters + np.exp(log_std) * noise
        log_probs = (-0.5 * noise**2 - log_std - 0.5 * math.log(2 * math.pi)).sum(axis=1)
        return actions, log_probs

    def evaluate(
        self, parameters: torch.Tensor, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`Head`; actions are float32 (batch, dimensions)."""
        z = (actions - parameters) * torch.exp(-self.log_std)
        log_prob = (-0.5 * z**2 - self.log_std - 0.5 * math.log(2 * math.pi)).sum(dim=1)
        entropy = (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum()
        return log_prob, entropy.expand(len(actions))

    def kl(self, p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        """See :class:`Head`; both have this policy's deviation."""
        return 0.5 * ((p - q) * torch.exp(-self.log_std)).square().sum(dim=1)


def head_of(policy: ActorCriticPolicy) -> Head | None:
    """Returns the head of a policy, or None where the fast path has none for its actions."""
    if type(policy.action_dist) is CategoricalDistribution:
        return CategoricalHead()
    if type(policy.action_dist) is DiagGaussianDistribution:
        return GaussianHead(policy.log_std)
    return None
