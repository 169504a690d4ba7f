"""KD: the student's softened probabilities follow the teacher's.

Paper: G. Hinton, O. Vinyals, J. Dean, "Distilling the Knowledge in a Neural Network", 2015
(arXiv 1503.02531). Spec kd_baselines, section 1:

    L = (1 - a) CE(z_S, y) + a tau^2 KL(softmax(z_T / tau) || softmax(z_S / tau))

Here is the second term without a: cross-entropy and both weights are the distiller's. Weights seen
in third-party code: 0.1 and 0.9 at tau = 4. Several teachers give the mean of their probabilities
at tau, as an ensemble (spec kd_orthogonality, recipe 5; ours).
"""

import math
from collections.abc import Sequence

import torch
from torch.nn import functional as F

from rlgen.distill.base import DistillLoss, Features, Layout
from rlgen.distill.maps import logits_of, require_above, same_classes, widen


def kl_to(logits: torch.Tensor, target_log_probs: torch.Tensor, temperature: float) -> torch.Tensor:
    """Returns tau^2 KL(q || softmax(z / tau)): summed over classes, the mean over the rest.

    Args:
        logits: z, (..., classes).
        target_log_probs: ln q at the same temperature, (..., classes); it is detached.
        temperature: tau.
    """
    log_probs = F.log_softmax(widen(logits) / temperature, dim=-1)
    target = target_log_probs.detach()
    # "mean" would divide by the classes too.
    kl = F.kl_div(
        log_probs.flatten(0, -2), target.flatten(0, -2), reduction="batchmean", log_target=True
    )
    return temperature**2 * kl


def kd_loss(
    student_logits: torch.Tensor, teacher_logits: torch.Tensor, temperature: float = 4.0
) -> torch.Tensor:
    """Returns tau^2 KL(softmax(z_T / tau) || softmax(z_S / tau)), the mean over the batch.

    Its gradient by z_S is tau (p_S - p_T) / B.

    Args:
        student_logits: z_S, (batch, classes).
        teacher_logits: z_T, (batch, classes); detached.
        temperature: tau.
    """
    target = F.log_softmax(widen(teacher_logits) / temperature, dim=-1)
    return kl_to(student_logits, target, temperature)


def ensemble_log_probs(logits: Sequence[torch.Tensor], temperature: float) -> torch.Tensor:
    """Returns the logarithm of the networks' mean probabilities at a temperature.

    Args:
        logits: Of each network, (..., classes).
        temperature: tau.
    """
    each = torch.stack([F.log_softmax(widen(z) / temperature, dim=-1) for z in logits])
    return torch.logsumexp(each, dim=0) - math.log(len(logits))


class KD(DistillLoss):
    """Softened probabilities of one teacher, or of the mean of several.

    Args:
        student: Layout of the student.
        teachers: Layouts of the teachers.
        temperature: tau, above 0.

    Raises:
        UserError: If the networks' classes differ.
    """

    name = "kd"
    needs_taps = False

    def __init__(
        self, student: Layout, teachers: Sequence[Layout], *, temperature: float = 4.0
    ) -> None:
        super().__init__(student, teachers)
        same_classes(self.name, [student, *teachers])
        self.temperature = require_above(self.name, "temperature", temperature, 0.0)

    def forward(
        self,
        student: Features,
        teachers: Sequence[Features],
        labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Returns the loss; see :func:`kd_loss`."""
        logits = [logits_of(self.name, teacher) for teacher in teachers]
        target = ensemble_log_probs(logits, self.temperature)
        return kl_to(logits_of(self.name, student), target, self.temperature)
