"""``SGNPipeline``: mixed-domain images in the manner of diffusers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput
from diffusers.utils import logging
from PIL import Image

from rlgen.core.errors import UserError
from rlgen.data import to_uint8
from rlgen.generative.loading import find_pipeline, load_network, read_index
from rlgen.generative.sgn.generator import SMALLEST, SGNGenerator
from rlgen.generative.sgn.mix import Mix, resolve_mix
from rlgen.generative.sgn.tiles import translate

logger = logging.get_logger(__name__)
OUTPUT_TYPES = ("pil", "np", "pt")


class SGNPipeline(DiffusionPipeline):
    """Translates images into mixes of domains.

    ``from_pretrained``, ``save_pretrained`` and ``push_to_hub`` are those of diffusers; a folder
    holds ``model_index.json`` and ``generator/`` (JSON and safetensors).

    Args:
        generator: The trained network.
    """

    def __init__(self, generator: SGNGenerator) -> None:
        super().__init__()
        self.register_modules(generator=generator)

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the domains that can be mixed."""
        return tuple(self.generator.domains)

    @torch.no_grad()
    def __call__(
        self,
        image: Image.Image | np.ndarray | torch.Tensor | Sequence[Any],
        mix: Mix | torch.Tensor | Sequence[Mapping[str, float]],
        generator: torch.Generator | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        extrapolate: bool = False,
        tile: int = 1024,
    ) -> ImagePipelineOutput | tuple[Any]:
        """Translates each image into each mix.

        Args:
            image: A PIL image, an array (H, W, 3) uint8, a tensor (3, H, W) or (batch, 3, H, W)
                in -1 to 1, or a list of these, of any sizes.
            mix: Weights by domain, ``{"vangogh": 0.5, "photo": 0.5}``, one weight per domain in
                order, or a list of weights by domain for several results per image. A tensor of
                sym-parameters, (d,) or (mixes, d), is taken as it is.
            generator: Taken for the convention; the translation draws nothing random.
            output_type: ``pil``; ``np``: arrays (H, W, 3), 0 to 1; ``pt``: tensors (3, H, W),
                0 to 1.
            return_dict: Return an object with ``images``, or a tuple.
            extrapolate: Allow weights that are negative or do not sum to 1; see
                :func:`rlgen.generative.sgn.mix.resolve_mix`.
            tile: Larger images are computed in tiles of this size.

        Returns:
            The images: all mixes of the first image, then of the second ...; stacked for ``np``
            and ``pt`` where they are of one size.

        Raises:
            UserError: If an argument is wrong.
        """
        if output_type not in OUTPUT_TYPES:
            raise UserError(
                f"output_type={output_type!r} is unknown; allowed: {', '.join(OUTPUT_TYPES)}"
            )
        images = [pixels for one in _as_list(image) for pixels in _as_pixels(one)]
        syms = self._syms(mix, extrapolate)
        results = [
            translate(self.generator, pixels, sym, tile) for pixels in images for sym in syms
        ]
        output = _convert(results, output_type)
        return ImagePipelineOutput(images=output) if return_dict else (output,)

    def _syms(self, mix: Any, extrapolate: bool) -> list[torch.Tensor]:
        if isinstance(mix, torch.Tensor):
            if mix.dim() not in (1, 2) or mix.shape[-1] != len(self.domains):
                raise UserError(
                    f"mix of shape {tuple(mix.shape)}; (mixes, {len(self.domains)}) is needed"
                )
            return list(mix.reshape(-1, len(self.domains)).float())
        several = isinstance(mix, Sequence) and bool(mix) and isinstance(mix[0], Mapping)
        syms = []
        for one in mix if several else [mix]:
            sym, note = resolve_mix(one, self.domains, extrapolate=extrapolate)
            if note:
                logger.warning(note)
            syms.append(sym)
        return syms


def _as_list(image: Any) -> list[Any]:
    if isinstance(image, torch.Tensor) and image.dim() == 4:
        return list(image)
    return list(image) if isinstance(image, (list, tuple)) else [image]


def _as_pixels(image: Any) -> list[np.ndarray]:
    """Returns one image as a list of arrays (H, W, 3) uint8; a batch as many."""
    if isinstance(image, torch.Tensor):
        batch = image if image.dim() == 4 else image[None]
        if batch.dim() != 4 or batch.shape[1] != 3:
            raise UserError(f"image of shape {tuple(image.shape)}; (3, H, W) is needed")
        arrays = list(to_uint8(batch))
    elif isinstance(image, Image.Image):
        arrays = [np.asarray(image.convert("RGB"))]
    elif isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.shape[2:] == (3,):
        arrays = [image]
    else:
        shape = f" of {image.dtype} {image.shape}" if isinstance(image, np.ndarray) else ""
        raise UserError(
            f"image is a {type(image).__name__}{shape}; allowed: PIL image, uint8 array "
            "(H, W, 3), tensor (3, H, W) in -1 to 1"
        )
    for array in arrays:
        if min(array.shape[:2]) < SMALLEST:
            raise UserError(
                f"an image of {array.shape[1]}x{array.shape[0]} pixels is too small; "
                f"{SMALLEST} or more each way are needed"
            )
    return arrays


def _convert(images: list[np.ndarray], output_type: str) -> Any:
    if output_type == "pil":
        return [Image.fromarray(pixels) for pixels in images]
    arrays = [pixels.astype(np.float32) / 255 for pixels in images]
    same = len({array.shape for array in arrays}) == 1
    if output_type == "np":
        return np.stack(arrays) if same else arrays
    tensors = [torch.from_numpy(array).permute(2, 0, 1).contiguous() for array in arrays]
    return torch.stack(tensors) if same else tensors


def load_pipeline(folder: str | Path) -> SGNPipeline:
    """Loads a pipeline from a local folder; nothing in it is executed and no network is used.

    Args:
        folder: What ``save_pretrained`` wrote, or a run folder of training.

    Raises:
        UserError: If it is not there, of another kind, or damaged.
    """
    index, path = read_index(folder, "model=sgn"), find_pipeline(folder)
    wanted = {"generator": [SGNGenerator.__module__, SGNGenerator.__name__]}
    found = {key: value for key, value in index.items() if not key.startswith("_")}
    if index["_class_name"] != SGNPipeline.__name__:
        raise UserError(f"{path} holds a {index['_class_name']}, not an SGNPipeline")
    if found != wanted:
        raise UserError(f"{path} names {found}, not the parts of one SGNPipeline")
    return SGNPipeline(load_network(SGNGenerator, path / "generator"))
