"""Folders of photos: which are found, which are left out and why; the cache, the split and the order."""

import os
import shutil
import sys
import zipfile
from pathlib import Path
from subprocess import PIPE, Popen

import numpy as np
import pytest
import torch
from helpers import environment, is_one_sentence, make_photos, textured
from PIL import Image

import srgan.photos.cutting
from srgan.errors import UserError
from srgan.photos.crops import Crops, first_reasons, load_crops, shuffled
from srgan.photos.finding import find_photos
from srgan.photos.windows import load_windows
from srgan.pictures.formats import endings


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Makes good photos of every kind, and four that cannot be used."""
    folder = tmp_path / "mixed"
    (folder / "deep" / "er").mkdir(parents=True)
    textured(0).save(folder / "a.png")
    textured(1).convert("L").save(folder / "b-grey.JPG")
    textured(2).convert("CMYK").save(folder / "c-inks.jpeg")
    textured(3).convert("RGBA").save(folder / "deep" / "d-alpha.webp")
    textured(4).save(folder / "deep" / "er" / "e.bmp")
    textured(5, 40, 31).save(folder / "f-small.png")
    (folder / "g-text.png").write_text("not a picture")
    (folder / "h-empty.jpg").touch()
    path = folder / "i-cut.jpg"
    textured(6).save(path)
    path.write_bytes(path.read_bytes()[:700])
    (folder / "notes.txt").write_text("no photo, and not meant to be one")
    return folder


def test_photos_are_found_in_subfolders_and_sorted(mixed: Path) -> None:
    found = [path.relative_to(mixed).as_posix() for path in find_photos(mixed)]
    assert found == [
        "a.png", "b-grey.JPG", "c-inks.jpeg", "deep/d-alpha.webp", "deep/er/e.bmp",
        "f-small.png", "g-text.png", "h-empty.jpg", "i-cut.jpg",
    ]  # fmt: skip


def test_what_is_left_out_is_named_by_kind(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name, format in (("a.jfif", "JPEG"), ("b.PPM", "PPM"), ("c.mpo", "MPO")):
        textured(0).save(tmp_path / name, format)
    for name in ("._a.jpg", "@eaDir/a.jpg/thumb.jpg", ".Trash-1000/files/b.jpg", "__MACOSX/a.jpg", "Thumbs.db",
                 "notes.txt", "more.txt", "no-ending", "film.mpg"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"no photo")
    assert [path.name for path in find_photos(tmp_path)] == ["a.jfif", "b.PPM", "c.mpo"]
    said = capfd.readouterr().err
    assert str(tmp_path) in said and is_one_sentence(said)
    for words in ("5 hidden", "2 .txt", "1 without an ending", "1 .mpg"):
        assert words in said
    find_photos(tmp_path)
    assert not capfd.readouterr().err  # once


def test_heic_is_left_out_by_the_name_of_its_package(tmp_path: Path) -> None:
    (tmp_path / "IMG_1.HEIC").touch()
    if ".heic" in endings():
        pytest.skip("pillow-heif is installed")
    with pytest.raises(UserError, match=r"1 \.heic .*pip install pillow-heif") as caught:
        find_photos(tmp_path)
    assert is_one_sentence(str(caught.value))


def test_links_are_followed_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    for path in (inside / "z" / "a.png", outside / "b.png", outside / "c.png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        textured(0, 8, 8).save(path)
    links = {"album": outside, "album-2": outside, "loop": inside, "z/up": inside, "twice.png": inside / "z" / "a.png",
             "c.png": outside / "c.png", "gone": tmp_path / "gone"}  # fmt: skip
    try:
        for name, target in links.items():
            (inside / name).symlink_to(target)
    except OSError:
        pytest.skip("this system makes no links")
    names = [path.relative_to(inside).as_posix() for path in find_photos(inside)]
    assert names == ["album/b.png", "album/c.png", "z/a.png"]
    assert "1 links or folders" in capfd.readouterr().err


def test_a_folder_without_photos_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    for folder, words in ((tmp_path, "holds no photos"), (tmp_path / "missing", "no such folder")):
        for function in (find_photos, lambda folder: load_crops(folder, 32)):
            with pytest.raises(UserError, match=words) as caught:
                function(folder)
            assert is_one_sentence(str(caught.value)) and str(folder) in str(caught.value)


def test_what_cannot_be_used_is_left_out_and_named(mixed: Path) -> None:
    crops = load_crops(mixed, 32)
    assert crops.names == ["a.png", "b-grey.JPG", "c-inks.jpeg", "deep/d-alpha.webp", "deep/er/e.bmp"]
    assert list(crops.skipped) == ["f-small.png", "g-text.png", "h-empty.jpg", "i-cut.jpg"]
    assert "40x31" in crops.skipped["f-small.png"] and "32x32" in crops.skipped["f-small.png"]
    for name in ("g-text.png", "h-empty.jpg"):
        assert crops.skipped[name] == "cannot be read: not a picture that Pillow can read"
    assert "broken" in crops.skipped["i-cut.jpg"]
    assert not any(str(mixed) in reason for reason in crops.skipped.values())


def test_crops_are_the_middles_of_the_photos(mixed: Path) -> None:
    crops = load_crops(mixed, 32)
    batch = crops.batch([4, 0])
    assert batch.shape == (2, 3, 32, 32) and batch.dtype == torch.uint8
    for crop, seed in zip(batch, (4, 0), strict=True):
        middle = np.asarray(textured(seed))[24:56, 32:64]
        assert np.array_equal(crop.permute(1, 2, 0).numpy(), middle)
    grey = crops.batch([1])[0]
    assert torch.equal(grey[0], grey[1]) and grey.float().std() > 5
    assert (crops.batch([2])[0].permute(1, 2, 0).numpy().astype(int) - np.asarray(textured(2))[24:56, 32:64]).std() < 30


def test_a_folder_of_useless_photos_says_why(tmp_path: Path) -> None:
    for number in range(5):
        textured(number, 20, 20).save(tmp_path / f"{number}.png")
    with pytest.raises(UserError) as caught:
        load_crops(tmp_path, 32)
    text = str(caught.value)
    assert is_one_sentence(text)
    assert "0.png is 20x20" in text and "2 more" in text


def test_reasons_are_shortened() -> None:
    reasons = {f"{n}.png": "is broken" for n in range(5)}
    assert first_reasons(reasons) == "0.png is broken; 1.png is broken; 2.png is broken; and 2 more"
    assert first_reasons({"a": "is broken"}) == "a is broken"


# Zips


def test_what_is_left_out_of_a_zip_is_named_by_kind(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    textured(0).save(tmp_path / "a.png")
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        archive.write(tmp_path / "a.png", "faces/a.png")
        for name in ("faces/._a.png", "__MACOSX/faces/a.png", "faces/@eaDir/a.png", "faces/notes.txt", "faces/empty/"):
            archive.writestr(name, "")
    assert load_crops(tmp_path / "faces.zip", 32).names == ["faces/a.png"]
    said = capfd.readouterr().err
    assert "3 hidden" in said and "1 .txt" in said and "faces.zip" in said


def zipped(folder: Path, path: Path) -> Path:
    """Zips the folder's files like CelebA's zip: below a folder with the zip's name, and with directory entries."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, f"{path.stem}/{file.relative_to(folder)}")
    return path


def test_a_zip_gives_what_its_folder_gives(mixed: Path, tmp_path: Path) -> None:
    from_folder = load_crops(mixed, 32)
    from_zip = load_crops(zipped(mixed, tmp_path / "faces.zip"), 32)
    assert from_zip.names == [f"faces/{name}" for name in from_folder.names]
    assert np.array_equal(from_zip.pixels, from_folder.pixels)
    assert list(from_zip.skipped) == [f"faces/{name}" for name in from_folder.skipped]
    assert from_zip.skipped["faces/f-small.png"] == from_folder.skipped["f-small.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces.zip", "mixed"]  # nothing was unpacked


def test_a_zip_is_decoded_once_and_again_when_it_has_changed(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zipped(mixed, tmp_path / "faces.zip")
    before = load_crops(path, 32).pixels[0].copy()
    with monkeypatch.context() as patch:
        forbid_decoding(patch)
        load_crops(path, 32)
    textured(99).save(mixed / "a.png")
    zipped(mixed, path)
    assert not np.array_equal(load_crops(path, 32).pixels[0], before)


def test_a_damaged_photo_in_a_zip_is_left_out_and_named(photos: Path, tmp_path: Path) -> None:
    path = zipped(photos, tmp_path / "faces.zip")
    data = bytearray(path.read_bytes())
    at = data.index(b"faces/003.png") + 200  # within that photo's data
    data[at] ^= 255
    path.write_bytes(data)
    crops = load_crops(path, 32)
    assert len(crops) == 11 and list(crops.skipped) == ["faces/003.png"]
    assert "CRC" in crops.skipped["faces/003.png"]


@pytest.mark.parametrize("content", [b"", b"<html>Too many users have viewed this file</html>", None])
def test_a_zip_that_is_none_or_empty_is_refused_by_name(photos: Path, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "img_align_celeba.zip"
    if content is None:
        zipfile.ZipFile(path, "w").close()
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match="holds no photos" if content is None else "download cut short") as caught:
        load_crops(path, 32)
    assert str(path) in str(caught.value)
    cut = zipped(photos, tmp_path / "cut.zip")
    cut.write_bytes(cut.read_bytes()[:-100])
    with pytest.raises(UserError, match="download cut short"):
        load_crops(cut, 32)


# The cache


def forbid_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, data: bytes | None = None) -> None:
        raise AssertionError(f"{path} was decoded again")

    monkeypatch.setattr(srgan.photos.cutting, "open_rgb", refuse)


def test_photos_are_decoded_once(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_crops(mixed, 32)
    forbid_decoding(monkeypatch)
    second = load_crops(mixed, 32)
    assert (first.names, first.skipped) == (second.names, second.skipped)
    assert np.array_equal(first.pixels, second.pixels)


def test_another_size_or_a_changed_folder_is_decoded_anew(photos: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(photos, tmp_path / "photos")
    before = load_crops(folder, 32)
    assert load_crops(folder, 48).pixels.shape == (12, 3, 48, 48)
    textured(99).save(folder / "003.png")
    changed = load_crops(folder, 32)
    assert [n for n in range(12) if not np.array_equal(before.pixels[n], changed.pixels[n])] == [3]
    textured(98).save(folder / "012.png")
    assert load_crops(folder, 32).names[-1] == "012.png"
    (folder / "000.png").unlink()
    assert load_crops(folder, 32).names[0] == "001.png"


def test_a_photo_replaced_by_one_of_the_same_size_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "one.bmp"
    textured(0).save(path)
    before = load_crops(tmp_path, 32).pixels[0].copy()
    textured(1).save(path)
    os.utime(path, ns=(1, 1))
    assert not np.array_equal(load_crops(tmp_path, 32).pixels[0], before)


def test_a_build_that_was_cut_short_leaves_nothing_that_counts(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SRGAN_CACHE", str(tmp_path / "cache"))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(srgan.photos.cutting, "to_tensor", interrupt)
        load_crops(photos, 32)
    assert entries(tmp_path / "cache") == []
    assert len(load_crops(photos, 32).names) == 12


def interrupt(_: Image.Image) -> torch.Tensor:
    raise KeyboardInterrupt


def test_two_runs_at_once_both_find_the_cache_whole(photos: Path, tmp_path: Path) -> None:
    code = "import sys, srgan.photos.crops as d; c = d.load_crops(sys.argv[1], 32); print(len(c.names), c.pixels.sum())"
    command = [sys.executable, "-c", code, str(photos)]
    runs = [Popen(command, env=environment(SRGAN_CACHE=str(tmp_path)), stdout=PIPE) for _ in range(2)]
    said = [run.communicate(timeout=120)[0].decode().split() for run in runs]
    assert said == [["12", str(int(load_crops(photos, 32).pixels.sum()))]] * 2
    assert len(entries(tmp_path)) == 1


def entries(cache: Path) -> list[Path]:
    """Returns the entries of the cache, without the files that are locked while an entry is written."""
    return sorted(path for path in cache.iterdir() if path.suffix != ".lock")


@pytest.mark.parametrize("file", ["photos.bin", "index.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_a_cache_that_was_damaged_is_written_anew(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, damage: str
) -> None:
    monkeypatch.setenv("SRGAN_CACHE", str(tmp_path))
    before = load_crops(photos, 32).pixels.copy()
    (entry,) = entries(tmp_path)
    data = (entry / file).read_bytes()
    (entry / file).unlink()  # a new file in its place, because mapped files keep their bytes
    if damage != "missing":
        (entry / file).write_bytes(data[: len(data) // 2] if damage == "cut" else b"{}")
    for _ in range(2):
        again = load_crops(photos, 32)
        assert np.array_equal(again.pixels, before) and len(again.names) == 12
        forbid_decoding(monkeypatch)


def test_whole_photos_are_decoded_once_for_windows_of_every_size(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "f-small.png" in load_windows(mixed, 32).skipped
    forbid_decoding(monkeypatch)
    smaller = load_windows(mixed, 28)
    assert "f-small.png" in smaller.names and "is 40x31" not in str(smaller.skipped)
    with pytest.raises(UserError, match="none of the 9 photos"):
        load_windows(mixed, 84)


def test_the_cache_drops_what_was_longest_unused(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRGAN_CACHE", str(tmp_path))
    (tmp_path / "holiday").mkdir()  # not made by this program
    unfinished = tmp_path / ("0" * 24)
    unfinished.mkdir()
    places = {}
    for age, side in ((3, 32), (2, 36), (1, 40)):
        before = set(entries(tmp_path))
        crops = load_crops(photos, side)
        (places[side],) = set(entries(tmp_path)) - before
        os.utime(places[side] / "index.json", times=(1e9 - age, 1e9 - age))
    assert not unfinished.exists()
    load_crops(photos, 32)  # used again, so that 36 is now the oldest
    room = sum(file.stat().st_size for side in (32, 40) for file in places[side].iterdir())
    monkeypatch.setenv("SRGAN_CACHE_GB", str((room + 12 * 3 * 44 * 44 + 2000) / 1e9))
    load_crops(photos, 44)
    assert [side for side, place in places.items() if place.exists()] == [32, 40]
    monkeypatch.setenv("SRGAN_CACHE_GB", "1e-9")
    load_crops(photos, 48)
    assert len(entries(tmp_path)) == 2 and (tmp_path / "holiday").exists()  # entries in use stay, whatever their size
    assert crops.batch([11]).shape == (1, 3, 40, 40)  # also for a run that has it open


@pytest.mark.parametrize("given", ["much", "0", "-1", "nan"])
def test_a_limit_that_is_no_number_is_one_sentence(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("SRGAN_CACHE", str(tmp_path))
    monkeypatch.setenv("SRGAN_CACHE_GB", given)
    with pytest.raises(UserError, match="SRGAN_CACHE_GB") as caught:
        load_crops(photos, 32)
    assert is_one_sentence(str(caught.value))


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_cache_folder_that_cannot_be_had_is_one_sentence(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SRGAN_CACHE", str(tmp_path / place))
    with pytest.raises(UserError, match="SRGAN_CACHE") as caught:
        load_crops(photos, 32)
    assert is_one_sentence(str(caught.value))


def test_crops_move_to_a_device_with_room_and_stay_the_same(photos: Path) -> None:
    crops = load_crops(photos, 32)
    size = 12 * 3 * 32 * 32
    assert crops.on(torch.device("cpu"), 2 * size - 1) is crops
    moved = crops.on(torch.device("cpu"), 2 * size)
    assert isinstance(moved.pixels, torch.Tensor) and moved.names == crops.names
    for indices in ([3, 0, 3], range(12), np.array([11])):
        assert torch.equal(moved.batch(indices), crops.batch(indices))
    train, held_out = moved.split(2)
    assert torch.equal(held_out.last(1).batch([0]), crops.batch([11])) and len(train) == 10
    batches = zip(moved.batches(1, 2, 0, 12, 5), crops.batches(1, 2, 0, 12, 5), strict=True)
    assert all(torch.equal(one, other) for one, other in batches)


# The split and the order


def test_batches_are_a_slice_of_the_epochs_order(photos: Path) -> None:
    crops = load_crops(photos, 32)
    whole = torch.cat(list(crops.batches(1, 2, 0, 12, 5)))
    assert torch.equal(whole, crops.batch(shuffled(12, 1, 2)))
    batches = list(crops.batches(1, 2, 3, 10, 5))
    assert [len(batch) for batch in batches] == [5, 2]
    assert torch.equal(torch.cat(batches), whole[3:10])


def crops(count: int) -> Crops:
    pixels = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(3, 1)
    return Crops(pixels, [f"{number:05}.png" for number in range(count)], {"x.png": "is broken"})


def test_the_last_photos_by_name_are_held_out() -> None:
    train, held_out = crops(20).split(3)
    assert held_out.names == ["00017.png", "00018.png", "00019.png"]
    assert train.names == crops(20).names[:17]
    assert train.batch(range(17))[:, 0, 0, 0].tolist() == list(range(17))
    assert held_out.batch(range(3))[:, 0, 0, 0].tolist() == [17, 18, 19]


@pytest.mark.parametrize(
    ("count", "held_out"), [(2, 1), (9, 1), (40, 8), (60, 12), (200, 20), (500, 25), (10_000, 500), (20_000, 500)]
)
def test_five_percent_but_of_few_photos_a_fifth_are_held_out_unless_told(count: int, held_out: int) -> None:
    every = Crops(np.zeros((count, 3, 1, 1), np.uint8), [str(n) for n in range(count)], {})
    train, rest = every.split(None)
    assert (len(train.names), len(rest.names)) == (count - held_out, held_out)


@pytest.mark.parametrize(("count", "held_out"), [(5, 5), (5, 7), (1, None)])
def test_too_few_photos_are_refused(count: int, held_out: int | None) -> None:
    with pytest.raises(UserError, match="too few") as caught:
        crops(count).split(held_out)
    assert is_one_sentence(str(caught.value)) and str(count) in str(caught.value)


def test_each_epoch_has_its_own_order_of_all_photos() -> None:
    orders = [tuple(shuffled(50, seed, epoch)) for seed in (0, 1) for epoch in (0, 1, 2)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len(set(orders)) == 6
    assert tuple(shuffled(50, 1, 2)) == orders[-1]


def test_order_does_not_depend_on_numpys_global_state() -> None:
    np.random.seed(1)
    first = shuffled(20, 0, 0)
    np.random.seed(2)
    assert np.array_equal(first, shuffled(20, 0, 0))


def test_names_outside_utf8_are_read(tmp_path: Path) -> None:
    folder = make_photos(tmp_path / "photos", 2)
    strange = os.fsdecode(b"caf\xe9.png")
    try:
        (folder / "000.png").rename(folder / strange)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert strange in load_crops(folder, 32).names
