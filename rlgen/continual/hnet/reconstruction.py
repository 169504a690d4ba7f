"""Task index by reconstruction: the task whose autoencoder errs least, by its own standard.

An alternative to the paper's generative memory (spec hc_net, section g: variants the authors tried
are unknown); all of it is ours (reconstructed). One small autoencoder per task, the H-net's own
encoder and generator, is trained by the mean squared error and kept. An error is large or small
for its task, since digits are easier to redraw than photographs; so the score is the error by the
standard of the task's own training pictures, whose mean is v_J,

    s_J(x) = -(e_J(x) / v_J + log v_J),

twice the log-density per pixel of a Gaussian of variance v_J around the redrawn picture, less a
constant. Less the mean and divided by the deviation instead, an autoencoder of varied pictures
takes those of plain sets too, which it redraws better than its own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rlgen.continual.experience import Experience
from rlgen.continual.hnet.descent import Descent
from rlgen.continual.hnet.index import TASK_INDICES, TaskIndex, Tensors
from rlgen.continual.hnet.networks import discriminator, doublings, generator
from rlgen.core.ranges import check_range


@TASK_INDICES.register("autoencoder")
class AutoencoderIndex(TaskIndex):
    """An autoencoder per task; pictures go where they are redrawn best, by the task's standard.

    Args:
        shape: Of a picture, (C, H, W).
        dim: Length of the code.
        width: Channels of the encoder's first layer and before the decoder's last.
        steps: Of each task.
        rate: Learning rate of Adam.
        size: Side to which pictures are brought: 8, 16, 32, 64 or 128 pixels.
        batch_size: Pictures per step.
        seed: Of everything random.
        device: Where.

    Attributes:
        networks: One autoencoder per task, frozen.
        standards: (T,), v, the mean of each task's own errors.

    Raises:
        UserError: If an option is out of range.
    """

    name = "autoencoder"

    def __init__(
        self,
        shape: Sequence[int],
        *,
        dim: int = 32,
        width: int = 8,
        steps: int = 300,
        rate: float = 1e-3,
        size: int = 16,
        batch_size: int = 64,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(shape, size=size, batch_size=batch_size, seed=seed, device=device)
        doublings(size)
        check_range("dim", dim, 1, 65_536)
        check_range("width", width, 1, 4096)
        check_range("steps", steps, 1, 10**9)
        check_range("rate", rate, 0.0, 1.0)
        self.dim, self.width, self.steps, self.rate = dim, width, steps, rate
        self.networks: list[nn.Module] = []
        self.standards = torch.zeros(0, device=self.device)
        self._descent: Descent | None = None

    def _made(self) -> nn.Module:
        encoder = discriminator(self.width, self.size, self.dim)
        return nn.Sequential(encoder, generator(self.dim, self.width, self.size)).to(self.device)

    def _open(self, experience: Experience) -> int:
        self._descent = Descent(self._made(), self.rate)
        return self.steps

    def _take_step(self, step: int) -> dict[str, Tensor]:
        assert self._descent is not None
        loss = errors(self._descent.network, self.batch(step)[0]).mean()
        self._descent.descend(loss)
        return {"reconstruction": loss.detach()}

    def _close(self, experience: Experience) -> None:
        assert self._descent is not None
        network = self._descent.network.eval().requires_grad_(False)
        own = torch.cat([errors(network, images) for images, _ in self.all_batches()])
        self.networks.append(network)
        self.standards = torch.cat([self.standards, own.mean()[None]])
        self._descent = None

    def _scores(self, images: Tensor) -> Tensor:
        found = torch.stack([errors(network, images) for network in self.networks], 1)
        return -(found / self.standards + self.standards.log())

    def _kept(self) -> Tensors:
        weights = dict(nn.ModuleList(self.networks).state_dict())
        return {"autoencoders": weights, "standards": {"errors": self.standards}}

    def _keep(self, tensors: Tensors) -> None:
        self.networks = [self._made() for _ in range(self.count)]
        whole = nn.ModuleList(self.networks)
        whole.load_state_dict(tensors.get("autoencoders", {}))
        whole.eval().requires_grad_(False)
        self.standards = tensors["standards"]["errors"].to(self.device)

    def _progress(self) -> tuple[Tensors, dict[str, Any]]:
        assert self._descent is not None
        return self._descent.state("autoencoder_under_way"), {}

    def _go_on(self, tensors: Tensors, values: Mapping[str, Any]) -> None:
        assert self._descent is not None
        self._descent.restore("autoencoder_under_way", tensors)


def errors(network: nn.Module, images: Tensor) -> Tensor:
    """Returns the mean squared error (B,) of each picture redrawn.

    Args:
        network: Pictures (B, 3, n, n) in -1 to 1 to the same.
        images: (B, 3, n, n) in 0 to 1.
    """
    wanted = images * 2 - 1
    redrawn: Tensor = network(wanted)
    return (redrawn - wanted).square().mean((1, 2, 3))
