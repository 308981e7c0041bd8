"""What the page reads from a file, shows and returns: one colour space, transparency, and what is not kept."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from helpers import textured
from page_support import make_picture
from PIL import Image, ImageCms

from srgan.page import enlarge_tab, handlers, uploads
from srgan.page.offered_models import Models
from srgan.upscaler import Upscaler


@pytest.fixture(scope="module")
def models(model_folder: Path, photos_folder: Path) -> Models:
    return Models({"Faces": Upscaler.load(model_folder), "Any photo": Upscaler.load(photos_folder)})


@pytest.fixture(autouse=True)
def results_below_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))


def swapped_profile() -> bytes:
    """Returns an sRGB profile with red and green swapped, so that a program that ignores it shows clearly different
    colours."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(profile[128:132], "big")
    places = {bytes(profile[at : at + 4]): at + 4 for at in range(132, 132 + 12 * count, 12)}
    red, green = (slice(places[name], places[name] + 8) for name in (b"rXYZ", b"gXYZ"))
    profile[red], profile[green] = profile[green], profile[red]
    return bytes(profile)


def shown(file: str) -> np.ndarray:
    """Returns the pixels of a file, which must have no colour profile, so that its colours are sRGB."""
    with Image.open(file) as picture:
        assert not {"icc_profile", "gamma"} & set(picture.info)
        return np.asarray(picture.convert("RGB")).astype(int)


def test_all_that_is_shown_and_given_of_a_photo_is_in_srgb(models: Models, tmp_path: Path) -> None:
    photo = Image.new("RGB", (64, 64), (200, 40, 90))
    photo.save(tmp_path / "photo.png", icc_profile=swapped_profile())
    file = str(tmp_path / "photo.png")
    restored, bicubic, original, low, *_ = handlers.compare(models, file)
    for name in (bicubic, original, low):
        assert np.abs(shown(name) - [40, 200, 90]).max() <= 2
    enlarged, (left, right), *_ = handlers.enlarge(models, file)
    assert np.abs(shown(left) - [40, 200, 90]).max() <= 2
    photo = Image.new("RGB", (64, 64), (40, 200, 90))
    photo.save(tmp_path / "plain.png")
    plain = str(tmp_path / "plain.png")
    assert np.abs(shown(enlarged) - shown(handlers.enlarge(models, plain)[0])).max() <= 3 and right == enlarged
    assert np.abs(shown(restored) - shown(handlers.compare(models, plain)[0])).max() <= 3
    *_, (_, [many], _) = handlers.batch(models, [file])
    assert np.array_equal(shown(many), shown(enlarged))


@pytest.mark.parametrize("made_for", ["Faces", "Any photo"])
def test_transparency_is_kept_in_what_is_enlarged(models: Models, tmp_path: Path, made_for: str) -> None:
    picture = textured(1, 24, 20).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize((24, 20)))
    picture.save(tmp_path / "clear.png")
    file = str(tmp_path / "clear.png")
    enlarged, pair, said, *_ = handlers.enlarge(models, file, 1.0, made_for)
    *_, (_, [many], _) = handlers.batch(models, [file], 1.0, made_for)
    alphas = [np.asarray(Image.open(name).getchannel("A")) for name in (enlarged, *pair, many)]
    assert all(np.array_equal(alpha, alphas[0]) for alpha in alphas) and alphas[0].shape == (80, 96)
    assert alphas[0].min() < 20 and alphas[0].max() > 230
    assert "transparent" not in said
    assert Image.open(enlarged).tobytes() == models.chosen(made_for).enlarge(picture).tobytes()


def test_where_nothing_is_transparent_nothing_is_said_of_it(models: Models, tmp_path: Path) -> None:
    picture = textured(1, 40, 40).convert("RGBA")
    picture.save(tmp_path / "solid.png")
    assert "white" not in handlers.compare(models, str(tmp_path / "solid.png"))[-1]
    assert Image.open(handlers.enlarge(models, str(tmp_path / "solid.png"))[0]).mode == "RGB"


def several_frames(path: Path) -> None:
    textured(1, 40, 40).save(path, "GIF", save_all=True, append_images=[textured(2, 40, 40)])


def sixteen_bit_colours(path: Path) -> None:
    rows = b"".join(b"\0" + bytes(range(240)) for _ in range(40))
    chunks = (b"IHDR" + bytes((0, 0, 0, 40, 0, 0, 0, 40, 16, 2, 0, 0, 0)), b"IDAT" + zlib.compress(rows), b"IEND")
    components = [(len(c) - 4).to_bytes(4, "big") + c + zlib.crc32(c).to_bytes(4, "big") for c in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(components))


def sixteen_bit_greys(path: Path) -> None:
    Image.fromarray((np.arange(1600) * 40).reshape(40, 40).astype(np.uint16)).save(path, "PNG")


def inks(path: Path) -> None:
    textured(1, 40, 40).convert("CMYK").save(path, "JPEG")


LOST = [(several_frames, "frames"), (sixteen_bit_colours, "16 bits"), (sixteen_bit_greys, "16 bits"), (inks, "CMYK")]


@pytest.mark.parametrize(("make", "word"), LOST)
def test_what_is_not_kept_is_said_wherever_the_picture_is_taken(
    models: Models, tmp_path: Path, make: Callable[[Path], None], word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "mine.png")
    file = str(tmp_path / "mine.png")
    monkeypatch.setattr(handlers, "load_epoch", lambda _: models.chosen(models.made_for[0]))
    *_, (_, _, many) = handlers.batch(models, [file, str(make_picture(tmp_path / "plain.png", 8, 8))])
    assert "mine.png: " in many and "plain.png" not in many
    said = [handlers.compare(models, file)[-1], handlers.enlarge(models, file)[2], many]
    assert all(word in sentence for sentence in [*said, handlers.compare_epochs(file, "one", "two")[-1]])


def test_compare_says_that_transparency_is_laid_on_white(models: Models, tmp_path: Path) -> None:
    Image.new("RGBA", (40, 40), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    *_, original, _, _, said = handlers.compare(models, str(tmp_path / "clear.png"))
    assert "white" in said and shown(original).min() == 255


def test_a_picture_that_was_deleted_is_to_be_uploaded_again(models: Models, tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.png")

    def asked(function: Callable[..., Any], picture: Any) -> None:
        with pytest.raises(gr.Error, match="upload it again") as raised, handlers.answering("x", picture):
            list(function(models, picture))
        assert raised.value.message.startswith("gone.png") and str(tmp_path) not in raised.value.message

    for function in (handlers.compare, handlers.enlarge):
        asked(function, gone)
    asked(handlers.batch, [gone])


def test_what_is_asked_of_a_large_photo_before_its_turn_is_found_by_decoding_it_once(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    read = uploads.read
    for module in (uploads, handlers, enlarge_tab):
        monkeypatch.setattr(module, "read", lambda path: (decoded.append(path), read(path))[1])
    file = make_picture(tmp_path / "photo.jpg", 1300, 1000, "obama.jpg")
    for _ in range(2):  # as when another Detail is chosen
        with pytest.raises(handlers.TooLarge):
            handlers.enlarge(models, str(file))
        assert [choice for _, choice in enlarge_tab.ways(str(file))["choices"]] == ["faces", "clean", "reduce"]
    assert len(decoded) == 1
    make_picture(file, 1000, 1300, "coffee.png")  # another file of the same name
    assert uploads.seen(str(file))[:2] == ((1000, 1300), ())
