"""The page on ZeroGPU: the real `spaces` package, tests/zero_gpu.py for the GPU, and a stand-in for its scheduler."""

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch
from fastapi import FastAPI, Request
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from helpers import serving, textured
from page_support import ROOT, Server, make_picture, running_shipped
from PIL import Image

from srgan.commands import demo as app
from srgan.errors import UserError
from srgan.faces import draw_faces, find_faces
from srgan.jpeg_blocks import JpegBlocks
from srgan.model_folder import Model
from srgan.page import handlers, offered_models, zero
from srgan.page.offered_models import Models
from srgan.pictures import images
from srgan.pictures.sizes import TargetSize
from srgan.upscaler import Upscaler

needs_cuda_build = pytest.mark.skipif(torch.version.cuda is None, reason="`spaces` wants PyTorch built for CUDA")

REPLACED = (
    *(f"spaces.zero.torch.{name}" for name in ("pack", "move", "size", "init", "unpatch")),
    *(f"spaces.zero.torch.patching.{name}" for name in ("cuda_aliases", "enter_mode")),
    "spaces.zero.wrappers.ThreadPoolExecutor",
)
"""What tests/zero_gpu.py replaces or relies on: internals of the package, which may change at any time."""


def has(part: str) -> bool:
    module, _, name = part.rpartition(".")
    try:
        return hasattr(import_module(module), name)
    except ImportError:
        return False


@dataclass
class Scheduler:
    """A stand-in for the scheduler that a ZeroGPU Space calls through `spaces`."""

    url: str = ""
    calls: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def lent(self) -> list[int]:
        """Returns the seconds that calls have requested."""
        return [int(query["durationSeconds"]) for path, query in self.calls if path == "/schedule"]

    def visitors(self) -> set[str | None]:
        """Returns the visitors whose GPU time is spent."""
        return {query.get("token") for path, query in self.calls if path == "/schedule"}

    def released(self) -> int:
        return sum(path == "/release" and query["fail"] == "false" for path, query in self.calls)


@pytest.fixture(scope="module")
def scheduler() -> Iterator[Scheduler]:
    scheduler, app = Scheduler(), FastAPI()

    @app.post("/{path}")
    def answer(path: str, request: Request) -> dict[str, object]:
        scheduler.calls.append((f"/{path}", dict(request.query_params)))
        return {"idle": False, "nvidiaIndex": 0, "nvidiaUUID": "GPU-0", "allowToken": "token"}

    with serving(app) as scheduler.url:
        yield scheduler


@pytest.fixture(scope="module")
def server(
    scheduler: Scheduler, model_folder: Path, photos_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    if missing := [part for part in REPLACED if not has(part)]:
        pytest.skip(f"this version of `spaces` has no {', '.join(missing)}, which tests/zero_gpu.py replaces")
    folder = tmp_path_factory.mktemp("zero")
    (folder / "cgroup").write_text("0::/space\n")
    settings = {
        "SPACES_ZERO_GPU": "true", "SPACES_ZERO_DEVICE_API_URL": scheduler.url, "HOME": str(folder),
        "ZEROGPU_PROC_SELF_CGROUP_PATH": str(folder / "cgroup"),
    }  # fmt: skip
    with running_shipped(model_folder, photos_folder, folder, "tests/zero_gpu.py", **settings) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Client:
    headers = {"X-IP-Token": "visitor"}
    return Client(server.url, verbose=False, headers=headers, download_files=tmp_path_factory.mktemp("downloads"))


def pixels(path: str | Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


@needs_cuda_build
def test_pictures_are_restored_on_a_lent_gpu_with_the_weights_of_the_page(
    scheduler: Scheduler, client: Client, model_folder: Path, photos_folder: Path, tmp_path: Path
) -> None:
    upscaler = Upscaler.load(model_folder, "cpu", "fp32")
    assert scheduler.calls == [("/startup-report", {})]
    for detail in (1.0, 0.5):
        photo = make_picture(tmp_path / "photo.png", 120, 80)
        restored, _, _, low, figures, _ = client.predict(
            handle_file(photo), detail, made_for="Any photo", api_name="/compare"
        )
        wanted = np.asarray(upscaler.enlarge(images.open_rgb(low), detail)).astype(int)
        assert np.abs(pixels(restored) - wanted).max() <= 1
        assert "NVIDIA" in figures["device"]
    small = make_picture(tmp_path / "small.png", 480, 420)
    client.predict(handle_file(small), made_for="Any photo", api_name="/enlarge")
    assert scheduler.lent() == [5, 5, 6] and scheduler.released() == 3
    assert scheduler.visitors() == {"visitor"}

    client.predict(handle_file(photo), 0.5, made_for="Any photo", api_name="/compare")
    assert len(scheduler.lent()) == 3  # earlier results are shown without a GPU

    restored, _, _, low, *_ = client.predict(handle_file(photo), made_for="Clean faces", api_name="/compare")
    wanted = np.asarray(Upscaler.load(photos_folder, "cpu", "fp32").enlarge(images.open_rgb(low))).astype(int)
    assert np.abs(pixels(restored) - wanted).max() <= 2  # bfloat16
    assert len(scheduler.lent()) == 4


@needs_cuda_build
def test_a_mistake_gets_its_sentence_and_no_gpu(
    scheduler: Scheduler, client: Client, server: Server, tmp_path: Path
) -> None:
    before = len(scheduler.lent())
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(AppError, match=r"^notes.txt: not a picture"):
        client.predict(handle_file(tmp_path / "notes.txt"), api_name="/enlarge")
    assert len(scheduler.lent()) == before
    assert "Traceback" not in server.errors.read_text()


def test_the_page_needs_no_spaces_package() -> None:
    code = "import sys; sys.modules['spaces'] = None; from srgan.commands import demo; print(demo.zero.HERE)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_any_picture_comes_back_as_from_the_upscaler_and_once_only(
    model: Model, one_set_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upscaler, alone = (Upscaler(model, "", "cpu", "fp32") for _ in range(2))
    lent: list[Image.Image] = []

    def gpu(task: Callable[..., Any], duration: Callable[..., int]) -> Callable[..., Any]:
        def call(*sent: Any, **named: Any) -> Any:
            lent.append(sent[0])
            assert duration(*sent, **named) == 5
            sent, named = pickle.loads(pickle.dumps((sent, named)))
            return pickle.loads(pickle.dumps(task(*sent, **named)))

        return call

    monkeypatch.setattr(zero, "HERE", True)
    monkeypatch.setattr(zero, "spaces", SimpleNamespace(GPU=gpu))
    zero.lend(upscaler)
    for mode in ("RGB", "RGBA", "L"):
        picture = textured(1, 20, 16).convert(mode)
        picture.info["dpi"] = (300.0, 300.0)
        wanted = alone.enlarge(picture, 0.5)
        for _ in range(2):
            enlarged, milliseconds = upscaler.enlarge_timed(picture, 0.5)
            assert (enlarged.mode, enlarged.info, milliseconds >= 0) == (mode, wanted.info, True)
            assert enlarged.tobytes() == wanted.tobytes()
            enlarged.paste("black", (0, 0, 9, 9))  # the next visitor gets an unchanged copy
    assert len(lent) == 3
    assert upscaler.enlarge_timed(picture, 0.5, TargetSize(scale=2))[0].size == (40, 32)
    assert len(lent) == 4
    blocks = JpegBlocks(0, 0, tuple((9.0,) * 8 for _ in range(8)), 50)
    for same in (blocks, replace(blocks)):
        held = upscaler.enlarge_timed(picture, 0.5, correction=same)[0]
        assert held.tobytes() == alone.enlarge(picture, 0.5, correction=blocks).tobytes() != wanted.tobytes()
    assert len(lent) == 5

    one_set = Upscaler.load(one_set_folder, "cpu")
    zero.lend(one_set)
    with pytest.raises(UserError, match="leave it at 1"):
        one_set.enlarge_timed(picture, 0.5)
    assert len(lent) == 5


def test_results_are_kept_up_to_a_number_of_bytes_the_last_asked_for_longest(model: Model) -> None:
    kept = zero.LastResults(1000)
    first, second, third = (zero.Asked(Upscaler(model, "", "cpu"), "L", (10, 1), bytes(10), 1.0) for _ in range(3))
    answer = zero.Answer("L", (400, 1), bytes(400), 7)
    for asked in (first, second):
        kept.keep(asked, answer)
        kept.keep(asked, answer)  # two visitors with the same request at once
    assert kept.get(first) == answer == kept.get(second) and kept.get(third) is None
    kept.get(first)
    kept.keep(third, answer)
    assert (kept.get(first), kept.get(second), kept.get(third)) == (answer, None, answer) and kept.bytes == 820
    kept.keep(second, zero.Answer("L", (1000, 1), bytes(1000), 7))  # too large to be kept
    assert kept.get(second) is None and kept.bytes <= 1000


def test_threads_leave_the_count_of_bytes_right(model: Model) -> None:
    kept, upscaler = zero.LastResults(500), Upscaler(model, "", "cpu")

    def visit(number: int) -> None:
        asked = zero.Asked(upscaler, "L", (10, 1), bytes([number % 7] * 10), 1.0)
        if kept.get(asked) is None:
            kept.keep(asked, zero.Answer("L", (90, 1), bytes(90), number))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(visit, range(2000)))
    assert kept.bytes == 500 == 100 * len(kept._answers)


def test_every_model_of_the_page_is_lent_before_the_launch(
    model_folder: Path, photos_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lent: list[Upscaler] = []

    def gpu(task: Any, duration: Callable[..., int]) -> Callable[..., Any]:
        lent.append(task.__self__)
        return lambda *_: pytest.fail("the page takes a GPU for itself")

    def launch(*_: Any, **__: Any) -> None:
        assert [upscaler.name for upscaler in lent] == ["tiny-faces", "tiny-photos"]

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.delenv("SRGAN_MODEL", raising=False)
    monkeypatch.setattr(offered_models, "SHIPPED_MODEL", model_folder)
    monkeypatch.setattr(offered_models, "CLEAN_MODEL", photos_folder)
    monkeypatch.setattr(zero, "HERE", True)
    monkeypatch.setattr(zero, "spaces", SimpleNamespace(GPU=gpu))
    monkeypatch.setattr(gr.Blocks, "launch", launch)
    assert app.main([]) == 0
    assert len(lent) == 2


def test_elsewhere_nothing_is_lent(model_folder: Path) -> None:
    upscaler = Upscaler.load(model_folder, "cpu")
    zero.lend(upscaler)
    assert "enlarge_timed" not in vars(upscaler)


def test_the_faces_of_a_large_photo_are_restored_without_a_gpu(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only `enlarge_timed` runs on lent GPUs."""
    monkeypatch.setattr(zero, "HERE", True)
    upscaler, alone = (Upscaler(model, "", "cpu", "fp32") for _ in range(2))
    monkeypatch.setattr(upscaler, "enlarge_part", lambda *_: pytest.fail("there is no GPU"))
    file = make_picture(tmp_path / "photo.png", 96, 96, "collins.png")
    photo = images.open_rgb(file)
    drawn = handlers.restore_faces(Models({"tiny-faces": upscaler}), str(file), 1.0, "").large
    wanted = np.asarray(draw_faces(photo, alone, photo, find_faces(photo))).astype(int)
    assert np.abs(np.asarray(drawn) - wanted).max() <= 2  # bfloat16
    assert (np.asarray(drawn) != np.asarray(photo)).any()


def test_a_call_asks_for_little_and_for_more_the_larger_the_picture() -> None:
    sizes = ((1, 1), (256, 256), (1000, 1000))
    assert [zero.gpu_seconds(Image.new("RGB", size)) for size in sizes] == [5, 5, 10]
