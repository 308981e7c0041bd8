"""Faces cut out of photos: the position of the eyes, which faces are left out and why, and what `--crop-at auto`
chooses."""

import io
import random
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from helpers import ROOT, SHARED, TINY, is_one_sentence, textured, train
from PIL import Image, ImageFilter

from srgan.errors import UserError
from srgan.faces import faces_in
from srgan.photos.choice import choose
from srgan.photos.collections import open_collection
from srgan.photos.crops import load_crops
from srgan.photos.face_crops import EYES, cut_faces, eyes_of, frame_of, look_again
from srgan.photos.pieces import ALIKE, look
from srgan.photos.sharpness import sharpness_of
from srgan.photos.streams import faces_of_stream

PHONE = (3024, 4032)


class Portrait(NamedTuple):
    """A picture of one face, and the positions of its eyes."""

    picture: Image.Image
    eyes: tuple[complex, complex]


def portrait(path: Path) -> Portrait | None:
    """Returns the face of a picture if it has one with room around it."""
    picture = Image.open(path).convert("RGB")
    faces = faces_in(picture)
    if len(faces) != 1:
        return None
    frame, _ = look_again(picture, frame_of(eyes_of(faces[0])), 1.0)
    if frame.outside(picture.size) > 0:
        return None
    return Portrait(picture, (frame.at(EYES[0]), frame.at(EYES[1])))


def of_the_examples() -> list[Portrait]:
    found = [portrait(ROOT / "examples" / name) for name in ("obama.jpg", "biden.jpg", "collins.png")]
    return [one for one in found if one is not None]


class Composite(NamedTuple):
    photo: Image.Image
    eyes: list[tuple[complex, complex]]
    """of each face"""


def composite(portraits: list[Portrait], seed: int, size: tuple[int, int] = PHONE, count: int = 3) -> Composite:
    """Makes a photo of this size with portraits at random places and in random sizes, without overlap."""
    drawn = random.Random(seed)
    photo = textured(seed, size[0] // 16, size[1] // 16, 60, 200).resize(size, Image.Resampling.BICUBIC)
    eyes, taken = [], list[tuple[int, int, int, int]]()
    for _ in range(100):
        one = drawn.choice(portraits)
        frame = abs(one.eyes[1] - one.eyes[0]) / abs(EYES[1] - EYES[0])
        factor = drawn.uniform(140, 900) / frame  # faces of 128 pixels and more
        width, height = (round(factor * extent) for extent in one.picture.size)
        if len(eyes) == count or width >= size[0] or height >= size[1]:
            continue
        left, top = drawn.randrange(size[0] - width), drawn.randrange(size[1] - height)
        if any(left < x2 and left + width > x1 and top < y2 and top + height > y1 for x1, y1, x2, y2 in taken):
            continue
        taken.append((left, top, left + width, top + height))
        photo.paste(one.picture.resize((width, height), Image.Resampling.BICUBIC), (left, top))
        eyes.append((one.eyes[0] * factor + complex(left, top), one.eyes[1] * factor + complex(left, top)))
    return Composite(photo, eyes)


def misplaced(crop: np.ndarray) -> float:
    """Returns the distance of a crop's eyes from EYES as a fraction of its side, as the detector sees it; 1 if it finds
    no face."""
    picture = Image.fromarray(np.ascontiguousarray(crop.transpose(1, 2, 0)))
    found = [eyes_of(face) for face in faces_in(picture)]
    wanted = [eye * picture.width for eye in EYES]
    errors = [max(abs(a - b) for a, b in zip(eyes, wanted, strict=True)) for eyes in found]
    return min(errors, default=picture.width) / picture.width


def save_composites(portraits: list[Portrait], folder: Path, number: int) -> int:
    """Writes this number of composites. Returns the number of faces in them."""
    folder.mkdir()
    faces = 0
    for seed in range(number):
        photo, eyes = composite(portraits, seed)
        photo.save(folder / f"IMG_{seed:04}.jpg", quality=92)
        faces += len(eyes)
    return faces


def check_framing(portraits: list[Portrait], folder: Path, number: int) -> None:
    faces = save_composites(portraits, folder, number)
    assert choose(open_collection(folder), 128).crop_at == "faces"
    crops = load_crops(folder, 128, faces=True)
    framed = sum(misplaced(crop) < 0.06 for crop in np.asarray(crops.pixels))
    assert framed >= 0.95 * faces and len(crops) <= faces, (framed, len(crops), faces, crops.skipped)


def test_the_faces_of_phone_photos_are_framed_as_the_training_crops_frame_theirs(tmp_path: Path) -> None:
    check_framing(of_the_examples(), tmp_path / "photos", 4)


@pytest.mark.skipif(not (SHARED / "data" / "portraits").is_dir(), reason="needs the portraits beside the checkout")
def test_so_are_those_of_other_portraits(tmp_path: Path) -> None:
    paths = sorted((SHARED / "data" / "portraits").glob("*.webp"))[::40]
    check_framing([one for one in map(portrait, paths) if one is not None], tmp_path / "photos", 8)


@pytest.mark.skipif(not (SHARED / "data" / "img_align_celeba").is_dir(), reason="needs CelebA beside the checkout")
def test_celeba_is_cut_in_the_middle_and_has_the_eyes_there() -> None:
    data = SHARED / "data" / "img_align_celeba"
    assert choose(open_collection(data), 128).crop_at == "centre"
    middles = [photo.crop((25, 45, 153, 173)) for photo in open_collection(data).sample(24)]
    errors = [misplaced(np.asarray(middle).transpose(2, 0, 1)) for middle in middles]
    assert sorted(errors)[12] < 0.04 and sorted(errors)[20] < 0.07


@pytest.mark.parametrize("angle", [-25, -10, 15, 30])
def test_a_tilted_face_is_rolled_level(angle: int) -> None:
    photo, _ = composite(of_the_examples(), 1, (1600, 1600), 1)
    (crop,) = cut_faces(photo.rotate(angle, Image.Resampling.BICUBIC, expand=True), 128).crops
    assert misplaced(crop) < 0.06


def test_several_faces_of_a_photo_come_from_left_to_right_with_names_of_their_own(tmp_path: Path) -> None:
    photo, eyes = composite(of_the_examples(), 0, (2400, 1600), 2)
    photo.save(tmp_path / "two.jpg")
    crops = load_crops(tmp_path, 64, faces=True)
    assert len(eyes) == 2 and crops.names == ["two.jpg", "two-face2.jpg"] and crops.tally.photos == 1
    assert crops.pixels.shape == (2, 3, 64, 64)


def face_of(side: int, around: int = 400) -> Image.Image:
    """Returns a photo of one face with a frame of `side` pixels."""
    one = of_the_examples()[0]
    factor = side * abs(EYES[1] - EYES[0]) / abs(one.eyes[1] - one.eyes[0])
    small = one.picture.resize([round(extent * factor) for extent in one.picture.size], Image.Resampling.BICUBIC)
    photo = Image.new("RGB", (small.width + 2 * around, small.height + 2 * around), (90, 120, 110))
    photo.paste(small, (around, around))
    return photo


def cut_off(photo: Image.Image) -> Image.Image:
    """Cuts the photo off a little to the left of the first eye."""
    first, second = eyes_of(faces_in(photo)[0])
    return photo.crop((round(first.real - 0.3 * abs(second - first)), 0, *photo.size))


LEFT_OUT: dict[str, Callable[[], Image.Image]] = {
    "too small": lambda: face_of(100),
    "blurred": lambda: face_of(200).filter(ImageFilter.GaussianBlur(4)),
    "cut off": lambda: cut_off(face_of(300)),
    "without a face": lambda: textured(3, 400, 400),
}


@pytest.mark.parametrize("reason", LEFT_OUT)
def test_what_cannot_be_used_is_left_out_counted_and_named(tmp_path: Path, reason: str) -> None:
    LEFT_OUT[reason]().save(tmp_path / "bad.png")
    face_of(160).save(tmp_path / "good.png")
    crops = load_crops(tmp_path, 128, faces=True)
    assert crops.names == ["good.png"] and list(crops.skipped) == ["bad.png"]
    assert crops.tally.left_out == {reason: 1} and crops.tally.text() == f"1 {reason}"


def test_no_face_is_enlarged_and_none_is_lost_at_its_own_size() -> None:
    photo = face_of(150)
    assert len(cut_faces(photo, 128).crops) == 1
    (left,) = cut_faces(photo, 176).left_out
    assert left.reason == "too small" and left.side == pytest.approx(150, abs=15)


def test_where_no_face_is_found_the_sentence_says_so(tmp_path: Path) -> None:
    textured(1, 300, 200).save(tmp_path / "a.png")
    with pytest.raises(UserError) as caught:
        load_crops(tmp_path, 128, faces=True)
    assert is_one_sentence(str(caught.value)) and "shows no face" in str(caught.value)


def test_a_smaller_crop_is_named_that_takes_faces_which_are_too_small(tmp_path: Path) -> None:
    face_of(100).save(tmp_path / "small.png")
    with pytest.raises(UserError) as caught:
        load_crops(tmp_path, 128, faces=True)
    named = int(str(caught.value).split("--crop ")[1].split(",")[0])
    assert is_one_sentence(str(caught.value)) and 84 <= named <= 104
    assert len(load_crops(tmp_path, named, faces=True)) == 1


def test_a_photo_turned_by_exif_and_a_grey_one_give_the_same_face(tmp_path: Path) -> None:
    photo = face_of(200)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    photo.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a-turned.png", exif=exif)
    photo.convert("L").save(tmp_path / "b-grey.png")
    photo.save(tmp_path / "c-plain.png")
    turned, grey, plain = (crop.astype(int) for crop in np.asarray(load_crops(tmp_path, 128, faces=True).pixels))
    assert np.array_equal(turned, plain)
    assert np.array_equal(grey[0], grey[1]) and misplaced(np.uint8(grey)) < 0.06


def test_a_zip_and_shards_give_the_faces_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, side in enumerate((140, 60, 200, 180)):
        face_of(side, 200).save(folder / f"{number}.png")
    (folder / "broken.png").write_text("no picture")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        for path in sorted(folder.iterdir()):
            info = tarfile.TarInfo(path.name)
            info.size = path.stat().st_size
            archive.addfile(info, io.BytesIO(path.read_bytes()))
    wanted = load_crops(folder, 128, faces=True)
    zipped = load_crops(tmp_path / "photos.zip", 128, faces=True)
    streamed = faces_of_stream(str(tmp_path / "photos.tar"), 128, 9)
    assert wanted.names == zipped.names == ["0.png", "2.png", "3.png"]
    assert [Path(name).name for name in streamed.names] == wanted.names
    for found in (zipped, streamed):
        assert np.array_equal(found.pixels, wanted.pixels) and found.tally == wanted.tally
    assert wanted.tally.left_out == {"too small": 1, "cannot be read": 1}
    assert len(faces_of_stream(str(tmp_path / "photos.tar"), 128, 2)) == 2  # no more than requested


def test_a_stream_may_end_within_a_photo_of_several_faces(tmp_path: Path) -> None:
    """Faces beyond the requested number are not held out either."""
    first, one, other = (portrait.picture for portrait in of_the_examples())
    pair = Image.new("RGB", (one.width + other.width, max(one.height, other.height)))
    pair.paste(one, (0, 0))
    pair.paste(other, (one.width, 0))
    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        for number, picture in enumerate((first, textured(1, 400, 300), pair)):
            data = io.BytesIO()
            picture.save(data, "PNG")
            info = tarfile.TarInfo(f"{number}.png")
            info.size = len(data.getvalue())
            archive.addfile(info, io.BytesIO(data.getvalue()))
    whole = faces_of_stream(str(tmp_path / "photos.tar"), 128, 9)
    assert [Path(name).name for name in whole.names] == ["0.png", "2.png", "2-face2.png"]
    train, held_out = faces_of_stream(str(tmp_path / "photos.tar"), 128, 2).split(1, by_look=True)
    assert [*train.names, *held_out.names] == whole.names[:2]


def test_what_is_neither_aligned_nor_faces_is_trained_on_in_windows(tmp_path: Path) -> None:
    for number in range(3):
        textured(number, 200, 180).save(tmp_path / f"{number}.png")
    assert choose(open_collection(tmp_path), 64).crop_at == "random"
    assert choose(open_collection(tmp_path), 64, streamed=True).crop_at == "centre"


def test_detail_falls_with_blur_and_is_the_same_of_any_contrast() -> None:
    sharp = face_of(200).crop((450, 450, 650, 650))
    blurred = [sharpness_of(sharp.filter(ImageFilter.GaussianBlur(radius))) for radius in (0.5, 1, 2)]
    assert sharpness_of(sharp) > blurred[0] > blurred[1] > blurred[2]
    faint = sharp.point(lambda level: 64 + level // 2)
    assert sharpness_of(faint) == pytest.approx(sharpness_of(sharp), rel=0.15)
    assert sharpness_of(Image.new("RGB", (64, 64), "grey")) == 0


def test_looks_tell_a_burst_from_other_faces() -> None:
    def differ(first: np.ndarray, second: np.ndarray) -> float:
        return float(np.unpackbits(look(first) ^ look(second)).mean())

    one, other, *_ = [cut_faces(portrait.picture, 128).crops[0] for portrait in of_the_examples()]
    shifted = np.roll(one, (2, -1), (1, 2))
    assert differ(one, shifted) < ALIKE < differ(one, other)
    assert differ(one, (one * 0.8).astype(np.uint8)) < ALIKE


def test_train_py_frames_faces_by_itself_and_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(4):
        face_of(80 + 10 * number, 100).save(folder / f"{number}.png")
    options = [*TINY[: TINY.index("--crop-at")], "--held-out", "1", "--content", "mse", "--epochs", "1"]
    done = train("--data", folder, "--out", tmp_path / "run", *options)
    assert done.returncode == 0, done.stderr
    assert "--crop-at faces: 4 of 4 photos looked at show faces" in done.stdout
    assert "4 faces in 4 photos" in done.stdout and "3 faces to train on, 1 held out" in done.stdout
    again = train("--data", folder, "--out", tmp_path / "run", "--resume", "--epochs", "2", "--crop-at", "auto")
    assert again.returncode == 0, again.stderr
    assert "--crop-at faces" in (tmp_path / "run" / "model" / "README.md").read_text()
