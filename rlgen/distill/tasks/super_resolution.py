"""Small pictures made large; what is measured are PSNR and SSIM on luma.

Spec lsfd. The task's loss is L1, in grey levels of 8 bits: FAKD's code, whose weights of feature
losses are seen, computes with pictures in 0 to 255, while networks here take [0, 1]. With
``alpha`` the pixel part is FAKD's,

    (1 - alpha) mean|SR_S - y| + alpha mean|SR_S - SR_T|.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F

from rlgen.core.errors import UserError
from rlgen.data.bicubic import enlarge
from rlgen.data.picture_quality import Quality, quality_on_y, require_comparable
from rlgen.data.super_resolution import (
    LargePictures,
    PatchBatches,
    PictureSets,
    open_super_resolution,
    pixels_to_unit,
)
from rlgen.distill.crops import draw_crops
from rlgen.distill.distiller import Distiller
from rlgen.distill.exported import find_exported
from rlgen.distill.exported_pictures import (
    Enlargement,
    load_super_resolver,
    save_super_resolver,
    upscale,
)
from rlgen.distill.losses.lsfd import pixel_loss
from rlgen.distill.options import FOR_PICTURES, PLAIN
from rlgen.distill.tasks.base import Task
from rlgen.distill.updates import Batch, Objective
from rlgen.nets.super_resolution import SUPER_RESOLVERS, make_super_resolver

LEVELS = 255.0
_WHY_NOT = {
    "ab": "compares features before a ReLU, and the stages here end in a sum",
    "ofd": "compares features before a ReLU, and the stages here end in a sum",
    "rkd": "compares distances between pictures, and patches of one picture have no class",
}


def grey_levels(result: Tensor, target: Tensor) -> Tensor:
    """Returns the mean absolute difference of pictures in [0, 1], in grey levels of 8 bits."""
    return LEVELS * F.l1_loss(result, target)


class SuperResolutionTask(Task):
    """Networks that enlarge pictures.

    Args:
        config: As the train command composes it.
        accelerator: Device and precision.
        sets: Large pictures to train and to test on.

    Raises:
        UserError: If a test picture is too small to be compared.
    """

    name = "super_resolution"
    networks = SUPER_RESOLVERS
    noun = "super-resolution network"
    examples = ("edsr_baseline", "edsr_small")
    criterion: Callable[[Tensor, Tensor], Tensor] | None = staticmethod(grey_levels)
    teaching = "distiller=lsfd task=super_resolution"
    measured = "PSNR and SSIM on Y"
    pictures: ClassVar[tuple[str, ...]] = ("crops.png",)

    def __init__(self, config: dict[str, Any], accelerator: Accelerator, sets: PictureSets) -> None:
        super().__init__(config, accelerator, sets)
        self.sets: PictureSets = sets
        self.inputs = (3, config["patch_size"], config["patch_size"])
        self.shown = tuple(f"psnr/{name}" for name in list(sets.tests)[:1])
        for pictures in sets.tests.values():
            for index in range(len(pictures)):
                height, width = pictures[index].shape[:2]
                require_comparable((height, width), sets.scale)

    @classmethod
    def check(cls, config: dict[str, Any]) -> None:
        """See :meth:`Task.check`."""
        method, alpha = config["distiller"]["name"], config["alpha"]
        if method not in (PLAIN, *FOR_PICTURES):
            why = _WHY_NOT.get(method, "compares class logits, and these networks give pictures")
            raise UserError(
                f"distiller={method} {why}; for task=super_resolution type distiller=lsfd, or "
                f"{', '.join(name for name in FOR_PICTURES if name != 'lsfd')}, {PLAIN}"
            )
        if alpha and (method == PLAIN or config["distiller"]["weight"] == 0):
            raise UserError(f"alpha={alpha:g} is the share of a teacher, and there is none")
        for key in ("data", "test"):
            if not _sources(config[key]):
                raise UserError(f"{key}={config[key]}: name a set or a list, {key}=[set5,set14]")

    @classmethod
    def open(cls, config: dict[str, Any]) -> PictureSets:
        """See :meth:`Task.open`."""
        train, tests = _sources(config["data"]), _sources(config["test"])
        return open_super_resolution(train, tests, config["scale"], config["size"])

    def make_network(self, name: str) -> nn.Module:
        """See :meth:`Task.make_network`."""
        return make_super_resolver(name, self.sets.scale)

    def load_network(self, source: str) -> nn.Module:
        """See :meth:`Task.load_network`."""
        network, known = load_super_resolver(find_exported(source))
        if (known.scale, known.channels) != (self.sets.scale, 3):
            raise UserError(
                f"{source} enlarges pictures of {known.channels} channels {known.scale} times; "
                f"scale={self.sets.scale} and 3 channels are wanted"
            )
        return network

    def save_network(self, folder: Path, name: str, network: nn.Module) -> None:
        """See :meth:`Task.save_network`."""
        save_super_resolver(folder, network, Enlargement(name, self.sets.scale, 3))

    def batches(self, seed: int, rank: int = 0, world: int = 1) -> PatchBatches:
        """See :meth:`Task.batches`."""
        config = self.config
        return PatchBatches(
            self.sets.train,
            config["batch_size"],
            config["patch_size"],
            seed,
            self.accelerator.device,
            turn=config["augment"],
            epoch_steps=config["epoch_steps"],
            rank=rank,
            world=world,
        )

    def objective(self, distiller: Distiller) -> Objective:
        """See :meth:`Task.objective`; ``alpha`` counts where a loss compares with teachers."""
        alpha = self.config["alpha"]
        return PixelObjective(distiller, alpha) if alpha and distiller.weights else distiller

    def evaluate(self, distiller: Distiller) -> dict[str, float]:
        """Returns the student's PSNR (dB) and SSIM, the mean over each test set's pictures."""
        student = distiller.networks[0]
        figures: dict[str, float] = {}
        for name, pictures in self.sets.tests.items():
            psnr, ssim = self._quality(pictures, lambda low: upscale(student, low))
            figures |= {f"psnr/{name}": psnr, f"ssim/{name}": ssim}
        return figures

    def _quality(
        self, pictures: LargePictures, enlarged: Callable[[Any], Any]
    ) -> tuple[float, float]:
        scale = self.sets.scale
        seen: list[Quality] = [
            quality_on_y(_unit(enlarged(low)), _unit(high), scale)
            for _, low, high in pictures.pairs()
        ]
        psnr, ssim = np.mean(np.array(seen), axis=0)
        return float(psnr), float(ssim)

    def told(self, figures: Mapping[str, float]) -> str:
        """See :meth:`Task.told`."""
        return ", ".join(
            f"{name} {figures[f'psnr/{name}']:.2f} dB, SSIM {figures[f'ssim/{name}']:.4f}"
            for name in self.sets.tests
        )

    def measure(self, network: nn.Module) -> str:
        """See :meth:`Task.measure`."""
        return self._measure(lambda low: upscale(network, low))

    def _measure(self, enlarged: Callable[[Any], Any]) -> str:
        figures: dict[str, float] = {}
        for name, pictures in self.sets.tests.items():
            figures[f"psnr/{name}"], figures[f"ssim/{name}"] = self._quality(pictures, enlarged)
        return self.told(figures)

    def describe(self) -> list[str]:
        """See :meth:`Task.describe`."""
        tests = ", ".join(f"{name} ({len(part)})" for name, part in self.sets.tests.items())
        bicubic = self._measure(lambda low: enlarge(low, self.sets.scale))
        return [
            f"data: patches of {len(self.sets.train):,} pictures of {self.sets.train.source}; "
            f"tests: {tests}; scale {self.sets.scale}, PSNR and SSIM on Y without the border",
            f"bicubic enlargement: {bicubic}",
        ]

    def draw(self, folder: Path, distiller: Distiller) -> None:
        """Draws crops of the first test set's pictures as bicubic, the networks and the truth."""
        networks = {"student": distiller.networks[0]}
        networks |= {
            "teacher" if len(distiller.teachers) == 1 else f"teacher {k}": teacher
            for k, teacher in enumerate(distiller.teachers)
        }
        pictures = next(iter(self.sets.tests.values()))
        enlarged = {
            name: (lambda low, network=network: upscale(network, low))
            for name, network in networks.items()
        }
        draw_crops(folder / self.pictures[0], pictures, enlarged)


class PixelObjective:
    """The distiller's objective with FAKD's pixel part in place of L1 to the target.

    Args:
        distiller: With a loss that compares with teachers.
        alpha: Share of the teachers' pictures, 0 to 1.
    """

    def __init__(self, distiller: Distiller, alpha: float) -> None:
        self.distiller, self.alpha = distiller, alpha

    def __call__(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the objective and its unweighted terms, see :meth:`Distiller.forward`.

        The pixel part is the mean over teachers; its term is ``pixel``, beside ``task``.
        """
        seen = self.distiller.observe(batch)
        ours = _picture(seen.networks[0].logits)
        theirs = [_picture(t.logits) for part in seen.teachers.values() for t in part]
        pixel = LEVELS * torch.stack([pixel_loss(ours, t, batch[1], self.alpha) for t in theirs])
        task = grey_levels(ours, batch[1])
        loss, parts = self.distiller.compare(seen)
        # The distiller has added the task's loss already.
        weight = self.distiller.task_weight
        loss = loss + weight * (pixel.mean() - task)
        return loss, {**parts, "pixel": pixel.mean().detach()}


def _picture(output: Tensor | None) -> Tensor:
    if output is None:
        raise UserError("a network gave no picture")
    return output


def _unit(pixels: Any) -> Tensor:
    return pixels_to_unit(pixels[None])


def _sources(given: Any) -> list[str]:
    """Returns the sets that an option names: a name, or a list of them."""
    listed = given if isinstance(given, list) else [given]
    usable = all(isinstance(source, str) and source.strip() for source in listed)
    return listed if usable else []
