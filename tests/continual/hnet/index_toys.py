"""Small task indices, and tasks far apart: dark pictures and bright ones."""

import numpy as np

from rlgen.continual.experience import Experience
from rlgen.continual.hnet import TASK_INDICES
from rlgen.data.classification import LabelledImages

SHAPE = (3, 8, 8)
NETS = {"size": 8, "width": 4, "batch_size": 16}
OPTIONS = {
    "gan": {"z": 8, "gan_steps": 6, "classifier_steps": 5, "classifier_width": 4, **NETS},
    "autoencoder": {"dim": 4, "steps": 6, **NETS},
    "prototype": NETS,
    "density": {"dim": 4, "steps": 4, "density_steps": 3, "components": 2, "max_width": 8, **NETS},
}


def index(name, shape=SHAPE, **changes):
    return TASK_INDICES[name](shape, seed=3, **{**OPTIONS[name], **changes})


def blobs(number, count=64, shape=SHAPE, classes=2):
    """Task number 0, 1, 2: classes a few grey values apart, tasks many, noise around each."""
    parts = []
    for part, size in enumerate((count, count // 2)):
        generator = np.random.default_rng([number, part])
        labels = np.arange(size) % classes
        level = 40 + 80 * number + 40 * labels
        side = (*shape[1:], shape[0])
        values = level[:, None, None, None] + generator.normal(0, 4, (size, *side))
        parts.append(LabelledImages(values.clip(0, 255).astype(np.uint8), labels))
    return Experience(f"blobs{number}", *parts, tuple("abc"[:classes]))


def copied(tensors):
    """What a file would hold: the state as it is now."""
    return {file: {k: v.clone() for k, v in group.items()} for file, group in tensors.items()}
