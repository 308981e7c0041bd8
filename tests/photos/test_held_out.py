"""The last photos by name are held out, but never a near-duplicate of a training photo."""

from pathlib import Path

import numpy as np
import pytest
from helpers import textured
from PIL import Image

from srgan.errors import UserError
from srgan.photos.crops import load_crops
from srgan.photos.held_out import hold_out, near_duplicates
from srgan.photos.pieces import look
from srgan.photos.windows import load_windows


def burst(seed: int, count: int) -> list[Image.Image]:
    """Returns photos of a scene that moves by one pixel from photo to photo."""
    scene = textured(seed, 110, 90)
    return [scene.crop((shift, 0, shift + 96, 80)) for shift in range(count)]


def save(folder: Path, *scenes: list[Image.Image]) -> Path:
    folder.mkdir()
    for number, photo in enumerate(photo for scene in scenes for photo in scene):
        photo.save(folder / f"{number:02}.png")
    return folder


def looks_of(*scenes: list[Image.Image]) -> np.ndarray:
    photos = [np.asarray(photo).transpose(2, 0, 1) for scene in scenes for photo in scene]
    return np.stack([look(photo) for photo in photos])


def test_other_photos_are_held_out_as_before() -> None:
    assert hold_out(looks_of(*(burst(seed, 1) for seed in range(9))), 3) == [6, 7, 8]


def test_a_burst_is_held_out_whole_or_not_at_all() -> None:
    looks = looks_of(burst(1, 1), burst(2, 1), burst(3, 3), burst(4, 1), burst(5, 2))
    assert hold_out(looks, 1) == [5]  # half of the last burst is not enough of it
    assert hold_out(looks, 2) == [6, 7]
    assert hold_out(looks, 4) == [1, 5, 6, 7]
    assert hold_out(looks, 6) == [2, 3, 4, 5, 6, 7]
    assert near_duplicates(looks) == 2 + 1


def test_the_two_sides_of_a_run_share_no_scene(tmp_path: Path) -> None:
    folder = save(tmp_path / "photos", burst(1, 2), burst(2, 1), burst(3, 1), burst(4, 4))
    for photos in (load_crops(folder, 64), load_windows(folder, 64)):
        train, held_out = photos.split(2, by_look=True)
        assert held_out.names == ["02.png", "03.png"] and train.names == [f"{n:02}.png" for n in (0, 1, 4, 5, 6, 7)]
        assert photos.split(2)[1].names == ["06.png", "07.png"]
    crops = load_crops(folder, 64)
    train, held_out = crops.split(2, by_look=True)
    assert np.array_equal(held_out.batch([0, 1]), crops.batch([2, 3]))
    assert np.array_equal(train.batch([1, 2]), crops.batch([1, 4]))
    epoch = np.concatenate(list(train.batches(0, 0, 0, 6, 4)))
    assert {photo.tobytes() for photo in epoch} == {crops.batch([n]).numpy().tobytes() for n in (0, 1, 4, 5, 6, 7)}


def test_where_all_photos_look_alike_it_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = save(tmp_path / "photos", burst(1, 5))
    assert load_crops(folder, 64).split(2, by_look=True)[1].names == ["03.png", "04.png"]
    assert "near-duplicates" in capsys.readouterr().err
    with pytest.raises(UserError):
        load_crops(folder, 64).split(5, by_look=True)
