"""Pictures of a run: the contents of the sheet, the curves and the comparison."""

from pathlib import Path

import numpy as np
import pytest
from helpers import as_tensor, textured
from PIL import Image

from srgan.model_folder import Model
from srgan.publish.card import figures_table
from srgan.reports.pictures import sample_names, save_comparison, save_curves, save_samples, save_sheet, sheet_columns
from srgan.training.records import EpochRow
from srgan.upscaler import Upscaler


def test_the_classic_sheet_is_low_epoch_42_epoch_60_original() -> None:
    assert list(sheet_columns({"detail": 60}, "detail", 60).values()) == ["low", "detail-042", "detail-060", "original"]
    assert list(sheet_columns({"detail": 60}, "detail", 42).values()) == ["low", "detail-042", "original"]
    assert list(sheet_columns({"detail": 60}, "detail", 7).values()) == ["low", "detail-007", "original"]
    assert list(sheet_columns({"detail": 1}, "detail", 1).values()) == ["low", "detail-001", "original"]


def test_the_default_sheet_has_the_end_of_the_fidelity_stage_in_the_middle() -> None:
    stages = {"fidelity": 20, "detail": 60}
    assert list(sheet_columns(stages, "fidelity", 3).values()) == ["low", "fidelity-003", "original"]
    assert list(sheet_columns(stages, "detail", 1).values()) == ["low", "fidelity-020", "detail-001", "original"]


def test_the_sheet_has_a_row_a_photo_and_a_column_a_stage(tmp_path: Path) -> None:
    names = ["sub/a.jpg", "b.png"]
    for number, (folder, side) in enumerate((("low", 32), ("detail-001", 128), ("original", 128))):
        pictures = [as_tensor(Image.new("RGB", (side, side), (80 * number + 10, 100 * row, 0)))[0] for row in (0, 1)]
        save_samples(tmp_path / folder, names, pictures)
    columns = {"low resolution": "low", "detail epoch 1": "detail-001", "original": "original"}
    save_sheet(tmp_path, columns, names, tmp_path / "sheet.png")
    sheet = Image.open(tmp_path / "sheet.png")
    assert sheet.size == (3 * 136 + 8, 2 * 136 + 8 + 28)
    for column in range(3):
        for row in range(2):
            cell = np.asarray(sheet)[28 + 8 + row * 136 :, 8 + column * 136 :][:128, :128]
            assert np.array_equal(np.unique(cell.reshape(-1, 3), axis=0), [[80 * column + 10, 100 * row, 0]])


def test_photos_in_subfolders_have_flat_names() -> None:
    assert sample_names(["a/b/c.JPG", "d.png"]) == {"a/b/c.JPG": "a-b-c.png", "d.png": "d.png"}


def test_no_two_photos_have_samples_of_one_name(tmp_path: Path) -> None:
    names = ["a/b.png", "a-b.png", "a-b.jpg", "A/B.png", f"{'deep/' * 60}a.png", f"{'deep/' * 61}a.png"]
    pictures = [as_tensor(Image.new("RGB", (8, 8), (10 * number, 0, 0)))[0] for number in range(len(names))]
    save_samples(tmp_path, names, pictures)
    files = sample_names(names)
    assert len({file.casefold() for file in files.values()}) == len(names)
    for number, name in enumerate(names):
        assert Image.open(tmp_path / files[name]).getpixel((0, 0)) == (10 * number, 0, 0)


@pytest.mark.parametrize("epochs", [1, 3])
def test_curves_are_drawn_from_the_first_epoch_on(tmp_path: Path, epochs: int) -> None:
    figures = {"psnr_y": 25.0, "ssim_y": 0.7}
    history = [EpochRow("fidelity", n, {"pixel": 1 / n, **figures}) for n in range(1, epochs + 1)]
    save_curves(history, tmp_path / "curves.png")
    fewer = Image.open(tmp_path / "curves.png").size
    losses = {"generator": 1.0, "d_real": 0.5, "d_fake": 0.4}
    history.append(EpochRow("detail", 1, {**losses, "lpips": 0.1, **figures}))
    save_curves(history, tmp_path / "curves.png")
    assert Image.open(tmp_path / "curves.png").size[1] > fewer[1]


def test_an_epoch_whose_losses_were_lost_in_a_stop_is_drawn_too(tmp_path: Path) -> None:
    save_curves([EpochRow("detail", 1, {"psnr_y": 25.0, "ssim_y": 0.7})], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").exists()


def test_the_comparison_is_bicubic_fidelity_detail_original(model: Model, tmp_path: Path) -> None:
    upscaler = Upscaler(model, "", "cpu", "fp32")
    portrait = textured(1, 90, 120)
    save_comparison(portrait, upscaler, tmp_path / "strip.png", side=64)
    strip = np.asarray(Image.open(tmp_path / "strip.png")).astype(int)
    assert strip.shape == (64, 4 * 64, 3)
    bicubic, fidelity, detail, original = np.split(strip, 4, axis=1)
    square = portrait.crop((0, 0, 90, 90)).resize((64, 64), Image.Resampling.BICUBIC)
    assert np.abs(original - np.asarray(square)).mean() < 0.5
    low = square.resize((16, 16), Image.Resampling.BICUBIC)
    assert np.abs(bicubic - np.asarray(low.resize((64, 64), Image.Resampling.BICUBIC))).mean() < 1
    assert np.abs(fidelity - np.asarray(upscaler.enlarge(low, 0.0))).mean() < 3
    assert np.abs(detail - np.asarray(upscaler.enlarge(low, 1.0))).mean() < 3
    assert np.abs(detail - fidelity).mean() > 5


def test_the_table_of_figures_leaves_out_what_was_not_measured() -> None:
    table = figures_table({"bicubic": {"psnr_y": 28.0, "ssim_y": 0.8}, "detail 1": {"psnr_y": 29.987, "ssim_y": 0.85}})
    assert table.splitlines() == [
        "| | PSNR-Y, dB | SSIM-Y |", "|---|---|---|", "| bicubic | 28.00 | 0.8000 |", "| detail 1 | 29.99 | 0.8500 |",
    ]  # fmt: skip
