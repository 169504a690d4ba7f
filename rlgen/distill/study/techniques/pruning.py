"""Pruning: the smallest weights of the trained network are set to zero, then it is fine-tuned.

Spec kd_orthogonality, recipe 2: magnitude, unstructured, 50, 70 or 90 %, masks in force at each
step, batch norms kept (reconstructed: which pruning the paper used is not known).
torch.nn.utils.prune ranks all weights of convolutions and linear layers together and recomputes
weight = mask * original before each forward, so masked weights get no gradient and stay zero.
"""

from torch import nn
from torch.nn.utils import prune

from rlgen.core.errors import UserError
from rlgen.distill.study.techniques.base import TECHNIQUES, Technique, weighted_layers


class Pruning(Technique):
    """Global magnitude pruning of weights.

    Args:
        setting: Per cent of the weights to be zero, 0 to 99.

    Raises:
        UserError: If it is no such number.
    """

    name = "pruning"
    default = "70"

    def __init__(self, setting: str = "") -> None:
        super().__init__(setting)
        if not self.setting.isdigit() or not 0 <= int(self.setting) <= 99:
            raise UserError(
                f"technique {self.label}: per cent from 0 to 99 are wanted, such as pruning:90"
            )

    def attach(self, network: nn.Module) -> None:
        """Masks the smallest weights."""
        weights = [(layer, "weight") for layer in weighted_layers(network)]
        for layer, _ in weights:
            layer.weight.data = layer.weight.data.contiguous()  # torch ranks views of them
        share = int(self.setting) / 100
        prune.global_unstructured(weights, pruning_method=prune.L1Unstructured, amount=share)

    def detach(self, network: nn.Module) -> None:
        """Puts the masked weights in the place of the originals."""
        for layer in weighted_layers(network):
            prune.remove(layer, "weight")


TECHNIQUES.register(Pruning.name)(Pruning)
