"""Measures how long a client on the same machine waits for /enlarge, and how much of that the network takes.

    python benchmarks/answer.py                                # 32 and 128 pixels a side, 15 times each
    python benchmarks/answer.py --sides 512 --model runs/mine

Each request sends a different picture, so that no earlier result is reused. "HTTP" uploads the file, makes the call,
waits for its event and downloads the result, all over one connection. "gradio_client" is Gradio's own Python client
with its default settings: it reads the machine's certificates before each of its requests, and downloads the files of
the result one after the other. "without certificates" is the same client with ssl_verify=False, which is enough for
an http:// address. The clients take turns, so that other work on the machine slows all of them down.
"""

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx
from gradio_client import Client, handle_file
from load import page
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from srgan.publish.facts import hardware
from srgan.upscaler import SHIPPED_MODEL, Upscaler

PHOTO = Path(__file__).resolve().parent.parent / "examples" / "obama.jpg"

PATIENCE = 120
"""Seconds after which a request is given up."""

Ask = Callable[[Path], object]
"""Sends a picture to the page and waits for its enlargement."""


def by_http(client: httpx.Client, url: str, picture: Path) -> bytes:
    """Enlarges a picture over HTTP and returns the resulting file's bytes."""
    files = {"files": (picture.name, picture.read_bytes())}
    path = client.post(f"{url}/gradio_api/upload", files=files).json()[0]
    call, file = f"{url}/gradio_api/call/enlarge", {"path": path, "meta": {"_type": "gradio.FileData"}}
    event = client.post(call, json={"data": [file]}).json()["event_id"]
    answer = client.get(f"{call}/{event}").text
    return client.get(json.loads(answer.rsplit("data: ", 1)[1])[0]["url"]).content


def by_gradio_client(client: Client, picture: Path) -> str:
    return client.predict(handle_file(picture), api_name="/enlarge")[0]


def connected(url: str, folder: Path, ssl_verify: bool = True) -> Client:
    return Client(
        url, verbose=False, download_files=folder, analytics_enabled=False, httpx_kwargs={"timeout": PATIENCE},
        ssl_verify=ssl_verify,
    )  # fmt: skip


def draw(folder: Path, side: int, number: int) -> Path:
    """Writes a square crop of a photo. Each number below 112 gives a different crop."""
    path = folder / f"{side}-{number}.png"
    with Image.open(PHOTO) as photo:
        part = photo.convert("RGB").crop((number, number, number + 300, number + 300))
        part.resize((side, side), Image.Resampling.BICUBIC).save(path)
    return path


def network(upscaler: Upscaler, picture: Path) -> None:
    with Image.open(picture) as small:
        upscaler.enlarge(small)


def medians(asking: dict[str, Ask], folder: Path, side: int, rounds: int) -> dict[str, float]:
    """Returns the median milliseconds of each client. The first request of each is not counted."""
    times: dict[str, list[float]] = {title: [] for title in asking}
    numbers = itertools.count()
    for _ in range(rounds + 1):
        for title, ask in asking.items():
            picture = draw(folder, side, next(numbers))
            began = time.perf_counter()
            ask(picture)
            times[title].append(1000 * (time.perf_counter() - began))
    return {title: statistics.median(found[1:]) for title, found in times.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(SHIPPED_MODEL), help="as for app.py (default: weights/photos)")
    parser.add_argument("--sides", default="32,128", help="sides of the square pictures in pixels (default: 32,128)")
    parser.add_argument("--rounds", type=int, default=15, help="requests of each client for each size (default: 15)")
    arguments = parser.parse_args()
    print(hardware())
    with (
        tempfile.TemporaryDirectory() as name,
        page(arguments.model, Path(name)) as (url, _),
        httpx.Client(timeout=PATIENCE) as client,
    ):
        asking: dict[str, Ask] = {
            "network": partial(network, Upscaler.load(arguments.model)),
            "HTTP": partial(by_http, client, url),
            "gradio_client": partial(by_gradio_client, connected(url, Path(name))),
            "without certificates": partial(by_gradio_client, connected(url, Path(name), ssl_verify=False)),
        }
        for side in map(int, arguments.sides.split(",")):
            print(f"{side}x{side}")
            for title, value in medians(asking, Path(name), side, arguments.rounds).items():
                print(f"  {title:22} {value:7.0f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
