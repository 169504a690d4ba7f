"""``LatentDensityPipeline``: new images, reconstructions, completions and scores, as in diffusers.

Paper: arXiv 1902.04294 (see :mod:`rlgen.generative.latent_density.autoencoder`). An image's
``log_prob`` is the density of its latent vector, log p(E(x)) in nats, and no likelihood of its
pixels: the decoder has none, and scores of two autoencoders cannot be compared.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import diffusers
import numpy as np
import torch
from diffusers import DiffusionPipeline, ModelMixin  # noqa: F401  (see __getattr__)
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput
from PIL import Image

from rlgen.core.errors import UserError, closest
from rlgen.core.ranges import check_range
from rlgen.data.pixels import to_pixels
from rlgen.generative.latent_density.autoencoder import LatentAutoencoder
from rlgen.generative.latent_density.codec import LatentCodec
from rlgen.generative.latent_density.density import DENSITIES, LatentDensity, load_density
from rlgen.generative.latent_density.measures import to_signed
from rlgen.generative.loading import find_pipeline, load_network, read_index

OUTPUT_TYPES = ("pil", "np", "pt")
FOREIGN = ("AutoencoderKL", "AutoencoderTiny", "AutoencoderDC")  # of diffusers, to be loaded
GREY_TOLERANCE = 8  # of 255: how far colours of a grey JPEG may be apart

Generators = torch.Generator | Sequence[torch.Generator] | None


class Interpolation(NamedTuple):
    """A straight line in latent space.

    Attributes:
        images: One per point, the first image's reconstruction first.
        log_prob: (steps,), nats; NaN where the density has none.
    """

    images: Any
    log_prob: torch.Tensor


class LatentDensityPipeline(DiffusionPipeline):
    """An autoencoder and the density of its latents.

    ``from_pretrained``, ``save_pretrained`` and ``push_to_hub`` are those of diffusers; a folder
    holds ``model_index.json``, ``autoencoder/`` and ``density/`` (JSON and safetensors).

    Args:
        autoencoder: A :class:`LatentAutoencoder`, or an autoencoder of diffusers.
        density: Of its latents.
        image_size: Side of the images in pixels; None for a :class:`LatentAutoencoder`'s own.
        reference: Quantiles (0 %, 1 %, ... 100 %) of the log-density of held-out images, which
            scores are compared with; None: there are none.

    Raises:
        UserError: If the density's latents are of another size than the autoencoder's.
    """

    def __init__(
        self,
        autoencoder: Any,
        density: LatentDensity,
        image_size: int | None = None,
        reference: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(autoencoder=autoencoder, density=density)
        self.register_to_config(
            density=(__name__, type(density).__name__), image_size=image_size, reference=reference
        )
        self.codec = LatentCodec(autoencoder, image_size)
        if density.dim != self.codec.dim:
            raise UserError(
                f"the density has latents of {density.dim} coordinates, the autoencoder's have "
                f"{self.codec.dim}; fit a density with dim={self.codec.dim}"
            )
        self.set_progress_bar_config(disable=True)

    def __call__(
        self,
        batch_size: int = 1,
        generator: Generators = None,
        temperature: float = 1.0,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple[Any]:
        """Samples images; :meth:`sample` in the manner of diffusers.

        Args:
            batch_size: How many.
            generator: See :meth:`sample`.
            temperature: See :meth:`sample`.
            output_type: See :meth:`sample`.
            return_dict: Return an object with ``images``, or a tuple.
        """
        images = self.sample(batch_size, temperature, generator, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    @torch.no_grad()
    def sample(
        self,
        count: int,
        temperature: float = 1.0,
        generator: Generators = None,
        output_type: str = "pil",
    ) -> Any:
        """Draws latent vectors from the density and decodes them.

        Args:
            count: How many images.
            temperature: 1: the density as learned; lower is less varied (see the density).
            generator: One, or a list with one for each image; None: fresh numbers.
            output_type: ``pil``; ``np``: (count, H, W, channels), 0 to 1; ``pt``: (count,
                channels, H, W), 0 to 1.

        Raises:
            UserError: If an argument is wrong.
        """
        _check_type(output_type)
        z = self.density.sample(count, generator=_fresh(generator), temperature=temperature)
        return self._images(z, output_type)

    def encode(self, images: Any) -> torch.Tensor:
        """Returns the latent vectors of images, (B, D), float32.

        Args:
            images: A PIL image, a uint8 array (H, W), (H, W, 1) or (H, W, 3), a tensor (channels,
                n, n) or (B, channels, n, n), uint8 or floats in -1 to 1, or a list of these. PIL
                images and arrays are resized and their middle is cut out.

        Raises:
            UserError: If an image is of another kind, size or number of channels.
        """
        x = self.to_input(images)
        return torch.cat([self.codec.encode(part) for part in x.split(256)])

    def decode(self, z: torch.Tensor, output_type: str = "pil") -> Any:
        """Returns the images of latent vectors.

        Args:
            z: (B, D).
            output_type: See :meth:`sample`.

        Raises:
            UserError: If the latents are of another size.
        """
        _check_type(output_type)
        return self._images(z, output_type)

    def reconstruct(self, images: Any, keep: int | None = None, output_type: str = "pil") -> Any:
        """Returns Dec(E(x)), or what the first coordinates tell, Dec(E(x) * m_k).

        Args:
            images: See :meth:`encode`.
            keep: k; None: all coordinates.
            output_type: See :meth:`sample`.

        Raises:
            UserError: If an argument is wrong.
        """
        _check_type(output_type)
        z = self.encode(images)
        if keep is not None:
            check_range("keep", keep, 0, self.codec.dim)
            z = z * (torch.arange(z.shape[1], device=z.device) < keep)
        return self._images(z, output_type)

    def interpolate(
        self, a: Any, b: Any, steps: int = 8, output_type: str = "pil"
    ) -> Interpolation:
        """Decodes points of the straight line from E(a) to E(b), both ends among them.

        Args:
            a: One image; see :meth:`encode`.
            b: Another.
            steps: How many points, 2 or more.
            output_type: See :meth:`sample`.

        Raises:
            UserError: If an argument is wrong.
        """
        _check_type(output_type)
        check_range("steps", steps, 2, 100_000)
        ends = [self.encode(image) for image in (a, b)]
        if any(len(end) != 1 for end in ends):
            raise UserError("interpolate goes from one image to one other; give one each")
        weights = torch.linspace(0, 1, steps, device=ends[0].device)[:, None]
        z = torch.lerp(ends[0].expand(steps, -1), ends[1].expand(steps, -1), weights)
        scores = torch.full((steps,), torch.nan)
        if self.density.has_log_prob:
            with torch.no_grad():
                scores = self.density.log_prob(z).cpu()
        return Interpolation(self._images(z, output_type), scores)

    @torch.no_grad()
    def log_prob(self, images: Any) -> torch.Tensor:
        """Returns log p(E(x)), the density of images' latents, (B,) nats.

        Args:
            images: See :meth:`encode`.

        Raises:
            UserError: If an image is wrong, or the density has no log-density.
        """
        return self.density.log_prob(self.encode(images))

    def rank(self, log_prob: torch.Tensor) -> torch.Tensor:
        """Returns which share of held-out images has a lower log-density, (B,), 0 to 1.

        Args:
            log_prob: (B,), as :meth:`log_prob` returns it.

        Raises:
            UserError: If the pipeline has no reference.
        """
        if self.config.reference is None:
            raise UserError("this pipeline has no scores of held-out images to compare with")
        reference = np.asarray(self.config.reference)
        shares = np.linspace(0, 1, len(reference))
        return torch.from_numpy(np.interp(log_prob.cpu().double().numpy(), reference, shares))

    @torch.no_grad()
    def complete(
        self,
        images: Any,
        keep: int,
        temperature: float = 1.0,
        generator: Generators = None,
        output_type: str = "pil",
    ) -> Any:
        """Keeps the first coordinates of images' latents, draws the others, and decodes.

        Args:
            images: See :meth:`encode`.
            keep: k, from 0 (new images) to D (reconstructions).
            temperature: See :meth:`sample`.
            generator: See :meth:`sample`.
            output_type: See :meth:`sample`.

        Raises:
            UserError: If an argument is wrong, or the density cannot complete.
        """
        _check_type(output_type)
        check_range("keep", keep, 0, self.codec.dim)
        prefix = self.encode(images)[:, :keep]
        drawn = self.density.complete(prefix, generator=_fresh(generator), temperature=temperature)
        return self._images(drawn, output_type)

    def to_input(self, images: Any) -> torch.Tensor:
        """Returns images as one tensor (B, channels, n, n), -1 to 1; see :meth:`encode`."""
        if isinstance(images, torch.Tensor) and images.dim() == 4:
            return self._checked(images)
        several = images if isinstance(images, (list, tuple)) else [images]
        if not several:
            raise UserError("no image is given; give one or more")
        return torch.cat([self._one(image) for image in several])

    def _one(self, image: Any) -> torch.Tensor:
        channels = self.codec.channels
        if isinstance(image, torch.Tensor):
            return self._checked(image[None] if image.dim() == 3 else image)
        if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim in (2, 3):
            flat = image[..., 0] if image.shape[2:] == (1,) else image
            if flat.ndim == 3 and flat.shape[2] != 3:
                raise UserError(f"an image has {flat.shape[2]} channels; {channels} are needed")
            image = Image.fromarray(flat)
        if not isinstance(image, Image.Image):
            raise UserError(
                f"an image is a {type(image).__name__}; allowed: PIL image, uint8 array "
                "(H, W) or (H, W, 3), tensor (channels, n, n) in -1 to 1"
            )
        if channels == 1 and _coloured(image):
            raise UserError(
                "an image is in colour (3 channels), and the model knows grey ones (1 channel); "
                "convert it first, such as image.convert('L')"
            )
        return to_signed(to_pixels(image, self.codec.size, channels))[None]

    def _checked(self, x: torch.Tensor) -> torch.Tensor:
        wanted = (self.codec.channels, self.codec.size, self.codec.size)
        if x.dim() != 4 or tuple(x.shape[1:]) != wanted:
            raise UserError(
                f"images of shape {tuple(x.shape)}; (count, {str(wanted)[1:]} is needed"
            )
        if x.dtype != torch.uint8 and not x.is_floating_point():
            raise UserError(f"images of {x.dtype}; allowed: uint8, and floats in -1 to 1")
        return to_signed(x) if x.dtype == torch.uint8 else x.float()

    def _images(self, z: torch.Tensor, output_type: str) -> Any:
        x = torch.cat([self.codec.decode(part) for part in z.split(256)])
        return convert(x, output_type)


def convert(x: torch.Tensor, output_type: str = "pil") -> Any:
    """Returns images (B, channels, n, n) in -1 to 1 as PIL images, arrays or tensors.

    Args:
        x: The images.
        output_type: See :meth:`LatentDensityPipeline.sample`.
    """
    images = ((x + 1) / 2).cpu()
    if output_type == "pt":
        return images
    arrays = images.permute(0, 2, 3, 1).contiguous().numpy()
    if output_type == "np":
        return arrays
    pixels = np.round(arrays * 255).astype(np.uint8)
    return [Image.fromarray(one[..., 0] if one.shape[2] == 1 else one) for one in pixels]


def __getattr__(name: str) -> Any:
    """Finds the densities' classes for ``from_pretrained`` of diffusers.

    It looks for a part's class and for its base, ``ModelMixin``, in one module, which the index
    names; densities, those of other packages too, are in modules of their own.
    """
    kinds = {} if name.startswith("_") else {DENSITIES[k].__name__: DENSITIES[k] for k in DENSITIES}
    if name not in kinds:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return kinds[name]


def _fresh(generator: Generators) -> torch.Generator | Sequence[torch.Generator]:
    if generator is not None:
        return generator
    fresh = torch.Generator()
    fresh.seed()
    return fresh


def _check_type(output_type: str) -> None:
    if output_type not in OUTPUT_TYPES:
        raise UserError(
            f"output_type={output_type!r} is unknown; allowed: {', '.join(OUTPUT_TYPES)}"
        )


def _coloured(image: Image.Image) -> bool:
    if image.mode in ("L", "1", "I", "I;16", "F", "LA"):
        return False
    pixels = np.asarray(image.convert("RGB")).astype(np.int16)
    return int(np.ptp(pixels, axis=2).max()) > GREY_TOLERANCE


def load_latent_pipeline(folder: str | Path) -> LatentDensityPipeline:
    """Loads a pipeline from a local folder; nothing in it is executed and no network is used.

    Args:
        folder: What ``save_pretrained`` wrote, or a run folder of training.

    Raises:
        UserError: If it is not there, of another kind, or damaged.
    """
    index, path = read_index(folder, "model=latent_density"), find_pipeline(folder)
    if index["_class_name"] != LatentDensityPipeline.__name__:
        raise UserError(f"{path} holds a {index['_class_name']}, not a LatentDensityPipeline")
    part = index.get("autoencoder")
    name = str(part[1] if isinstance(part, list) and len(part) == 2 else part)
    if name == LatentAutoencoder.__name__:
        kind: Any = LatentAutoencoder
    elif name in FOREIGN:
        kind = getattr(diffusers, name)
    else:
        known = [LatentAutoencoder.__name__, *FOREIGN]
        raise UserError(f"{path} has an autoencoder of kind {name!r}; {closest(name, known)}")
    autoencoder = load_network(kind, path / "autoencoder")
    size, reference = index.get("image_size"), index.get("reference")
    check_range("image_size", size, 1, 65_536, optional=True)
    if reference is not None and not (
        isinstance(reference, list)
        and reference
        and all(isinstance(value, (int, float)) for value in reference)
    ):
        raise UserError(f"{path}: reference is no list of numbers")
    return LatentDensityPipeline(autoencoder, load_density(path / "density"), size, reference)
