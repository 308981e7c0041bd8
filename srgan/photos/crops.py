"""Square crops of a collection of photos: what a run trains on, and what it holds out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from srgan import ranks
from srgan.device import send
from srgan.errors import UserError
from srgan.photos.cache import cached


class Photos(Protocol):
    """What a run trains on: `Crops`, `Windows`, or a stream."""

    @property
    def identity(self) -> list[str]:
        """What differs between photos with which the same run must not be resumed."""
        ...

    def __len__(self) -> int:
        """Photos in an epoch."""
        ...

    def batches(self, seed: int, epoch: int, start: int, stop: int, size: int) -> Iterator[Tensor]:
        """The photos from `start` to `stop` of an epoch's order, `size` at a time: uint8 [size, 3, side, side].

        To one rank of several, its share of each `size`.
        """
        ...


@dataclass(frozen=True)
class Crops:
    """The centre crops of a collection, in order of name."""

    pixels: np.ndarray | Tensor
    """uint8 [N, 3, side, side], mapped from disk, or on a GPU"""
    names: list[str]
    """path of each crop's photo inside the folder"""
    skipped: dict[str, str]
    """photos left out, and why"""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def identity(self) -> list[str]:
        return self.names

    def on(self, device: torch.device, free: int) -> "Crops":
        """The same crops on the device, where they take at most half of the `free` bytes there; else as they are."""
        if isinstance(self.pixels, Tensor) or self.pixels.nbytes > free // 2:
            return self
        pixels = torch.empty(self.pixels.shape, dtype=torch.uint8, device=device)
        for start in range(0, len(self), 1024):  # in parts, so that main memory need not hold them all
            pixels[start : start + 1024] = torch.from_numpy(self.pixels[start : start + 1024].copy())
        return replace(self, pixels=pixels)

    def batch(self, indices: Sequence[int] | np.ndarray) -> Tensor:
        """uint8 [len(indices), 3, side, side], on a GPU if the crops are there."""
        chosen = np.asarray(indices)
        if isinstance(self.pixels, Tensor):
            return self.pixels[send(torch.from_numpy(chosen), self.pixels.device)]
        return torch.from_numpy(self.pixels[chosen])

    def batches(self, seed: int, epoch: int, start: int, stop: int, size: int) -> Iterator[Tensor]:
        """The photos from `start` to `stop` of an epoch's order, `size` at a time: uint8 [size, 3, side, side].

        To one rank of several, its share of each `size`.
        """
        order = shuffled(len(self), seed, epoch)[:stop]
        for first in range(start, stop, size):
            indices = order[first : first + size]
            yield self.batch(indices[ranks.share(len(indices)).part])

    def split(self, held_out: int | None) -> tuple["Crops", "Crops"]:
        """(to train on, held out: the last by name, as many as `held_out_count` says)."""
        count = count_to_hold_out(held_out, len(self))
        first = Crops(self.pixels[:-count], self.names[:-count], self.skipped)
        return first, self.last(count)

    def last(self, count: int) -> "Crops":
        """The last `count` by name, or all where there are fewer; which photos were skipped is said of the whole."""
        return Crops(self.pixels[-count:], self.names[-count:], {})


def held_out_count(given: int | None, photos: int) -> int:
    """5 % and at most 500 where no number is given."""
    return given if given is not None else min(500, max(1, photos // 20))


def count_to_hold_out(given: int | None, photos: int) -> int:
    """The same of a known number of photos. Raises UserError where nothing would be left to train on."""
    count = held_out_count(given, photos)
    if count >= photos:
        raise UserError(
            f"{photos} usable photos are too few to hold {count} out and train on the rest: "
            "add photos or set --held-out lower."
        )
    return count


def load_crops(data: str | Path, side: int) -> Crops:
    """The crops of a folder or a zip, from the cache where they are there: [N, 3, side, side], 3 bytes a pixel.

    Broken photos and those that are smaller than a crop are skipped and named. Raises UserError where none is left.
    """
    pixels, index = cached(data, side)
    require_photos(data, index["names"], index["skipped"])
    return Crops(pixels.reshape(-1, 3, side, side), index["names"], index["skipped"])


def require_photos(data: str | Path, names: Sequence[str], skipped: dict[str, str]) -> None:
    """Raises UserError where no photo is left, with the reasons."""
    if not names:
        raise UserError(f"none of the {len(skipped)} photos in {data} can be used: {first_reasons(skipped)}.")


def first_reasons(skipped: dict[str, str], most: int = 3) -> str:
    shown = "; ".join(f"{name} {reason}" for name, reason in list(skipped.items())[:most])
    return shown + (f"; and {len(skipped) - most} more" if len(skipped) > most else "")


# The cache: a folder for each collection, of two files. The index is written last, so that it vouches for the other.


def shuffled(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order of the photos in an epoch: a function of (seed, epoch) alone, so that a resumed run has it too."""
    return np.random.default_rng((seed, epoch)).permutation(count)
