"""What a mixture is, in numbers: style, content and diversity along the edges of the simplex.

    RLGEN_DATA=FOLDER python benchmarks/sgn_quality.py                     # the shipped model
    RLGEN_DATA=FOLDER python benchmarks/sgn_quality.py model=runs/sgn/... photos=64

For each domain the weight moves from 0 (the photo alone) to 1 in steps of 0.1, on photos that were
not trained on. Measured at each point, as means over photos:

* style: probability that a classifier gives to the domain. The classifier is a logistic regression
  on means and standard deviations of VGG-16's relu4_3, fitted on paintings and photos; its accuracy
  on images it was not fitted on is printed.
* feature distance: Euclidean distance of those statistics to the domain's mean, standardised.
* content: perceptual distance to the photo (the LPIPS heads, on layers up to relu4_3).
* diversity: mean perceptual distance between all pairs of six images along an edge, and the largest
  single step's share of the way from end to end.

The peer at equal content: pixels of the photo and of the corner's image blended. Corners are the
model's own, so that only the way of mixing differs. ``singles=FOLDER`` adds networks of one domain,
a run for each domain under its name, blended in pixels with the photo, and, from the ``photo`` run
to the domain's, in weights. They start from the same weights, as runs of one seed do::

    python -m rlgen.train model=sgn domains="{photo: reconstruction}" run_dir=FOLDER/photo ...
    python -m rlgen.train model=sgn domains="{monet: {style: FILE}}" run_dir=FOLDER/monet ...
"""

import itertools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional as F

from rlgen.core.cli import run_command
from rlgen.core.compose import check_options
from rlgen.core.errors import UserError
from rlgen.core.stats import bootstrap_interval
from rlgen.data import ImageSet, to_tensor
from rlgen.generate import SHIPPED
from rlgen.generative.sgn import SGNGenerator, load_pipeline
from rlgen.generative.sgn.tiles import MARGIN
from rlgen.nets.perceptual import PerceptualDistance, load_perceptual_distance

CONSOLE = Console(width=130)
Array = npt.NDArray[np.float64]
WEIGHTS = [k / 10 for k in range(11)]
PAIRS = list(itertools.combinations(range(0, len(WEIGHTS), 2), 2))
# Pictures of each look; for the photos, others than those that are translated.
LOOKS = {
    "photo": "landscape_photos_flickr.tar/photo",
    "vangogh": "paintings.tar/vangogh",
    "monet": "paintings.tar/monet",
    "ukiyoe": "paintings.tar/ukiyoe",
}


@dataclass
class QualityOptions:
    """Options of the benchmark."""

    model: str | None = None
    singles: str | None = None
    photos: int = 24
    size: int = 192
    per_look: int = 120
    seed: int = 0


Seen = list[dict[str, torch.Tensor]]  # features of images, in parts of a few


def look(distance: PerceptualDistance, images: torch.Tensor) -> Seen:
    """Returns the perceptual features of images."""
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        return [distance.features(part) for part in images.split(8)]


def statistics(seen: Seen) -> torch.Tensor:
    """Returns mean and standard deviation of relu4_3 over space, (batch, 1024)."""
    deep = [part["relu4_3"].flatten(2) for part in seen]
    return torch.cat([torch.cat([x.mean(2), x.std(2)], dim=1) for x in deep])


class StyleClassifier:
    """Logistic regression on standardised statistics."""

    def __init__(self, looks: dict[str, torch.Tensor], decay: float = 0.01) -> None:
        self.names = list(looks)
        x = torch.cat(list(looks.values()))
        y = torch.cat([torch.full((len(v),), k) for k, v in enumerate(looks.values())])
        self.mean, self.scale = x.mean(0), x.std(0) + 1e-6
        x = (x - self.mean) / self.scale
        self.weight = torch.zeros(x.shape[1], len(looks), requires_grad=True)
        self.bias = torch.zeros(len(looks), requires_grad=True)
        optimizer = torch.optim.LBFGS([self.weight, self.bias], max_iter=200)

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(x @ self.weight + self.bias, y)
            loss = loss + decay * self.weight.square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Returns probabilities (batch, looks)."""
        with torch.no_grad():
            logits = (x - self.mean) / self.scale @ self.weight + self.bias
        return logits.softmax(1)


def spearman(values: Array) -> float:
    """Returns the rank correlation of a sequence with its index."""
    below, equal = values[:, None] > values, values[:, None] == values
    ranks = below.sum(1) + 0.5 * (equal.sum(1) - 1)  # equal values share their mean rank
    return float(np.corrcoef(ranks, np.arange(len(values)))[0, 1])


def crops(images: ImageSet, count: int, size: int) -> torch.Tensor:
    """Returns the middle squares of evenly chosen images."""
    picked = np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int)
    squares = []
    for k in picked:
        image = images[int(k)]
        top, left = ((side - size) // 2 for side in image.shape[:2])
        squares.append(image[top : top + size, left : left + size])
    return to_tensor(squares)


class Judge:
    """Measures images against photos and looks."""

    def __init__(self, data: Path, options: QualityOptions) -> None:
        self.distance = load_perceptual_distance(data / "vgg16_relu4_3_fp16.npz")
        looks = {}
        for name, source in LOOKS.items():
            images = crops(ImageSet(data / source, options.size), options.per_look, options.size)
            parts = [statistics(look(self.distance, x)) for x in images.split(8)]
            looks[name] = torch.cat(parts)
        held = {name: x[::4] for name, x in looks.items()}
        fitted = {name: x[[k for k in range(len(x)) if k % 4]] for name, x in looks.items()}
        probe = StyleClassifier(fitted)
        hits = [(probe(x).argmax(1) == k).float() for k, x in enumerate(held.values())]
        self.accuracy = float(torch.cat(hits).mean())
        self.classifier = StyleClassifier(looks)
        self.centres = {name: x.mean(0) for name, x in looks.items()}

    def style(self, seen: Seen, domain: str) -> tuple[Array, Array]:
        """Returns probability of a domain and feature distance to it, (batch,) each."""
        x = statistics(seen)
        probability = self.classifier(x)[:, self.classifier.names.index(domain)]
        away = ((x - self.centres[domain]) / self.classifier.scale).square().mean(1).sqrt()
        return probability.double().numpy(), away.double().numpy()

    def content(self, seen: Seen, others: Seen) -> Array:
        """Returns perceptual distances, (batch,)."""
        with torch.no_grad():
            parts = [self.distance.between(a, b) for a, b in zip(seen, others, strict=True)]
        return torch.cat(parts).double().numpy()


@dataclass
class Curve:
    """Measures along one edge, (weights, photos) each."""

    style: Array
    away: Array
    content: Array
    diversity: float
    largest_step: float


def measure(
    judge: Judge, photos: torch.Tensor, domain: str, mix: Callable[[float], torch.Tensor]
) -> Curve:
    """Measures a way of mixing photo and domain at each weight."""
    original = look(judge.distance, photos)
    style, away, content = [], [], []
    along = [look(judge.distance, mix(weight)) for weight in WEIGHTS]
    for seen in along:
        probability, distance = judge.style(seen, domain)
        style.append(probability)
        away.append(distance)
        content.append(judge.content(seen, original))
    steps = [judge.content(*pair).mean() for pair in itertools.pairwise(along)]
    apart = [judge.content(along[i], along[j]).mean() for i, j in PAIRS]
    diversity, largest = np.mean(apart), max(steps) / sum(steps)
    return Curve(
        np.stack(style), np.stack(away), np.stack(content), float(diversity), float(largest)
    )


def lead(ours: Curve, peer: Curve) -> tuple[float, float, float]:
    """Returns how much more style we have at equal content distance: mean, 95 % interval."""
    leads = []
    for k in range(ours.style.shape[1]):
        curves = []
        for curve in (ours, peer):
            order = np.argsort(curve.content[:, k])
            curves.append((curve.content[order, k], curve.style[order, k]))
        low = max(c[0] for c, _ in curves)
        high = min(c[-1] for c, _ in curves)
        if high > low:
            grid = np.linspace(low, high, 20)
            a, b = (np.interp(grid, content, style) for content, style in curves)
            leads.append(float((a - b).mean()))
    values = np.array(leads)[:, None]
    low, high = bootstrap_interval(values)
    return float(values.mean()), float(low[0]), float(high[0])


def translate(generator: SGNGenerator, photos: torch.Tensor, sym: torch.Tensor) -> torch.Tensor:
    """Returns G(x, s) for a batch of photos, mirrored beyond their borders as users' photos are."""
    mirrored = F.pad(photos, (MARGIN, MARGIN, MARGIN, MARGIN), mode="reflect")
    mirrored = mirrored.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        made = torch.cat([generator(part, sym) for part in mirrored.split(8)])
    return made[:, :, MARGIN:-MARGIN, MARGIN:-MARGIN]


def blend_of(photos: torch.Tensor, corner: torch.Tensor) -> Callable[[float], torch.Tensor]:
    """Returns the mixing of pixels."""
    return lambda weight: torch.lerp(photos, corner, weight)


def interpolation_of(
    a: SGNGenerator, b: SGNGenerator, photos: torch.Tensor
) -> Callable[[float], torch.Tensor]:
    """Returns the mixing of two networks' weights."""
    middle = SGNGenerator.from_config(a.config).eval()

    def mix(weight: float) -> torch.Tensor:
        pairs = zip(a.parameters(), b.parameters(), middle.parameters(), strict=True)
        with torch.no_grad():
            for one, other, target in pairs:
                target.copy_(torch.lerp(one, other, weight))
        return translate(middle, photos, single_sym(middle))

    return mix


def single_sym(generator: SGNGenerator) -> torch.Tensor:
    """Returns the corner that a single-domain network was trained at: its last domain."""
    return torch.eye(len(generator.domains))[-1]


def report(rows: list[tuple[str, str, Curve, tuple[float, float, float] | None]]) -> None:
    """Prints the table."""
    table = Table(title="from the photo (weight 0) to each domain (weight 1)")
    columns = ["domain", "mixing", "style 0 / 0.5 / 1", "Spearman", "feature distance 0 / 1"]
    columns += ["its Spearman", "content 0 / 0.5 / 1", "diversity", "largest step"]
    columns += ["SGN's lead in style"]
    for name in columns:
        table.add_column(name)
    for domain, mixing, curve, ahead in rows:
        style, content = curve.style.mean(1), curve.content.mean(1)
        table.add_row(
            domain,
            mixing,
            " / ".join(f"{style[k]:.2f}" for k in (0, 5, 10)),
            f"{spearman(style):.2f}",
            f"{curve.away.mean(1)[0]:.2f} / {curve.away.mean(1)[10]:.2f}",
            f"{spearman(curve.away.mean(1)):.2f}",
            " / ".join(f"{content[k]:.2f}" for k in (0, 5, 10)),
            f"{curve.diversity:.2f}",
            f"{100 * curve.largest_step:.0f} %",
            "" if ahead is None else f"{ahead[0]:+.3f} [{ahead[1]:+.3f}, {ahead[2]:+.3f}]",
        )
    CONSOLE.print(table)


def main(arguments: list[str]) -> int:
    """Runs the benchmark."""
    options = check_options(QualityOptions, arguments)
    if "RLGEN_DATA" not in os.environ:
        raise UserError("the benchmark needs images: set RLGEN_DATA to the folder that holds them")
    data = Path(os.environ["RLGEN_DATA"])
    generator: SGNGenerator = load_pipeline(options.model or SHIPPED).generator
    names = generator.domains
    judge = Judge(data, options)
    held_out = ImageSet(data / "weather.tar/val", options.size)
    photos = crops(held_out, options.photos, options.size)
    CONSOLE.print(
        f"{len(photos)} held-out photos at {options.size} px; the classifier tells "
        f"{', '.join(LOOKS)} apart in {100 * judge.accuracy:.0f} % of unseen images"
    )
    corners = torch.eye(len(names))
    rows: list[tuple[str, str, Curve, tuple[float, float, float] | None]] = []
    for domain in [name for name in names if name in LOOKS and name != "photo"]:
        start, end = corners[names.index("photo")], corners[names.index(domain)]

        def ours(weight: float, a: torch.Tensor = start, b: torch.Tensor = end) -> torch.Tensor:
            return translate(generator, photos, torch.lerp(a, b, weight))

        curve = measure(judge, photos, domain, ours)
        rows.append((domain, "SGN", curve, None))
        pixels = blend_of(photos, translate(generator, photos, end))
        peer = measure(judge, photos, domain, pixels)
        rows.append((domain, "pixels, SGN's corner", peer, lead(curve, peer)))
        if options.singles is not None:
            alone = load_pipeline(Path(options.singles) / domain).generator
            corner = translate(alone, photos, single_sym(alone))
            peer = measure(judge, photos, domain, blend_of(photos, corner))
            rows.append((domain, "pixels, own network", peer, lead(curve, peer)))
            photo = load_pipeline(Path(options.singles) / "photo").generator
            peer = measure(judge, photos, domain, interpolation_of(photo, alone, photos))
            rows.append((domain, "weights of networks", peer, lead(curve, peer)))
    report(rows)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, lambda: __doc__, None))
