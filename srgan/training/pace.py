"""Times a few real steps, to tell how long a run takes on this machine and how many epochs fit into given hours."""

import dataclasses
import math
import time
from dataclasses import dataclass

from srgan import ranks
from srgan.device import peak_memory
from srgan.measure.evaluation import evaluate
from srgan.measure.pairs import CropPictures
from srgan.photos.crops import Crops, Photos
from srgan.training.config import Config
from srgan.training.trainer import PENALTY_EVERY, Trainer

STEPS = 2
"""Steps of each kind, of which the last is timed."""

MEASURED = 4
"""Held-out photos that are restored to time a validation."""

AFTER_EPOCH = 2.0
"""Seconds that the pictures and the report of an epoch take, about."""

MARGIN = 0.94
"""Share of the hours that the plan uses: machines slow down as they get warm, and writing files takes time."""


@dataclass(frozen=True)
class Pace:
    """What was measured on this machine, with these settings."""

    photos_per_second: dict[str, float]
    """of each stage"""
    restored_per_second: float
    """held-out photos in a validation"""
    memory_gb: float
    """of a process at the peak; nan where the system does not say"""

    def seconds(self, stages: dict[str, float], photos: int, held_out: int) -> float:
        """Returns how long a run takes: `stages` has the epochs of each, an epoch has `photos`."""
        training = sum(count * photos / self.photos_per_second[name] for name, count in stages.items())
        validations = sum(math.ceil(count) for count in stages.values())
        return training + validations * (held_out / self.restored_per_second + AFTER_EPOCH)


def measure_pace(config: Config, train: Photos, held_out: Crops) -> Pace:
    """Trains a throwaway network for a few steps on the held-out photos. Every rank must come here.

    Raises UserError as a run would: where VGG19 cannot be had, say, or the memory does not suffice.
    """
    trainer = Trainer(config, train, held_out, config.run_folder())
    speeds = {stage: stage_pace(trainer, stage) for stage in trainer.stages}
    few = held_out.last(MEASURED)
    start = time.monotonic()
    evaluate({"model": trainer.restore}, CropPictures(few), trainer.lpips, trainer.device)
    restored = len(few) / (time.monotonic() - start)
    return ranks.from_first(lambda: Pace(speeds, restored, peak_memory(trainer.device)))


def stage_pace(trainer: Trainer, stage: str) -> float:
    """Returns the photos per second after a head start, which is quicker. One step in PENALTY_EVERY has a gradient
    penalty and takes longer."""
    trainer.start_stage(stage)
    size = trainer.config.batch_size
    later = -(-trainer.config.head_start // (PENALTY_EVERY * size)) * PENALTY_EVERY * size
    photos = trainer.held_out.batch([number % len(trainer.held_out) for number in range(size)])
    share = ranks.share(size)
    times: dict[bool, float] = {}
    for penalised in (True, False):
        for _ in range(STEPS):
            trainer.state.total = later if penalised else later + size
            start = time.monotonic()
            losses = trainer.step_or_say_what_fits(photos[share.part], share)
            float(sum(losses.values()))  # waits for the device
            times[penalised] = time.monotonic() - start
    return size / ((times[True] + (PENALTY_EVERY - 1) * times[False]) / PENALTY_EVERY)


def within_hours(config: Config, pace: Pace, photos: int, held_out: int) -> Config:
    """Returns the settings with both stages shortened in proportion, so that the run ends within `max_hours`; never
    longer."""
    stages = config.stage_epochs()
    needed = pace.seconds(stages, photos, held_out)
    available = (config.max_hours or math.inf) * 3600 * MARGIN
    if needed <= available:
        return config
    share = available / needed
    fidelity = stages.get("fidelity", 0.0) * share
    return dataclasses.replace(
        config, epochs=float(f"{config.epochs * share:.4g}"), fidelity_epochs=float(f"{fidelity:.4g}")
    )
