"""Figures over a folder of photos, against the same computed photo by photo from Pillow's pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import as_tensor
from PIL import Image

from srgan.data import Crops, load_crops
from srgan.evaluation import evaluate, evaluate_bicubic, show
from srgan.images import enlarge, to_unit
from srgan.metrics import LPIPS, psnr_y, ssim_y

CPU = torch.device("cpu")


@pytest.fixture
def crops(photos: Path) -> Crops:
    return load_crops(photos, 64)


def test_bicubic_figures_are_means_over_photos(crops: Crops, photos: Path) -> None:
    psnrs, ssims = [], []
    for name in crops.names:
        original = Image.open(photos / name).crop((16, 8, 80, 72))
        low = original.resize((16, 16), Image.Resampling.BICUBIC)
        restored, wanted = as_tensor(low.resize((64, 64), Image.Resampling.BICUBIC)), as_tensor(original)
        psnrs.append(psnr_y(restored, wanted).item())
        ssims.append(ssim_y(restored, wanted).item())
    found = evaluate_bicubic(crops, None, CPU)
    assert found.keys() == {"psnr_y", "ssim_y"}
    assert found["psnr_y"] == pytest.approx(np.mean(psnrs), abs=0.03)  # Pillow clips between its passes
    assert found["ssim_y"] == pytest.approx(np.mean(ssims), abs=1e-3)


def test_figures_do_not_depend_on_the_batch(crops: Crops, lpips_file: Path) -> None:
    lpips = LPIPS.load(lpips_file)
    together, in_fives = (evaluate(enlarge, crops, lpips, CPU, batch) for batch in (25, 5))
    assert together.keys() == {"psnr_y", "ssim_y", "lpips"}
    assert together == pytest.approx(in_fives, rel=1e-4)


def test_the_network_is_fed_8_bit_reductions(crops: Crops) -> None:
    seen: list[torch.Tensor] = []

    def restore(low: torch.Tensor) -> torch.Tensor:
        seen.append(low)
        return enlarge(low)

    evaluate(restore, crops, None, CPU)
    low = torch.cat(seen)
    assert low.shape == (12, 3, 16, 16) and low.min() >= -1 and low.max() <= 1
    levels = (low + 1) * 127.5
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)


def test_the_restored_picture_is_measured_as_a_file_would_hold_it(crops: Crops) -> None:
    originals = to_unit(crops.batch(range(12)))
    exact = evaluate(
        lambda low: originals + 0.4 / 127.5, crops, None, CPU
    )  # less than half a level is lost in rounding
    assert exact["psnr_y"] == 100
    one_off = evaluate(lambda low: originals - 1 / 127.5, crops, None, CPU)
    assert 45 < one_off["psnr_y"] < 60


def test_figures_are_shown_with_their_protocol() -> None:
    assert show({"psnr_y": 30.614, "ssim_y": 0.87123, "lpips": 0.1}) == "PSNR-Y 30.61 dB, SSIM-Y 0.8712, LPIPS 0.1000"
    assert show({"psnr_y": 30.0}) == "PSNR-Y 30.00 dB"


def test_a_photo_of_one_colour_counts_with_100_db() -> None:
    flat = Crops(np.full((1, 3, 32, 32), 90, np.uint8), ["flat.png"], {})
    assert evaluate_bicubic(flat, None, CPU)["psnr_y"] == 100
