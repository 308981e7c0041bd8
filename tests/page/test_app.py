"""app.py: the page over HTTP, and the command line."""

import dataclasses
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from helpers import says
from page_support import ROOT, Server, assert_same, make_picture, running_app, running_shipped
from PIL import Image

import srgan.page.offered_models
from srgan.commands import demo as app
from srgan.page import handlers, tabs
from srgan.page.offered_models import Models
from srgan.pictures import images
from srgan.upscaler import Upscaler


@pytest.fixture(scope="module")
def upscaler(model_folder: Path) -> Upscaler:
    return Upscaler.load(model_folder)


@pytest.fixture(autouse=True)
def results_below_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))


def test_detail_cannot_be_moved_where_the_model_has_one_weight_set(one_set_folder: Path, upscaler: Upscaler) -> None:
    for loaded, movable in ((Upscaler.load(one_set_folder), False), (upscaler, True)):
        sliders = [
            block for block in app.build_demo(Models({"": loaded})).blocks.values() if isinstance(block, gr.Slider)
        ]
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
        "/compare": [("picture", False), ("detail", True), ("size", True), ("small_copy", True)],
        "/enlarge": [("picture", False), ("detail", True), ("size", True)],
        "/batch": [("pictures", False), ("detail", True), ("size", True)],
    }


def test_enlarge_over_http_gives_the_enlarged_picture_first(client: Client, upscaler: Upscaler, tmp_path: Path) -> None:
    file = make_picture(tmp_path / "small.png", 33, 20)
    assert_same(client.predict(handle_file(file), api_name="/enlarge")[0], upscaler.enlarge(images.open_rgb(file)))
    at_0 = client.predict(handle_file(file), detail=0, api_name="/enlarge")[0]
    assert_same(at_0, upscaler.enlarge(images.open_rgb(file), 0.0))


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


def test_the_model_is_an_argument_where_two_ship_and_calls_by_position_go_on_working(
    upscaler: Upscaler, model_folder: Path, photos_folder: Path, tmp_path: Path
) -> None:
    file = handle_file(make_picture(tmp_path / "small.png", 33, 20))
    photos = Upscaler.load(photos_folder)
    small = images.open_rgb(tmp_path / "small.png")
    with running_shipped(model_folder, photos_folder, tmp_path) as server:
        client = Client(server.url, verbose=False, download_files=tmp_path)
        endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
        for name, endpoint in endpoints.items():
            defaults = {row["parameter_name"]: row["parameter_default"] for row in endpoint["parameters"]}
            last = [("small_copy", "web") if name == "/compare" else ("size", "")]  # these parameters were added later
            assert list(defaults.items())[-2:] == [("made_for", "Auto"), *last]
        for options, expected in (({"made_for": "Any photo"}, upscaler), ({"made_for": "Clean faces"}, photos)):
            assert_same(client.predict(file, **options, api_name="/enlarge")[0], expected.enlarge(small))
            assert_same(client.predict([file], **options, api_name="/batch")[1][0]["image"], expected.enlarge(small))
        assert_same(client.predict(file, 1.0, "Clean faces", api_name="/enlarge")[0], photos.enlarge(small))
        with pytest.raises(AppError, match=r"'Sketches'.*Any photo"):
            client.predict(file, made_for="Sketches", api_name="/enlarge")
        assert httpx.get(f"{server.url}/health").json()["models"] == ["tiny-faces", "tiny-photos"]


def test_health_answers_and_the_log_names_no_file(client: Client, server: Server, tmp_path: Path) -> None:
    answer = httpx.get(f"{server.url}/health")
    assert answer.json() == {"status": "ok", "models": ["tiny-faces"], "waiting": 0}
    before = len(server.errors.read_text().splitlines())
    client.predict(handle_file(make_picture(tmp_path / "secret.png", 6, 6)), api_name="/enlarge")
    (tmp_path / "secret.txt").write_text("no picture")
    with pytest.raises(AppError):
        client.predict(handle_file(tmp_path / "secret.txt"), api_name="/enlarge")
    done, refused = server.errors.read_text().splitlines()[before:]
    assert re.fullmatch(r"[-0-9]+ [:,0-9]+ enlarge done in \d+ ms", done)
    assert re.fullmatch(r"[-0-9]+ [:,0-9]+ enlarge refused in \d+ ms", refused)


def test_a_model_of_the_hub_that_cannot_be_had_gives_the_shipped_one_and_the_page_says_so(
    upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr(gr.Blocks, "launch", lambda demo, **_: shown.append(demo.get_config_file()))
    taken = "it is gone. Ours is used instead."
    monkeypatch.setattr(srgan.page.offered_models, "load_or_shipped", lambda model: (upscaler, f"{model}: {taken}"))
    assert app.main(["--model", "alice/faces"], program="app.py") == 0
    assert "alice/faces: it is gone. Ours is used instead." in capsys.readouterr().err
    texts = [str(part["props"].get("value")) for part in shown[0]["components"]]
    assert "**alice/faces: it is gone. Ours is used instead.**" in texts


def test_the_page_tells_the_loaded_models_own_figures_and_curves(upscaler: Upscaler) -> None:
    row = {"psnr_y": 31.25, "ssim_y": 0.875}
    history = [{"stage": "detail", "epoch": epoch, **row} for epoch in (1, 2, 3)]
    metrics = {"photos": 7, "figures": {"detail 1": row}, "history": history}
    model = dataclasses.replace(upscaler.model, metrics=metrics)
    for shown, expected in ((upscaler, False), (Upscaler(model, "measured", "cpu"), True)):
        parts = str(app.build_demo(Models({"": shown})).get_config_file()["components"])
        assert all((text in parts) == expected for text in ("On 7 photos", "31.25", "Losses and figures over"))


def test_the_epochs_tab_is_there_for_a_model_that_has_some(upscaler: Upscaler) -> None:
    epochs = ["alice/faces@epoch-20", "alice/faces@epoch-42"]
    for shown, expected in ((epochs, True), ([], False)):
        parts = app.build_demo(Models({"": upscaler}), epochs=shown).get_config_file()["components"]
        assert ("Epochs" in [part["props"].get("label") for part in parts if part["type"] == "tabitem"]) == expected


def test_the_epochs_are_titled_by_their_tags_with_their_pictures(
    upscaler: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "load_epoch", lambda _: upscaler)
    epochs = ["alice/faces@epoch-20", "alice/faces@epoch-42"]
    photo = make_picture(tmp_path / "photo.png", 80, 60)
    shown, said = tabs.show_epochs(str(photo), *reversed(epochs))
    assert said == "" and (shown["width"], shown["height"]) == (80, 60)
    assert list(shown["pictures"]) == ["Small copy", "epoch-42", "epoch-20", "Original"]
    names = [Path(address).stem for address in shown["pictures"].values()]
    assert names == ["photo-low", "photo-epoch-42", "photo-epoch-20", "photo-original"]
    assert shown["pair"] == ["epoch-42", "epoch-20"]
    assert tabs.show_epochs(None, *epochs) == [{}, ""]


def test_a_model_folder_that_is_not_there_is_one_sentence_and_exit_code_2() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "app.py"), "--model", "nowhere"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "") and says(done.stderr, "app.py: nowhere: ", "USER/NAME")


def test_the_environment_may_name_the_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SRGAN_MODEL", "elsewhere")
    assert app.main([], program="app.py") == 2
    assert says(capsys.readouterr().err, "app.py: elsewhere: ", "USER/NAME")


@pytest.mark.parametrize("named", ["--lpips", "SRGAN_LPIPS"])
def test_what_is_no_lpips_file_is_one_sentence_and_exit_code_2(
    model_folder: Path, named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SRGAN_LPIPS", "elsewhere")
    options = ["--lpips", "nowhere"] if named == "--lpips" else []
    assert app.main(["--model", str(model_folder), *options], program="app.py") == 2
    place = "nowhere" if options else "elsewhere"
    assert says(capsys.readouterr().err, f"app.py: --lpips {place} ", "LPIPS")


@pytest.fixture
def shipped(
    model_folder: Path, photos_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Any] | None]:
    """Runs app.py with two shipped models up to the launch. Returns the page that it would have served, or None."""
    monkeypatch.setattr(srgan.page.offered_models, "SHIPPED_MODEL", model_folder)
    monkeypatch.setattr(srgan.page.offered_models, "CLEAN_MODEL", photos_folder)
    monkeypatch.delenv("SRGAN_MODEL", raising=False)

    def run(*arguments: str) -> dict[str, Any] | None:
        served: list[dict[str, Any]] = []
        with monkeypatch.context() as patch:
            patch.setattr(gr.Blocks, "launch", lambda demo, **_: served.append(demo.get_config_file()))
            code = app.main(arguments, program="app.py")
        assert code == (0 if served else 2)
        return served[0] if served else None

    return run


def choices(config: dict[str, Any] | None) -> list[Any]:
    assert config
    return [part["props"]["choices"] for part in config["components"] if part["props"].get("label") == "Made for"]


def test_two_models_are_offered_exactly_where_two_ship_and_none_is_named(
    shipped: Callable[..., Any], model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [("Auto", "Auto"), ("Any photo", "Any photo"), ("Clean faces", "Clean faces")]
    assert choices(shipped()) == [both] * 3
    assert choices(shipped("--model", str(model_folder))) == []
    monkeypatch.setenv("SRGAN_MODEL", str(model_folder))
    assert choices(shipped()) == []
    monkeypatch.delenv("SRGAN_MODEL")
    monkeypatch.setattr(srgan.page.offered_models, "CLEAN_MODEL", tmp_path / "clean")
    assert choices(shipped()) == []
    (tmp_path / "clean").mkdir()  # an unfinished folder is reported, not ignored
    assert shipped() is None


def test_how_it_works_tells_of_each_model(upscaler: Upscaler) -> None:
    def measured(psnr: float) -> Upscaler:
        history = [{"stage": "detail", "epoch": epoch, "psnr_y": psnr} for epoch in (1, 2, 3)]
        metrics = {"photos": 7, "figures": {"detail 1": {"psnr_y": psnr}}, "history": history}
        return Upscaler(dataclasses.replace(upscaler.model, metrics=metrics), "measured", "cpu")

    demo = app.build_demo(Models({"Faces": measured(31.25), "Any photo": measured(24.5)}))
    parts = [part["props"] for part in demo.get_config_file()["components"]]
    assert all(text in str(parts) for text in ("Made for: Faces", "31.25", "Made for: Any photo", "24.50"))
    curves = [part["value"]["path"] for part in parts if part.get("alt_text") == "Losses and figures over the epochs"]
    assert len({Path(path).read_bytes() for path in curves}) == 2


def test_an_unknown_argument_is_one_sentence_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        app.main(["--modle", "x"], program="app.py")
    assert says(capsys.readouterr().err, "app.py: ", "--modle x", "--help")
