"""Puts a page under load from many clients. Measures whether each gets its own picture, its wait, and the memory used.

    python benchmarks/load.py                                  # 32 clients with 32 requests each
    python benchmarks/load.py --clients 8 --requests 3 --model runs/mine

Every client is a gradio_client in a thread. All pictures differ. Every answer must equal, to one level of 255, what the
same model makes of that picture in this process. The exit code is 1 if an answer is wrong or missing.
"""

import argparse
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from gradio_client import Client, handle_file
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from srgan.publish.facts import hardware
from srgan.upscaler import SHIPPED_MODEL, Upscaler

ROOT = Path(__file__).resolve().parent.parent

PATIENCE = 120
"""Seconds until a client gives up a request. The client's default of 5 is too short if it shares the page's cores."""


@contextmanager
def page(model: str, folder: Path) -> Iterator[tuple[str, int]]:
    """Runs a page and yields its address and process id. Its output goes to page.log."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    places = {"GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(folder)}
    command = [sys.executable, "-u", str(ROOT / "app.py"), "--model", model]
    with (folder / "page.log").open("w") as log:
        process = subprocess.Popen(command, env=os.environ | places, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        if not any("Running on" in line for line in iter(process.stdout.readline, "")):
            raise RuntimeError(f"app.py did not start: {(folder / 'page.log').read_text()}")
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait()


def make_picture(path: Path, seed: int) -> Path:
    """Writes a picture with sides of 16 to 32 pixels. Each seed gives different content."""
    draw = random.Random(seed)
    coarse = Image.frombytes("RGB", (4, 4), draw.randbytes(48))
    coarse.resize((draw.randrange(16, 33), draw.randrange(16, 33)), Image.Resampling.BICUBIC).save(path)
    return path


def connect(url: str, folder: Path) -> Client:
    folder.mkdir()
    options = {"timeout": PATIENCE}
    return Client(url, verbose=False, download_files=folder, analytics_enabled=False, httpx_kwargs=options)


def visit(client: Client, seeds: range) -> list[tuple[Path, str, float]]:
    """Returns for each request the picture, the answer's file and the seconds. A failed request has "" for the file and
    prints a message."""
    done = []
    for seed in seeds:
        picture = make_picture(Path(client.output_dir) / f"{seed}.png", seed)
        began = time.perf_counter()
        try:
            answer = client.predict(handle_file(picture), api_name="/enlarge")[0]
        except Exception as error:  # any exception means a failed request
            print(f"request {seed}: {error!r}", file=sys.stderr)
            answer = ""
        done.append((picture, answer, time.perf_counter() - began))
    return done


def is_right(upscaler: Upscaler, picture: Path, answer: str) -> bool:
    if not answer:
        return False
    expected, found = upscaler.enlarge(Image.open(picture)), Image.open(answer)
    return found.size == expected.size and np.abs(np.asarray(found, int) - np.asarray(expected, int)).max() <= 1


def memory(pid: int) -> float:
    """Returns the MB that a process holds now. Only for Linux."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=32, help="number of clients (default: 32)")
    parser.add_argument(
        "--requests", type=int, default=32, help="requests of each client, one after the other (default: 32)"
    )
    parser.add_argument("--model", default=str(SHIPPED_MODEL), help="as for app.py (default: weights/photos)")
    arguments = parser.parse_args()
    upscaler = Upscaler.load(arguments.model)
    with tempfile.TemporaryDirectory() as name, page(arguments.model, Path(name)) as (url, pid):
        clients = [connect(url, Path(name) / str(number)) for number in range(arguments.clients)]
        seeds = range(arguments.clients * arguments.requests)
        visit(clients[0], range(len(seeds), len(seeds) + 1))
        before, began = memory(pid), time.perf_counter()
        with ThreadPoolExecutor(arguments.clients) as pool:
            visits = pool.map(
                visit, clients, [seeds[number :: arguments.clients] for number in range(arguments.clients)]
            )
            done = [request for visited in visits for request in visited]
        seconds, after = time.perf_counter() - began, memory(pid)
        right = sum(is_right(upscaler, picture, answer) for picture, answer, _ in done)
    waited = [wait for *_, wait in done]
    print(f"{hardware()}; {arguments.clients} clients, {arguments.requests} requests each")
    print(f"right answers      {right} of {len(done)}")
    print(f"requests a second  {len(done) / seconds:.1f}")
    print(f"seconds to wait    median {statistics.median(waited):.2f}, 95 % within {np.percentile(waited, 95):.2f}")
    print(f"the page's memory  {before:.0f} MB after the first picture, {after:.0f} MB at the end")
    return 0 if right == len(done) else 1


if __name__ == "__main__":
    sys.exit(main())
