"""Task index by prototypes: the task with the nearest class mean, in a space that never changes.

An alternative to the paper's generative memory, all of it ours (reconstructed). The space is that
of a small convolutional network with random weights, drawn once from the seed and never trained:
features of a trained network would be those of the first task, blind to what it had no use for, and
would tie the index to the learner. A task keeps the means of its classes and one covariance of its
pictures around them, as in linear discriminants; the score is the log-density of the nearest class,

    s_J(x) = max_c -1/2 (f(x) - m_c)' S_J^-1 (f(x) - m_c) - 1/2 log det S_J,

so tasks whose pictures vary much and little can be compared. One pass over the data, no gradient.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rlgen.continual.experience import Experience
from rlgen.continual.hnet.index import TASK_INDICES, TaskIndex, Tensors
from rlgen.core.ranges import check_range

GRID = 2  # features are averages over so many parts of a picture each way


@TASK_INDICES.register("prototype")
class PrototypeIndex(TaskIndex):
    """Class means and a covariance per task, of fixed random features.

    Args:
        shape: Of a picture, (C, H, W).
        width: Channels of the random network's last layer; a picture has 4 times as many features.
        ridge: Is added to the covariance's diagonal, in units of its mean: keeps constant features
            from a singular one.
        size: Side to which pictures are brought, in pixels.
        batch_size: Pictures per step.
        seed: Of the random network.
        device: Where.

    Attributes:
        classes: C_J of each task.
        means: (sum of C_J, d), of each class of each task.
        whiteners: (T, d, d), inverse of the Cholesky factor of S_J.

    Raises:
        UserError: If an option is out of range.
    """

    name = "prototype"

    def __init__(
        self,
        shape: Sequence[int],
        *,
        width: int = 16,
        ridge: float = 1e-3,
        size: int = 32,
        batch_size: int = 256,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(shape, size=size, batch_size=batch_size, seed=seed, device=device)
        check_range("width", width, 1, 4096)
        check_range("ridge", ridge, 1e-9, 1e3)
        self.ridge, self.features_count = ridge, width * GRID**2
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = random_features(width)
        self.features = network.to(self.device)
        self.classes: list[int] = []
        self.means = torch.zeros(0, self.features_count, device=self.device)
        self.whiteners = torch.zeros(
            0, self.features_count, self.features_count, device=self.device
        )
        self._sums: dict[str, Tensor] = {}

    def _open(self, experience: Experience) -> int:
        assert self._batches is not None
        d, classes = self.features_count, len(experience.classes)
        zeros = {"counts": (classes,), "first": (classes, d), "second": (d, d)}
        self._sums = {
            name: torch.zeros(shape, dtype=torch.float64, device=self.device)
            for name, shape in zeros.items()
        }
        return self._batches.steps_per_epoch

    @torch.no_grad()
    def _take_step(self, step: int) -> dict[str, Tensor]:
        images, labels = self.batch(step)
        found = self.features(images).double()
        one_hot = nn.functional.one_hot(labels, len(self._sums["counts"])).double()
        self._sums["counts"] += one_hot.sum(0)
        self._sums["first"] += one_hot.T @ found
        self._sums["second"] += found.T @ found
        return {"spread": found.var(0).mean()}

    def _close(self, experience: Experience) -> None:
        counts, first, second = (self._sums[name] for name in ("counts", "first", "second"))
        seen = counts > 0
        means = first[seen] / counts[seen, None]
        covariance = (second - first[seen].T @ means) / counts.sum()
        covariance.diagonal().add_(self.ridge * covariance.diagonal().mean() + 1e-12)
        factor = torch.linalg.cholesky(covariance)
        whitener = torch.linalg.inv(factor)
        self.classes.append(len(means))
        self.means = torch.cat([self.means, means.float()])
        self.whiteners = torch.cat([self.whiteners, whitener[None].float()])
        self._sums = {}

    def _scores(self, images: Tensor) -> Tensor:
        found = self.features(images)
        scores = []
        for means, whitener in zip(self.means.split(self.classes), self.whiteners, strict=True):
            distances = torch.cdist(found @ whitener.T, means @ whitener.T).square().amin(1)
            scores.append(-0.5 * distances + whitener.diagonal().log().sum())
        return torch.stack(scores, 1)

    def _kept(self) -> Tensors:
        if not self.count:
            return {}
        classes = torch.tensor(self.classes, dtype=torch.int32)
        kept = {"means": self.means, "whiteners": self.whiteners, "classes": classes}
        return {"prototypes": kept}

    def _keep(self, tensors: Tensors) -> None:
        if not self.count:
            return
        kept = tensors["prototypes"]
        if kept["means"].shape[1] != self.features_count:
            raise RuntimeError(f"{kept['means'].shape[1]} features, not {self.features_count}")
        self.means, self.whiteners = (kept[k].to(self.device) for k in ("means", "whiteners"))
        self.classes = kept["classes"].tolist()

    def _progress(self) -> tuple[Tensors, dict[str, Any]]:
        return {"prototypes_under_way": dict(self._sums)}, {}

    def _go_on(self, tensors: Tensors, values: Mapping[str, Any]) -> None:
        for name, value in tensors["prototypes_under_way"].items():
            self._sums[name].copy_(value)


def random_features(width: int) -> nn.Module:
    """Returns a frozen random network: pictures (B, 3, n, n) to features (B, 4 width).

    Args:
        width: Channels of its last layer.
    """
    network = nn.Sequential(
        nn.Conv2d(3, width, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(GRID),
        nn.Flatten(),
    )
    for layer in network:
        if isinstance(layer, nn.Conv2d):
            nn.init.orthogonal_(layer.weight, gain=2**0.5)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return network.eval().requires_grad_(False)
