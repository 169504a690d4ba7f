"""PSNR and SSIM on luma."""

import math

import pytest
import torch

from rlgen.core.errors import UserError
from rlgen.data.picture_quality import luma, quality_on_y, to_bytes


def test_luma_is_bt_601():
    white = luma(torch.full((1, 3, 1, 1), 255.0, dtype=torch.float64))
    assert white.item() == pytest.approx(219, abs=0.01)  # 235 less 16
    grey = torch.rand(1, 1, 2, 2)
    assert luma(grey) is grey


def test_pictures_are_rounded_to_bytes():
    assert to_bytes(torch.tensor([-0.1, 0.3 / 255, 0.6 / 255, 1.2])).tolist() == [0, 0, 1, 255]


def test_a_level_on_all_pixels():
    one = torch.full((1, 1, 20, 20), 100 / 255, dtype=torch.float64)
    assert quality_on_y(one + 1 / 255, one, 2).psnr == pytest.approx(48.1308, abs=1e-3)


def test_equal_pictures():
    image = torch.rand(1, 3, 20, 20)
    quality = quality_on_y(image, image, 3)
    assert math.isinf(quality.psnr)
    assert quality.ssim == pytest.approx(1)


def test_the_border_does_not_count():
    image = torch.rand(1, 3, 24, 24)
    framed = image.clone()
    framed[..., :3, :] = framed[..., -3:] = 0
    assert math.isinf(quality_on_y(framed, image, 3).psnr)
    assert quality_on_y(framed, image, 2).psnr < 40


def test_ssim_falls_with_noise_more_than_with_a_shift():
    torch.manual_seed(0)
    image = torch.rand(1, 1, 32, 32) / 2
    shifted = quality_on_y(image + 0.05, image, 0)
    noisy = quality_on_y(image + 0.05 * torch.randn_like(image), image, 0)
    assert noisy.ssim < shifted.ssim < 1
    assert noisy.psnr == pytest.approx(shifted.psnr, abs=1)


def test_a_small_picture_is_told():
    with pytest.raises(UserError, match=r"14x20 is too small .* border of 2 there must be 11x11"):
        quality_on_y(torch.zeros(1, 3, 20, 14), torch.zeros(1, 3, 20, 14), 2)
