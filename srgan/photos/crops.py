"""Square crops of a collection of photos, for training and for testing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from srgan import ranks
from srgan.device import send
from srgan.errors import UserError
from srgan.models import SCALE
from srgan.photos.cache import Readable, cached
from srgan.photos.collections import open_collection
from srgan.photos.cutting import Cutting
from srgan.photos.finding import say
from srgan.photos.held_out import hold_out

LEAST_CROP = 32
"""Smallest side in pixels of a training crop."""

MEANINGFUL = 20
"""A small collection holds out more than 5 %, up to this number of photos: the figures of fewer mean little."""


class Photos(Protocol):
    """The photos of a training run: `Crops`, `Windows`, or a stream."""

    @property
    def identity(self) -> list[str]:
        """The names or properties that must stay the same when a run is resumed."""
        ...

    @property
    def cached_bytes(self) -> int:
        """Bytes that they take in the cache together with those held out."""
        ...

    @property
    def photo_count(self) -> int:
        """Number of different photos or faces, of which an epoch may show several windows each."""
        ...

    def __len__(self) -> int:
        """Number of photos in an epoch."""
        ...

    def batches(self, seed: int, epoch: int, start: int, stop: int, size: int) -> Iterator[Tensor]:
        """Yields the photos from `start` to `stop` of an epoch's order, `size` at a time: uint8 [size, 3, side, side].

        Each rank gets its share of every batch.
        """
        ...


@dataclass(frozen=True)
class Tally:
    """What was cut out of a collection, counted."""

    photos: int = 0
    """number of photos that gave a crop"""
    left_out: dict[str, int] = field(default_factory=dict)
    """number of photos, or of faces in them, for each reason"""
    small: list[int] = field(default_factory=list)
    """for each photo or face that is too small, the side in pixels of the largest crop that it could give"""

    def text(self) -> str:
        """ "311 too small, 52 blurred", or "" if nothing was left out."""
        return ", ".join(f"{count:,} {reason}" for reason, count in self.left_out.items())

    def smaller_crop(self, side: int) -> str:
        """Returns "; with --crop 96, 12 of those that are too small can be used": the largest crop for which half of
        them are large enough."""
        found = [small for small in self.small if small >= LEAST_CROP]
        if not found:
            return f"; the smallest --crop is {LEAST_CROP}" if self.small else ""
        crop = min(sorted(found)[len(found) // 2], side) // SCALE * SCALE
        return f"; with --crop {crop}, {sum(s >= crop for s in found):,} of those that are too small can be used"


@dataclass(frozen=True)
class Crops:
    """The crops of a collection, in order of name: each photo's middle, or its faces."""

    pixels: np.ndarray | Tensor
    """uint8 [N, 3, side, side], mapped from disk, or on a GPU"""
    names: list[str]
    """path of each crop's photo inside the folder"""
    skipped: dict[str, str]
    """photos left out, and why"""
    tally: Tally = field(default_factory=Tally)
    looks: np.ndarray | None = None
    """uint8 [N, 32], from `look`; None if unknown"""
    rows: np.ndarray | None = None
    """the position of each crop in `pixels`; None if `pixels` holds these crops alone, in this order"""
    cached_bytes: int = 0
    """bytes that the whole collection takes in the cache, held-out crops included"""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def identity(self) -> list[str]:
        return self.names

    @property
    def photo_count(self) -> int:
        return len(self)

    def on(self, device: torch.device, free: int) -> "Crops":
        """Copies the crops to the device if they take at most half of its `free` bytes; otherwise returns them
        unchanged."""
        if isinstance(self.pixels, Tensor) or self.pixels.nbytes > free // 2:
            return self
        pixels = torch.empty(self.pixels.shape, dtype=torch.uint8, device=device)
        for start in range(0, len(self), 1024):  # in parts, so that main memory need not hold them all
            pixels[start : start + 1024] = torch.from_numpy(self.pixels[start : start + 1024].copy())
        return replace(self, pixels=pixels)

    def batch(self, indices: Sequence[int] | np.ndarray) -> Tensor:
        """Returns uint8 [len(indices), 3, side, side], on a GPU if the crops are there."""
        chosen = np.asarray(indices) if self.rows is None else self.rows[np.asarray(indices)]
        if isinstance(self.pixels, Tensor):
            return self.pixels[send(torch.from_numpy(chosen), self.pixels.device)]
        return torch.from_numpy(self.pixels[chosen])

    def batches(self, seed: int, epoch: int, start: int, stop: int, size: int) -> Iterator[Tensor]:
        """Yields the photos from `start` to `stop` of an epoch's order, `size` at a time: uint8 [size, 3, side, side].

        Each rank gets its share of every batch.
        """
        order = shuffled(len(self), seed, epoch)[:stop]
        for first in range(start, stop, size):
            indices = order[first : first + size]
            yield self.batch(indices[ranks.share(len(indices)).part])

    def split(self, held_out: int | None, by_look: bool = False) -> tuple["Crops", "Crops"]:
        """Returns the crops to train on and the held-out ones: the last by name, as many as `held_out_count` says.

        by_look: photos that look alike stay on one side, so other photos, or fewer, may be held out.
        """
        held = positions_held_out(len(self), held_out, self.looks if by_look else None)
        rest = np.delete(np.arange(len(self)), held)
        if held[0] == len(rest):  # the last ones: no photo needs to be looked up
            first = replace(self, pixels=self.pixels[: held[0]], names=self.names[: held[0]])
            return first, self.last(len(held))
        first = replace(self, names=[self.names[index] for index in rest], rows=rest)
        return first, Crops(self.batch(held).numpy(), [self.names[index] for index in held], {})

    def first(self, count: int) -> "Crops":
        """Returns the first `count` crops as they were loaded, or all if there are fewer."""
        looks = None if self.looks is None else self.looks[:count]
        return replace(self, pixels=self.pixels[:count], names=self.names[:count], looks=looks)

    def last(self, count: int) -> "Crops":
        """Returns the last `count` crops by name, or all if there are fewer. Skipped photos are reported only for the
        whole."""
        return Crops(self.pixels[-count:], self.names[-count:], {})


def held_out_count(given: int | None, photos: int) -> int:
    """Returns the given number, or 5 % of the photos and at most 500; of fewer than 400 photos a fifth, at most
    MEANINGFUL."""
    return given if given is not None else min(500, max(1, photos // 20, min(MEANINGFUL, photos // 5)))


def count_to_hold_out(given: int | None, photos: int) -> int:
    """Returns `held_out_count` of a known number of photos. Raises UserError if nothing would be left to train on."""
    count = held_out_count(given, photos)
    if count >= photos:
        usable = "1 usable photo is" if photos == 1 else f"{photos} usable photos are"
        raise UserError(
            f"{usable} too few to hold {count} out and train on the rest: add photos or set --held-out lower."
        )
    return count


def positions_held_out(photos: int, given: int | None, looks: np.ndarray | None) -> list[int]:
    """Positions, in the order of names, of the held-out photos. Raises UserError if none would be left to train on."""
    count = count_to_hold_out(given, photos)
    held = hold_out(looks, count) if looks is not None else []
    if looks is not None and not held:
        say(
            "All of these photos look alike, so there are near-duplicates of the held-out ones among those that are "
            "trained on: the figures will look better than they are."
        )
    return held or list(range(photos - count, photos))


def load_crops(data: str | Path, side: int, faces: bool = False) -> Crops:
    """Loads the crops of a folder or a zip through the cache: [N, 3, side, side], 3 bytes per pixel.

    faces: cut out each face, framed like the training crops, instead of the middle of each photo. Unusable photos are
    skipped and named. Raises UserError if nothing is left.
    """
    return cached_crops(open_collection(data), data, side, faces)


def cached_crops(photos: Readable, data: str | Path, side: int, faces: bool) -> Crops:
    """Loads the crops of any photos that the cache can hold; `data` is their name in messages."""
    pixels, index = cached(photos, Cutting("faces" if faces else "centre", side))
    tally = Tally(index["photos"], index["left_out"], index["small"])
    require_photos(data, index["names"], index["skipped"], tally, side)
    return Crops(
        pixels.reshape(-1, 3, side, side), index["names"], index["skipped"], tally, read_looks(index["looks"]),
        cached_bytes=pixels.nbytes,
    )  # fmt: skip


def read_looks(looks: Sequence[str]) -> np.ndarray:
    """Decodes looks from the hexadecimal form in the cache's index: uint8 [N, 32]."""
    return np.frombuffer(bytes.fromhex("".join(looks)), np.uint8).reshape(len(looks), -1)


def require_photos(data: str | Path, names: Sequence[str], skipped: dict[str, str], tally: Tally, side: int) -> None:
    """Raises UserError, with the reasons, if no photo is left."""
    if not names:
        which = "the only photo" if len(skipped) == 1 else f"none of the {len(skipped):,} photos"
        verb = "cannot" if len(skipped) == 1 else "can"
        raise UserError(f"{which} in {data} {verb} be used: {first_reasons(skipped)}{tally.smaller_crop(side)}.")


def first_reasons(skipped: dict[str, str], most: int = 3) -> str:
    shown = "; ".join(f"{name} {reason}" for name, reason in list(skipped.items())[:most])
    return shown + (f"; and {len(skipped) - most} more" if len(skipped) > most else "")


def shuffled(count: int, seed: int, epoch: int) -> np.ndarray:
    """Returns the order of the photos in an epoch. It depends only on seed and epoch, so a resumed run has the same
    order."""
    return np.random.default_rng((seed, epoch)).permutation(count)
