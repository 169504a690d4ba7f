"""Options of image-model training; YAML groups hold only what differs."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class DataOptions:
    """Where photos come from.

    Attributes:
        photos: A folder of images, or a tar archive of them.
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
class ImageTrainOptions:
    """Options of every image model's run; a model's own are under ``model.``.

    Attributes:
        model: The model's options.
        data: Where photos come from.
        domains: Losses by domain, in the order of the sym-parameter's coordinates.
        perceptual: File of VGG-16's weights for style domains; null for the usual places.
        size: Side of the training crops, in pixels.
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
    size: int = 256
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
}
