"""How far a run has come, and what it reports: mean losses, the status line, stats.jsonl."""

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
    """Where a run stands; with the settings it determines everything that comes next."""

    stage: str
    epoch: int = 0
    """whole epochs done in the stage"""
    photos: int = 0
    """photos seen in the running epoch"""
    total: int = 0
    """photos seen in the stage"""
    seconds: dict[str, float] = field(default_factory=dict)
    """time spent training, per stage"""


class Log:
    """stats.jsonl, and whoever else is to be told of its rows."""

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
        """All rows, without a last one that was cut short when the process was killed."""
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        return [StatsRow.from_json(json.loads(line)) for line in lines if line.endswith("}")]

    def keep(self, rows: list[StatsRow]) -> None:
        """Replaces the file's rows by these."""
        text = "".join(json.dumps(row.to_json()) + "\n" for row in rows)
        write_whole(self.path, lambda partial: partial.write_text(text, encoding="utf-8"))


class Meter:
    """Sums losses on the device, and reads, checks and writes their means now and then."""

    def __init__(self, log: Log, state: TrainState, stage_photos: int, device: torch.device) -> None:
        """stage_photos: that the whole stage will see."""
        self.log, self.state, self.stage_photos, self.device = log, state, stage_photos, device
        self.sums: dict[str, Tensor] = {}
        self.steps = 0
        self.epoch: dict[str, float] = {}
        self.epoch_steps = 0
        self.clock = time.monotonic()
        self.photos = state.total
        self.latest: dict[str, float] = {}
        """means of the last report"""
        self.text = ""

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
        self.text = progress_text(means, pace, memory, (self.stage_photos - state.total) / pace)
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
        """Over what this process has trained of the epoch."""
        return {name: value / self.epoch_steps for name, value in self.epoch.items()}


def progress_text(means: dict[str, float], pace: float, memory: float, seconds_left: float) -> str:
    """ "G 0.4, D 1.2, D(real) 0.61, D(fake) 0.38, 2.5 photos/s, 400 s per 1,000, 5.3 GB, 41 min left in this stage"."""
    labels = {"pixel": "L1", "generator": "G", "discriminator": "D", "d_real": "D(real)", "d_fake": "D(fake)"}
    parts = [f"{label} {means[name]:.3g}" for name, label in labels.items() if name in means]
    parts += [f"{pace:,.1f} photos/s", f"{1000 / pace:,.3g} s per 1,000"]
    parts += [f"{memory:.1f} GB"] if math.isfinite(memory) else []
    return ", ".join([*parts, f"{seconds_left / 60:.0f} min left in this stage"])
