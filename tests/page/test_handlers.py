"""srgan/page/handlers.py: the functions that answer requests."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
import torch
from page_support import assert_same, make_picture
from PIL import Image

from srgan import wear
from srgan.degradation.chain import copies_alike
from srgan.errors import UserError
from srgan.faces import draw_faces
from srgan.measure import comparison
from srgan.measure.metrics import LPIPS, psnr_y, ssim_y
from srgan.page import handlers
from srgan.page.offered_models import Models
from srgan.page.uploads import seen
from srgan.pictures import images
from srgan.pictures.boxes import Box
from srgan.upscaler import SHIPPED_MODEL, Upscaler
from srgan.wear import Automatic


@pytest.fixture(scope="module")
def upscaler(model_folder: Path) -> Upscaler:
    return Upscaler.load(model_folder)


@pytest.fixture(scope="module")
def models(upscaler: Upscaler) -> Models:
    return Models({"tiny-faces": upscaler})


@pytest.fixture(autouse=True)
def results_below_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))


def batch(picture: str | Image.Image) -> torch.Tensor:
    return images.to_tensor(images.open_rgb(picture) if isinstance(picture, str) else picture).unsqueeze(0)


def bicubic(small: Image.Image) -> Image.Image:
    return images.to_picture(images.to_pixels(images.enlarge_bicubic(images.normalize(batch(small))))[0])


@pytest.mark.parametrize(
    ("photo_size", "size", "original_size"),
    [
        ((178, 218), 256, (176, 216)),
        ((178, 218), 128, (104, 128)),
        ((451, 300), 256, (256, 168)),
        ((700, 500), 512, (512, 364)),
        ((32, 35), 256, (32, 32)),
    ],
)
def test_compare_shows_what_the_upscaler_makes_of_the_reduced_original(
    models: Models,
    upscaler: Upscaler,
    tmp_path: Path,
    photo_size: tuple[int, int],
    size: int,
    original_size: tuple[int, int],
) -> None:
    photo = make_picture(tmp_path / "photo.png", *photo_size)
    restored, enlarged, original, low, figures, _ = handlers.compare(models, str(photo), 0.25, size)

    target = images.open_rgb(original)
    assert target.size == original_size
    small = images.open_rgb(low)
    assert_same(low, images.to_picture(images.to_pixels(images.reduce(images.normalize(batch(target))))[0]))
    assert_same(restored, upscaler.enlarge(small, 0.25))
    assert_same(enlarged, bicubic(small))
    for name, file in (("bicubic", enlarged), ("restored", restored)):
        assert figures[name]["psnr_y"] == pytest.approx(float(psnr_y(batch(file), batch(original))), abs=0.01)
        assert figures[name]["ssim_y"] == pytest.approx(float(ssim_y(batch(file), batch(original))), abs=0.001)
    assert figures["milliseconds"] >= 0
    assert (figures["model"], figures["device"]) == ("tiny-faces", handlers.device_name(upscaler.device))
    assert figures["revision"] == upscaler.revision == ""


def test_lpips_is_among_the_figures_where_its_network_is_given(
    upscaler: Upscaler, lpips_file: Path, tmp_path: Path
) -> None:
    lpips = LPIPS.load(lpips_file)
    photo = make_picture(tmp_path / "photo.png", 178, 218)
    for detail in (0.25, 1.0):  # the second call uses what the first one has kept
        found = handlers.compare(Models({"Faces": upscaler}, lpips), str(photo), detail)
        restored, bicubic, original, _, figures, _ = found
        for name, file in (("bicubic", bicubic), ("restored", restored)):
            wanted = float(lpips(images.normalize(batch(file)), images.normalize(batch(original))))
            assert figures[name]["lpips"] == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("kind", ["web", "old"])
def test_the_small_copy_can_be_worn_and_all_is_made_from_that(
    models: Models, upscaler: Upscaler, tmp_path: Path, kind: str
) -> None:
    photo = make_picture(tmp_path / "photo.png", 96, 64)
    restored, enlarged, original, low, _, sentence = handlers.compare(models, str(photo), 1.0, 512, small_copy=kind)
    worn, wanted = copies_alike(kind, images.normalize(batch(str(photo))))
    assert_same(low, images.to_picture(images.to_pixels(worn)[0]))
    assert_same(original, images.to_picture(images.to_pixels(wanted)[0]))
    small = images.open_rgb(low)
    assert_same(restored, upscaler.enlarge(small))
    assert_same(enlarged, bicubic(small))
    assert "JPEG" in sentence
    assert handlers.compare_by_one(models, str(photo), 1.0, 512, kind)[5] == sentence
    with pytest.raises(UserError, match="jpeg75"):
        handlers.compare(models, str(photo), small_copy="jpeg75")  # a kind that is only for measuring


def test_what_does_not_depend_on_the_model_is_done_once_for_a_photo(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enlarged: list[torch.Tensor] = []
    monkeypatch.setattr(comparison, "enlarge_bicubic", lambda low: enlarged.append(low) or images.enlarge_bicubic(low))
    photo = make_picture(tmp_path / "photo.png", 99, 61)
    first, second = (handlers.compare(models, str(photo), detail)[4] for detail in (0.5, 0.75))
    assert len(enlarged) == 1 and first["bicubic"] == second["bicubic"]
    handlers.compare(models, str(make_picture(tmp_path / "other.png", 97, 61)))
    assert len(enlarged) == 2


def test_the_model_is_chosen_by_what_it_is_made_for(upscaler: Upscaler, photos_folder: Path, tmp_path: Path) -> None:
    photos = Upscaler.load(photos_folder)
    models = Models({"Faces": upscaler, "Any photo": photos})
    file = str(make_picture(tmp_path / "small.png", 40, 36))
    small = images.open_rgb(file)
    for made_for, expected in (((), upscaler), (("Faces",), upscaler), (("Any photo",), photos)):
        assert_same(handlers.enlarge(models, file, 1.0, *made_for)[0], expected.enlarge(small))
        *_, (_, results, _) = handlers.batch(models, [file], 1.0, *made_for)
        assert_same(results[0], expected.enlarge(small))
        restored, _, _, low, figures, _ = handlers.compare(models, file, 1.0, 512, *made_for)
        assert_same(restored, expected.enlarge(images.open_rgb(low)))
        assert figures["model"] == expected.name
    with pytest.raises(UserError, match="tiny-photos has no fidelity weights"):
        handlers.enlarge(models, file, 0.5, "Any photo")


def test_a_photo_that_need_not_be_reduced_is_the_original_pixel_for_pixel(models: Models, tmp_path: Path) -> None:
    photo = make_picture(tmp_path / "photo.png", 67, 49)
    original = handlers.compare(models, str(photo))[2]
    assert_same(original, Image.open(photo).crop((0, 0, 64, 48)))


def test_a_sideways_photo_is_shown_upright(models: Models, tmp_path: Path) -> None:
    photo = Image.open(make_picture(tmp_path / "photo.png", 120, 80))
    exif = photo.getexif()
    exif[0x0112] = 6
    photo.save(tmp_path / "sideways.png", exif=exif)
    assert Image.open(handlers.compare(models, str(tmp_path / "sideways.png"))[2]).size == (80, 120)


@pytest.mark.parametrize(
    ("photo_size", "sentence"),
    [
        (
            (600, 400),
            "The photo is 600x400. It was reduced to 512x340 to make the original. "
            "The original was reduced to **128x85**",
        ),
        (
            (178, 218),
            "The photo is 178x218. It was trimmed to 176x216 to make the original. "
            "The original was reduced to **44x54**",
        ),
        ((64, 48), "The photo is 64x48 and serves as the original. The original was reduced to **16x12**"),
    ],
)
def test_the_page_says_what_was_done_to_the_photo(
    models: Models, tmp_path: Path, photo_size: tuple[int, int], sentence: str
) -> None:
    photo = make_picture(tmp_path / "photo.png", *photo_size)
    assert handlers.compare(models, str(photo))[-1].startswith(sentence)


def test_a_perfect_enlargement_has_no_psnr_but_an_ssim_of_one() -> None:
    flat = torch.full((1, 3, 40, 40), 200, dtype=torch.uint8)
    assert comparison.figures_of(flat, flat) == {"psnr_y": None, "ssim_y": 1.0}


@pytest.mark.parametrize(
    ("photo_size", "size", "advice"),
    [
        ((1, 1), 256, "1x1, but comparing .* 32 pixels on each side: use the Enlarge tab"),
        ((400, 31), 512, "400x31, but .* use the Enlarge tab"),
        ((900, 100), 128, "900x100 and would be 128x14 at 128 px, .* choose a larger size"),
        ((64, 64), 300, "size is 300; it must be one of 128, 256, 512, 1024"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_advice(
    models: Models, tmp_path: Path, photo_size: tuple[int, int], size: int, advice: str
) -> None:
    photo = make_picture(tmp_path / "photo.png", *photo_size)
    with pytest.raises(UserError, match=advice):
        handlers.compare(models, str(photo), 1.0, size)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (37, 21)])
def test_enlarge_gives_what_the_upscaler_gives(
    models: Models, upscaler: Upscaler, tmp_path: Path, size: tuple[int, int]
) -> None:
    file = make_picture(tmp_path / "small.png", *size)
    restored, pair, sentence, *_ = handlers.enlarge(models, str(file), 0.5)
    small = images.open_rgb(file)
    assert_same(restored, upscaler.enlarge(small, 0.5))
    assert_same(pair[0], bicubic(small))
    assert pair[1] == restored
    assert sentence.startswith(f"{size[0]}x{size[1]} became {4 * size[0]}x{4 * size[1]}")


def test_enlarge_takes_a_limited_number_of_pixels_and_says_what_else_to_do(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = make_picture(tmp_path / "large.png", 1001, 1000)
    with pytest.raises(
        UserError, match=r"1001x1000 .* more than the 16 megapixels .*\(x1 .* Compare tab, .* python -m srgan upscale"
    ):
        handlers.enlarge(models, str(large))
    monkeypatch.setattr(handlers, "MOST_PIXELS", 12)
    handlers.enlarge(models, str(make_picture(tmp_path / "just.png", 4, 3)))


def test_a_detail_outside_its_range_is_refused(models: Models, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"between 0 .* and 1"):
        handlers.enlarge(models, str(make_picture(tmp_path / "small.png", 8, 8)), 2.0)


def broken(folder: Path) -> Path:
    whole = make_picture(folder / "whole.png", 64, 64)
    path = folder / "broken.png"
    path.write_bytes(whole.read_bytes()[:2000])
    return path


def text(folder: Path) -> Path:
    path = folder / "text.png"
    path.write_text("no picture")
    return path


def huge(folder: Path) -> Path:
    path = folder / "huge.png"
    Image.new("1", (10_001, 10_000)).save(path)
    return path


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("make", [broken, text, huge])
@pytest.mark.parametrize("handler", [handlers.compare, handlers.enlarge])
def test_what_is_no_usable_picture_ends_in_a_sentence_with_its_name_alone(
    models: Models, tmp_path: Path, make: Callable[[Path], Path], handler: Callable[..., Any]
) -> None:
    file = make(tmp_path)
    spoken = handlers.spoken(lambda picture: handler(models, picture))
    with pytest.raises(gr.Error) as raised:
        spoken(str(file))
    assert raised.value.message.startswith(f"{file.name}: ")
    assert str(tmp_path) not in raised.value.message
    assert not raised.value.print_exception


def test_without_a_picture_the_page_shows_its_example() -> None:
    assert handlers.spoken(lambda _: pytest.fail("called"))(None) == gr.skip()
    handler = handlers.spoken(lambda *asked: asked, "example.png", (1.0, 512), "as at the start")
    assert handler(None, 1, 512) == "as at the start"
    assert handler(None, 0.5, 512) == ("example.png", 0.5, 512)
    assert handler("mine.png", 1.0, 512) == ("mine.png", 1.0, 512)


def test_a_batch_does_what_it_can_names_the_rest_and_keeps_files_of_one_name_apart(
    models: Models, upscaler: Upscaler, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    files = [make_picture(tmp_path / "a.png", 8, 8), make_picture(tmp_path / "other" / "a.png", 9, 8), text(tmp_path)]
    *seen, (archive, results, sentence) = handlers.batch(models, list(map(str, files)), 0.5)
    assert sentence.startswith("2 of 3 pictures are 4 times as wide and high.\n\ntext.png: not a picture")
    failed = sentence.split("\n\n")[-1]  # a failed file is named at once
    assert [(shown, said) for _, shown, said in seen] == [
        (results[:1], "1 of 3 ▰▱▱"), (results, "2 of 3 ▰▰▱"), (results, f"3 of 3 ▰▰▰\n\n{failed}"),
    ]  # fmt: skip
    with zipfile.ZipFile(archive) as zipped:
        assert zipped.namelist() == ["a-x4.png", "a-x4-2.png"]
        for name, source, result in zip(zipped.namelist(), files[:2], results, strict=True):
            expected = upscaler.enlarge(images.open_rgb(source), 0.5)
            assert_same(result, expected)
            with zipped.open(name) as file:
                assert_same(file, expected)


@pytest.mark.parametrize(
    ("size", "done"),
    [
        ("", "4 times as wide and high."), ("x1", "cleaned up at their own size."), ("x2", "done (x2)."),
        ("width 16", "done (width 16)."), ("10x10", "done (10x10)."),
    ],
)  # fmt: skip
def test_a_batch_says_its_size_in_the_visitors_words(models: Models, tmp_path: Path, size: str, done: str) -> None:
    *_, (_, _, sentence) = handlers.batch(models, [str(make_picture(tmp_path / "a.png", 8, 8))], 0.5, size=size)
    assert sentence == f"1 of 1 pictures are {done}"


@pytest.mark.parametrize(("count", "sentence"), [(1, "^text.png: not a picture"), (33, "33 pictures; at most 32")])
def test_a_batch_of_nothing_or_too_much_is_refused(models: Models, tmp_path: Path, count: int, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        list(handlers.batch(models, [str(text(tmp_path))] * count))


def test_epochs_of_a_model_are_compared_on_one_photo(
    upscaler: Upscaler, one_set_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {"alice/faces@epoch-20": upscaler, "alice/faces@epoch-42": Upscaler.load(one_set_folder)}
    monkeypatch.setattr(handlers, "load_epoch", models.__getitem__)
    photo = make_picture(tmp_path / "photo.png", 80, 60)
    low, *restored, original, _ = handlers.compare_epochs(str(photo), *models)
    assert_same(original, images.open_rgb(photo))
    for file, model in zip(restored, models.values(), strict=True):
        assert_same(file, model.enlarge(images.open_rgb(low)))


def test_auto_takes_the_model_that_the_picture_looks_made_for(tmp_path: Path) -> None:
    shipped = {"Any photo": "photos", "Clean faces": "celeba-faces"}
    models = Models({title: Upscaler.load(SHIPPED_MODEL.parent / name, "cpu") for title, name in shipped.items()})
    automatic = Automatic(models.chosen("Clean faces"), models.chosen("Any photo"))
    assert models.made_for == ["Auto", *shipped]
    with Image.open(SHIPPED_MODEL.parent.parent / "examples" / "collins.png") as photo:
        photo.convert("RGB").reduce(10).save(tmp_path / "clean.png")
    with Image.open(tmp_path / "clean.png") as photo:
        photo.save(tmp_path / "worn.jpg", quality=60)
    for name, title, why in (
        ("clean.png", "Clean faces", "Looks clean: "),
        ("worn.jpg", "Any photo", "Looks worn (JPEG quality 60): "),
    ):
        for made_for in ("", "Auto", title):
            file, _, said, *_ = handlers.enlarge(models, str(tmp_path / name), 1.0, made_for)
            with Image.open(tmp_path / name) as small:
                assert_same(file, automatic.enlarge(small))
            assert (why in said) == (made_for != title)
        *_, (_, _, said) = handlers.batch(models, [str(tmp_path / name)])
        assert why in said
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wear, "seen_blocks", lambda *_: pytest.fail("a picture is judged once"))
        assert "JPEG quality 60" in handlers.enlarge(models, str(tmp_path / "worn.jpg"), 0.5)[2]
    assert "Looks" not in handlers.enlarge(models, str(tmp_path / "worn.jpg"), 1.0, "Clean faces")[2]
    with pytest.raises(UserError, match=r"detail is 1\.2"):
        handlers.enlarge(models, str(tmp_path / "worn.jpg"), 1.2, "Auto")
    photo = str(SHIPPED_MODEL.parent.parent / "examples" / "obama.jpg")
    for copy, name in (("clean", "celeba-faces"), ("web", "photos")):
        *_, figures, said = handlers.compare(models, photo, 1.0, 256, small_copy=copy)
        assert figures["model"].startswith(name) and "Looks" in said


def test_the_surroundings_of_a_face_count_among_the_pixels_to_restore() -> None:
    """A face fades into the photo over a quarter of its side, as far as the photo goes."""
    faces = [Box(100, 100, 200, 200), Box(0, 0, 40, 40)]
    assert handlers.pixels_of(faces, (400, 300)) == 150 * 150 + 50 * 50


@pytest.mark.parametrize("title", ["Any photo", "my model"])
def test_a_chosen_model_for_worn_photos_holds_its_result_to_the_blocks_of_a_jpeg(title: str, tmp_path: Path) -> None:
    shipped = Upscaler.load(device="cpu")
    models, file = Models({title: shipped}), str(tmp_path / "worn.jpg")
    with Image.open(SHIPPED_MODEL.parent.parent / "examples" / "collins.png") as photo:
        photo.convert("RGB").reduce(10).save(file, quality=80)
    with Image.open(file) as small:
        held, plain = shipped.enlarge(small), shipped.enlarge(small, correction=None)
    assert held.tobytes() != plain.tobytes()
    with pytest.MonkeyPatch.context() as patch:
        looked = []
        patch.setattr(
            shipped, "restore", lambda low, detail: looked.append(low) or Upscaler.restore(shipped, low, detail)
        )
        for _ in range(2):
            assert_same(handlers.enlarge(models, file)[0], held)
        assert len(looked) == 1  # a picture is judged once
    restored, _, _, low, *_ = handlers.compare(models, file, size=128, small_copy="web")
    assert_same(restored, shipped.enlarge(images.open_rgb(low)))
    face = Box(4, 4, 40, 40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handlers, "seen", lambda path: seen(path)._replace(faces=(face,)))
        drawn = handlers.restore_faces(models, file, 1.0, "").large
    with Image.open(file) as small:
        assert drawn.tobytes() == draw_faces(small, shipped, small, [face]).tobytes()
        assert drawn.tobytes() != draw_faces(small, shipped, small, [face], correction=None).tobytes()
