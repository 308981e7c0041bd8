"""Pictures, files and subprocesses that several tests use."""

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import uvicorn
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from srgan.models import Generator
from srgan.photos.crops import load_crops
from srgan.training.config import Config
from srgan.training.losses import VGG19
from srgan.training.run import Run
from srgan.training.trainer import Trainer

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
"""Photos and weights that may lie beside the checkout. Without them, the tests that need them are skipped."""

TINY = (
    "--crop", "32", "--channels", "8", "--blocks", "1", "--batch-size", "4", "--precision", "fp32", "--device", "cpu",
    "--optimizer", "adam", "--crop-at", "centre",
)  # fmt: skip
"""Settings of a very short run, without Muon, which would take most of a step if only the discriminator is large."""

SMALL: dict[str, Any] = {
    "crop": 32, "channels": 8, "blocks": 1, "batch_size": 4, "precision": "fp32", "device": "cpu", "content": "mse",
    "held_out": 2, "epochs": 1, "fidelity_epochs": 1, "optimizer": "adam",
    "crop_at": "centre",
}  # fmt: skip
"""TINY as arguments for Config, for runs inside this process."""

OFFLINE = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "no_proxy": ""}
"""An environment in which every download fails, whatever the network."""


def textured(seed: int, width: int = 96, height: int = 80, low: int = 0, high: int = 255) -> Image.Image:
    """Returns a picture with structure at every scale and in every colour: a sum of smooth noise of several sizes."""
    random = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for cell in (32, 16, 8, 4, 2, 1):
        coarse = random.random((-(-height // cell), -(-width // cell), 3)).astype(np.float32)
        layers = [Image.fromarray(coarse[..., channel]) for channel in range(3)]
        total += (
            np.stack([layer.resize((width, height), Image.Resampling.BILINEAR) for layer in layers], -1) * cell**0.7
        )
    total = (total - total.min()) / (total.max() - total.min())
    return Image.fromarray(np.uint8(np.rint(low + total * (high - low))))


def make_photos(folder: Path, count: int = 12) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        textured(number).save(folder / f"{number:03}.png")
    return folder


def make_pairs(folder: Path, count: int = 2) -> Path:
    """Writes a test set with the folders of Set5: 62x45 pictures, and 15x11 copies that are not bicubic."""
    for name in ("HR", "LR_bicubic_X4"):
        (folder / name).mkdir(parents=True)
    for number in range(1, count + 1):
        picture = textured(number, 62, 45)
        picture.save(folder / "HR" / f"img_{number:03}.png")
        low = picture.resize((15, 11), Image.Resampling.NEAREST)
        low.save(folder / "LR_bicubic_X4" / f"img_{number:03}x4.png")
    return folder


def as_tensor(picture: Image.Image) -> Tensor:
    """Returns uint8 [1, 3, H, W] without the library's own conversion."""
    return torch.from_numpy(np.asarray(picture.convert("RGB")).transpose(2, 0, 1).copy()).unsqueeze(0)


def randomise(network: nn.Module, seed: int = 0) -> nn.Module:
    """Draws every parameter at random, so that no test passes only because of the initial values."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in network.parameters():
            fan_in = value[0].numel() if value.dim() > 1 else 4
            value.copy_(torch.randn(value.shape, generator=random) / fan_in**0.5)
    return network


def random_generator(seed: int, channels: int = 8, blocks: int = 1) -> Generator:
    network = Generator(channels, blocks)
    randomise(network, seed)
    return network.eval()


def random_vgg19(seed: int = 0) -> VGG19:
    """Returns a random VGG19 whose signals keep their size through all layers, as in a trained one."""
    network = VGG19()
    random = torch.Generator().manual_seed(seed)
    for layer in network.features:
        if isinstance(layer, nn.Conv2d):
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=random) * (2 / layer.weight[0].numel()) ** 0.5)
            layer.bias.copy_(torch.randn(layer.bias.shape, generator=random) * 0.1)
    return network


def random_lpips_file(path: Path, seed: int = 0) -> Path:
    """Writes random weights in the layout of an LPIPS v0.1 Alex file."""
    random = torch.Generator().manual_seed(seed)
    shapes = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}
    weights: dict[str, Tensor] = {}
    for number, (index, shape) in enumerate(shapes.items()):
        fan_in = shape[1] * shape[2] * shape[3]
        weights[f"features.{index}.weight"] = torch.randn(shape, generator=random) * (2 / fan_in) ** 0.5
        weights[f"features.{index}.bias"] = torch.randn(shape[0], generator=random) * 0.1
        weights[f"lin{number}.model.1.weight"] = torch.rand((1, shape[0], 1, 1), generator=random)
    save_file(weights, path)
    return path


class Killed(Exception):
    """Stands in for a kill of the process within a run's `on_epoch_end`."""


def killed_after(epochs: int) -> Callable[[int], None]:
    """Returns an `on_epoch_end` that raises Killed at the call of this number, after the epoch's files are written and
    before the state is saved."""
    calls = itertools.count(1)

    def on_epoch_end(_: int) -> None:
        if next(calls) == epochs:
            raise Killed

    return on_epoch_end


def is_one_sentence(text: str) -> bool:
    """Returns whether a message is a single line that ends like a sentence."""
    return "\n" not in text.strip() and text.strip().endswith((".", ")")) and "Traceback" not in text


def says(text: str, *words: str) -> bool:
    """Returns whether a message is one sentence with these words."""
    return is_one_sentence(text) and all(word in text for word in words)


def full_disk(action: Callable[[], object], size: int) -> None:
    """Calls `action` while no file can grow beyond `size` bytes, as on a full disk."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        action()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def environment(**extra: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **extra}


def train_command(*arguments: str | Path) -> list[str]:
    return [sys.executable, str(ROOT / "train.py"), *map(str, arguments)]


def train(*arguments: str | Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """Runs `python train.py` to its end."""
    return run_python(str(ROOT / "train.py"), *map(str, arguments), **extra)


def run_python(*arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment(**extra), timeout=300, check=False)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


def trainer(photos: Path, folder: Path, **settings: Any) -> Trainer:
    config = Config(**{**SMALL, "data": str(photos), "out": str(folder), **settings})
    folder.mkdir(exist_ok=True)
    return Trainer(config, *load_crops(photos, config.crop).split(config.held_out), folder)


def start(photos: Path, folder: Path, resume: bool = False, tensorboard: bool = False, **settings: Any) -> Run:
    """Returns a run as a process starts it. Its folder is unlocked, so that this process can also play the next one."""
    config = Config(**{**SMALL, "data": str(photos), "out": str(folder), **settings})
    run = Run(config, *load_crops(photos, config.crop).split(config.held_out), resume, tensorboard)
    run.lock.release()
    return run


def rows(run: Path) -> list[dict[str, Any]]:
    """Returns the rows of a run's stats.jsonl without a half-written last one."""
    path = run / "stats.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Runs an ASGI application in a thread and yields its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()
