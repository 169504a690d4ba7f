"""What ``distill_overhead.py`` compares with: a public library that taps by forward hooks.

Intel's neural-compressor 2.6 (Apache-2.0) in the loop of its documentation: ``prepare_compression``
with a ``DistillationConfig``, then the callbacks around a loop of one's own. Its two losses are KD
and a layer-wise MSE of hooked modules.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rlgen.core.errors import UserError

Step = Callable[[], None]
INSTALL = (
    "pip install --no-deps neural-compressor==2.6 && "
    "pip install schema deprecated prettytable py-cpuinfo pycocotools scikit-learn pandas requests"
)
Pair = tuple[nn.Module, nn.Module]


def neural_compressor_steps(
    pair: Callable[[], Pair],
    images: Tensor,
    labels: Tensor,
    sgd: Callable[[Any], torch.optim.Optimizer],
    stages: Sequence[str],
    kd_weight: float,
) -> dict[str, Step]:
    """Returns the library's steps by name.

    Args:
        pair: Builds student and teacher.
        images: A batch (B, C, H, W).
        labels: Its classes (B,).
        sgd: Makes an optimiser.
        stages: Modules that are hooked in both networks; of equal shape.
        kd_weight: Of KD; cross-entropy has the rest.
    """
    try:
        from neural_compressor import config
    except ImportError:
        raise UserError(f"peer=true needs the library; type {INSTALL}") from None
    layers = config.IntermediateLayersKnowledgeDistillationLossConfig(
        layer_mappings=[[(stage,)] for stage in stages],
        loss_types=["MSE"] * len(stages),
        loss_weights=[1.0] * len(stages),
        add_origin_loss=True,
    )
    softened = config.KnowledgeDistillationLossConfig(
        temperature=4.0, loss_types=["CE", "KL"], loss_weights=[1 - kd_weight, kd_weight]
    )
    return {
        "mse of the peer": _step(pair(), layers, images, labels, sgd),
        "kd of the peer": _step(pair(), softened, images, labels, sgd),
    }


def _step(
    pair: Pair,
    criterion: Any,
    images: Tensor,
    labels: Tensor,
    sgd: Callable[[Any], torch.optim.Optimizer],
) -> Step:
    from neural_compressor.config import DistillationConfig
    from neural_compressor.training import prepare_compression

    student, teacher = pair
    manager = prepare_compression(student, DistillationConfig(teacher, criterion))
    manager.callbacks.on_train_begin()
    model: Any = manager.model
    model.train()
    optimizer = sgd(model.parameters())
    callbacks = manager.callbacks

    def step() -> None:
        callbacks.on_step_begin(0)
        output = model(images)
        loss = callbacks.on_after_compute_loss(images, output, F.cross_entropy(output, labels))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        callbacks.on_step_end()

    return step
