"""Options of image-model training; YAML groups hold only what differs."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class DataOptions:
    """Where photos come from; ``data=SOURCE`` is short for ``data.photos=SOURCE``.

    Attributes:
        photos: A folder of images, or a tar archive of them; for ``model=latent_density`` also the
            name of a set, such as ``fashion_mnist`` (see :func:`rlgen.data.pixels.open_pixels`).
        flip: Whether images are mirrored at random.
    """

    photos: str | None = None
    flip: bool = True


@dataclass
class SGNOptions:
    """Options of SGN under ``model.``; the defaults are the paper's (spec section d).

    Attributes:
        name: Name of the model.
        width: Channels of the generator's stem.
        n_blocks: Its residual blocks.
        reduction: Of its CCAMs.
        alpha: Dirichlet concentration of each coordinate of the sym-parameter.
        learning_rate: Adam's, of generator and discriminators.
        beta1: Adam's.
        beta2: Adam's.
        decay_from: Share of the run after which the learning rate falls linearly to 0.
        ema_decay: Of the averaged weights, which samples and the saved model use; 0 for none, as
            in the paper.
    """

    name: str = "sgn"
    width: int = 64
    n_blocks: int = 9
    reduction: int = 4
    alpha: float = 0.5
    learning_rate: float = 2e-4
    beta1: float = 0.5
    beta2: float = 0.999
    decay_from: float = 0.5
    ema_decay: float = 0.999


@dataclass
class LatentDensityOptions:
    """Options of the latent-density autoencoder under ``model.`` (spec sections c and d).

    Attributes:
        name: Name of the model.
        dim: D, coordinates of the latent vector.
        width: Channels of the autoencoder's first convolution; 64 in the paper.
        channels: 1 for grey, 3 for RGB; null: as in a labelled set, RGB of a folder.
        norm_scale: Mean of BatchNorm's initial scale; 0 in the authors' code.
        warmup: W, epochs over which coordinates are opened one after another; null: half of the
            autoencoder's training, as in the paper; 1 or less: all from the start.
        perceptual: Weight of the perceptual loss; 0.1 or 0 in the paper.
        learning_rate: Adam's, of the autoencoder.
        beta1: Adam's.
        beta2: Adam's.
        milestones: Shares of the autoencoder's training after each of which its rate is halved.
        density: What learns the latents: lde, flow, vae, diffusion by gradient steps; gaussian,
            gmm and prior (nothing is learned) at once, in one step.
        density_steps: Steps of the density, the last ones of the run.
        density_batch_size: Latents per step of the density.
        density_learning_rate: At its start; null: the density's own usual one, for the LDE 4e-3
            (the paper's 2e-4 suits runs far longer than the default one).
        density_holdout: Share of the training latents, 0 to 0.5 and at most 2,000, that chooses
            when its weights were best instead of being fitted; for those by gradient steps.
        density_options: Of the density itself, such as ``{components: 50}``.
        temperature: Of the samples in sheets.
    """

    name: str = "latent_density"
    dim: int = 16
    width: int = 64
    channels: int | None = None
    norm_scale: float = 1.0
    warmup: float | None = None
    perceptual: float = 0.0
    learning_rate: float = 1e-3
    beta1: float = 0.5
    beta2: float = 0.999
    milestones: list[float] = field(default_factory=lambda: [0.1, 0.25, 0.5])
    density: str = "lde"
    density_steps: int = 4000
    density_batch_size: int = 128
    density_learning_rate: float | None = None
    density_holdout: float = 0.05
    density_options: dict[str, Any] = field(default_factory=dict)
    temperature: float = 1.0


@dataclass
class ImageTrainOptions:
    """Options of every image model's run; a model's own are under ``model.``.

    Attributes:
        model: The model's options.
        data: Where photos come from.
        domains: Losses by domain, in the order of the sym-parameter's coordinates.
        perceptual: File of VGG-16's weights for style domains; null for the usual places.
        size: Side of the training crops, in pixels; null (latent_density alone): as the images are.
        batch_size: Photos per step and process.
        total_steps: Steps of the whole run.
        seed: Seed of everything random.
        device: auto, cpu, cuda.
        precision: auto, fp32, bf16.
        threads: Torch threads; null for torch's own number.
        run_root: Folder of all runs.
        run_dir: Folder of this run; null for a new one under run_root.
        resume: latest, or a run folder, to go on with it.
        preset: full, or smoke: a short run on drawn images that leaves everything a real one does.
        log_every: Steps between rows of progress.csv.
        checkpoint_every: Steps between checkpoints.
        sample_every: Steps between sheets of samples; 0 for none before the end.
    """

    model: Any = None
    data: DataOptions = field(default_factory=DataOptions)
    domains: dict[str, Any] = field(default_factory=dict)
    perceptual: str | None = None
    size: int | None = 256
    batch_size: int = 4
    total_steps: int = 30_000
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    run_root: str = "runs"
    run_dir: str | None = None
    resume: str | None = None
    preset: str = "full"
    log_every: int = 50
    checkpoint_every: int = 1000
    sample_every: int = 1000


SCHEMAS: dict[str, type] = {
    "train_model_schema": ImageTrainOptions,
    "model/sgn_schema": SGNOptions,
    "model/latent_density_schema": LatentDensityOptions,
}
