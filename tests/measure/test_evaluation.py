"""Figures over a folder of photos, compared with figures computed photo by photo from Pillow's pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT, as_tensor
from PIL import Image

from srgan.commands.evaluate import copies_made
from srgan.degradation.chain import copies_alike
from srgan.errors import UserError
from srgan.measure.evaluation import BICUBIC, Restore, blends, evaluate, means, show
from srgan.measure.metrics import LPIPS, psnr_y, ssim_y
from srgan.measure.pairs import CropPictures, Pairs
from srgan.photos.crops import Crops, load_crops
from srgan.pictures.images import enlarge_bicubic, greyed, normalize, open_rgb, reduce, to_picture, to_pixels
from srgan.upscaler import Upscaler

CPU = torch.device("cpu")


def figures(restore: Restore, crops: Crops, lpips: LPIPS | None = None, batch: int = 25) -> dict[str, float]:
    return means(evaluate({"it": restore}, CropPictures(crops, batch), lpips, CPU))["it"]


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
    found = means(evaluate(BICUBIC, CropPictures(crops), None, CPU))["bicubic"]
    assert found.keys() == {"psnr_y", "ssim_y", "psnr_rgb"}
    assert found["psnr_y"] == pytest.approx(np.mean(psnrs), abs=0.03)  # Pillow clips between its passes
    assert found["ssim_y"] == pytest.approx(np.mean(ssims), abs=1e-3)


def test_figures_do_not_depend_on_the_batch(crops: Crops, lpips_file: Path) -> None:
    lpips = LPIPS.load(lpips_file)
    together, in_fives = (figures(enlarge_bicubic, crops, lpips, batch) for batch in (25, 5))
    assert together.keys() == {"psnr_y", "ssim_y", "psnr_rgb", "lpips"}
    assert together == pytest.approx(in_fives, rel=1e-4)


def test_the_network_is_fed_8_bit_reductions(crops: Crops) -> None:
    seen: list[torch.Tensor] = []

    def restore(low: torch.Tensor) -> torch.Tensor:
        seen.append(low)
        return enlarge_bicubic(low)

    figures(restore, crops)
    low = torch.cat(seen)
    assert low.shape == (12, 3, 16, 16) and low.min() >= -1 and low.max() <= 1
    levels = (low + 1) * 127.5
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)


def test_the_restored_picture_is_measured_as_a_file_would_hold_it(crops: Crops) -> None:
    originals = normalize(crops.batch(range(12)))
    exact = figures(lambda low: originals + 0.4 / 127.5, crops)  # less than half a level is lost in rounding
    assert exact["psnr_y"] == exact["psnr_rgb"] == 100
    one_off = figures(lambda low: originals - 1 / 127.5, crops)
    assert 45 < one_off["psnr_y"] < 60


def test_figures_are_shown_with_their_protocol() -> None:
    assert show({"psnr_y": 30.614, "ssim_y": 0.87123, "lpips": 0.1}) == "PSNR-Y 30.61 dB, SSIM-Y 0.8712, LPIPS 0.1000"
    assert show({"psnr_y": 30.0}) == "PSNR-Y 30.00 dB"


def test_a_photo_of_one_colour_counts_with_100_db() -> None:
    flat = Crops(np.full((1, 3, 32, 32), 90, np.uint8), ["flat.png"], {})
    assert figures(enlarge_bicubic, flat)["psnr_y"] == 100


def test_every_system_is_measured_on_the_same_pictures(crops: Crops, model_folder: Path) -> None:
    upscaler = Upscaler.load(model_folder, "cpu", "fp32")
    kept: dict[str, list[str]] = {}
    rows = evaluate(
        BICUBIC | blends(upscaler), CropPictures(crops, 5), None, CPU,
        lambda system, names, restored: kept.setdefault(system, []).extend(names),
    )  # fmt: skip
    assert list(rows) == ["bicubic", "detail 0", "detail 0.5", "detail 1"]
    assert all(list(of) == kept[system] == crops.names for system, of in rows.items())
    alone = figures(lambda low: upscaler.restore(low, 0.5), crops)
    assert means(rows)["detail 0.5"] == pytest.approx(alone, rel=1e-4)
    spread = {row["psnr_y"] for row in rows["detail 0.5"].values()}
    assert len(spread) == 12 and min(spread) < alone["psnr_y"] < max(spread)


def test_a_model_for_worn_pictures_is_measured_as_users_get_it() -> None:
    """Its results are held to the blocks of each picture."""
    upscaler = Upscaler.load(device="cpu")
    photos = [open_rgb(ROOT / "examples" / name).resize((192, 192)) for name in ("cat.png", "coffee.png")]
    low, _ = copies_alike("jpeg90", normalize(torch.cat([as_tensor(photo) for photo in photos])))
    (restore,) = blends(upscaler, [0.5]).values()
    pictures = [to_picture(pixels) for pixels in to_pixels(low)]
    assert any(upscaler.blocks_to_hold(picture) for picture in pictures)
    expected = torch.cat([as_tensor(upscaler.enlarge(picture, 0.5)) for picture in pictures])
    assert torch.equal(to_pixels(restore(low)), expected)


def test_a_ready_low_resolution_copy_is_used_as_it_is() -> None:
    low = torch.arange(8 * 8 * 3, dtype=torch.uint8).reshape(1, 3, 8, 8)
    seen: list[torch.Tensor] = []
    pictures = [Pairs(["a"], torch.zeros(1, 3, 32, 32, dtype=torch.uint8), low)]
    evaluate({"it": lambda given: seen.append(given) or enlarge_bicubic(given)}, pictures, None, CPU)
    torch.testing.assert_close(seen[0], normalize(low))


def test_copies_are_worn_alike_each_time_also_ready_ones(crops: Crops) -> None:
    seen: list[torch.Tensor] = []

    def restore(low: torch.Tensor) -> torch.Tensor:
        seen.append(low)
        return enlarge_bicubic(low)

    for batch in (12, 5):
        evaluate({"it": restore}, CropPictures(crops, batch), None, CPU, degrade="web")
    assert torch.equal(seen[0], torch.cat(seen[1:]))
    high = crops.batch(range(12))
    ready = to_pixels(reduce(normalize(high)))
    evaluate({"it": restore}, [Pairs(crops.names, high, ready)], None, CPU, degrade="web")
    assert torch.equal(seen[-1], seen[0])
    other = torch.zeros_like(ready)
    evaluate({"it": restore}, [Pairs(crops.names, high, other)], None, CPU, degrade="jpeg75")
    assert seen[-1].max() < -0.9  # the given copy, after JPEG compression


def test_old_photos_are_measured_against_grey_originals(crops: Crops) -> None:
    high = crops.batch(range(12))
    grey = normalize(to_pixels(greyed(normalize(high))))
    figures = means(evaluate({"it": lambda low: grey}, CropPictures(crops), None, CPU, degrade="old"))["it"]
    assert figures["psnr_rgb"] == 100


def test_a_model_of_one_weight_set_has_one_detail(one_set_folder: Path) -> None:
    upscaler = Upscaler.load(one_set_folder, "cpu", "fp32")
    assert list(blends(upscaler)) == ["detail 1"]
    with pytest.raises(UserError):
        blends(upscaler, [0.5])


def test_it_is_said_how_the_small_copies_were_made() -> None:
    assert copies_made("2 from LR", "clean") == "2 from LR"
    assert "2 from LR" in copies_made("2 from LR", "web") and "web" in copies_made("2 from LR", "web")
    assert "LR" not in copies_made("2 from LR", "box") and "box" in copies_made("2 from LR", "box")
