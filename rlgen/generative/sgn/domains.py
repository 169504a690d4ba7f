"""Domains are losses: what each coordinate of the sym-parameter stands for.

A domain has a name and one loss or several, whose sum it is. The generator minimises, for each
image b with its sym-parameter s_b,

    L_G = (1/B) sum_b sum_k s_bk L_k,b

and a network that belongs to domain k alone (a discriminator) is trained on its own loss weighted
by s_k (spec section b; seen in official code).

A loss of one's own is a subclass of :class:`DomainLoss` under ``@LOSSES.register("name")``; other
packages add theirs by an entry point in the group ``rlgen.domain_losses``.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from rlgen.core.errors import UserError, closest
from rlgen.core.registry import Registry
from rlgen.data import Images, open_images, to_tensor
from rlgen.generative.sgn.sampling import History
from rlgen.nets.patch_discriminator import SMALLEST, PatchDiscriminator
from rlgen.nets.perceptual import VGG16Features, gram, load_vgg16

STYLE_WEIGHTS = {"relu1_2": 10.0, "relu2_2": 100.0, "relu3_3": 1000.0, "relu4_3": 500.0}
CONTENT_LAYER = "relu2_2"


class Perception:
    """Perceptual features of a batch by layer, and their Gram matrices, each computed once.

    Args:
        features: Activations by layer, (B, C, H, W).
    """

    def __init__(self, features: Mapping[str, torch.Tensor]) -> None:
        self.features = features
        self._grams: dict[str, torch.Tensor] = {}

    def gram(self, layer: str) -> torch.Tensor:
        """Returns the Gram matrices of a layer, (B, C, C)."""
        if layer not in self._grams:
            self._grams[layer] = gram(self.features[layer])
        return self._grams[layer]


@dataclass(frozen=True)
class View:
    """One batch as a domain's loss sees it; the batch is axis 0 everywhere.

    Attributes:
        source: x, the photos, (B, 3, H, W), -1 to 1.
        output: o = G(x, s).
        real: y, real images of this domain, where it has a set of images.
        identity: G(y, s), likewise.
        source_seen: Perceptual features of x, where any loss wants them.
        output_seen: Those of o.
    """

    source: torch.Tensor
    output: torch.Tensor
    real: torch.Tensor | None = None
    identity: torch.Tensor | None = None
    source_seen: Perception | None = None
    output_seen: Perception | None = None


class Context:
    """What losses share while they are built.

    Args:
        size: Side of the training images, in pixels.
        perceptual: File of VGG-16's weights, or None to look in the usual places.
    """

    def __init__(self, size: int, perceptual: str | None = None) -> None:
        self.size = size
        self.perceptual = perceptual

    @cached_property
    def features(self) -> VGG16Features:
        """The frozen perceptual network, loaded when a loss first asks for it."""
        return load_vgg16(self.perceptual)


class DomainLoss(nn.Module):
    """Interface of a loss; parameters of ``__init__`` after ``context`` are its options.

    Attributes:
        images: Set of real images that training has to draw from, or None.
        wants_features: Whether the perceptual features of a :class:`View` are needed.
        discriminator: A network trained against the generator, or None.
    """

    images: Images | None = None
    wants_features: bool = False
    discriminator: nn.Module | None

    def __init__(self) -> None:
        super().__init__()
        self.discriminator = None

    def forward(self, view: View) -> dict[str, torch.Tensor]:
        """Returns named terms per image, (B,) each; their sum is L_k."""
        raise NotImplementedError

    def discriminator_loss(
        self,
        discriminator: nn.Module,
        view: View,
        sym: torch.Tensor,
        coordinate: int,
        generator: np.random.Generator,
    ) -> torch.Tensor:
        """Returns the scalar that the discriminator minimises; see :class:`Adversarial`.

        Args:
            discriminator: This loss's own, maybe wrapped for several processes.
            view: The batch; the output carries no gradient.
            sym: Sym-parameters of the batch, (B, d).
            coordinate: k.
            generator: Source of randomness.
        """
        raise NotImplementedError


LOSSES: Registry[type[DomainLoss]] = Registry("domain loss", "domain_losses")


@LOSSES.register("reconstruction")
class Reconstruction(DomainLoss):
    """L = weight * mean |o - x|.

    Args:
        context: Shared while building.
        weight: lambda_rc.
    """

    def __init__(self, context: Context, weight: float = 2.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, view: View) -> dict[str, torch.Tensor]:
        """See the base class."""
        return {"reconstruction": self.weight * per_image(view.output - view.source, 1)}


@LOSSES.register("adversarial")
class Adversarial(DomainLoss):
    """L = weight * mean (D(o) - 1)^2 + identity * mean |G(y, s) - y|, least squares.

    D minimises 1/2 mean_b s_bk [mean (D(y_b) - 1)^2 + mean D(o_b)^2] over images out of the
    history, each with the coordinate s_bk it was made with.

    Args:
        context: Shared while building.
        images: Folder or archive of the domain's images, y.
        weight: Of the adversarial term.
        identity: lambda_id.
        width: Of the discriminator.
        history: Images that the discriminator's buffer holds.
    """

    def __init__(
        self,
        context: Context,
        images: str,
        weight: float = 1.0,
        identity: float = 5.0,
        width: int = 64,
        history: int = 50,
    ) -> None:
        super().__init__()
        if width < 1:
            raise UserError(f"adversarial: width={width} is too small; type 1 or more")
        if context.size < SMALLEST:
            raise UserError(f"size={context.size} is too small for a discriminator; type size=64")
        self.images = open_images(images, load_size(context.size))
        self.weight = weight
        self.identity = identity
        self.discriminator = PatchDiscriminator(width)
        self.history = History(history)

    def forward(self, view: View) -> dict[str, torch.Tensor]:
        """See the base class."""
        assert self.discriminator is not None
        scores = self.discriminator(view.output)
        terms = {"adversarial": self.weight * per_image(scores - 1, 2)}
        if view.identity is not None and view.real is not None:
            terms["identity"] = self.identity * per_image(view.identity - view.real, 1)
        return terms

    def discriminator_loss(
        self,
        discriminator: nn.Module,
        view: View,
        sym: torch.Tensor,
        coordinate: int,
        generator: np.random.Generator,
    ) -> torch.Tensor:
        """See the base class."""
        assert view.real is not None
        fake, fake_sym = self.history.exchange(view.output, sym, generator)
        of_real, of_fake = discriminator(torch.cat([view.real, fake])).chunk(2)
        losses = per_image(of_real - 1, 2) + per_image(of_fake, 2)
        return 0.5 * (fake_sym[:, coordinate] * losses).mean()


@LOSSES.register("style")
class Style(DomainLoss):
    """Perceptual style of one image or of several (their mean Gram matrices).

    L = weight * [content * mean (phi(o) - phi(x))^2 + sum_l w_l mean (Gram_l(o) - Gram_l(t))^2],
    with phi = relu2_2 of VGG-16 and the layers' w of the official code.

    Args:
        context: Shared while building.
        images: Style image, or several: a list of files, or a folder.
        weight: Of the whole loss.
        content: lambda_c.
        size: Side to which style images are resized, aspect ignored; None: as training images.
    """

    wants_features = True

    def __init__(
        self,
        context: Context,
        images: str | Sequence[str],
        weight: float = 1.0,
        content: float = 1e-3,
        size: int | None = None,
    ) -> None:
        super().__init__()
        self.weight = weight
        self.content = content
        paths = [images] if isinstance(images, str) else list(images)
        side = context.size if size is None else size
        if not 16 <= side <= 4096:
            raise UserError(f"style: size={side}; 16 to 4096 pixels are needed")
        sums: dict[str, torch.Tensor] = {}
        count = 0
        for path in paths:
            pictures = open_images(path)
            for k in range(len(pictures)):
                square = Image.fromarray(pictures[k]).resize((side, side), Image.Resampling.BICUBIC)
                with torch.no_grad():
                    for layer, x in context.features(to_tensor([np.asarray(square)])).items():
                        sums[layer] = sums.get(layer, torch.zeros(())) + gram(x)
            count += len(pictures)
        for layer, total in sums.items():
            self.register_buffer(f"gram_{layer}", total / count, persistent=False)

    def forward(self, view: View) -> dict[str, torch.Tensor]:
        """See the base class."""
        ours, theirs = view.output_seen, view.source_seen
        assert ours is not None
        assert theirs is not None
        change = ours.features[CONTENT_LAYER].float() - theirs.features[CONTENT_LAYER].float()
        content = per_image(change, 2)
        style = torch.zeros_like(content)
        for layer, weight in STYLE_WEIGHTS.items():
            difference = ours.gram(layer) - self.get_buffer(f"gram_{layer}")
            style = style + weight * per_image(difference, 2)
        return {"content": self.weight * self.content * content, "style": self.weight * style}


def per_image(difference: torch.Tensor, power: int) -> torch.Tensor:
    """Returns mean |difference|^power over all axes but the batch, (B,)."""
    flat = difference.flatten(1)
    return flat.abs().mean(1) if power == 1 else flat.square().mean(1)


def mixed_loss(losses: Sequence[torch.Tensor], sym: torch.Tensor) -> torch.Tensor:
    """Returns L_G = (1/B) sum_b sum_k s_bk L_k,b.

    Args:
        losses: L_k per image, (B,) for each domain in order.
        sym: (B, d).
    """
    return (torch.stack(list(losses), dim=1) * sym).sum(dim=1).mean()


def load_size(crop: int) -> int:
    """Returns the shorter side to which images are resized before a crop: 286 for 256."""
    return round(crop * 286 / 256)


def build_domains(domains: Mapping[str, Any], context: Context) -> dict[str, list[DomainLoss]]:
    """Builds the losses of a configuration.

    Args:
        domains: By name, in the order of coordinates: the name of a loss (``reconstruction``), or
            losses with their images (``{adversarial: FOLDER}``, ``{style: FILE}``) or with their
            options (``{adversarial: {images: FOLDER, identity: 2.0}}``).
        context: Shared by the losses.

    Raises:
        UserError: If a name, an option or a file is wrong, or there is no domain.
    """
    if not domains:
        raise UserError(
            "domains is empty; name two or more to mix (or one), such as "
            "domains='{photo: reconstruction, monet: {adversarial: FOLDER}}'"
        )
    return {name: _build_losses(name, entry, context) for name, entry in domains.items()}


def _build_losses(name: str, entry: Any, context: Context) -> list[DomainLoss]:
    if isinstance(entry, str):
        entry = {entry: None}
    if not isinstance(entry, Mapping) or not entry:
        raise UserError(
            f"domain {name}={entry!r}: name a loss ({', '.join(LOSSES)}), such as "
            f"{name}: {{adversarial: FOLDER}}"
        )
    return [_build_loss(name, loss, given, context) for loss, given in entry.items()]


def _build_loss(name: str, loss: str, given: Any, context: Context) -> DomainLoss:
    cls = LOSSES[str(loss)]
    if given is None:
        options: dict[str, Any] = {}
    elif isinstance(given, Mapping):
        options = dict(given)
    else:
        options = {"images": given}
    parameters = list(inspect.signature(cls.__init__).parameters.values())[2:]
    known = [p.name for p in parameters]
    for key in options:
        if key not in known:
            hint = closest(str(key), known)
            raise UserError(f"domain {name}: {loss} has no option {key!r}; {hint}")
    missing = [p.name for p in parameters if p.default is p.empty and p.name not in options]
    if missing:
        raise UserError(f"domain {name}: {loss} needs {missing[0]}; type {name}: {{{loss}: PATH}}")
    for p in parameters:
        problem = _problem(str(p.annotation), options[p.name]) if p.name in options else None
        if problem is not None:
            given = options[p.name]
            raise UserError(f"domain {name}: {loss}: {p.name}={given!r}; {problem}")
    make: Callable[..., DomainLoss] = cls
    return make(context, **options)


def _problem(annotation: str, value: Any) -> str | None:
    """Tells what an option of this type needs, where the value is not that."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if "float" in annotation:
        fits = is_number and 0 <= value < float("inf")
        return None if fits else "a number of 0 or more is needed"
    if "int" in annotation:
        fits = is_number and isinstance(value, int) and 0 <= value <= 10**6
        return None if fits else "a whole number of 0 or more is needed"
    if "str" in annotation:
        several = isinstance(value, Sequence) and not isinstance(value, str) and "Seq" in annotation
        paths = list(value) if several else [value]
        fits = bool(paths) and all(isinstance(path, str) and path for path in paths)
        return None if fits else "one path is needed" + ", or a list" * ("Seq" in annotation)
    return None
