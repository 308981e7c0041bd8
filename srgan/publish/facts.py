"""Facts about a training run for its card: settings, data, command, hardware, versions, hours."""

import datetime
import platform
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import srgan
from srgan.hub import is_hub_name
from srgan.photos.names import data_name, hub_dataset
from srgan.training.config import RECIPES, Config, flag
from srgan.training.records import PhotoCounts, TrainingFacts
from srgan.words import number

PLACES = frozenset({"data", "init", "vgg19", "lpips", "showcase"})
"""Settings that hold a local path. Only the last part of the path is published."""


def told_settings(config: Config) -> dict[str, Any]:
    """Returns the settings in a form that may be published."""
    settings = {name: value for name, value in asdict(config).items() if name not in ("out", "device")}
    public = {"init"} if is_hub_name(config.init) else set()
    public |= {"data"} if hub_dataset(config.data) else set()
    return settings | {name: Path(settings[name]).resolve().name for name in PLACES - public if settings[name]}


def told_data(config: Config) -> str:
    """Returns the name of the training photos: USER/NAME for a data set of the Hub, otherwise the last part of their
    path."""
    return hub_dataset(config.data) or data_name(config.data)


def command_line(config: Config) -> str:
    """Returns the command that repeats a run, without settings at their defaults."""
    usual = asdict(Config()) | RECIPES[config.recipe]
    parts = ["python", "train.py"]
    for name, value in told_settings(config).items():
        if name in ("data", "recipe") or (value != usual[name] and value != ""):
            parts += [] if (name, value) == ("recipe", "default") else [flag(name), str(value).removesuffix(".0")]
    return shlex.join(parts)


def hardware() -> str:
    """Returns the name of the GPU or CPU."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    names = [line.split(":", 1)[1].strip() for line in read_lines("/proc/cpuinfo") if line.startswith("model name")]
    threads = torch.get_num_threads()
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {number(threads, 'thread')}"


def read_lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8", errors="replace").splitlines() if Path(path).exists() else []


def commit() -> str:
    """Returns the program's git commit, with "-dirty" if files differ from it; "" outside a clone."""
    command = ["git", "describe", "--always", "--exclude=*", "--dirty"]
    try:
        found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, encoding="utf-8", check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return found.stdout.strip()


def versions() -> dict[str, str]:
    """Returns the versions of the running program and its libraries. Call it at the start, because a clone may change
    during the training."""
    return {
        "srgan": srgan.__version__,
        "commit": commit(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def facts(config: Config, photos: PhotoCounts, seconds: dict[str, float], versions: dict[str, str]) -> TrainingFacts:
    """Returns the facts about the training for config.json and the card."""
    return {
        "settings": told_settings(config),
        "data": {"name": told_data(config), "terms": config.data_terms, **photos},
        "command": command_line(config),
        "hours": hours(seconds),
        "hardware": hardware(),
        "versions": versions,
        "date": datetime.date.today().isoformat(),
    }


def hours(seconds: dict[str, float]) -> dict[str, float]:
    return {stage: round(value / 3600, 2) for stage, value in seconds.items()}


def counted(settings: Mapping[str, Any]) -> str:
    """Returns the words that follow the number of training photos in a text."""
    if settings.get("photos_per_epoch") and settings.get("crop_at") != "faces":
        return "photos an epoch, streamed"
    kinds = {"random": "windows of the photos an epoch", "faces": "faces to train on"}
    return kinds.get(str(settings.get("crop_at")), "photos to train on")
