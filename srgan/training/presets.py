"""Presets of a run's length, and the model that a run on few photos starts from."""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from srgan.model_folder import read_config
from srgan.shipped import WEIGHTS
from srgan.training.config import NETWORK, Config, flag

FEW = 200
"""Number of photos below which a run starts from a model that ships."""


@dataclass(frozen=True)
class Preset:
    """The length of a run: photos that it sees, and hours that it takes at most."""

    help: str
    photos: dict[str, int]
    """photos that each stage sees; if the hours do not suffice, both stages are shortened in the same proportion"""
    settings: dict[str, Any] = field(default_factory=dict)
    from_shipped: bool = False
    """start from a model that ships, however many photos there are"""


PRESETS = {
    "quick": Preset(
        "at most 15 minutes, from a model that ships",
        {"fidelity": 0, "detail": 8_000},
        {
            "max_hours": 0.25,
            "fidelity_epochs": 0.0,
            "batch_size": 4,
            "lr": 5e-5,
            "head_start": 160,
            "keep_start": 0.5,
            "save_minutes": 5.0,
        },
        from_shipped=True,
    ),
    "standard": Preset("at most 8 hours", {"fidelity": 45_000, "detail": 40_000}, {"max_hours": 8.0, "batch_size": 8}),
    "best": Preset("at most 3 days", {"fidelity": 300_000, "detail": 300_000}, {"max_hours": 72.0}),
}


def sized(config: Config, preset: Preset, given: Collection[str], photos: int) -> Config:
    """Returns the settings with the number of epochs that the preset asks for, unless epochs are given. photos: per
    epoch."""
    counts = {"epochs": preset.photos["detail"] / photos, "fidelity_epochs": preset.photos["fidelity"] / photos}
    wanted = {name: float(f"{count:.4g}") for name, count in counts.items() if name not in given}
    return dataclasses.replace(config, **wanted)


def settle_init(config: Config, photos: int, given: Collection[str], always: bool = False) -> tuple[Config, str]:
    """Decides what `--init auto` means. Returns the settings, and a sentence about the choice, or "".

    photos: to train on and held out; given: names of the settings that the user has set; always: start from a model
    that ships with any number of photos.
    """
    if config.init != "auto":
        return (dataclasses.replace(config, init="") if config.init == "none" else config), ""
    random = dataclasses.replace(config, init="")
    if config.recipe == "classic" or (photos >= FEW and not always):
        return random, ""
    clean_faces = config.degrade == "clean" and config.crop_at != "random"
    name = "celeba-faces" if clean_faces else "photos"
    found = read_config(WEIGHTS / name / "config.json")
    asked = [flag(part) for part in NETWORK if part in given and getattr(found, part) != getattr(config, part)]
    if asked:
        return random, f"{photos} photos are few, but no model that ships has this {' and '.join(asked)}."
    network = {part: getattr(found, part) for part in NETWORK}
    why = f"{photos} photos are few" if photos < FEW else "the preset is quick"
    sentence = f"Training starts from weights/{name}, since {why} (--init none: from random weights)."
    terms = found.training.get("data", {}).get("terms", "")
    license = config.license or str(found.setting("license") or "")
    config = dataclasses.replace(config, init=str(WEIGHTS / name), license=license, **network)
    return config, f"{sentence} {terms}".strip()
