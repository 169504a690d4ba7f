"""The paper's H-net: a generator per task as memory, and binary classifiers trained on its samples.

Paper: arXiv 1809.02441; spec hc_net, section b (notes; training reconstructed). When a task arrives
a GAN learns its pictures; its generator is kept and never changed, discriminator and pictures are
let go. Then B_1..B_T are trained on generated pictures of all tasks, and the task of a picture is
argmax_i B_i(x). With one task there is no classifier.

Reconstructed in the spec: DCGAN and its sizes, Adam 2e-4 with beta (0.5, 0.999), batch 64, 50
epochs for the GAN; Adam 1e-3 and 5 epochs of 50,000 generated pictures per task for the
classifiers. Generators are sampled in eval mode.

Ours, for a CPU: the defaults are smaller pictures, narrower networks, a number of steps, and a
higher rate for so few. The spec's scale is ``size=32, width=64, gan_epochs=50, gan_rate=2e-4,
classifier_width=32, classifier_steps=4000, classifier_pool=1, classifier_noise=0``. Coarse and
noisy pictures for the classifiers are ours too: without them they learn what marks generated
pictures. On MNIST, Fashion-MNIST and CIFAR-10 (4,000 pictures each) 87 % of real
pictures were told right at 32 pixels and width 8 without either, 97 % with squares of 4 and noise;
the defaults had 98.9 % and, with another seed, 98.5 %.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rlgen.continual.experience import Experience
from rlgen.continual.hnet.binary import BinaryTraining, probabilities
from rlgen.continual.hnet.descent import Descent
from rlgen.continual.hnet.index import TASK_INDICES, TaskIndex, Tensors
from rlgen.continual.hnet.networks import BinaryClassifier, discriminator, doublings, generator
from rlgen.core.ranges import check_range

BETAS = (0.5, 0.999)


@TASK_INDICES.register("gan")
class GanIndex(TaskIndex):
    """Generators as memory, binary classifiers as judges.

    Args:
        shape: Of a picture, (C, H, W).
        z: Length of the generators' noise.
        width: Channels of the generator before its last layer, and of the discriminator's first.
        gan_steps: Steps of each GAN.
        gan_epochs: Passes over the task's pictures instead of ``gan_steps``.
        gan_rate: Learning rate of generator and discriminator.
        classifier_steps: Steps of the binary classifiers after each task but the first.
        classifier_width: Channels of their first convolution.
        classifier_rate: Their learning rate.
        classifier_pool: Side of the squares of pixels whose means they see.
        classifier_noise: Deviation of the noise they learn with, where pixels are in -1 to 1.
        size: Side to which pictures are brought: 8, 16, 32, 64 or 128 pixels.
        batch_size: Pictures per step of a GAN; positives of each classifier per step.
        seed: Of everything random.
        device: Where.

    Attributes:
        generators: G_1..G_T, frozen.
        classifiers: B_1..B_T; none before the second task.

    Raises:
        UserError: If an option is out of range.
    """

    name = "gan"

    def __init__(
        self,
        shape: Sequence[int],
        *,
        z: int = 100,
        width: int = 16,
        gan_steps: int = 1200,
        gan_epochs: int | None = None,
        gan_rate: float = 5e-4,
        classifier_steps: int = 300,
        classifier_width: int = 8,
        classifier_rate: float = 1e-3,
        classifier_pool: int = 2,
        classifier_noise: float = 0.3,
        size: int = 16,
        batch_size: int = 64,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(shape, size=size, batch_size=batch_size, seed=seed, device=device)
        doublings(size)
        check_range("z", z, 1, 65_536)
        check_range("width", width, 1, 4096)
        check_range("gan_steps", gan_steps, 1, 10**9)
        check_range("gan_epochs", gan_epochs, 1, 10**6, optional=True)
        check_range("gan_rate", gan_rate, 0.0, 1.0)
        check_range("classifier_steps", classifier_steps, 1, 10**9)
        check_range("classifier_width", classifier_width, 1, 4096)
        check_range("classifier_rate", classifier_rate, 0.0, 1.0)
        check_range("classifier_pool", classifier_pool, 1, size)
        check_range("classifier_noise", classifier_noise, 0.0, 100.0)
        self.z, self.width = z, width
        self.gan_steps, self.gan_epochs, self.gan_rate = gan_steps, gan_epochs, gan_rate
        self.classifier_steps = classifier_steps
        self.classifier_rate = classifier_rate
        self._classifier = partial(
            BinaryClassifier, classifier_width, classifier_pool, classifier_noise
        )
        self.generators: list[nn.Module] = []
        self.classifiers: list[nn.Module] = []
        self._gan: _Gan | None = None
        self._binary: BinaryTraining | None = None
        self._gan_total = 0

    # Learning.

    def _open(self, experience: Experience) -> int:
        assert self._batches is not None
        epoch = self._batches.steps_per_epoch
        self._gan_total = self.gan_steps if self.gan_epochs is None else self.gan_epochs * epoch
        self._gan = _Gan(self.z, self.width, self.size, self.gan_rate, self.device)
        if not self.count:
            return self._gan_total
        self._binary = BinaryTraining(
            self.count + 1, self._classifier, self.classifier_rate, self.device
        )
        return self._gan_total + self.classifier_steps

    def _take_step(self, step: int) -> dict[str, Tensor]:
        assert self._gan is not None
        if step < self._gan_total:
            return self._gan.step(self.batch(step)[0] * 2 - 1)
        assert self._binary is not None
        memory = [*self.generators, self._gan.generator.network.eval()]
        loss = self._binary.step(lambda task, n: self._drawn(memory[task], n), self.batch_size)
        return {"classifiers": loss}

    def _close(self, experience: Experience) -> None:
        assert self._gan is not None
        self.generators.append(_frozen(self._gan.generator.network))
        if self._binary is not None:
            self.classifiers = [_frozen(one) for one in self._binary.classifiers]
        self._gan = self._binary = None

    def _drawn(self, network: nn.Module, count: int) -> Tensor:
        pictures: Tensor = network(torch.randn(count, self.z, 1, 1, device=self.device))
        return pictures

    @torch.no_grad()
    def sample(self, task: int, count: int, seed: int = 0) -> Tensor:
        """Draws pictures a task's generator remembers, (count, 3, size, size) in 0 to 1.

        Args:
            task: Its number from 0.
            count: How many.
            seed: Of the noise.
        """
        noise = torch.randn(count, self.z, 1, 1, generator=torch.Generator().manual_seed(seed))
        pictures: Tensor = self.generators[task](noise.to(self.device))
        return (pictures + 1) / 2

    # Telling.

    def _scores(self, images: Tensor) -> Tensor:
        if not self.classifiers:  # one task
            return images.new_full((len(images), 1), 0.5, dtype=torch.float64)
        return probabilities(self.classifiers, images * 2 - 1)

    # Saving.

    def _kept(self) -> Tensors:
        return {
            "generators": _joined(self.generators),
            "classifiers": _joined(self.classifiers),
        }

    def _keep(self, tensors: Tensors) -> None:
        self.generators = [
            generator(self.z, self.width, self.size).to(self.device) for _ in range(self.count)
        ]
        judges = self.count if self.count > 1 else 0
        self.classifiers = [self._classifier().to(self.device) for _ in range(judges)]
        for kind, networks in (("generators", self.generators), ("classifiers", self.classifiers)):
            whole = nn.ModuleList(networks)
            whole.load_state_dict(tensors.get(kind, {}))
            _frozen(whole)

    def _progress(self) -> tuple[Tensors, dict[str, Any]]:
        assert self._gan is not None
        tensors = self._gan.state(wholly=self.steps_done < self._gan_total)
        if self._binary is not None and self.steps_done >= self._gan_total:
            tensors |= self._binary.state()
        return tensors, {}

    def _go_on(self, tensors: Tensors, values: Mapping[str, Any]) -> None:
        assert self._gan is not None
        self._gan.restore(tensors)
        if "binary_under_way" in tensors:
            assert self._binary is not None
            self._binary.restore(tensors)


class _Gan:
    """A generator and a discriminator under training."""

    def __init__(self, z: int, width: int, size: int, rate: float, device: torch.device) -> None:
        self.z = z
        self.generator = Descent(generator(z, width, size).to(device), rate, BETAS)
        self.judge = Descent(discriminator(width, size).to(device), rate, BETAS)

    def step(self, real: Tensor) -> dict[str, Tensor]:
        """Takes a step of both, by the non-saturating loss.

        Args:
            real: Pictures (B, 3, n, n) in -1 to 1.
        """
        fake = self.generator.network(torch.randn(len(real), self.z, 1, 1, device=real.device))
        judge = self.judge.network
        judged = -log_sigmoid(judge(real)).mean() - log_sigmoid(-judge(fake.detach())).mean()
        self.judge.descend(judged)
        fooled = -log_sigmoid(judge(fake)).mean()
        self.generator.descend(fooled)
        return {"discriminator": judged.detach(), "generator": fooled.detach()}

    def state(self, wholly: bool) -> Tensors:
        """Returns weights, and moments as long as the GAN is trained.

        Args:
            wholly: Whether it still is.
        """
        tensors = self.generator.state("generator_under_way")
        if not wholly:
            return {"generator_under_way": tensors["generator_under_way"]}
        return tensors | self.judge.state("discriminator_under_way")

    def restore(self, tensors: Tensors) -> None:
        """Puts a state from :meth:`state` back."""
        self.generator.restore("generator_under_way", tensors)
        if "discriminator_under_way" in tensors:
            self.judge.restore("discriminator_under_way", tensors)


log_sigmoid = nn.functional.logsigmoid


def _frozen(network: nn.Module) -> nn.Module:
    return network.eval().requires_grad_(False)


def _joined(networks: Sequence[nn.Module]) -> dict[str, Tensor]:
    return dict(nn.ModuleList(networks).state_dict())
