"""Windows at random places of whole photos: the content of an epoch, its repetition, and the use in train.py."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT, TINY, as_tensor, make_photos, rows, textured, train
from PIL import Image

from srgan.errors import UserError
from srgan.photos.crops import load_crops
from srgan.photos.windows import Windows, load_windows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Makes photos with room for 1, 6 and 2 windows of 32 px, one that is too small, and a file that is no photo."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, size in (("a", (32, 33)), ("b", (100, 70)), ("c", (40, 95)), ("small", (31, 90))):
        textured(len(name), *size).save(folder / f"{name}.png")
    (folder / "broken.png").write_text("no picture")
    return folder


def epoch(windows: Windows, number: int = 0, start: int = 0, size: int = 4) -> torch.Tensor:
    return torch.cat(list(windows.batches(7, number, start, len(windows), size)))


def test_an_epoch_has_as_many_windows_of_a_photo_as_fit(folder: Path) -> None:
    windows = load_windows(folder, 32)
    assert windows.names == ["a.png", "b.png", "c.png"] and len(windows) == 1 + 6 + 2
    assert "31x90" in windows.skipped["small.png"] and "broken.png" in windows.skipped
    found = [which(window, folder) for window in epoch(windows)]
    assert sorted(found) == ["a.png"] + ["b.png"] * 6 + ["c.png"] * 2 and found != sorted(found)


def which(window: torch.Tensor, folder: Path) -> str:
    """Returns the name of the photo that contains these pixels."""
    for name in ("a.png", "b.png", "c.png"):
        photo = as_tensor(Image.open(folder / name))[0]
        places = photo.unfold(1, 32, 1).unfold(2, 32, 1)  # [3, rows, columns, 32, 32]
        if (places == window[:, None, None]).all(0).all(-1).all(-1).any():
            return name
    raise AssertionError("a window that no photo holds")


def test_windows_follow_from_seed_epoch_and_position_alone(folder: Path) -> None:
    first = epoch(load_windows(folder, 32))
    again = load_windows(folder, 32)
    assert torch.equal(epoch(again, size=3), first)
    assert torch.equal(epoch(again, start=4), first[4:])  # a resumed run
    assert not torch.equal(epoch(again, number=1), first)


def test_windows_show_more_of_a_photo_reduced_by_the_one_bicubic(folder: Path) -> None:
    windows = load_windows(folder, 32, reduce=4)
    photo = Image.open(folder / "b.png")  # 100x70
    whole = windows.window(windows.names.index("b.png"), 0.0, 0.0, size=0.999999)
    wanted = photo.crop((0, 0, 69, 69)).resize((32, 32), Image.Resampling.BICUBIC)  # no more than the photo holds
    assert np.array_equal(whole, as_tensor(wanted)[0].numpy())
    assert np.array_equal(windows.window(1, 0.3, 0.7), load_windows(folder, 32).window(1, 0.3, 0.7))
    assert windows.window(0, 0.5, 0.5, 0.9).shape == (3, 32, 32)  # 32x33: too small to be reduced
    assert torch.equal(epoch(windows, start=4), epoch(windows)[4:])
    assert not torch.equal(epoch(windows), epoch(load_windows(folder, 32)))


def test_large_photos_are_reduced_until_they_are_sharp(tmp_path: Path) -> None:
    sharp = Image.open(ROOT / "examples" / "coffee.png").convert("RGB").resize((600, 400), Image.Resampling.BICUBIC)
    sharp.save(tmp_path / "a-sharp.png")
    sharp.resize((2400, 1600), Image.Resampling.BICUBIC).save(tmp_path / "b-blown-up.png")
    windows = load_windows(tmp_path, 64, reduce="auto")
    heights = [photo.shape[1] for photo in windows.photos]
    assert heights[0] == 400 and 400 <= heights[1] <= 800
    assert windows.reduce == min(4, sum(heights) / 2 / 2 / 64)  # half of the median photo
    assert [photo.shape[1] for photo in load_windows(tmp_path, 64).photos] == [400, 1600]


def test_windows_reach_every_place(tmp_path: Path) -> None:
    Image.fromarray(np.arange(36, dtype=np.uint8).repeat(34).reshape(36, 34)).save(tmp_path / "rows.png")
    windows = load_windows(tmp_path, 32)
    tops = {int(epoch(windows, number)[0, 0, 0, 0]) for number in range(80)}
    assert tops == {0, 1, 2, 3, 4}


def test_the_last_photos_are_held_out_by_their_middle(folder: Path) -> None:
    first, held_out = load_windows(folder, 32).split(1)
    assert first.names == ["a.png", "b.png"] and len(first) == 7
    assert held_out.names == ["c.png"]
    assert np.array_equal(held_out.pixels, load_crops(folder, 32).pixels[-1:])
    with pytest.raises(UserError):
        load_windows(folder, 32).split(3)


def test_train_py_trains_on_windows_and_resumes(tmp_path: Path) -> None:
    folder = make_photos(tmp_path / "photos", 3)  # 96x80: six windows of 32 px each
    options = ("--data", folder, *TINY, "--crop-at", "random", "--held-out", "1", "--content", "mse", "--epochs", "1")
    done = train(*options, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "12 windows of the photos an epoch, 1 held out" in done.stdout
    assert max(row["photos"] for row in rows(tmp_path / "run") if row["stage"] == "fidelity") == 12
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert (
        "This model enlarges photos four times" in card
        and "--crop-at random" in card
        and "12 windows of the photos an epoch" in card
    )
