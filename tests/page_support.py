"""Runs the page in a separate process, and makes pictures for it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent


DEAD_PROXIES = (
    {"HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "socks5://127.0.0.1:9"},
    {"all_proxy": "socks://127.0.0.1:9"},
)
"""Proxies that a page must not use for its own requests: the first for `running_app`, the second for
`running_shipped`."""


@dataclass(frozen=True)
class Server:
    url: str
    errors: Path
    """its output on stderr"""


def running_app(model: Path, folder: Path, program: str = "app.py", **settings: str) -> AbstractContextManager[Server]:
    """Runs `python app.py --model MODEL` on a free port, with files below `folder` and settings in the environment."""
    places = {"GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_TEMP_DIR": str(folder / "gradio")}
    command = [sys.executable, str(ROOT / program), "--model", str(model)]
    return serving(command, os.environ | DEAD_PROXIES[0] | places | settings, folder)


AS_SHIPPED = """
import pathlib, runpy, sys
from srgan.page import offered_models
offered_models.SHIPPED_MODEL, offered_models.CLEAN_MODEL = map(pathlib.Path, sys.argv[2:])
sys.argv = sys.argv[1:2]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def running_shipped(
    faces: Path, photos: Path, folder: Path, program: str = "app.py", **settings: str
) -> AbstractContextManager[Server]:
    """Runs `python app.py` with these two model folders as the shipped ones."""
    places = {"GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_TEMP_DIR": str(folder / "gradio"), "SRGAN_MODEL": ""}
    command = [sys.executable, "-c", AS_SHIPPED, program, str(faces), str(photos)]
    return serving(command, os.environ | DEAD_PROXIES[1] | places | settings, folder, cwd=ROOT)


@contextmanager
def serving(command: list[str], environment: Mapping[str, str], folder: Path, **options: Any) -> Iterator[Server]:
    """Runs a command that serves the page on a free port, and ends it at the end of the context."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**environment, "GRADIO_SERVER_PORT": str(port), "PYTHONUNBUFFERED": "1"}
    errors = folder / "stderr.txt"
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True, start_new_session=True,
            **options,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        if not any("Running on" in line for line in iter(process.stdout.readline, "")):
            raise RuntimeError(f"app.py did not start: {errors.read_text()}")
        yield Server(f"http://127.0.0.1:{port}", errors)
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # and the processes that it has started
        process.communicate()


def make_picture(path: Path, width: int, height: int, example: str = "cat.png") -> Path:
    """Writes a photo of this size. The file name's ending chooses the format."""
    with Image.open(ROOT / "examples" / example) as photo:
        photo.convert("RGB").resize((width, height)).save(path)
    return path


def assert_same(file: str | IO[bytes], picture: Image.Image) -> None:
    with Image.open(file) as found:
        assert found.format == "PNG"
        np.testing.assert_array_equal(np.asarray(found), np.asarray(picture))


def upload(server: Server, picture: Path) -> dict[str, Any]:
    """Uploads a file. Returns the value that represents it in a call over HTTP."""
    answer = httpx.post(f"{server.url}/gradio_api/upload", files={"files": (picture.name, picture.read_bytes())})
    return {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}
