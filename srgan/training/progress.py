"""The progress of a run and its reports: mean losses, the status line, stats.jsonl."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from srgan import ranks
from srgan.device import peak_memory
from srgan.errors import UserError
from srgan.files import write_whole
from srgan.training.records import StatsRow

REPORT_SECONDS = 5.0
"""Losses are read from the device, checked and written this often: a read waits for everything in flight."""


@dataclass
class TrainState:
    """The progress of a run. Together with the settings it determines everything that follows."""

    stage: str
    epoch: int = 0
    """whole epochs done in the stage"""
    photos: int = 0
    """photos seen in the running epoch"""
    total: int = 0
    """photos seen in the stage"""
    seconds: dict[str, float] = field(default_factory=dict)
    """time spent training, per stage"""
    used: float = 0.0
    """seconds that the run had taken in all, validations and pictures included, when it was saved"""


class Log:
    """Writes stats.jsonl, and passes its rows on to listeners."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listeners: list[Callable[[StatsRow], object]] = []

    def add(self, row: StatsRow) -> None:
        if not ranks.is_first():
            return
        row = row.rounded()
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row.to_json()) + "\n")
        except OSError as error:
            raise UserError(
                f"{self.path} cannot be written ({error.strerror}); the last saved state is kept."
            ) from None
        for listener in self.listeners:
            listener(row)

    def rows(self) -> list[StatsRow]:
        """Reads all rows. A last row that was cut short when the process was killed is left out."""
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        return [StatsRow.from_json(json.loads(line)) for line in lines if line.endswith("}")]

    def keep(self, rows: list[StatsRow]) -> None:
        """Replaces the file's rows by these."""
        text = "".join(json.dumps(row.to_json()) + "\n" for row in rows)
        write_whole(self.path, lambda partial: partial.write_text(text, encoding="utf-8"))


class Meter:
    """Sums losses on the device, and reads, checks and writes their means now and then."""

    def __init__(self, log: Log, state: TrainState, photos: float, device: torch.device) -> None:
        """photos: length of the run from the beginning of this stage; see `Trainer.photos_to_the_end`."""
        self.log, self.state, self.all_photos, self.device = log, state, photos, device
        self.sums: dict[str, Tensor] = {}
        self.steps = 0
        self.epoch: dict[str, float] = {}
        self.epoch_steps = 0
        self.clock = time.monotonic()
        self.photos = state.total
        self.latest: dict[str, float] = {}
        """means of the last report"""
        self.text = ""
        self.seconds_left = 0.0
        """to the end of the run"""

    def add(self, losses: dict[str, Tensor], weight: float = 1.0) -> None:
        """weight: of this rank in the step's means."""
        for name, value in losses.items():
            if name in self.sums:
                self.sums[name].add_(value, alpha=weight)
            else:
                self.sums[name] = value * weight
        self.steps += 1

    def due(self) -> bool:
        return time.monotonic() - self.clock > REPORT_SECONDS

    def report(self) -> str:
        """Means since the last report, as text and as a row of stats.jsonl. Raises UserError when one is not finite."""
        if not self.steps:
            return self.text
        sums = ranks.all_reduce_sum(torch.stack(list(self.sums.values()))).tolist()
        means = {name: value / self.steps for name, value in zip(self.sums, sums, strict=True)}
        self.check(means)
        self.latest = means
        for name, value in means.items():
            self.epoch[name] = self.epoch.get(name, 0.0) + value * self.steps
        elapsed = time.monotonic() - self.clock
        state = self.state
        state.seconds[state.stage] = state.seconds.get(state.stage, 0.0) + elapsed
        pace = (state.total - self.photos) / elapsed
        memory = peak_memory(self.device)
        speed = {"photos_per_second": pace, "seconds_per_1000_photos": 1000 / pace}
        if math.isfinite(memory):  # Windows does not say what a CPU has taken
            speed["peak_memory_gb"] = memory
        self.log.add(StatsRow("train", state.stage, state.total, state.epoch + 1, {**means, **speed}))
        self.epoch_steps += self.steps
        self.sums, self.steps, self.photos, self.clock = {}, 0, state.total, time.monotonic()
        self.seconds_left = (self.all_photos - state.total) / pace
        self.text = progress_text(means, pace, memory)
        return self.text

    def check(self, means: dict[str, float]) -> None:
        for name, value in means.items():
            if not math.isfinite(value):
                raise UserError(
                    f"the {name} loss became {value} in epoch {self.state.epoch + 1} of the {self.state.stage} "
                    f"stage, within the {self.steps} steps before photo {self.state.photos}: the last saved state "
                    "is kept; try a lower learning rate or --precision fp32."
                )

    def means(self) -> dict[str, float]:
        """Returns the mean losses over the part of the epoch that this process has trained."""
        return {name: value / self.epoch_steps for name, value in self.epoch.items()}


def progress_text(means: dict[str, float], pace: float, memory: float) -> str:
    """ "2.5 photos/s, G 0.4, D 1.2, D(real) 0.61, D(fake) 0.38, 5.3 GB"."""
    labels = {"pixel": "L1", "generator": "G", "discriminator": "D", "d_real": "D(real)", "d_fake": "D(fake)"}
    parts = [f"{label} {means[name]:.3g}" for name, label in labels.items() if name in means]
    parts += [f"{memory:.1f} GB"] if math.isfinite(memory) else []
    return ", ".join([f"{pace:,.1f} photos/s", *parts])


def in_words(seconds: float) -> str:
    """ "3 d 4 h", "2 h 13 min", "14 min", "50 s": the two largest parts, rounded."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
