"""Two small MLPs on one input, computed in NumPy on the memory of their torch parameters.

For a few hundred rows and 64 units a torch call costs more than its arithmetic, and autograd
doubles the number of calls. Here actor and critic are one node of the autograd graph: its forward
and backward are matrix products and activations in NumPy. Numbers agree with torch's to rounding.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

FloatArray = npt.NDArray[np.float32]
Gates = dict[int, FloatArray]  # position -> factors, broadcast over (batch, width)


# NumPy's BLAS starts threads of its own above about this many multiplications, and on a busy
# machine they cost far more than they bring; torch's product keeps to torch's thread count.
_THREADED_PRODUCT = 200_000


def _product(a: FloatArray, b: FloatArray) -> FloatArray:
    """Returns a @ b, on torch's threads where NumPy would start its own."""
    if a.shape[0] * a.shape[1] * b.shape[1] < _THREADED_PRODUCT:
        product: FloatArray = a @ b
        return product
    return torch.mm(torch.from_numpy(a), torch.from_numpy(b)).numpy()


@dataclass(frozen=True)
class Tower:
    """Hidden layers with one activation, and a linear output.

    Attributes:
        parameters: The torch parameters, weight and bias of each layer in order.
        weights: Their memory as arrays (in, out), then likewise the biases (out,).
        biases: See ``weights``.
        is_tanh: Whether the activation is tanh; otherwise it is ReLU.
    """

    parameters: tuple[nn.Parameter, ...]
    weights: tuple[FloatArray, ...]
    biases: tuple[FloatArray, ...]
    is_tanh: bool

    @classmethod
    def read(cls, hidden: nn.Sequential, output: nn.Linear) -> "Tower | None":
        """Reads an MLP on the CPU; None if it has parts that a tower lacks."""
        modules = list(hidden)
        linears, activations = modules[::2], {type(module) for module in modules[1::2]}
        if len(modules) % 2 or len(activations) > 1 or not activations <= {nn.Tanh, nn.ReLU}:
            return None
        if any(type(layer) is not nn.Linear for layer in linears):
            return None
        layers: list[Any] = [*linears, output]
        return cls(
            parameters=tuple(p for layer in layers for p in (layer.weight, layer.bias)),
            weights=tuple(layer.weight.detach().numpy().T for layer in layers),
            biases=tuple(layer.bias.detach().numpy() for layer in layers),
            is_tanh=nn.Tanh in activations,
        )

    def forward(self, x: FloatArray, gates: Gates | None = None) -> FloatArray:
        """Maps (batch, in) to (batch, out); gates multiply the input (0) or a hidden layer (k)."""
        return self.forward_keeping(x, gates or {})[0]

    def forward_keeping(self, x: FloatArray, gates: Gates) -> tuple[FloatArray, list[FloatArray]]:
        """As :meth:`forward`; also returns each layer's ungated activation, the input first."""
        kept = [x]
        h: Any = x * gates[0] if 0 in gates else x
        last = len(self.weights) - 1
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            z: Any = _product(h, weight)
            z += bias
            if k == last:
                return z, kept
            if self.is_tanh:
                np.tanh(z, out=z)
            else:
                np.maximum(z, 0, out=z)
            kept.append(z)
            h = z * gates[k + 1] if k + 1 in gates else z
        raise AssertionError("a tower has an output layer")

    def backward(
        self,
        grad: FloatArray,
        kept: list[FloatArray],
        gates: Gates,
        to_latent: FloatArray | None = None,
    ) -> list[FloatArray]:
        """Returns the gradients of ``parameters``.

        Args:
            grad: Gradient of the output.
            kept: Activations of the forward pass.
            gates: Factors of the forward pass.
            to_latent: Gradient of the last hidden layer from outside of the tower, or None.
        """
        return self._backward(grad, kept, gates, to_latent)[0]

    def backward_to_input(
        self, grad: FloatArray, kept: list[FloatArray]
    ) -> tuple[list[FloatArray], FloatArray]:
        """As :meth:`backward` without gates; also returns the gradient of the input."""
        grads, first = self._backward(grad, kept, {}, None)
        return grads, _product(first, self.weights[0].T)

    def _backward(
        self,
        grad: FloatArray,
        kept: list[FloatArray],
        gates: Gates,
        to_latent: FloatArray | None,
    ) -> tuple[list[FloatArray], FloatArray]:
        """Returns the gradients of ``parameters``, and of what enters the first activation."""
        grads: list[FloatArray] = []
        for k in range(len(self.weights) - 1, -1, -1):
            h: Any = kept[k] * gates[k] if k in gates else kept[k]
            grads += [grad.sum(axis=0), _product(grad.T, h)]
            if k == 0:
                break
            grad = _product(grad, self.weights[k].T)
            if k in gates:
                grad *= gates[k]
            if to_latent is not None and k == len(self.weights) - 1:
                grad += to_latent
            grad *= (1 - kept[k] ** 2) if self.is_tanh else (kept[k] > 0)
        return grads[::-1], grad


class TwoTowers(torch.autograd.Function):
    """Actor and critic towers as one differentiable function of their parameters."""

    @staticmethod
    def forward(
        ctx: Any, x: FloatArray, actor: Tower, critic: Tower, gates: Gates, *_: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Returns the actor's output (batch, out), the critic's, and both latents."""
        pi, pi_kept = actor.forward_keeping(x, gates)
        value, value_kept = critic.forward_keeping(x, {})
        ctx.work = (actor, critic, gates, pi_kept, value_kept)
        ctx.set_materialize_grads(False)  # None where nobody reads a latent
        return tuple(map(torch.from_numpy, (pi, value, pi_kept[-1], value_kept[-1])))

    @staticmethod
    def backward(ctx: Any, *grads_of_outputs: torch.Tensor | None) -> Any:
        """Returns gradients for the parameters only."""
        actor, critic, gates, pi_kept, value_kept = ctx.work
        to_pi, to_value, to_latent_pi, to_latent_vf = (
            None if grad is None else grad.numpy() for grad in grads_of_outputs
        )
        grads: list[FloatArray | None] = []
        for tower, to_output, kept, its_gates, to_latent in (
            (actor, to_pi, pi_kept, gates, to_latent_pi),
            (critic, to_value, value_kept, {}, to_latent_vf),
        ):
            if to_output is None and to_latent is None:
                grads += [None] * len(tower.parameters)
                continue
            if to_output is None:
                to_output = np.zeros((len(kept[0]), len(tower.biases[-1])), dtype=np.float32)
            grads += tower.backward(to_output, kept, its_gates, to_latent)
        of_parameters = (None if g is None else torch.from_numpy(g) for g in grads)
        return None, None, None, None, *of_parameters


def two_towers(
    x: FloatArray, actor: Tower, critic: Tower, gates: Gates
) -> tuple[torch.Tensor, ...]:
    """Computes both towers, differentiable in their parameters.

    Args:
        x: Input (batch, in), float32.
        actor: Tower that the gates apply to.
        critic: Tower without gates.
        gates: Factors by position of the actor.

    Returns:
        The actor's output (batch, out), the critic's, and the last hidden layer of each (the
        input where there is none), before gates.
    """
    parameters = (*actor.parameters, *critic.parameters)
    outputs: tuple[torch.Tensor, ...] = TwoTowers.apply(x, actor, critic, gates, *parameters)
    return outputs
