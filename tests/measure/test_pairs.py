"""Which pictures of a folder are measured, and which low-resolution copies belong to them."""

from pathlib import Path

import pytest
import torch
from helpers import SHARED, as_tensor, is_one_sentence, make_pairs, textured
from PIL import Image

from srgan.errors import UserError
from srgan.measure.evaluation import BICUBIC, evaluate, means
from srgan.measure.pairs import WholePictures, open_pictures


def test_pairs_are_read_in_full(tmp_path: Path) -> None:
    pictures = list(WholePictures(make_pairs(tmp_path)))
    assert [pairs.names for pairs in pictures] == [["img_001.png"], ["img_002.png"]]
    whole = as_tensor(Image.open(tmp_path / "HR" / "img_001.png"))
    assert torch.equal(pictures[0].high, whole[..., :44, :60])  # 62x45, cut at the right and bottom
    assert pictures[0].low is not None
    assert torch.equal(pictures[0].low, as_tensor(Image.open(tmp_path / "LR_bicubic_X4" / "img_001x4.png")))


@pytest.mark.parametrize(
    ("high", "low", "copy"),
    [("HR", "LR", "a.png"), ("hr", "lr_x4", "a.png"), ("HR", "LRx4", "ax4.png"), ("HR", "LR/X4", "AX4.PNG"),
     ("DIV2K_valid_HR", "DIV2K_valid_LR_bicubic/X4", "ax4.png")],
)  # fmt: skip
def test_folders_have_the_names_that_people_use(high: str, low: str, copy: str, tmp_path: Path) -> None:
    for folder, name, size in ((high, "a.png", 48), (low, copy, 12), ("LR_bicubic_X2", "ax2.png", 24)):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        textured(0, size, size).save(tmp_path / folder / name)
    (pairs,) = open_pictures(tmp_path, 128)
    assert pairs.low is not None and pairs.low.shape == (1, 3, 12, 12)


def test_copies_that_are_not_there_are_said_to_be_made(tmp_path: Path) -> None:
    make_pairs(tmp_path)
    (tmp_path / "LR_bicubic_X4" / "img_002x4.png").unlink()
    pictures = WholePictures(tmp_path)
    assert pictures.copies == "1 from LR_bicubic_X4, 1 made by the bicubic, rounded to 8 bits"
    assert [pairs.low is None for pairs in pictures] == [False, True]
    assert WholePictures(tmp_path, last=1).copies == "1 made by the bicubic, rounded to 8 bits"


def test_pictures_that_cannot_be_measured_are_named(tmp_path: Path) -> None:
    make_pairs(tmp_path, count=4)
    textured(0, 16, 11).save(tmp_path / "LR_bicubic_X4" / "img_001x4.png")
    (tmp_path / "HR" / "img_002.png").write_text("no picture")
    textured(0, 31, 40).save(tmp_path / "HR" / "img_003.png")
    pictures = WholePictures(tmp_path)
    assert [pairs.names for pairs in pictures] == [["img_004.png"]]
    assert list(pictures.left_out) == ["img_001.png", "img_002.png", "img_003.png"]
    assert "img_001x4.png" in pictures.left_out["img_001.png"] and "16x11" in pictures.left_out["img_001.png"]
    assert "31x40" in pictures.left_out["img_003.png"]


def test_two_folders_of_copies_are_refused(tmp_path: Path) -> None:
    make_pairs(tmp_path)
    (tmp_path / "LR_bicubic_X4").rename(tmp_path / "LR_unknown_X4")
    (tmp_path / "LR").mkdir()
    textured(0, 15, 11).save(tmp_path / "LR" / "img_001.png")
    with pytest.raises(UserError) as caught:
        WholePictures(tmp_path)
    assert is_one_sentence(str(caught.value)) and "LR_unknown_X4" in str(caught.value)


def test_a_folder_without_pairs_gives_middle_squares_or_all(photos: Path) -> None:
    (squares,) = open_pictures(photos, 64)
    assert squares.high.shape == (12, 3, 64, 64) and squares.low is None
    whole = open_pictures(photos, 64, whole=True, last=3)
    assert whole.names == ["009.png", "010.png", "011.png"]
    assert [pairs.high.shape for pairs in whole] == [(1, 3, 80, 96)] * 3


@pytest.mark.parametrize(("name", "decibels"), [("Set5", 28.42), ("Set14", 26.10)])
def test_bicubic_reaches_its_published_figure(name: str, decibels: float) -> None:
    """PSNR agrees within 0.02 dB. The figures are from MATLAB, which mirrors at borders and rounds the luma."""
    if not (SHARED / "data" / name).is_dir():
        pytest.skip(f"{name} is not beside the checkout")
    pictures = open_pictures(SHARED / "data" / name, 128)
    assert "made" not in pictures.copies
    found = means(evaluate(BICUBIC, pictures, None, torch.device("cpu")))["bicubic"]["psnr_y"]
    assert found == pytest.approx(decibels, abs=0.02)
