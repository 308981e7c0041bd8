"""The close-ups of faces that the page shows: how many, and at what size."""

from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT, textured
from page_support import assert_same
from PIL import Image

import srgan.faces
import srgan.page.close_ups
from srgan.commands import demo as app
from srgan.faces import find_faces
from srgan.model_folder import Model
from srgan.page import handlers, kept
from srgan.page.close_ups import GAP, close_ups, what_is_shown
from srgan.page.offered_models import Models
from srgan.pictures import images
from srgan.pictures.boxes import Box
from srgan.upscaler import Upscaler


@pytest.fixture(autouse=True)
def nothing_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.ANSWERS.clear()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))


@pytest.fixture
def portrait(tmp_path: Path) -> Path:
    """Writes a 96x96 picture with one face."""
    return reduced("collins.png", tmp_path)


@pytest.fixture
def two(model: Model) -> Models:
    other = Model(model.config, {kind: model.weights[kind] for kind in ("detail", "fidelity")}, {})
    other.weights["detail"], other.weights["fidelity"] = other.weights["fidelity"], other.weights["detail"]
    return Models({"Faces": Upscaler(model, "faces", "cpu"), "Any photo": Upscaler(other, "photos", "cpu")})


def reduced(name: str, folder: Path) -> Path:
    photo = Image.open(ROOT / "examples" / name).convert("RGB")
    photo.thumbnail((96, 96), Image.Resampling.BICUBIC, reducing_gap=None)
    photo.save(folder / name)
    return folder / name


@pytest.mark.parametrize(
    ("count", "sentence"),
    [
        (0, "No face was found: the whole picture was restored."),
        (1, "1 face was found; before (bicubic) and after:"),
        (8, "8 faces were found; before (bicubic) and after:"),
        (9, "9 faces were found; the 8 largest, before (bicubic) and after:"),
    ],
)
def test_it_is_said_how_many_faces_were_found(count: int, sentence: str) -> None:
    found = [Box(0, 0, 20 - number, 20 - number) for number in range(count)]
    assert what_is_shown(found) == sentence
    assert len(close_ups(found, textured(1, 384, 320), textured(2, 384, 320), (96, 80))) == min(count, 8)


def test_a_picture_is_searched_once_however_often_detail_is_moved(
    two: Models, portrait: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[Image.Image] = []
    monkeypatch.setattr(
        srgan.page.close_ups, "find_faces", lambda picture: searched.append(picture) or find_faces(picture)
    )
    for detail in (0.0, 0.5, 1.0):
        for made_for in two.made_for:
            handlers.enlarge(two, str(portrait), detail, made_for)
    assert len(searched) == 1


@pytest.mark.parametrize(
    ("face", "size"),
    [
        (Box(10, 20, 26, 36), (256, 256)),  # 64 pixels, four times
        (Box(10, 10, 25, 25), (300, 300)),  # 60, five times
        (Box(-8, 4, 32, 44), (256, 320)),  # 128x160 of it lie in the picture, twice
        (Box(0, 0, 200, 200), (512, 512)),  # 800, reduced
    ],
)
def test_a_close_up_shows_both_enlargements_of_the_same_place(face: Box, size: tuple[int, int]) -> None:
    before, after = textured(1, 800, 800), textured(2, 800, 800)
    (shown,) = close_ups([face], before, after, tuple(side // 4 for side in after.size))
    width, height = size
    assert shown.size == (2 * width + GAP, height)
    there = face.grown(0, Box(0, 0, 200, 200)).times(4)
    for left, large in ((0, before), (width + GAP, after)):
        half = np.asarray(shown.crop((left, 0, left + width, height)))
        wanted = large.crop(there)
        if width >= wanted.width:  # whole pixels, without interpolation
            times = width // wanted.width
            assert (half == np.asarray(wanted).repeat(times, 0).repeat(times, 1)).all()
        else:
            assert (half == np.asarray(wanted.resize(size, Image.Resampling.BICUBIC))).all()


def test_enlarge_gives_each_face_before_and_after(two: Models, portrait: Path, tmp_path: Path) -> None:
    restored, (bicubic, _), _, said, shown = handlers.enlarge(two, str(portrait), 0.5)
    assert said.startswith("1 face was found") and len(shown) == 1
    faces = find_faces(images.open_rgb(portrait))
    (wanted,) = close_ups(faces, images.open_rgb(bicubic), images.open_rgb(restored), images.open_rgb(portrait).size)
    assert_same(shown[0], wanted)
    nobody = handlers.enlarge(two, str(reduced("coffee.png", tmp_path)))
    assert nobody[3:] == ("No face was found: the whole picture was restored.", [])


def test_without_its_detector_the_page_restores_the_whole_and_says_why(
    two: Models, portrait: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(srgan.faces, "DETECTOR", tmp_path / "gone.onnx")
    srgan.faces.detector.cache_clear()
    restored, _, _, said, shown = handlers.enlarge(two, str(portrait), 1.0, "Any photo")
    assert_same(restored, two.upscalers["Any photo"].enlarge(images.open_rgb(portrait)))
    reason = (
        "The search for faces failed, so the whole picture was restored: gone.onnx, which finds faces, cannot be read"
    )
    assert shown == [] and said.startswith(reason)
    assert "gone.onnx, which finds faces, cannot be read" in str(app.build_demo(two).get_config_file()["components"])
