"""Binary classifiers B_1..B_T of the H-net, trained on generated pictures alone.

Spec hc_net, section b: for B_i, positives are samples of G_i, negatives equal numbers of samples of
all G_j, j != i; binary cross-entropy, positives and negatives balanced (notes; details
reconstructed). All are trained anew at every task, since older ones need the new task as a
negative, and the newest one learns from generated positives too, so that it does not tell real from
generated instead of task from task (section g).
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from rlgen.continual.hnet.descent import Descent
from rlgen.continual.hnet.networks import BinaryClassifier

Sampler = Callable[[int, int], Tensor]
"""Draws pictures: (task, count) -> (count, 3, n, n) in -1 to 1."""


class BinaryTraining:
    """Training of the classifiers of all tasks together; each has a loss of its own.

    Args:
        tasks: T, 2 or more.
        make: Makes one.
        rate: Of Adam.
        device: Where.
    """

    def __init__(
        self, tasks: int, make: Callable[[], BinaryClassifier], rate: float, device: torch.device
    ) -> None:
        self.tasks = tasks
        self.classifiers = nn.ModuleList(make() for _ in range(tasks))
        self._descent = Descent(self.classifiers.to(device), rate)

    def step(self, sample: Sampler, count: int) -> Tensor:
        """Takes a step and returns the mean loss of the classifiers.

        Args:
            sample: Draws pictures of tasks 0..T - 1.
            count: Positives of each classifier, and as many negatives.
        """
        with torch.no_grad():
            drawn = [sample(task, count) for task in range(self.tasks)]
        wanted = torch.cat([torch.ones(count), torch.zeros(count)]).to(drawn[0].device)
        losses = []
        for task, classifier in enumerate(self.classifiers):
            seen = torch.cat([drawn[task], negatives(drawn, task, count)])
            odds = classifier(seen)
            losses.append(nn.functional.binary_cross_entropy_with_logits(odds, wanted))
        loss = torch.stack(losses).sum()  # so no one's step depends on how many there are
        self._descent.descend(loss)
        return loss.detach() / self.tasks

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Returns weights and moments."""
        return self._descent.state("binary_under_way")

    def restore(self, tensors: Mapping[str, dict[str, Tensor]]) -> None:
        """Puts a state from :meth:`state` back."""
        self._descent.restore("binary_under_way", tensors)


def negatives(drawn: Sequence[Tensor], task: int, count: int) -> Tensor:
    """Returns pictures of all tasks but one, equal numbers of each (up to one picture).

    Args:
        drawn: Of each task, (count, 3, n, n).
        task: The one left out.
        count: How many pictures in all.
    """
    others = [pictures for number, pictures in enumerate(drawn) if number != task]
    whole, rest = divmod(count, len(others))
    return torch.cat([p[: whole + (place < rest)] for place, p in enumerate(others)])


@torch.no_grad()
def probabilities(classifiers: Sequence[nn.Module], images: Tensor) -> Tensor:
    """Returns B_i(x), (B, T) doubles in (0, 1).

    Args:
        classifiers: B_1..B_T, in eval mode.
        images: (B, 3, n, n) in -1 to 1.
    """
    odds = torch.stack([classifier(images) for classifier in classifiers], 1)
    return odds.double().sigmoid()
