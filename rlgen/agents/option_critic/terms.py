"""The losses of terminations and of the policy over options, each one node of autograd's graph.

For a few hundred samples and a few options a node costs more than its arithmetic; written with
elementary operations these two losses would have thirty.
"""

from typing import Any

import torch


class _TerminationLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        latent: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        options: torch.Tensor,
        cost: torch.Tensor,
    ) -> torch.Tensor:
        column = options.unsqueeze(1)
        beta = torch.addmm(bias, latent, weight.t()).gather(1, column).squeeze(1).sigmoid_()
        weighted = cost * beta
        ctx.save_for_backward(latent, weight, column, weighted * (1 - beta))
        return weighted.mean()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        latent, weight, column, slope = ctx.saved_tensors
        to_logits = latent.new_zeros(len(latent), len(weight))
        to_logits.scatter_(1, column, (slope * (grads[0] / len(slope))).unsqueeze(1))
        to_latent = to_logits @ weight if ctx.needs_input_grad[0] else None
        return to_latent, to_logits.t() @ latent, to_logits.sum(0), None, None


def termination_loss(
    latent: torch.Tensor, head: torch.nn.Linear, options: torch.Tensor, cost: torch.Tensor
) -> torch.Tensor:
    """Returns mean_b cost_b beta_{w_b}(s_b), with beta = sigmoid of the head.

    Args:
        latent: What the head reads, (batch, width); it gets a gradient unless it is detached.
        head: One logit per option.
        options: w, int64 (batch,).
        cost: Q(s, w) - V_Omega(s) + eta + termination_reg where w was tested, else 0; (batch,).
    """
    loss: torch.Tensor = _TerminationLoss.apply(latent, head.weight, head.bias, options, cost)
    return loss


class _OptionPolicyLoss(torch.autograd.Function):
    """With p = softmax(z) and H the entropy, d ln p_w / dz = onehot(w) - p and
    dH / dz = -p (ln p + H).
    """

    @staticmethod
    def forward(
        ctx: Any,
        weight: torch.Tensor,
        bias: torch.Tensor,
        latent: torch.Tensor,
        log_probs: torch.Tensor,
        options: torch.Tensor,
        advantage: torch.Tensor,
        chose: torch.Tensor,
        ent_coef: float,
    ) -> torch.Tensor:
        probs, column = log_probs.exp(), options.unsqueeze(1)
        entropy = -(probs * log_probs).sum(1)
        chosen = log_probs.gather(1, column).squeeze(1)
        ctx.save_for_backward(latent, log_probs, probs, entropy, column, advantage, chose)
        ctx.ent_coef = ent_coef
        return -(chose * (chosen * advantage + ent_coef * entropy)).mean()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        latent, log_probs, probs, entropy, column, advantage, chose = ctx.saved_tensors
        by_advantage = (chose * advantage).unsqueeze(1)
        by_entropy = ctx.ent_coef * chose.unsqueeze(1) * (log_probs + entropy.unsqueeze(1))
        to_logits = probs * (by_advantage + by_entropy)
        to_logits.scatter_add_(1, column, -by_advantage)
        to_logits *= grads[0] / len(chose)
        return to_logits.t() @ latent, to_logits.sum(0), *(None,) * 6


def option_policy_loss(
    latent: torch.Tensor,
    head: torch.nn.Linear,
    log_probs: torch.Tensor,
    options: torch.Tensor,
    advantage: torch.Tensor,
    chose: torch.Tensor,
    ent_coef: float,
) -> torch.Tensor:
    """Returns -mean_b chose_b [ln pi_Omega(w_b|s_b) A_b + c H(pi_Omega(.|s_b))]; trains the head.

    Args:
        latent: What the head reads, (batch, width), held fixed.
        head: One logit per option.
        log_probs: ln pi_Omega, its log-softmax on the latent, (batch, K), held fixed.
        options: w, int64 (batch,).
        advantage: A, (batch,).
        chose: 1 where an option was chosen, else 0, (batch,).
        ent_coef: c.
    """
    loss: torch.Tensor = _OptionPolicyLoss.apply(
        head.weight, head.bias, latent, log_probs, options, advantage, chose, ent_coef
    )
    return loss
