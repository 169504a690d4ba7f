"""SB3's actor-critic policies with a gated actor."""

from collections.abc import Sequence
from typing import Any

import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    FlattenExtractor,
    NatureCNN,
)

from rlgen.agents.g2n.gates import GatedMlpExtractor


class GatedActorCriticPolicy(ActorCriticPolicy):
    """``MlpPolicy`` whose actor is gated.

    ``forward`` acts with each environment's own gates in one batched pass; ``evaluate_actions``,
    ``get_distribution`` and ``predict`` use the elite's. The critic is never gated.

    Args:
        *args: As SB3's ``ActorCriticPolicy`` takes them.
        gate_layers: Hidden layers of the actor that are gated, -1 for the last; see
            :class:`GatedMlpExtractor`.
        **kwargs: As SB3's ``ActorCriticPolicy`` takes them.
    """

    mlp_extractor: GatedMlpExtractor

    def __init__(self, *args: Any, gate_layers: Sequence[int] = (-1,), **kwargs: Any) -> None:
        self.gate_layers = tuple(gate_layers)
        super().__init__(*args, **kwargs)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "gate_layers": self.gate_layers}

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = GatedMlpExtractor(
            self.features_dim,
            net_arch=self.net_arch,
            activation_fn=self.activation_fn,
            device=self.device,
            gate_layers=self.gate_layers,
            features_are_hidden=not isinstance(self.features_extractor, FlattenExtractor),
        )

    def forward(
        self, obs: torch.Tensor, deterministic: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns actions, values and log-probabilities for acting; see SB3's method."""
        with self.mlp_extractor.acting_gates():
            return super().forward(obs, deterministic)


class GatedActorCriticCnnPolicy(GatedActorCriticPolicy):
    """``CnnPolicy`` whose actor is gated: NatureCNN, gates on its 512 units for the actor only."""

    def __init__(
        self,
        *args: Any,
        features_extractor_class: type[BaseFeaturesExtractor] = NatureCNN,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, features_extractor_class=features_extractor_class, **kwargs)


class GatedMultiInputPolicy(GatedActorCriticPolicy):
    """``MultiInputPolicy`` whose actor is gated, for dictionaries of observations."""

    def __init__(
        self,
        *args: Any,
        features_extractor_class: type[BaseFeaturesExtractor] = CombinedExtractor,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, features_extractor_class=features_extractor_class, **kwargs)
