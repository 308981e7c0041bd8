"""Faces are found, framed like the faces in the training crops, and drawn into an enlargement without a seam."""

import io
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT, SHARED, is_one_sentence, textured
from PIL import Image

from srgan import faces
from srgan.errors import UserError
from srgan.faces import draw_faces, find_faces
from srgan.model_folder import Model
from srgan.pictures.boxes import Box
from srgan.pictures.sizes import TargetSize
from srgan.upscaler import Upscaler

EXAMPLES = ROOT / "examples"


@pytest.fixture
def everywhere(model: Model) -> Upscaler:
    return Upscaler(model, device="cpu", precision="fp32")


@pytest.fixture
def on_faces(model: Model) -> Upscaler:
    """Returns an upscaler whose pictures differ from those of `everywhere`."""
    weights = {"detail": model.weights["fidelity"], "fidelity": model.weights["detail"]}
    return Upscaler(Model(model.config, weights, {}), device="cpu", precision="fp32")


def small(name: str, side: int) -> Image.Image:
    photo = Image.open(EXAMPLES / name).convert("RGB")
    photo.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=None)
    return photo


EYES = {"obama.jpg": (0.549, 0.188), "biden.jpg": (0.610, 0.152), "collins.png": (0.436, 0.197)}
"""Positions of the eyes as fractions of the photo's width and height, read off the photo."""


@pytest.mark.parametrize("side", [96, 128, 500])
@pytest.mark.parametrize("name", EYES)
def test_the_one_face_of_a_portrait_is_framed_with_the_eyes_in_the_middle(name: str, side: int) -> None:
    photo = small(name, side)
    (face,) = find_faces(photo)
    middle = (face.left + face.right) / 2 / photo.width, (face.top + face.bottom) / 2 / photo.height
    assert middle == pytest.approx(EYES[name], abs=0.025)
    assert face.width == face.height


@pytest.mark.parametrize("side", [32, 128, 600])
@pytest.mark.parametrize("name", ["cat.png", "coffee.png"])
def test_no_face_is_found_where_there_is_none(name: str, side: int) -> None:
    assert find_faces(small(name, side)) == []


def test_faces_of_one_picture_come_by_size_each_once() -> None:
    together = Image.new("RGB", (700, 400), "grey")
    together.paste(small("collins.png", 150), (20, 30))
    together.paste(small("obama.jpg", 380), (300, 10))
    obama, collins = find_faces(together)
    assert obama.side > 2 * collins.side
    assert 300 < obama.left < obama.right < 650 and 20 < collins.left < collins.right < 170


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (3000, 2), (700, 9)])
def test_a_picture_of_any_shape_may_be_searched(size: tuple[int, int]) -> None:
    assert find_faces(textured(0, 64, 64).resize(size)) == []


def test_a_sideways_transparent_or_deep_grey_photo_is_searched_as_it_is_shown() -> None:
    photo = small("collins.png", 128)
    expected = find_faces(photo)
    sideways = photo.transpose(Image.Transpose.ROTATE_90)
    exif = sideways.getexif()
    exif[0x0112] = 6
    sideways.info["exif"] = exif.tobytes()
    assert find_faces(sideways) == expected
    deep = Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)
    seen = photo.copy()
    seen.putalpha(255)
    for other in (deep, seen):
        assert np.abs(np.array(find_faces(other)) - expected).max() <= 1


def test_many_threads_find_what_one_finds() -> None:
    photos = [small(name, side) for name in EYES for side in (100, 200, 300)]
    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(find_faces, photos)) == list(map(find_faces, photos))


def test_the_frame_is_that_of_the_training_crops() -> None:
    """The training crop is the middle 128x128 of CelebA's aligned 178x218 photos, with the eyes at x = 69 and 108 and
    y = 111, and a face about 112 high. The frame found in the photo at an eighth of its size must match that crop.
    """
    photos = sorted((SHARED / "data" / "img_align_celeba").glob("*.jpg"))[-100:]
    if not photos:
        pytest.skip("no CelebA photos beside the checkout")
    found = []
    for path in photos:
        low = Image.open(path).convert("RGB").resize((44, 54), Image.Resampling.BICUBIC)
        found += find_faces(low)[:1]
    assert len(found) >= 98
    left, top, right, _ = np.array(found).mean(0) * 178 / 44
    assert (left, top, right - left) == pytest.approx((25, 45, 128), abs=3)


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture, np.float64)


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "RGBA", "I;16"])
def test_beyond_a_face_nothing_changes_inside_it_is_the_other_models_and_no_edge_shows(
    everywhere: Upscaler, on_faces: Upscaler, mode: str
) -> None:
    picture = textured(3, 120, 90).convert("RGBA" if mode.endswith("A") else "RGB")
    if mode.endswith("A"):
        picture.putalpha(textured(4, 120, 90).convert("L"))
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    else:
        picture = picture.convert(mode)
    face = Box(40, 24, 72, 56)
    ours, theirs = everywhere.enlarge(picture), on_faces.enlarge(picture)
    drawn = draw_faces(ours, on_faces, picture, [face])
    assert (drawn.mode, drawn.size) == (mode, ours.size)
    level = 257 if mode == "I;16" else 1

    inside = face.times(4)
    assert np.abs(pixels(drawn.crop(inside)) - pixels(theirs.crop(inside))).max() <= level
    area = face.grown(8, Box(0, 0, 120, 90)).times(4)
    beyond = np.ones((360, 480), bool)
    beyond[area.top : area.bottom, area.left : area.right] = False
    assert (pixels(drawn)[beyond] == pixels(ours)[beyond]).all()

    # The share of the other model is smooth in both directions; it is measured where the two models differ enough.
    difference = pixels(theirs) - pixels(ours)
    told = np.abs(difference) > 40 * level
    assert told[area.top : area.bottom, area.left : area.right].any()
    expected = share_of_the_other(face, 8, (480, 360))
    expected = expected.reshape(expected.shape + (1,) * (difference.ndim - 2))
    found = (pixels(drawn) - pixels(ours)) / np.where(told, difference, 1)
    assert np.abs(found - expected)[told].max() < 0.03
    assert max(np.abs(np.diff(expected, axis=axis)).max() for axis in (0, 1)) < 0.06


def share_of_the_other(face: Box, fade: int, size: tuple[int, int]) -> np.ndarray:
    """Returns the other model's share, computed pixel by pixel: 1 in the face, 0 from `fade` pixels outside it, and
    smoothstep between."""

    def along(low: int, high: int, length: int) -> list[float]:
        shares = []
        for pixel in range(length):
            at = (pixel + 0.5) / 4
            t = 1 - min(max(low - at, at - high, 0) / fade, 1)
            shares.append(3 * t**2 - 2 * t**3)
        return shares

    return np.outer(along(face.top, face.bottom, size[1]), along(face.left, face.right, size[0]))


def test_faces_of_a_jpeg_are_held_to_its_blocks_as_the_whole_picture_is() -> None:
    file = io.BytesIO()
    small("obama.jpg", 128).save(file, "JPEG", quality=80)
    photo, upscaler = Image.open(file), Upscaler.load(device="cpu", precision="fp32")
    (face,) = find_faces(photo)
    drawn, plain = (draw_faces(photo, upscaler, photo, [face], correction=each) for each in ("auto", None))
    whole = upscaler.enlarge(photo, size=TargetSize(scale=1))
    assert np.abs(pixels(drawn.crop(face)) - pixels(whole.crop(face))).max() <= 1
    assert np.abs(pixels(plain.crop(face)) - pixels(whole.crop(face))).max() > 3


@pytest.mark.parametrize(
    "face", [Box(-12, -8, 20, 24), Box(100, 70, 132, 102), Box(-30, -30, 150, 150), Box(60, -4, 64, 0)]
)
def test_a_face_at_the_edge_of_the_picture_is_drawn_as_far_as_it_goes(
    everywhere: Upscaler, on_faces: Upscaler, face: Box
) -> None:
    picture = textured(5, 120, 90)
    ours, theirs = everywhere.enlarge(picture), on_faces.enlarge(picture)
    drawn = draw_faces(ours, on_faces, picture, [face])
    seen = face.grown(0, Box(0, 0, 120, 90)).times(4)
    assert np.abs(pixels(drawn.crop(seen)) - pixels(theirs.crop(seen))).max(initial=0) <= 1


def test_faces_that_overlap_leave_no_gap_and_no_order(everywhere: Upscaler, on_faces: Upscaler) -> None:
    picture = textured(6, 120, 90)
    ours, theirs = everywhere.enlarge(picture), on_faces.enlarge(picture)
    pair = [Box(30, 30, 60, 60), Box(50, 24, 90, 64)]
    drawn = draw_faces(ours, on_faces, picture, pair)
    for face in pair:
        seen = face.times(4)
        assert np.abs(pixels(drawn.crop(seen)) - pixels(theirs.crop(seen))).max() <= 1
    assert np.abs(pixels(drawn) - pixels(draw_faces(ours, on_faces, picture, pair[::-1]))).max() <= 1


def test_a_large_face_is_mixed_in_parts_which_leave_no_trace_and_little_in_memory(
    everywhere: Upscaler, on_faces: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture, face = textured(8, 200, 170), Box(30, -10, 180, 140)
    ours = everywhere.enlarge(picture)
    drawn, peaks = [], []
    for side in (1000, 24):
        monkeypatch.setattr(faces, "MIXED", side)
        tracemalloc.start()
        drawn.append(draw_faces(ours, on_faces, picture, [face]))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (pixels(drawn[0]) == pixels(drawn[1])).all()
    assert peaks[1] < peaks[0] / 4


def test_without_faces_the_enlargement_stays_as_it_is_and_detail_goes_to_the_faces(
    everywhere: Upscaler, on_faces: Upscaler
) -> None:
    picture = textured(7, 60, 60)
    ours = everywhere.enlarge(picture, 0.5)
    assert (pixels(draw_faces(ours, on_faces, picture, [], 0.5)) == pixels(ours)).all()
    face = Box(20, 20, 40, 40)
    drawn = draw_faces(ours, on_faces, picture, [face], 0.25).crop(face.times(4))
    assert np.abs(pixels(drawn) - pixels(on_faces.enlarge(picture, 0.25).crop(face.times(4)))).max() <= 1


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: path.write_bytes(path.read_bytes()[:1000]), "is damaged"),
    ],
)
def test_without_its_file_the_detector_says_so_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: object, reason: str
) -> None:
    copy = tmp_path / faces.DETECTOR.name
    copy.write_bytes(faces.DETECTOR.read_bytes())
    damage(copy)
    monkeypatch.setattr(faces, "DETECTOR", copy)
    faces.detector.cache_clear()
    with pytest.raises(UserError, match=f"^{copy.name}, which finds faces, {reason}") as raised:
        find_faces(textured(0))
    assert is_one_sentence(str(raised.value))
    monkeypatch.undo()
    assert find_faces(small("collins.png", 128))  # a failure is not kept


def test_without_opencv_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    faces.detector.cache_clear()
    with pytest.raises(UserError, match=r"^Finding faces needs OpenCV: pip install opencv-python-headless"):
        find_faces(textured(0))
