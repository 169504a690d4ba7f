"""Gates on the actor's hidden units.

Paper: Chang et al., "Genetic-Gated Networks for Deep Reinforcement Learning", NeurIPS 2018. Seen in
the paper: hidden units are multiplied by binary genes, one set of weights and N chromosomes give
N models. Reconstructed: gates sit on the actor's last hidden layer by default, the critic is not
gated and is shared, and open gates are not rescaled.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from stable_baselines3.common.torch_layers import MlpExtractor


class GatedMlpExtractor(MlpExtractor):
    """SB3's actor and critic MLPs, with gates after hidden layers of the actor.

    Position 0 is the features that enter the actor, position k the output of its k-th hidden
    layer. The equation of a gated layer is h~ = mu (*) s(W h + b); a closed gate passes neither
    the unit's value nor its gradient.

    The parameters keep SB3's names, so an ungated policy can load them.

    Args:
        features_dim: Width of the features.
        *args: As SB3's ``MlpExtractor`` takes them.
        gate_layers: Which hidden layers of the actor are gated, as Python indices: -1 is the last.
        features_are_hidden: Whether the features are the output of a hidden layer (a
            convolutional network) and count as one.
        **kwargs: As SB3's ``MlpExtractor`` takes them.

    Attributes:
        positions: Gated positions, ascending.
        n_gates: Length d of a chromosome.
        elite: The gates of the elite, float32 (d,): used for learning and for ``predict``.
        acting: The gates of each environment, float32 (n_envs, d), or None for the elite's.

    Raises:
        ValueError: If a gate layer does not exist.
    """

    elite: torch.Tensor

    def __init__(
        self,
        features_dim: int,
        *args: Any,
        gate_layers: Sequence[int] = (-1,),
        features_are_hidden: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(features_dim, *args, **kwargs)
        linear = [m for m in self.policy_net if isinstance(m, torch.nn.Linear)]
        widths = {k: layer.out_features for k, layer in enumerate(linear, start=1)}
        if features_are_hidden:
            widths[0] = features_dim
        hidden = sorted(widths)
        try:
            self.positions = sorted({hidden[layer] for layer in gate_layers})
        except IndexError:
            raise ValueError(
                f"gate_layers={list(gate_layers)}: the actor has {len(hidden)} hidden layer(s)"
            ) from None
        if not self.positions:
            raise ValueError("gate_layers is empty; type gate_layers=[-1] for the last layer")
        self.widths = [widths[position] for position in self.positions]
        self.n_gates = sum(self.widths)
        self.register_buffer("elite", torch.ones(self.n_gates))
        self.acting: torch.Tensor | None = None
        self._act_with_own_gates = False

    def split(self, gates: Any) -> dict[int, Any]:
        """Cuts chromosomes (..., d) into the genes of each gated position."""
        parts, start = {}, 0
        for position, width in zip(self.positions, self.widths, strict=True):
            parts[position] = gates[..., start : start + width]
            start += width
        return parts

    def gates_for(self, rows: int) -> torch.Tensor:
        """Returns the gates with which a batch of environments acts: (rows, d)."""
        if self.acting is not None and len(self.acting) == rows:
            return self.acting
        return self.elite.expand(rows, -1)

    @contextlib.contextmanager
    def acting_gates(self) -> Iterator[None]:
        """Inside the block each row of a batch passes the gates of its environment."""
        self._act_with_own_gates = True
        try:
            yield
        finally:
            self._act_with_own_gates = False

    def forward_actor(
        self, features: torch.Tensor, gates: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Maps features (batch, width) to the actor's latent.

        Args:
            features: Output of the features extractor.
            gates: Chromosomes (batch, d) or (d,); None: the elite's, or inside
                :meth:`acting_gates` each environment's own.
        """
        if gates is None:
            gates = self.gates_for(len(features)) if self._act_with_own_gates else self.elite
        parts = self.split(gates)
        x = features * parts[0] if 0 in parts else features
        position = 0
        for module in self.policy_net:
            x = module(x)
            if not isinstance(module, torch.nn.Linear):
                position += 1
                if position in parts:
                    x = x * parts[position]
        return x
