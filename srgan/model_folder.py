"""Reads and writes model folders: config.json, two weight sets as safetensors, metrics.json, README.md."""

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from srgan.errors import UserError
from srgan.files import write_whole
from srgan.models import LARGEST, SCALE, Generator, Upsampling

WEIGHTS = {"detail": "model.safetensors", "fidelity": "fidelity.safetensors"}
"""The file of each weight set. The first is required."""

LARGEST_JSON = 8_000_000
"""Size limit in bytes of config.json and metrics.json. The row of an epoch takes about 400."""

LARGEST_HEADER = 1_000_000
"""Size limit in bytes of a safetensors file without its tensors. The entry of a tensor takes about 100."""


@dataclass(frozen=True)
class ModelConfig:
    """The content of config.json: everything needed to build the network, and the origin of its weights."""

    channels: int = 64
    blocks: int = 16
    upsampling: Upsampling = "stepwise"
    back_projection: bool = False
    """whether each result is corrected by `images.back_project`"""
    scale: int = SCALE
    value_range: tuple[int, int] = (-1, 1)
    recipe: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    """facts about the training, most of them for readers; the loader does not use them"""

    def __post_init__(self) -> None:
        for name, largest in LARGEST.items():
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= largest:
                raise ValueError(f"{name} is {value!r}, not a number from 1 to {largest}")
        if self.upsampling not in get_args(Upsampling):
            raise ValueError(f"upsampling is {self.upsampling!r}, not one of {', '.join(get_args(Upsampling))}")
        if not isinstance(self.back_projection, bool):
            raise ValueError(f"back_projection is {self.back_projection!r}, not true or false")
        if self.scale != SCALE or tuple(self.value_range) != (-1, 1):
            raise ValueError(f"scale {self.scale} and value range {self.value_range} are not {SCALE} and [-1, 1]")
        if not isinstance(self.recipe, str) or not isinstance(self.training, dict):
            raise ValueError("recipe is not a text, or training is not a table")

    def setting(self, name: str) -> Any:
        """Returns a setting of the training; None if config.json does not say."""
        settings = self.training.get("settings")
        return settings.get(name) if isinstance(settings, dict) else None

    def crop(self) -> int:
        """Side in pixels of the training crops; 128 if config.json does not say."""
        side = self.setting("crop")
        return side if isinstance(side, int) and side > 0 else 128

    def removes_jpeg(self) -> bool:
        """Whether the small copies of the training had JPEG blocks (`--degrade web`, `old` or `any`)."""
        return (self.setting("degrade") or "clean") not in (
            "clean",
            "copy",
        )  # earlier versions wrote the share of worn copies

    def commit(self) -> str:
        """Returns the git commit of the program that trained the model; "" if config.json does not say."""
        versions = self.training.get("versions")
        commit = versions.get("commit") if isinstance(versions, dict) else None
        return commit if isinstance(commit, str) and re.fullmatch("[0-9a-f]{7,64}", commit) else ""

    def seen(self) -> tuple[int, float]:
        """Returns the photos and hours of the training, including the training of the model that it started from.
        Missing values count as 0."""
        data, hours, before = (self.training.get(name) for name in ("data", "hours", "started_from"))
        photos = data.get("seen") if isinstance(data, dict) else None
        before = before if isinstance(before, dict) else {}
        return round(total(photos) + total({"": before.get("photos")})), total(hours) + total({"": before.get("hours")})

    def network(self) -> Generator:
        return Generator(self.channels, self.blocks, self.upsampling)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shape of every tensor of the network without allocating the tensors."""
        with torch.device("meta"):
            network = self.network()
        return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def total(table: object) -> float:
    """Returns the sum of the numbers in a table that was read from a file and may hold anything."""
    values = table.values() if isinstance(table, dict) else ()
    return sum(value for value in values if isinstance(value, int | float) and math.isfinite(value))


@dataclass(frozen=True)
class Model:
    config: ModelConfig
    weights: dict[str, dict[str, Tensor]]
    """the weight sets by the keys of WEIGHTS: always "detail", usually "fidelity"; float32 on the CPU"""
    metrics: Mapping[str, Any]


CHECKPOINTS = "checkpoints"
"""Subfolder of a run with the model folders of kept epochs (`--checkpoint-every`), such as detail-020."""


def checkpoint_folders(run: Path, stage: str = "") -> list[Path]:
    """Returns the model folders of a run's checkpoints, of one stage or of all, in the order of their names."""
    return sorted(path for path in (run / CHECKPOINTS).glob(f"{stage}*") if (path / "config.json").is_file())


def save_model(folder: Path, model: Model, card: str) -> None:
    """Writes the folder's files, each completely or not at all. Deletes a weight set of the previous model that this
    one lacks.

    Raises UserError if the disk refuses.
    """
    for kind, weights in model.weights.items():
        tensors = {name: value.detach().float().cpu().contiguous() for name, value in weights.items()}
        write_whole(folder / WEIGHTS[kind], lambda path, tensors=tensors: path.write_bytes(save(tensors)))
    for name, content in (("config.json", dataclasses.asdict(model.config)), ("metrics.json", model.metrics)):
        text = json.dumps(content, indent=2) + "\n"
        write_whole(folder / name, lambda path, text=text: path.write_text(text, encoding="utf-8"))
    write_whole(folder / "README.md", lambda path: path.write_text(card, encoding="utf-8", errors="replace"))
    for kind in WEIGHTS.keys() - model.weights.keys():  # last, so that a full disk changes nothing
        try:
            (folder / WEIGHTS[kind]).unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"{folder / WEIGHTS[kind]} cannot be deleted ({error.strerror or error}).") from error


def load_model(folder: str | Path) -> Model:
    """Reads a model folder. Raises UserError unless it holds exactly the expected tensors, with finite values."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such model folder.")
    config = read_config(folder / "config.json")
    weights = {
        kind: read_weights(folder / file, config.shapes())
        for kind, file in WEIGHTS.items()
        if kind == "detail" or (folder / file).exists()
    }
    metrics = folder / "metrics.json"
    return Model(config, weights, read_metrics(metrics) if metrics.exists() else {})


def read_config(path: Path) -> ModelConfig:
    try:
        return ModelConfig(**read_json(path))
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} does not describe a model of this program: {brief(error)}.") from None


def brief(error: object) -> str:
    """Shortens a text from a file to 120 printable characters, so that it cannot fill the screen or control the
    terminal."""
    text = "".join(letter if letter.isprintable() else " " for letter in str(error)[:200])
    return text if len(text) <= 120 else f"{text[:120]}..."


def read_metrics(path: Path) -> dict[str, Any]:
    """Reads metrics.json. Raises UserError if the file has another form, because the page plots its content."""
    metrics = read_json(path)
    figures, history = metrics.get("figures", {}), metrics.get("history", [])
    numbers = [metrics.get("photos", 0)]
    try:
        numbers += [value for row in figures.values() for value in row.values()]
        numbers += [value for row in history for name, value in row.items() if name != "stage"]
        whole = all(isinstance(row["stage"], str) for row in history)
    except (AttributeError, KeyError, TypeError):
        whole = False
    if not whole or not all(isinstance(number, int | float) for number in numbers):
        raise UserError(f"{path} does not hold the figures of a model of this program.")
    return metrics


def read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise ValueError(f"it is larger than {LARGEST_JSON:,} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no table")
    except FileNotFoundError:
        raise UserError(f"{path} is missing: {path.parent} is not a whole model folder.") from None
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({brief(error)}).") from None
    return content


def largest_weights(shapes: dict[str, tuple[int, ...]]) -> int:
    """Returns the size limit in bytes of a weights file with these shapes, at 8 bytes for each number."""
    return 8 * sum(math.prod(shape) for shape in shapes.values()) + LARGEST_HEADER


def read_weights(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Reads a weights file. Its size is checked before it is opened, and the shapes in its header before any tensor
    is read."""
    try:
        if path.stat().st_size > largest_weights(shapes):
            raise UserError(f"{path} is larger than the weights described by its config.json can be.")
        with path.open("rb") as file:
            if (header := int.from_bytes(file.read(8), "little")) > LARGEST_HEADER:
                raise ValueError(f"its header claims {header:,} bytes")
        with safe_open(path, "pt") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
            if found != shapes:
                odd = sorted(name for name in found.keys() | shapes.keys() if found.get(name) != shapes.get(name))
                raise UserError(
                    f"{path} does not fit its config.json: {brief(odd[0])} is missing, unknown or of another shape."
                )
            # Copies: Windows cannot replace a mapped file, and a run may rewrite this one while the page uses it.
            weights = {name: file.get_tensor(name).to(torch.float32, copy=True) for name in shapes}
    except FileNotFoundError:
        raise UserError(f"{path} is missing: {path.parent} is not a whole model folder.") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is damaged or no safetensors file ({brief(error)}).") from None
    if not all(value.isfinite().all() for value in weights.values()):
        raise UserError(f"{path} holds weights that are not finite numbers.")
    return weights
