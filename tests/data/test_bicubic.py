"""Bicubic resampling: kernel, borders, parts, and published figures where the data are."""

import os
from pathlib import Path

import numpy as np
import pytest

from rlgen.data.bicubic import bicubic_weights, cubic, enlarge, shrink, shrink_part
from rlgen.data.picture_quality import quality_on_y
from rlgen.data.super_resolution import open_super_resolution, pixels_to_unit


def test_the_kernel_interpolates():
    # Keys with a = -1/2: 9/16 and -1/16 at half steps.
    assert cubic(np.array([0.0, 0.5, 1.0, 1.5, 2.0, 2.5])).tolist() == [1, 0.5625, 0, -0.0625, 0, 0]


def test_halving_weighs_by_the_widened_kernel():
    index, weight = bicubic_weights(16, 8)
    assert index[3].tolist() == list(range(3, 11))
    outer = [cubic(np.array([d]))[0] / 2 for d in (1.75, 1.25, 0.75, 0.25)]
    assert weight[3].tolist() == pytest.approx([*outer, *outer[::-1]])


def test_borders_are_mirrored_with_the_edge_twice():
    index, _ = bicubic_weights(16, 8)
    assert index[0].tolist() == [2, 1, 0, 0, 1, 2, 3, 4]
    assert index[-1].tolist() == [11, 12, 13, 14, 15, 15, 14, 13]


@pytest.mark.parametrize(("length", "result"), [(12, 6), (12, 4), (12, 3), (5, 10), (5, 20)])
def test_weights_sum_to_1(length, result):
    index, weight = bicubic_weights(length, result)
    assert weight.sum(axis=1) == pytest.approx(np.ones(result))
    assert index.min() >= 0
    assert index.max() < length


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_flat_pictures_stay_and_sizes_change(scale):
    flat = np.full((24, 36, 3), 77, np.uint8)
    assert (shrink(flat, scale) == 77).all()
    assert shrink(flat, scale).shape == (24 // scale, 36 // scale, 3)
    assert (enlarge(flat, scale) == 77).all()
    assert enlarge(flat, scale).shape == (24 * scale, 36 * scale, 3)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("place", [(0, 0), (2, 3), (4, 1)])
def test_a_part_is_that_of_the_whole(scale, place):
    image = noise(8 * scale, 9 * scale)
    whole = shrink(image, scale)
    part = shrink_part(image, scale, place, (4, 5))
    assert (part == whole[place[0] : place[0] + 4, place[1] : place[1] + 5]).all()


def test_turning_and_shrinking_may_be_swapped():
    image = noise(16, 16)
    # Rounded between the directions, whose order a turn swaps: one grey level at most.
    apart = shrink(np.rot90(image), 2).astype(int) - np.rot90(shrink(image, 2))
    assert np.abs(apart).max() <= 1
    assert (shrink(image[::-1], 2) == shrink(image, 2)[::-1]).all()


@pytest.mark.skipif(
    not (Path(os.environ.get("RLGEN_DATA", "")) / "sr_sets.tar").exists(), reason="no test sets"
)
@pytest.mark.parametrize(
    ("name", "psnr"), [("set5", 33.67), pytest.param("set14", 30.32, marks=pytest.mark.slow)]
)
def test_figures_of_the_benchmarks_at_x2(name, psnr):
    pictures = open_super_resolution([name], [name], 2).tests[name]
    found = [
        quality_on_y(pixels_to_unit(enlarge(low, 2)[None]), pixels_to_unit(high[None]), 2).psnr
        for _, low, high in pictures.pairs()
    ]
    assert np.mean(found) == pytest.approx(psnr, abs=0.006)
