"""The density index: its score by hand, and what it keeps; the rest is tested with all indices."""

import math

import numpy as np
import pytest
import torch

from rlgen.continual.experience import Experience
from rlgen.continual.hnet import TASK_INDICES
from rlgen.core.errors import UserError
from rlgen.data.classification import LabelledImages
from rlgen.density_index import DensityIndex

SMALL = {"dim": 2, "steps": 2, "density_steps": 2, "components": 2, "size": 8, "width": 2}


def grey(level):
    pixels = np.random.default_rng(level).normal(level, 5, (20, 8, 8, 1)).astype(np.uint8)
    images = LabelledImages(pixels, np.arange(20) % 2)
    return Experience(f"grey{level}", images, images, ("a", "b"))


def test_the_score_is_a_log_density_of_latents_and_pixels():
    index = DensityIndex((1, 8, 8), batch_size=10, **SMALL)
    for level in (60, 180):
        index.learn_task(grey(level))
    images = torch.rand(4, 1, 8, 8)
    signed = images.expand(-1, 3, -1, -1) * 2 - 1
    scores = index.scores(images)
    for task in range(2):
        coder, density = index.coders[task], index.densities[task]
        v, latents = float(index.errors[task]), coder.encode(signed)
        squares = (coder.decode(latents) - signed).square().sum((1, 2, 3))
        n = 3 * 8 * 8
        wanted = density.log_prob(latents) - squares / (2 * v) - n / 2 * math.log(v)
        torch.testing.assert_close(scores[:, task], wanted)
    shown = torch.from_numpy(grey(60).train.pixels).permute(0, 3, 1, 2) / 127.5 - 1
    own = index.coders[0](shown.expand(-1, 3, -1, -1)) - shown
    assert float(index.errors[0]) == pytest.approx(float(own.square().mean()), rel=1e-4)


def test_it_is_a_task_index_by_name():
    assert TASK_INDICES["density"] is DensityIndex
    with pytest.raises(UserError, match="components=0 is too small"):
        DensityIndex((3, 8, 8), **{**SMALL, "components": 0})
