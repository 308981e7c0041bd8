"""python -m srgan doctor: prints what a problem report should contain: versions, chips, speed and folders."""

import argparse
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from huggingface_hub.constants import HF_HUB_CACHE
from PIL import Image

from srgan.device import CHIPS, device_name, is_there
from srgan.errors import UserError
from srgan.photos.cache import cache_root
from srgan.pictures.formats import FORMATS, is_written
from srgan.publish.facts import hardware, versions
from srgan.shipped import WEIGHTS
from srgan.upscaler import Upscaler
from srgan.words import number

PACKAGES = ("torchvision", "gradio", "pillow", "numpy", "opencv-python-headless", "safetensors", "huggingface_hub")
EXTRAS = ("pillow-heif", "pillow-jxl-plugin", "av", "onnx", "datasets", "tensorboard")

TRIAL_SIDE = 128
TRIALS = 3


def run(arguments: argparse.Namespace) -> int:
    """Returns 0, even if something is missing: the report says so."""
    for title, text in findings(arguments.device, arguments.precision):
        print(f"{title:<12} {text}", flush=True)
    return 0


def findings(device: str, precision: str) -> Iterator[tuple[str, str]]:
    """Yields the title and text of each line. The user's home folder is written as ~."""
    program = versions()
    yield "srgan", " ".join(filter(None, (program["srgan"], program["commit"] and f"(commit {program['commit']})")))
    yield "Python", f"{program['python']} on {platform.platform()}"
    yield "PyTorch", program["torch"]
    yield "packages", ", ".join(f"{name} {installed(name)}" for name in PACKAGES)
    yield "extras", ", ".join(f"{name} {installed(name)}" for name in EXTRAS)
    yield "writes", ", ".join(ending for ending, format in FORMATS.items() if is_written(format))
    yield "processor", hardware()
    yield "chips", ", ".join(chip for name, chip in CHIPS.items() if is_there(name)) or "none but the processor"
    yield from speed(device, precision)
    yield "models", ", ".join(sorted(folder.parent.name for folder in WEIGHTS.glob("*/config.json"))) or "none"
    yield "weights", with_tilde(WEIGHTS)
    yield "photo cache", with_tilde(cache_root())
    yield "Hub cache", with_tilde(Path(HF_HUB_CACHE))
    yield "program", with_tilde(Path(sys.executable))


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def speed(device: str, precision: str) -> Iterator[tuple[str, str]]:
    try:
        upscaler = Upscaler.load(device=device, precision=precision)
        picture = Image.effect_noise((TRIAL_SIDE, TRIAL_SIDE), 50).convert("RGB")
        milliseconds = min(upscaler.enlarge_timed(picture)[1] for _ in range(TRIALS))
    except (UserError, RuntimeError) as error:
        yield "speed", f"cannot be measured: {error}"
        return
    yield "device", f"{device_name(upscaler.device)}, {str(upscaler.dtype).removeprefix('torch.')}"
    if upscaler.fallback:
        yield "", upscaler.fallback
    threads = f" with {number(torch.get_num_threads(), 'thread')}" if upscaler.device.type == "cpu" else ""
    yield "speed", f"{TRIAL_SIDE}x{TRIAL_SIDE} pixels in {milliseconds} ms{threads}"


def with_tilde(path: Path) -> str:
    """Returns the path with ~ for the user's home folder. Links are not followed: the interpreter of a virtual
    environment is one."""
    path = path.absolute()
    for home in (Path.home(), Path.home().resolve()):
        if path.is_relative_to(home):
            return f"~/{path.relative_to(home).as_posix()}"
    return str(path)
