"""Reports of `--dry-run`: how long the run would take, what it needs, and why its result might be poor."""

import math
import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from srgan.device import choose_device
from srgan.files import write_whole
from srgan.measure.evaluation import BICUBIC, evaluate, means, show
from srgan.measure.pairs import CropPictures
from srgan.models import Generator
from srgan.photos.cache import cache_root
from srgan.photos.crops import Crops, Photos
from srgan.training.config import Config
from srgan.training.discriminators import make_discriminator
from srgan.training.pace import Pace
from srgan.training.presets import FEW
from srgan.training.progress import in_words
from srgan.training.run import TEST_PHOTOS, names_model, parameters

CONTACT, ROW = 40, 8
"""Crops on the contact sheet, and in a row of it."""

ADAM = 2
"""Values that Adam keeps of each parameter."""

FLAT_DB = 42.0
"""PSNR of bicubic above which the crops hold hardly any detail; on CelebA's it is 28 dB."""


def length(config: Config, pace: Pace, photos: int, held_out: int) -> str:
    """Returns a sentence on how long the run takes on this machine."""
    seconds = pace.seconds(config.stage_epochs(), photos, held_out)
    speeds = ", ".join(f"{speed:.3g} photos/s in the {stage} stage" for stage, speed in pace.photos_per_second.items())
    memory = f", {pace.memory_gb:.1f} GB of memory" if math.isfinite(pace.memory_gb) else ""
    return f"about {in_words(seconds)} on this machine (measured: {speeds}{memory})"


def run_forecast(config: Config, train: Photos, held_out: Crops) -> str:
    """Bicubic's figures, the disk, the contact sheet, which is written, and warnings; a line each."""
    folder = config.run_folder()
    figures = means(evaluate(BICUBIC, CropPictures(held_out), None, choose_device(config.device)))["bicubic"]
    sheet = folder / "contact.png"
    save_contact(config, train, sheet)
    lines = [
        f"bicubic on the held-out ones: {show(figures)}",
        f"disk: the cache takes {in_bytes(train.cached_bytes)} ({in_bytes(free(cache_root()))} free), the run folder "
        f"at most {in_bytes(run_folder_bytes(config))} ({in_bytes(free(folder))} free)",
        f"the first crops as they are trained on: {sheet}",
    ]
    return "\n".join(lines + run_warnings(config, train.photo_count, figures["psnr_y"]))


def run_warnings(config: Config, photos: int, bicubic: float) -> list[str]:
    """Reasons why the result cannot be good, a sentence each. bicubic: its PSNR-Y on the held-out photos, in dB."""
    found = []
    if photos < FEW and not names_model(config.init):
        found.append(
            f"Warning: {photos} photos are too few for a start from random weights, so the result will be blurred "
            "and will look like these photos alone: start from a model with --init."
        )
    if bicubic > FLAT_DB:
        found.append(
            f"Warning: bicubic alone reaches {bicubic:.1f} dB, so these crops hold hardly any detail to learn: "
            "look at contact.png, and at --crop-at and --reduce."
        )
    return found


def save_contact(config: Config, train: Photos, path: Path) -> None:
    """The first crops of the first epoch, side by side."""
    count = min(CONTACT, len(train))
    crops = torch.cat(list(train.batches(config.seed, 0, 0, count, count)))
    side, rows = crops.shape[-1], -(-len(crops) // ROW)
    sheet = np.full((rows * (side + 4), ROW * (side + 4), 3), 255, np.uint8)
    for number, crop in enumerate(crops.cpu().numpy()):
        top, left = (place * (side + 4) for place in divmod(number, ROW))
        sheet[top : top + side, left : left + side] = crop.transpose(1, 2, 0)
    write_whole(path, lambda partial: Image.fromarray(sheet).save(partial))


def run_folder_bytes(config: Config) -> float:
    """What the run folder takes at most, in bytes: the state and its successor, the models, the restored photos."""
    generator = parameters(Generator(config.channels, config.blocks, config.upsampling))
    discriminator = parameters(make_discriminator(config.judges_features()))
    copies = 3 + (config.keep_start > 0)  # the generator, its average, the fidelity weights, the start
    state = generator * (copies + ADAM) + discriminator * (1 + ADAM)
    epochs = [math.ceil(count) for count in config.stage_epochs().values()]
    models = 2 + sum(count // config.checkpoint_every for count in epochs)  # with the middle and the last
    pictures = TEST_PHOTOS * (sum(epochs) + 2) * 3 * config.crop**2
    return 4 * (2 * state + models * 2 * generator) + pictures


def in_bytes(count: float) -> str:
    """ "2.9 MB" or "69 GB"."""
    return (
        f"{count / 1e9:.3g} GB" if count >= 1e9 else f"{count / 1e6:.2g} MB" if count < 1e7 else f"{count / 1e6:.0f} MB"
    )


def free(folder: Path) -> int:
    """Returns the free disk space in bytes at a folder, which need not exist yet."""
    place = folder.resolve()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free
