"""Joint training: all tasks so far at once, from all their pictures.

The usual upper end of comparisons, outside the rules of continual learning: it keeps all data. The
network goes on from its weights at each task. Padding and flips apply to the newest task alone.
"""

from collections.abc import Sequence
from typing import Any

from torch import nn

from rlgen.continual.baselines.learner import Baseline
from rlgen.continual.baselines.replay import Replay
from rlgen.continual.learner import LEARNERS
from rlgen.continual.recipe import Recipe


@LEARNERS.register("joint")
def joint(
    network: nn.Module, shape: Sequence[int], recipe: Recipe | None = None, **options: Any
) -> Baseline:
    """Returns a learner that keeps everything and learns all tasks together.

    Args:
        network: See :class:`Baseline`.
        shape: See there.
        recipe: See there.
        **options: ``seed``, ``device``, ``route``.
    """
    return Baseline("joint", Replay(memory=None), network, shape, recipe, **options)
