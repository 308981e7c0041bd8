"""Records of a run: rows of stats.jsonl, figures, and the facts that its card and its report state."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict

Figures = dict[str, dict[str, float]]
"""The figures of each system ("bicubic", "detail 1", ...) by the names of `metrics.FIGURES`."""


class OriginTerms(TypedDict, total=False):
    terms: str
    """terms of its training photos, if its own run stated any"""
    back_projection: bool
    """present if the model has back-projection; then a model that is trained from it has it too"""


class Origin(OriginTerms):
    """The model that `--init` named."""

    model: str
    photos: int
    """photos that it had seen; 0 if it does not say"""
    hours: float
    """hours of its training; 0 if it does not say"""


class PhotoCounts(TypedDict):
    train: int
    """photos of an epoch"""
    held_out: int
    seen: dict[str, int]
    """photos seen in each stage"""


class DataFacts(PhotoCounts):
    """The training photos, as the card names them."""

    name: str
    terms: str


class RunFacts(TypedDict):
    settings: dict[str, Any]
    data: DataFacts
    command: str
    hours: dict[str, float]
    """hours of each stage"""
    hardware: str
    versions: dict[str, str]
    date: str
    """YYYY-MM-DD"""


class TrainingFacts(RunFacts, total=False):
    """The facts about a training run in config.json, from which its card and report are written."""

    started_from: Origin


class Measured(TypedDict):
    """Figures on the held-out photos."""

    photos: int
    """their number"""
    figures: Figures


class PeersTable(Measured):
    """The content of peers.json: the figures of a model and of other systems on the same pictures."""

    data: str
    """name of the folder of the pictures"""
    pictures: str
    """what is used of each picture, such as "centre 128x128 crops" """
    low_resolution: str
    """how the low-resolution copies were made"""
    date: str
    """YYYY-MM-DD"""


class Metrics(Measured):
    """The content of metrics.json."""

    history: list[dict[str, Any]]
    """each validated epoch, as `EpochRow.to_json` writes it"""


@dataclass(frozen=True)
class EpochRow:
    """The result of an epoch. state.pt and metrics.json hold these rows as flat tables."""

    stage: str
    epoch: int
    """number of the epoch in the stage, from 1"""
    values: dict[str, float]
    """mean losses, and figures on the held-out photos"""

    def to_json(self) -> dict[str, Any]:
        return {"stage": self.stage, "epoch": self.epoch, **self.values}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "EpochRow":
        """epoch: 0 where a published model does not say."""
        values = {name: value for name, value in row.items() if name not in ("stage", "epoch")}
        return cls(row["stage"], row.get("epoch", 0), values)


@dataclass(frozen=True)
class StatsRow:
    """One row of stats.jsonl."""

    kind: str
    """train, validation, warning or finished"""
    stage: str
    photos: int
    """seen in the stage"""
    epoch: int | None = None
    """number of the epoch in the stage, from 1; None in the row of a finished run"""
    values: dict[str, float] = field(default_factory=dict)
    """losses, figures and speed"""
    texts: dict[str, str] = field(default_factory=dict)
    """trouble and text in a warning; epochs in the row of a finished run"""

    def rounded(self) -> "StatsRow":
        """Returns the same row with six decimals in its values."""
        return replace(self, values={name: round(value, 6) for name, value in self.values.items()})

    def to_json(self) -> dict[str, Any]:
        """Returns the row as a flat table."""
        epoch = {} if self.epoch is None else {"epoch": self.epoch}
        return {"kind": self.kind, "stage": self.stage, **epoch, "photos": self.photos, **self.values, **self.texts}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "StatsRow":
        rest = {name: value for name, value in row.items() if name not in ("kind", "stage", "photos", "epoch")}
        texts = {name: value for name, value in rest.items() if isinstance(value, str)}
        values = {name: value for name, value in rest.items() if name not in texts}
        return cls(row["kind"], row["stage"], row["photos"], row.get("epoch"), values, texts)
