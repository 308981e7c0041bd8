"""Folders with mistakes: each gets one sentence, and all usable photos are used and counted."""

from pathlib import Path

import pytest
from helpers import is_one_sentence, make_photos, textured
from PIL import Image, ImageDraw

import srgan.pictures.formats
from srgan.commands.train import photos
from srgan.errors import UserError
from srgan.photos.choice import choose
from srgan.photos.collections import folder_collection, open_collection
from srgan.photos.crops import load_crops
from srgan.photos.windows import load_windows
from srgan.training.config import Config


def refusal(folder: Path, side: int = 128, faces: bool = False, held_out: int | None = None) -> str:
    with pytest.raises(UserError) as caught:
        load_crops(folder, side, faces).split(held_out)
    assert is_one_sentence(str(caught.value))
    return str(caught.value)


def test_documents(tmp_path: Path) -> None:
    (tmp_path / "letter.pdf").write_bytes(b"%PDF-1.4")
    (tmp_path / "notes.txt").write_text("notes")
    assert "holds no photos, but 1 .pdf, 1 .txt" in refusal(tmp_path)


def test_drawings_hold_no_faces_and_are_trained_on_in_windows(tmp_path: Path) -> None:
    for number in range(3):
        page = Image.new("RGB", (300, 300), "white")
        ImageDraw.Draw(page).ellipse((50, 60 + number, 250, 240), outline="black", width=4)
        page.save(tmp_path / f"{number}.png")
    assert choose(open_collection(tmp_path), 128).crop_at == "random"
    assert "shows no face" in refusal(tmp_path, faces=True)


def test_thumbnails(tmp_path: Path) -> None:
    for number in range(3):
        textured(number, 20, 20).save(tmp_path / f"{number}.png")
    text = refusal(tmp_path)
    assert "none of the 3 photos" in text and "is 20x20" in text and "the smallest --crop is 32" in text


def test_photos_a_little_too_small_are_told_the_crop_that_takes_them(tmp_path: Path) -> None:
    for number, side in enumerate((100, 101, 90)):
        textured(number, side, side).save(tmp_path / f"{number}.png")
    assert "with --crop 100, 2 of those that are too small can be used" in refusal(tmp_path)
    assert len(load_crops(tmp_path, 100)) == 2


def test_the_crop_that_takes_them_is_told_beside_good_ones_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, side in enumerate((100, 130, 140)):
        textured(number, side, side).save(tmp_path / f"{number}.png")
    photos(Config(data=str(tmp_path), crop_at="centre"))
    said = capsys.readouterr().err
    assert "1 photo is left out: 0.png is 100x100" in said and "with --crop 100, 1 of" in said


def test_one_broken_photo(tmp_path: Path) -> None:
    (tmp_path / "only.jpg").write_bytes(b"\xff\xd8\xff no more")
    assert choose(open_collection(tmp_path), 128).why == "none can be read"
    text = refusal(tmp_path)
    assert text.startswith("the only photo in") and "only.jpg cannot be read: not a picture" in text


def test_the_cache_of_a_collection_counts_what_is_held_out(tmp_path: Path) -> None:
    make_photos(tmp_path, 10)  # 96x80 pixels each
    crops, windows = load_crops(tmp_path, 64), load_windows(tmp_path, 32)
    for whole, size in ((crops, 64 * 64), (windows, 96 * 80)):
        train, held_out = whole.split(2)
        assert train.cached_bytes == whole.cached_bytes == 10 * 3 * size
        assert train.photo_count == 8 and len(held_out) == 2
    assert len(windows.split(2)[0]) == 8 * 3 * 2  # windows of 8 photos


def test_one_photo(tmp_path: Path) -> None:
    textured(1, 200, 200).save(tmp_path / "only.png")
    assert "1 usable photo is too few" in refusal(tmp_path)


def test_a_panorama_and_a_broken_file_among_good_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_photos(tmp_path, 2)
    textured(5, 400, 100).save(tmp_path / "panorama.png")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff no more")
    monkeypatch.setattr(srgan.pictures.formats, "MAX_PIXELS", 30_000)
    crops = load_crops(tmp_path, 64)
    assert crops.names == ["000.png", "001.png"] and crops.tally.left_out == {"cannot be read": 2}
    assert "megapixels" in crops.skipped["panorama.png"]


def test_a_photo_that_is_deleted_while_the_folder_is_read_is_named(tmp_path: Path) -> None:
    make_photos(tmp_path, 3)
    collection = folder_collection(tmp_path)
    (tmp_path / "001.png").unlink()
    assert [photo.size for photo in collection.sample(3)] == [(96, 80)] * 2
    assert load_crops(tmp_path, 64).names == ["000.png", "002.png"]
