"""app.py: its handlers as functions, over HTTP, and its command line."""

import dataclasses
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import gradio as gr
import httpx
import numpy as np
import pytest
import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from page_support import ROOT, Server, make_picture, running_app
from PIL import Image

import app
from srgan import comparison, images
from srgan.errors import UserError
from srgan.metrics import psnr_y, ssim_y
from srgan.upscaler import Upscaler


@pytest.fixture(scope="module")
def upscaler(model_folder: Path) -> Upscaler:
    return Upscaler.load(model_folder)


@pytest.fixture(autouse=True)
def results_below_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))


def batch(picture: str | Image.Image) -> torch.Tensor:
    return images.to_tensor(images.open_rgb(picture) if isinstance(picture, str) else picture).unsqueeze(0)


def assert_same(file: str | IO[bytes], picture: Image.Image) -> None:
    with Image.open(file) as found:
        assert found.format == "PNG"
        np.testing.assert_array_equal(np.asarray(found), np.asarray(picture))


def bicubic(small: Image.Image) -> Image.Image:
    return images.to_picture(images.to_pixels(images.enlarge(images.to_unit(batch(small))))[0])


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
    upscaler: Upscaler, tmp_path: Path, photo_size: tuple[int, int], size: int, original_size: tuple[int, int]
) -> None:
    photo = make_picture(tmp_path / "photo.png", *photo_size)
    restored, enlarged, original, low, figures, _ = app.compare(upscaler, str(photo), 0.25, size)

    target = images.open_rgb(original)
    assert target.size == original_size
    small = images.open_rgb(low)
    assert_same(low, images.to_picture(images.to_pixels(images.reduce(images.to_unit(batch(target))))[0]))
    assert_same(restored, upscaler.enlarge(small, 0.25))
    assert_same(enlarged, bicubic(small))
    for name, file in (("bicubic", enlarged), ("restored", restored)):
        assert figures[name]["psnr_y"] == pytest.approx(float(psnr_y(batch(file), batch(original))), abs=0.01)
        assert figures[name]["ssim_y"] == pytest.approx(float(ssim_y(batch(file), batch(original))), abs=0.001)
    assert figures["milliseconds"] >= 0
    assert (figures["model"], figures["device"]) == ("tiny-faces", app.device_name(upscaler.device))


def test_a_photo_that_need_not_be_reduced_is_the_original_pixel_for_pixel(upscaler: Upscaler, tmp_path: Path) -> None:
    photo = make_picture(tmp_path / "photo.png", 67, 49)
    original = app.compare(upscaler, str(photo))[2]
    assert_same(original, Image.open(photo).crop((0, 0, 64, 48)))


def test_a_sideways_photo_is_shown_upright(upscaler: Upscaler, tmp_path: Path) -> None:
    photo = Image.open(make_picture(tmp_path / "photo.png", 120, 80))
    exif = photo.getexif()
    exif[0x0112] = 6
    photo.save(tmp_path / "sideways.png", exif=exif)
    assert Image.open(app.compare(upscaler, str(tmp_path / "sideways.png"))[2]).size == (80, 120)


@pytest.mark.parametrize(
    ("photo_size", "sentence"),
    [
        ((600, 400), "Your photo is 600x400. It was reduced to 512x340 to be the original, and that to **128x85**"),
        ((178, 218), "Your photo is 178x218. It was trimmed to 176x216 to be the original, and that to **44x54**"),
        ((64, 48), "Your photo is 64x48. It is the original as it is, and was reduced to **16x12**"),
    ],
)
def test_the_page_says_what_was_done_to_the_photo(
    upscaler: Upscaler, tmp_path: Path, photo_size: tuple[int, int], sentence: str
) -> None:
    photo = make_picture(tmp_path / "photo.png", *photo_size)
    assert app.compare(upscaler, str(photo))[-1].startswith(sentence)


def test_a_perfect_enlargement_has_no_psnr_but_an_ssim_of_one() -> None:
    flat = torch.full((1, 3, 40, 40), 200, dtype=torch.uint8)
    assert comparison.measure(flat, flat) == {"psnr_y": None, "ssim_y": 1.0}


@pytest.mark.parametrize(
    ("photo_size", "size", "advice"),
    [
        ((1, 1), 256, "1x1, too small .* 32 pixels on each side: take the Enlarge tab"),
        ((400, 31), 512, "400x31, too small .* take the Enlarge tab"),
        ((900, 100), 128, "900x100 and would be 128x14 at 128 px, .* choose a larger size"),
        ((64, 64), 300, "size is 300; it must be one of 128, 256, 512, 1024"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_advice(
    upscaler: Upscaler, tmp_path: Path, photo_size: tuple[int, int], size: int, advice: str
) -> None:
    photo = make_picture(tmp_path / "photo.png", *photo_size)
    with pytest.raises(UserError, match=advice):
        app.compare(upscaler, str(photo), 1.0, size)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (37, 21)])
def test_enlarge_gives_what_the_upscaler_gives(upscaler: Upscaler, tmp_path: Path, size: tuple[int, int]) -> None:
    file = make_picture(tmp_path / "small.png", *size)
    restored, pair, sentence = app.enlarge(upscaler, str(file), 0.5)
    small = images.open_rgb(file)
    assert_same(restored, upscaler.enlarge(small, 0.5))
    assert_same(pair[0], bicubic(small))
    assert pair[1] == restored
    assert sentence.startswith(f"{size[0]}x{size[1]} became {4 * size[0]}x{4 * size[1]}")


def test_enlarge_takes_a_limited_number_of_pixels_and_says_what_else_to_do(
    upscaler: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = make_picture(tmp_path / "large.png", 1001, 1000)
    with pytest.raises(
        UserError, match=r"1001x1000, more than the 1 megapixel .* Compare tab, .* python -m srgan upscale"
    ):
        app.enlarge(upscaler, str(large))
    monkeypatch.setattr(app, "MOST_PIXELS", 12)
    app.enlarge(upscaler, str(make_picture(tmp_path / "just.png", 4, 3)))


def test_a_detail_outside_its_range_is_refused(upscaler: Upscaler, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"between 0 .* and 1"):
        app.enlarge(upscaler, str(make_picture(tmp_path / "small.png", 8, 8)), 2.0)


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
@pytest.mark.parametrize("handler", [app.compare, app.enlarge])
def test_what_is_no_usable_picture_ends_in_a_sentence_with_its_name_alone(
    upscaler: Upscaler, tmp_path: Path, make: Callable[[Path], Path], handler: Callable[..., Any]
) -> None:
    file = make(tmp_path)
    spoken = app.spoken(lambda picture: handler(upscaler, picture))
    with pytest.raises(gr.Error) as raised:
        spoken(str(file))
    assert raised.value.message.startswith(f"{file.name}: ")
    assert str(tmp_path) not in raised.value.message
    assert not raised.value.print_exception


def test_without_a_picture_the_page_shows_its_example() -> None:
    assert app.spoken(lambda _: pytest.fail("called"))(None) == gr.skip()
    handler = app.spoken(lambda *asked: asked, "example.png", "as at the start")
    assert handler(None, *app.FIRST) == handler(None, app.FIRST[0]) == "as at the start"
    assert handler(None, 0.5, 512) == ("example.png", 0.5, 512)
    assert handler("mine.png", *app.FIRST) == ("mine.png", *app.FIRST)


def test_detail_cannot_be_moved_where_the_model_has_one_weight_set(one_set_folder: Path, upscaler: Upscaler) -> None:
    for loaded, movable in ((Upscaler.load(one_set_folder), False), (upscaler, True)):
        sliders = [block for block in app.build_demo(loaded).blocks.values() if isinstance(block, gr.Slider)]
        assert [slider.interactive for slider in sliders] == [movable] * 3


@pytest.fixture(scope="module")
def server(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_app(model_folder, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(server.url, verbose=False, download_files=tmp_path_factory.mktemp("downloads"))


def test_the_api_is_compare_enlarge_and_batch_with_one_required_argument_each(client: Client) -> None:
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    parameters = {
        name: [(p["parameter_name"], p["parameter_has_default"]) for p in endpoint["parameters"]]
        for name, endpoint in endpoints.items()
    }
    assert parameters == {
        "/compare": [("picture", False), ("detail", True), ("size", True)],
        "/enlarge": [("picture", False), ("detail", True)],
        "/batch": [("pictures", False), ("detail", True)],
    }


def test_enlarge_over_http_gives_the_enlarged_picture_first(client: Client, upscaler: Upscaler, tmp_path: Path) -> None:
    file = make_picture(tmp_path / "small.png", 33, 20)
    assert_same(client.predict(handle_file(file), api_name="/enlarge")[0], upscaler.enlarge(images.open_rgb(file)))
    faithful = client.predict(handle_file(file), detail=0, api_name="/enlarge")[0]
    assert_same(faithful, upscaler.enlarge(images.open_rgb(file), 0.0))


def test_compare_over_http_gives_files_figures_and_the_sentence(
    client: Client, upscaler: Upscaler, tmp_path: Path
) -> None:
    file = make_picture(tmp_path / "photo.jpg", 300, 200)
    restored, _, original, low, figures, sentence = client.predict(handle_file(file), api_name="/compare")
    assert Image.open(original).size == (300, 200)
    assert_same(restored, upscaler.enlarge(images.open_rgb(low)))
    assert set(figures["restored"]) == {"psnr_y", "ssim_y"}
    assert "300x200" in sentence
    for size in (128, "128"):
        assert Image.open(client.predict(handle_file(file), size=size, api_name="/compare")[2]).size == (128, 84)


def test_a_refused_picture_over_http_gets_the_sentence_and_the_server_lives(
    client: Client, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    for name in ("/compare", "/enlarge"):
        with pytest.raises(AppError, match=r"^notes.txt: not a picture"):
            client.predict(handle_file(tmp_path / "notes.txt"), api_name=name)
    small = make_picture(tmp_path / "small.png", 5, 5)
    assert Image.open(client.predict(handle_file(small), api_name="/enlarge")[0]).size == (20, 20)
    assert "Traceback" not in server.errors.read_text()


def readme_example(language: str, after: str, server: Server) -> str:
    """The first code in README.md below a heading, for this server."""
    text = (ROOT / "README.md").read_text().split(f"## {after}\n")[1]
    code = re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)
    assert code and "http://127.0.0.1:7860" in code[1]
    return code[1].replace("http://127.0.0.1:7860", server.url)


def test_readmes_python_calls_the_page(server: Server, upscaler: Upscaler, tmp_path: Path) -> None:
    small, photo = make_picture(tmp_path / "small.png", 20, 16), make_picture(tmp_path / "photo.png", 300, 200)
    found: dict[str, Any] = {}
    code = readme_example("python", "From other programs", server)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        exec(code, found)
    assert_same(found["enlarged"], upscaler.enlarge(images.open_rgb(small), 0.8))
    assert Image.open(found["original"]).size == (256, 168) and found["figures"]["model"] == "tiny-faces"
    with zipfile.ZipFile(found["archive"]) as archive:
        assert archive.namelist() == ["small-x4.png", "photo-x4.png"]
        with archive.open("photo-x4.png") as file:
            assert_same(file, upscaler.enlarge(images.open_rgb(photo)))


def test_readmes_shell_calls_the_page(server: Server, upscaler: Upscaler, tmp_path: Path) -> None:
    small = make_picture(tmp_path / "small.png", 20, 16)
    code = readme_example("sh", "From other programs", server)
    subprocess.run(["sh", "-euc", code], cwd=tmp_path, check=True, timeout=60)
    assert_same(str(tmp_path / "large.png"), upscaler.enlarge(images.open_rgb(small), 0.8))


def test_a_batch_does_what_it_can_names_the_rest_and_keeps_files_of_one_name_apart(
    upscaler: Upscaler, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    files = [make_picture(tmp_path / "a.png", 8, 8), make_picture(tmp_path / "other" / "a.png", 9, 8), text(tmp_path)]
    seen: list[Any] = []
    archive, results, sentence = app.batch(upscaler, list(map(str, files)), 0.5, lambda at, **_: seen.append(at))
    assert sentence.startswith("2 of 3 pictures are 4 times as wide and high.\n\ntext.png: not a picture")
    assert seen == [(0, 3), (1, 3), (2, 3)]
    with zipfile.ZipFile(archive) as zipped:
        assert zipped.namelist() == ["a-x4.png", "a-x4-2.png"]
        for name, source, result in zip(zipped.namelist(), files[:2], results, strict=True):
            expected = upscaler.enlarge(images.open_rgb(source), 0.5)
            assert_same(result, expected)
            with zipped.open(name) as file:
                assert_same(file, expected)


@pytest.mark.parametrize(("count", "sentence"), [(1, "^text.png: not a picture"), (33, "33 pictures; at most 32")])
def test_a_batch_of_nothing_or_too_much_is_refused(
    upscaler: Upscaler, tmp_path: Path, count: int, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        app.batch(upscaler, [str(text(tmp_path))] * count)


def test_health_answers_and_the_log_names_no_file(client: Client, server: Server, tmp_path: Path) -> None:
    answer = httpx.get(f"{server.url}/health")
    assert answer.json() == {"status": "ok", "model": "tiny-faces", "waiting": 0}
    before = len(server.errors.read_text().splitlines())
    client.predict(handle_file(make_picture(tmp_path / "secret.png", 6, 6)), api_name="/enlarge")
    (tmp_path / "secret.txt").write_text("no picture")
    with pytest.raises(AppError):
        client.predict(handle_file(tmp_path / "secret.txt"), api_name="/enlarge")
    done, refused = server.errors.read_text().splitlines()[before:]
    assert re.fullmatch(r"[-0-9]+ [:,0-9]+ enlarge done in \d+ ms", done)
    assert re.fullmatch(r"[-0-9]+ [:,0-9]+ enlarge refused in \d+ ms", refused)


NO_MODEL = ": no such model folder, and no model of the Hub: USER/NAME[@REVISION]."


def test_a_model_of_the_hub_that_cannot_be_had_gives_the_shipped_one_and_the_page_says_so(
    upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr(gr.Blocks, "launch", lambda demo, **_: shown.append(demo.get_config_file()))
    monkeypatch.setattr(app, "load_or_shipped", lambda model: (upscaler, f"{model}: it is gone. Taken instead: ours."))
    assert app.main(["--model", "alice/faces"]) == 0
    assert "alice/faces: it is gone. Taken instead: ours." in capsys.readouterr().err
    texts = [str(part["props"].get("value")) for part in shown[0]["components"]]
    assert "**alice/faces: it is gone. Taken instead: ours.**" in texts


def test_epochs_of_a_model_are_compared_on_one_photo(
    upscaler: Upscaler, one_set_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {"alice/faces@epoch-20": upscaler, "alice/faces@epoch-42": Upscaler.load(one_set_folder)}
    monkeypatch.setattr(app, "load_epoch", models.__getitem__)
    photo = make_picture(tmp_path / "photo.png", 80, 60)
    low, *restored, original = app.compare_epochs(str(photo), *models)
    assert_same(original, images.open_rgb(photo))
    for file, model in zip(restored, models.values(), strict=True):
        assert_same(file, model.enlarge(images.open_rgb(low)))


def test_the_page_tells_the_loaded_models_own_figures_and_curves(upscaler: Upscaler) -> None:
    row = {"psnr_y": 31.25, "ssim_y": 0.875}
    metrics = {"photos": 7, "figures": {"detail 1": row}, "history": [{"stage": "detail", "epoch": 1, **row}]}
    model = dataclasses.replace(upscaler.model, metrics=metrics)
    for shown, expected in ((upscaler, False), (Upscaler(model, "measured", "cpu"), True)):
        parts = str(app.build_demo(shown).get_config_file()["components"])
        assert all((text in parts) == expected for text in ("On 7 photos", "31.25", "Losses and figures over"))


def test_the_epochs_tab_is_there_for_a_model_that_has_some(upscaler: Upscaler) -> None:
    epochs = ["alice/faces@epoch-20", "alice/faces@epoch-42"]
    for shown, expected in ((epochs, True), ([], False)):
        parts = app.build_demo(upscaler, epochs=shown).get_config_file()["components"]
        assert ("Epochs" in [part["props"].get("label") for part in parts if part["type"] == "tabitem"]) == expected


def test_a_model_folder_that_is_not_there_is_one_sentence_and_exit_code_2() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "app.py"), "--model", "nowhere"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"app.py: nowhere{NO_MODEL}\n")


def test_the_environment_may_name_the_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SRGAN_MODEL", "elsewhere")
    assert app.main([]) == 2
    assert capsys.readouterr().err == f"app.py: elsewhere{NO_MODEL}\n"


def test_an_unknown_argument_is_one_sentence_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        app.main(["--modle", "x"])
    assert capsys.readouterr().err == "app.py: unrecognized arguments: --modle x (see app.py --help)\n"
