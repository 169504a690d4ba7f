"""Losses whose gradients are written down: one node of autograd's graph each, in NumPy on the CPU.

For a few hundred samples and a few options a torch call costs more than its arithmetic, and
autograd doubles the number of calls; written out, these losses would have sixty. The functions are
written once for both libraries: an *array* is a NumPy array on the CPU and a torch tensor
elsewhere.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

Array = Any


def array_of(tensor: torch.Tensor) -> Array:
    """Returns a tensor's values, held fixed: on the CPU as NumPy array on the same memory."""
    fixed = tensor.detach()
    return fixed.numpy() if fixed.device.type == "cpu" else fixed


def tensor_of(array: Array) -> torch.Tensor:
    """Returns an array as tensor."""
    return array if isinstance(array, torch.Tensor) else torch.from_numpy(array)


def _library(array: Array) -> Any:
    return torch if isinstance(array, torch.Tensor) else np


class _Known(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, function: Callable[..., tuple[Array, tuple[Array, ...]]], *inputs: torch.Tensor
    ) -> torch.Tensor:
        loss, ctx.grads = function(*map(array_of, inputs))
        return torch.as_tensor(loss, dtype=inputs[0].dtype)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        # Looking at the factor costs nothing on the CPU; it is 1 where losses are summed.
        factor = grads[0].item() if grads[0].device.type == "cpu" else grads[0]
        scaled = [g if isinstance(factor, float) and factor == 1 else g * factor for g in ctx.grads]
        return None, *map(tensor_of, scaled)


def loss_with_gradient(
    function: Callable[..., tuple[Array, tuple[Array, ...]]], *inputs: torch.Tensor
) -> torch.Tensor:
    """Returns a scalar of some tensors, with the gradients that the function tells.

    Args:
        function: From arrays to the scalar and its gradient for each of them.
        *inputs: The tensors.
    """
    loss: torch.Tensor = _Known.apply(function, *inputs)
    return loss


def log_softmax(logits: Array) -> Array:
    """Returns log-probabilities along axis 1."""
    if isinstance(logits, torch.Tensor):
        return torch.log_softmax(logits, 1)
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def log_greedy(values: Array, eps: float) -> Array:
    """Returns the logarithm of: the best value with 1 - eps, else any; (batch, K)."""
    k = values.shape[1]
    with np.errstate(divide="ignore"):
        other, best = np.log(np.array([eps / k, 1 - eps + eps / k])).tolist()
    logs = _library(values).full_like(values, other)
    if isinstance(values, torch.Tensor):
        return logs.scatter_(1, values.argmax(1, keepdim=True), best)
    logs[np.arange(len(values)), values.argmax(axis=1)] = best
    return logs


def one_hot(options: Array, k: int) -> Array:
    """Returns 1 where an option is, (batch, K), as float32."""
    if isinstance(options, torch.Tensor):
        return torch.nn.functional.one_hot(options, k).float()
    return (options[:, None] == np.arange(k)).astype(np.float32)


def row_dot(a: Array, b: Array) -> Array:
    """Returns the sum of a b over the last axis; on short axes far faster than ``sum``."""
    return _library(a).einsum("...i,...i->...", a, b)


def termination_loss(
    latent: torch.Tensor, head: torch.nn.Linear, chosen: Array, cost: Array
) -> torch.Tensor:
    """Returns mean_b cost_b beta_{w_b}(s_b), with beta = sigmoid of the head.

    Args:
        latent: What the head reads, (batch, width); it gets a gradient unless it is detached.
        head: One logit per option.
        chosen: w, one-hot (batch, K).
        cost: Q(s, w) - V_Omega(s) + eta + termination_reg where w was tested, else 0; (batch,).
    """
    needs_latent = latent.requires_grad

    def compute(x: Array, weight: Array, bias: Array) -> tuple[Array, tuple[Array, ...]]:
        library = _library(x)
        logits = row_dot(x @ weight.T + bias, chosen)
        beta = 0.5 * (1 + library.tanh(0.5 * logits))
        weighted = cost * beta
        to_logits = chosen * (weighted * (1 - beta) / len(x))[:, None]
        to_latent = to_logits @ weight if needs_latent else 0 * x
        return weighted.mean(), (to_latent, to_logits.T @ x, to_logits.sum(0))

    return loss_with_gradient(compute, latent, head.weight, head.bias)


def option_policy_loss(
    latent: torch.Tensor,
    head: torch.nn.Linear,
    log_probs: Array,
    chosen: Array,
    advantage: Array,
    chose: Array,
    ent_coef: float,
) -> torch.Tensor:
    """Returns -mean_b chose_b [ln pi_Omega(w_b|s_b) A_b + c H(pi_Omega(.|s_b))]; trains the head.

    With p = softmax(z) and H the entropy, d ln p_w / dz = onehot(w) - p and
    dH / dz = -p (ln p + H).

    Args:
        latent: What the head reads, (batch, width), held fixed.
        head: One logit per option.
        log_probs: ln pi_Omega, (batch, K).
        chosen: w, one-hot (batch, K).
        advantage: A, (batch,).
        chose: 1 where an option was chosen, else 0, (batch,).
        ent_coef: c.
    """
    x = array_of(latent)

    def compute(weight: Array, bias: Array) -> tuple[Array, tuple[Array, ...]]:
        probs = _library(x).exp(log_probs)
        entropy = -row_dot(probs, log_probs)
        gain = chose * (row_dot(chosen, log_probs) * advantage + ent_coef * entropy)
        by_advantage = (chose * advantage / len(x))[:, None]
        by_entropy = (ent_coef / len(x)) * chose[:, None] * (log_probs + entropy[:, None])
        to_logits = probs * (by_advantage + by_entropy) - chosen * by_advantage
        return -gain.mean(), (to_logits.T @ x, to_logits.sum(0))

    return loss_with_gradient(compute, head.weight, head.bias)


def hellinger_loss(logits: torch.Tensor, coef: float, eps: float) -> torch.Tensor:
    """Returns -coef * mean_s Hbar(s) of categorical policies; see :mod:`...hellinger`.

    With S = sqrt(p), H_ij^2 = |S_i - S_j|^2 / 2 + eps and the weights W_ij = 1 / (K (K - 1) H_ij)
    of pairs i != j, dHbar/dS_i = sum_j W_ij (S_i - S_j).

    Args:
        logits: (batch, K, A), K at least 2.
        coef: lambda_hd.
        eps: Below the root.
    """

    def compute(z: Array) -> tuple[Array, tuple[Array, ...]]:
        library = _library(z)
        batch, k, actions = z.shape
        roots = library.exp(0.5 * log_softmax(z.reshape(-1, actions))).reshape(z.shape)
        apart = roots[:, :, None] - roots[:, None]
        distances = library.sqrt(0.5 * row_dot(apart, apart) + eps)
        scale = coef / (batch * k * (k - 1))
        # The diagonal holds sqrt(eps) K times.
        loss = -scale * (distances.sum() - batch * k * eps**0.5)
        weights = -scale / distances  # S_i - S_i = 0 anyway
        to_logs = 0.5 * roots * (weights.sum(2)[..., None] * roots - weights @ roots)
        probs = roots * roots
        total = library.einsum("...i->...", to_logs)
        return loss, (to_logs - probs * total[..., None],)

    return loss_with_gradient(compute, logits)
