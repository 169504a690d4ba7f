"""Fine-tuning: each task trains the whole network, and nothing holds the earlier ones.

The lower end of every comparison: what it keeps, it keeps by chance. A head per task.
"""

from collections.abc import Sequence
from typing import Any

from torch import nn

from rlgen.continual.baselines.learner import Baseline, Strategy
from rlgen.continual.learner import LEARNERS
from rlgen.continual.recipe import Recipe


@LEARNERS.register("finetune")
def finetune(
    network: nn.Module, shape: Sequence[int], recipe: Recipe | None = None, **options: Any
) -> Baseline:
    """Returns a learner that fine-tunes.

    Args:
        network: See :class:`Baseline`.
        shape: See there.
        recipe: See there.
        **options: ``seed``, ``device``, ``route``.
    """
    return Baseline("finetune", Strategy(), network, shape, recipe, **options)
