"""The page with many visitors, with a full queue and with visitors who leave; and what it keeps of their files."""

import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio_client import Client, handle_file
from helpers import textured
from page_support import Server, assert_same, make_picture, running_app, upload

from srgan.page import served_files
from srgan.page.handlers import MOST_FILES
from srgan.page.turns import MOST_AT_ONCE
from srgan.pictures import images
from srgan.upscaler import Upscaler

CLIENTS, REQUESTS = 8, 3


@pytest.fixture(scope="module")
def hold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the path of a file. While the file exists, the page's network waits."""
    return tmp_path_factory.mktemp("hold") / "hold"


@pytest.fixture(scope="module")
def server(model_folder: Path, hold: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_app(model_folder, tmp_path_factory.mktemp("server"), "tests/held_page.py", HOLD=str(hold)) as running:
        yield running


def until(condition: Callable[[], Any], seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


def waiting(server: Server) -> int:
    return httpx.get(f"{server.url}/health").json()["waiting"]


def call(server: Server, name: str, *arguments: Any) -> httpx.Response:
    return httpx.post(f"{server.url}/gradio_api/call/{name}", json={"data": arguments})


def event(server: Server, name: str, *arguments: Any) -> str:
    """Starts a call and returns the address of its result."""
    return f"{server.url}/gradio_api/call/{name}/{call(server, name, *arguments).json()['event_id']}"


def test_clients_at_once_each_get_their_own_pictures(server: Server, model_folder: Path, tmp_path: Path) -> None:
    upscaler = Upscaler.load(model_folder)

    def visit(client: int) -> list[tuple[Path, str]]:
        (folder := tmp_path / str(client)).mkdir()
        page = Client(server.url, verbose=False, download_files=folder, analytics_enabled=False)
        pictures = [folder / f"picture-{turn}.png" for turn in range(REQUESTS)]
        for turn, picture in enumerate(pictures):
            textured(client * REQUESTS + turn, 12 + client, 9 + turn).save(picture)
        return [(picture, page.predict(handle_file(picture), api_name="/enlarge")[0]) for picture in pictures]

    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = [answer for client in pool.map(visit, range(CLIENTS)) for answer in client]
    assert len({answer for _, answer in answers}) == CLIENTS * REQUESTS
    for picture, answer in answers:
        assert_same(answer, upscaler.enlarge(images.open_rgb(picture)))


def test_a_full_line_says_so_and_who_leaves_makes_room(server: Server, hold: Path, tmp_path: Path) -> None:
    uploaded = upload(server, make_picture(tmp_path / "small.png", 8, 8))
    hold.touch()
    places = [event(server, "enlarge", uploaded, 1) for _ in range(MOST_AT_ONCE)]
    until(lambda: waiting(server) == MOST_AT_ONCE - 1)

    refused = httpx.get(event(server, "enlarge", uploaded, 1), timeout=60).text
    assert "event: error" in refused and f"{MOST_AT_ONCE} pictures are waiting already" in refused

    with httpx.stream("GET", places.pop()):
        pass
    until(lambda: waiting(server) == MOST_AT_ONCE - 2)
    places.append(event(server, "enlarge", uploaded, 1))
    hold.unlink()
    for place in places:
        assert "event: complete" in httpx.get(place, timeout=60).text


def test_what_will_be_refused_does_not_wait(server: Server, hold: Path, tmp_path: Path) -> None:
    uploaded = upload(server, make_picture(tmp_path / "small.png", 8, 8))
    large = upload(server, make_picture(tmp_path / "large.png", 1100, 1000))
    (tmp_path / "fake.png").write_text("no picture")
    fake = upload(server, tmp_path / "fake.png")
    hold.touch()
    places = [event(server, "enlarge", uploaded, 1) for _ in range(MOST_AT_ONCE)]
    until(lambda: waiting(server) == MOST_AT_ONCE - 1)
    for call, sentence in (
        (("enlarge", large, 1), "would become 4400x4000"),
        (("enlarge", uploaded, 1, "as large as a house"), "as large as a house"),
        (("enlarge", fake, 1), "fake.png: not a picture"),
        (("compare", fake, 1), "fake.png: not a picture"),
        (("compare", uploaded, 1), "comparing needs at least 32"),
        (("batch", [uploaded] * (MOST_FILES + 1), 1), f"at most {MOST_FILES} are enlarged at once"),
    ):
        assert sentence in httpx.get(event(server, *call), timeout=60).text
    assert waiting(server) == MOST_AT_ONCE - 1
    hold.unlink()
    for place in places:
        assert "event: complete" in httpx.get(place, timeout=60).text


def test_the_batch_of_a_visitor_who_leaves_ends_before_all_is_done(server: Server, hold: Path, tmp_path: Path) -> None:
    picture = upload(server, make_picture(tmp_path / "one.png", 8, 8))
    hold.touch()
    with httpx.stream("GET", event(server, "batch", [picture] * MOST_FILES, 1)):
        after = event(server, "batch", [picture] * 2, 1)
        until(lambda: waiting(server) == 1)
    hold.unlink()
    assert "2 of 2 pictures" in httpx.get(after, timeout=60).text
    said = server.errors.read_text()
    assert said.count("batch left in") == 1 and said.count("batch done in") == 1


def pictures_in(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*.png")}


def half_files(folder: Path) -> list[Path]:
    """Returns the partial files of unfinished uploads."""
    return [path for path in folder.glob("*/*") if path.is_file()]


def break_off_upload(server: Server, folder: Path) -> None:
    url = httpx.URL(server.url)
    head = "POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    part = '--x\r\nContent-Disposition: form-data; name="files"; filename="half.png"\r\n\r\n'
    with socket.create_connection((url.host, url.port)) as connection:
        connection.sendall(f"{head}Content-Length: 100000\r\n\r\n{part}{'half' * 1000}".encode())
        until(lambda: half_files(folder))


def test_what_visitors_send_and_get_is_deleted_on_a_schedule_and_at_the_end(
    model_folder: Path, hold: Path, tmp_path: Path
) -> None:
    files_of_page = tmp_path / "gradio"
    with running_app(model_folder, tmp_path, "tests/held_page.py", HOLD=str(hold), KEPT="8") as server:
        own = pictures_in(files_of_page)
        answer = httpx.get(event(server, "enlarge", upload(server, make_picture(tmp_path / "mine.png", 8, 8)), 1))
        result = next(re.finditer(r"http[^\"]*mine-x4.png", answer.text))[0]
        assert httpx.get(result).status_code == 200
        assert {"mine.png", "mine-x4.png", "mine-bicubic.png"} == pictures_in(files_of_page) - own
        break_off_upload(server, files_of_page)
        until(lambda: pictures_in(files_of_page) == own)
        assert httpx.get(result).status_code in (403, 404)
        until(lambda: not half_files(files_of_page))
        assert "event: complete" in httpx.get(event(server, "enlarge", None, 1)).text  # the example still exists
    assert not list(files_of_page.glob("srgan-page-*"))


def test_what_a_killed_page_has_left_is_deleted_and_what_a_running_one_has_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(gr.mcp, "DEFAULT_TEMP_DIR", str(tmp_path))
    left, running, other = (tmp_path / name for name in ("srgan-page-left", "srgan-page-runs", "other-program"))
    for folder in (left, running, other):
        folder.mkdir()
        make_picture(folder / "picture.png", 4, 4)
        os.utime(folder, (0, 0))
    served_files.sweep(running)
    with served_files.own_folder() as own:
        make_picture(own / "mine.png", 4, 4)
        assert not left.exists() and pictures_in(running) == pictures_in(other) == {"picture.png"}
    assert not own.exists()
