"""Which density of an autoencoder's latents makes the best images? All of them, paired over seeds.

    RLGEN_DATA=FOLDER python benchmarks/latent_density.py perceptual=FOLDER/vgg16_relu4_3_fp16.npz
    python benchmarks/latent_density.py report=true

For each set and seed one autoencoder is trained by ``python -m rlgen.train model=latent_density``,
with coordinates opened one by one (``incremental``) and, with the same seed, all from the start
(``plain``, W=0). Every density is fitted to the latents of its training images and draws as many
images as its setting says (see :mod:`latent_density_plan`), which are compared with all held-out
images. Beside them: a VAE trained as a whole with the same network, steps and batches, sampled
from its prior; pythae's samplers on the same latents where pythae is installed (see
:mod:`latent_density_rivals`); ``real``, other real images, and ``reconstruction``, held-out images
through the autoencoder, which bound what a density can reach. ``lde-shared`` is the estimator with
the paper's one head for all coordinates; of ``lde-held-out`` and ``flow-held-out`` 5 % of the
latents choose the best weights. On MNIST the paper's Parzen log-likelihood is told as well; its
sigma is chosen by 5,000 training images, which only the row of real images goes without.

Every distance has its feature net: a small classifier of the set where it has labels, else VGG-16
by the weights given as ``perceptual=``, else pixels. None may be compared with a published FID.
Seeds are the outer loop, so a study that was cut is balanced. Each run leaves ``result.json`` and
``samples.png``; what is there already is not repeated. Sampling speed:
``benchmarks/latent_density_speed.py``.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from latent_density_plan import (
    BATCH,
    HELD_OUT,
    HOLDOUT,
    INCREMENTAL,
    PARZEN,
    PLAIN,
    REAL,
    RECONSTRUCTION,
    SETTINGS,
    WHOLE,
    StudyOptions,
    check_study,
    density_of,
    folder_of,
    rows_of,
    settings_of,
    steps_of,
)
from latent_density_rivals import PYTHAE, PythaeSampler, has_pythae, train_whole_vae
from latent_density_tables import compare, report
from omegaconf import OmegaConf
from paired_runs import call, read_result

from rlgen.core.cli import run_command
from rlgen.core.compose import check_options
from rlgen.core.errors import UserError
from rlgen.core.run import write_text
from rlgen.data.classification import NAMED, open_classification
from rlgen.data.pixels import PixelBatches, PixelSets, open_pixels
from rlgen.generative.latent_density import DENSITIES, LatentCodec, load_latent_pipeline
from rlgen.generative.latent_density.autoencoder import RANGES
from rlgen.generative.latent_density.measures import encode_all
from rlgen.generative.latent_density.pictures import sample_rows, table
from rlgen.generative.latent_density.pipeline import convert
from rlgen.generative.metrics import (
    FeatureNet,
    FeatureTraining,
    PixelFeatures,
    VGGFeatures,
    bits_per_dimension,
    cached_feature_net,
    extract,
    frechet_distance,
    kernel_distance,
    parzen_score,
    precision_recall,
    to_bytes,
)
from rlgen.generative.sheets import save_png

CHUNK = 256  # images decoded at a time
SHOWN = 64  # images on a sheet
PARZEN_VALIDATION = 5000  # images; of MNIST's 60,000


class Yardstick:
    """What drawn images are measured by: a set's held-out images under its feature nets.

    Args:
        options: Of the study.
        data: Name of the set.
    """

    def __init__(self, options: StudyOptions, data: str) -> None:
        self.sets: PixelSets = open_pixels(data, SETTINGS[data].size)
        self.nets: list[FeatureNet] = [PixelFeatures(options.device)]
        if data in NAMED or data == "synthetic:shapes":
            training = FeatureTraining(epochs=options.feature_epochs)
            labelled = open_classification(data, None if data in NAMED else SETTINGS[data].size)
            cache = Path(options.out) / "features"
            net = cached_feature_net(labelled, data, cache, training, options.device)
            self.nets.insert(0, net)
        elif options.perceptual is not None:
            self.nets.insert(0, VGGFeatures(options.perceptual, options.device))
        else:
            print(f"{data}: no labels and no perceptual=; images are compared by pixels alone")
        self.real = [extract(net, self.sets.test.pixels) for net in self.nets]
        # Training images that choose Parzen's sigma; the row of real images goes without them.
        self.kept = PARZEN_VALIDATION if data in PARZEN else 0

    def measure(self, images: torch.Tensor, seed: int) -> dict[str, Any]:
        """Returns the figures of images, uint8 (N, C, H, W); the first net has all of them."""
        features = extract(self.nets[0], images)
        generator = torch.Generator().manual_seed(seed)
        found: dict[str, Any] = {
            "features": self.nets[0].title,
            "frechet": frechet_distance(self.real[0], features)._asdict(),
            "kernel": kernel_distance(self.real[0], features, generator=generator)._asdict(),
            "manifold": precision_recall(self.real[0], features)._asdict(),
        }
        pixels = extract(self.nets[-1], images)
        found["pixels"] = frechet_distance(self.real[-1], pixels)._asdict()
        if self.kept:
            held = extract(self.nets[-1], self.sets.train.pixels[-self.kept :])
            found["parzen"] = parzen_score(pixels, held, self.real[-1])._asdict()
        return found


def train_autoencoder(options: StudyOptions, data: str, variant: str, seed: int) -> LatentCodec:
    """Returns an autoencoder, trained by the command unless it is there; a killed run goes on."""
    folder = folder_of(options, data, variant, "autoencoder", seed)
    setting = SETTINGS[data]
    if (folder / "config.yaml").exists():
        check_autoencoder(folder, options, data)
    if not (folder / "card.md").exists():
        if (folder / "config.yaml").exists():
            command = [f"resume={folder}"]
        else:
            command = ["model=latent_density", "model.density=prior", f"data={data}"]
            command += [f"size={setting.size}", f"model.dim={setting.dim}", f"batch_size={BATCH}"]
            command += [f"model.width={setting.width}", f"seed={seed}", f"run_dir={folder}"]
            command += [f"total_steps={steps_of(options, data) + 1}", f"device={options.device}"]
            command += [f"threads={options.threads}", "precision=fp32", "sample_every=0"]
            command += ["model.warmup=0"] if variant == PLAIN else []
        call("rlgen.train", command)
    pipeline = load_latent_pipeline(folder)
    pipeline.autoencoder.to(options.device)
    return pipeline.codec


def check_autoencoder(folder: Path, options: StudyOptions, data: str) -> None:
    """Checks that an autoencoder that is there is the one asked for.

    Raises:
        UserError: If it is of other settings.
    """
    setting, config = SETTINGS[data], OmegaConf.load(folder / "config.yaml")
    found = [config.total_steps, config.size, config.model.dim, config.model.width]
    wanted = [steps_of(options, data) + 1, setting.size, setting.dim, setting.width]
    if found != wanted:
        raise UserError(
            f"{folder} has total_steps, size, dim and width {found}, not {wanted}; type another out"
        )


class Clock:
    """Wall-clock and processor seconds of named parts of a run."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time(self, name: str, work: Callable[[], Any]) -> Any:
        """Does some work, and keeps how long it took."""
        start, cpu = time.monotonic(), time.process_time()
        result = work()
        self.seconds[f"{name}_seconds"] = time.monotonic() - start
        self.seconds[f"{name}_cpu_seconds"] = time.process_time() - cpu
        return result


def draw(
    options: StudyOptions, codec: LatentCodec, yardstick: Yardstick, row: str, seed: int, count: int
) -> tuple[torch.Tensor, dict[str, Any]]:
    """Returns the images of a row, uint8, and what else is told of it."""
    device, clock = torch.device(options.device), Clock()
    train, test = yardstick.sets.train, yardstick.sets.test
    if row == REAL:
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(train) - yardstick.kept, generator=generator)
        return train.pixels[order[:count]], {}
    if row == RECONSTRUCTION:
        return decode_all(codec, encode_all(codec, test, device)), {}
    latents = encode_all(codec, train, device)
    if row in PYTHAE:
        sampler = PythaeSampler(row, codec.dim)
        steps, batch_size = options.density_steps, options.density_batch_size
        clock.time("fit", lambda: sampler.fit(latents, steps, batch_size, seed))
        z = clock.time("sample", lambda: sampler.sample(count, seed))
        return decode_all(codec, z), clock.seconds
    torch.manual_seed(seed)
    name, its = density_of(row)
    density = DENSITIES[name](dim=codec.dim, **its).to(device)
    if density.learns:
        rate = options.lde_learning_rate if name == "lde" else None
        fit: dict[str, Any] = {"steps": options.density_steps, "seed": seed, "learning_rate": rate}
        fit["batch_size"] = options.density_batch_size
        fit["holdout"] = HOLDOUT if row.endswith(HELD_OUT) else 0.0
        clock.time("fit", lambda: density.fit(latents, **fit))
    else:  # a normal with the latents' means and deviations
        density.shift.copy_(latents.mean(0))
        density.scale.copy_(latents.std(0))
    generator = torch.Generator().manual_seed(seed)
    z = clock.time("sample", lambda: density.sample(count, generator=generator))
    told: dict[str, Any] = dict(clock.seconds)
    if density.has_log_prob:
        with torch.no_grad():
            scores = density.log_prob(encode_all(codec, test, device))
        told["bits"] = bits_per_dimension(scores, codec.dim)._asdict()
    return decode_all(codec, z), told


def draw_whole(
    options: StudyOptions, yardstick: Yardstick, data: str, row: str, seed: int, count: int
) -> tuple[torch.Tensor, dict[str, Any]]:
    """Trains a VAE as a whole and returns images of its prior, uint8, and what it took."""
    setting, sets, clock = SETTINGS[data], yardstick.sets, Clock()
    device, channels = torch.device(options.device), sets.shape[0]
    network = {"size": setting.size, "channels": channels, "dim": setting.dim}
    network |= {"width": setting.width, "norm_scale": 1.0, "output_range": RANGES[channels > 1]}
    codec = clock.time(
        "fit",
        lambda: train_whole_vae(
            float(row.removeprefix(f"{WHOLE}-")),
            PixelBatches(sets.train, BATCH, seed, device),
            steps_of(options, data),
            seed,
            device,
            **network,
        ),
    )
    z = torch.randn(count, setting.dim, generator=torch.Generator().manual_seed(seed))
    return decode_all(codec, z.to(device)), clock.seconds


def decode_all(codec: LatentCodec, z: torch.Tensor) -> torch.Tensor:
    """Returns the images of latents, uint8."""
    return torch.cat([to_bytes(codec.decode(part)).cpu() for part in z.split(CHUNK)])


def run(
    options: StudyOptions, yardstick: Yardstick, data: str, variant: str, row: str, seed: int
) -> None:
    """Makes one run, unless its result is there.

    Raises:
        UserError: If a result of other settings is there.
    """
    folder = folder_of(options, data, variant, row, seed)
    told = settings_of(options, data)
    if (found := read_result(folder)) is not None:
        if found["settings"] != told:
            raise UserError(f"{folder} is of other settings; type another out=")
        return
    count = options.samples or SETTINGS[data].samples
    if row.startswith(WHOLE):
        images, result = draw_whole(options, yardstick, data, row, seed, count)
    else:
        codec = train_autoencoder(options, data, variant, seed)
        images, result = draw(options, codec, yardstick, row, seed, count)
    result |= yardstick.measure(images, seed)
    result["settings"] = told
    folder.mkdir(parents=True, exist_ok=True)
    pictures = convert(images[:SHOWN].float() / 127.5 - 1)
    save_png(table(sample_rows(pictures)), folder / "samples.png", {"Software": "rlgen"})
    write_text(folder / "result.json", json.dumps(result, indent=1) + "\n")
    print(f"{folder}: Frechet {result['frechet']['distance']:.4g}", flush=True)


def main(arguments: list[str]) -> int:
    """Runs the study and prints the tables."""
    options = check_options(StudyOptions, arguments)
    check_study(options)
    variants = [INCREMENTAL, PLAIN] if options.plain else [INCREMENTAL]
    if not options.report:
        torch.set_num_threads(options.threads)
        if not has_pythae():
            print("pythae is not installed; its rows are left out (see latent_density_rivals.py)")
        yardsticks = {data: Yardstick(options, data) for data in options.sets}
        for seed in range(options.seeds):
            for data, yardstick in yardsticks.items():
                for variant in variants:
                    for row in rows_of(options, variant):
                        run(options, yardstick, data, variant, row, seed)
    for data in options.sets:
        for variant in variants:
            print("\n".join(report(options, data, variant)))
        print("\n".join(compare(options, data)))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, lambda: __doc__, None))
