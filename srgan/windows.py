"""Photos of anything, kept whole and trained on in windows at random places: for what is not centred as faces are."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from srgan import ranks
from srgan.data import Crops, cached, count_to_hold_out, require_photos, shuffled, too_small


@dataclass(frozen=True)
class Windows:
    """Square windows of whole photos: in an epoch as many of each as fit into it side by side, at places drawn anew."""

    photos: list[np.ndarray]
    """uint8 [3, H, W] each, mapped from disk"""
    side: int
    names: list[str]
    """path of each photo inside the folder"""
    skipped: dict[str, str]
    """photos left out, and why"""

    @cached_property
    def owners(self) -> np.ndarray:
        """The photo of each window of an epoch, before it is shuffled."""
        room = [(photo.shape[1] // self.side) * (photo.shape[2] // self.side) for photo in self.photos]
        return np.repeat(np.arange(len(self.photos)), room)

    def __len__(self) -> int:
        return len(self.owners)

    @property
    def identity(self) -> list[str]:
        return self.names

    def batches(self, seed: int, epoch: int, start: int, stop: int, size: int) -> Iterator[Tensor]:
        """The windows from `start` to `stop` of an epoch's order, `size` at a time: uint8 [size, 3, side, side].

        To one rank of several, its share of each `size`.
        """
        order = self.owners[shuffled(len(self), seed, epoch)]
        places = np.random.default_rng((seed, epoch, 1)).random((len(self), 2))  # by position: a resumed run has them
        for first in range(start, stop, size):
            step = range(first, min(first + size, stop))
            share = step[ranks.share(len(step)).part]
            windows = [self.window(order[position], *places[position]) for position in share]
            yield torch.from_numpy(np.stack(windows))

    def window(self, photo: int, down: float, right: float) -> np.ndarray:
        """uint8 [3, side, side] of a photo; `down` and `right` go from 0 to 1, without it."""
        pixels = self.photos[photo]
        top, left = int(down * (pixels.shape[1] - self.side + 1)), int(right * (pixels.shape[2] - self.side + 1))
        return pixels[:, top : top + self.side, left : left + self.side]

    def split(self, held_out: int | None) -> tuple["Windows", Crops]:
        """(to train on, the middle of those held out: the last photos by name, as many as `held_out_count` says)."""
        count = count_to_hold_out(held_out, len(self.names))
        first = Windows(self.photos[:-count], self.side, self.names[:-count], self.skipped)
        middles = np.stack([self.middle(photo) for photo in self.photos[-count:]])
        return first, Crops(middles, self.names[-count:], {})

    def middle(self, pixels: np.ndarray) -> np.ndarray:
        top, left = ((extent - self.side) // 2 for extent in pixels.shape[1:])
        return pixels[:, top : top + self.side, left : left + self.side]


def load_windows(data: str | Path, side: int) -> Windows:
    """The photos of a folder or a zip, from the cache where they are there; it takes 3 bytes a pixel.

    Broken photos and those that are smaller than a window are skipped and named. Raises UserError where none is left.
    """
    pixels, index = cached(data)
    arrays, names, skipped, start = [], [], dict(index["skipped"]), 0
    for name, (height, width) in zip(index["names"], index["sizes"], strict=True):
        stop = start + 3 * height * width
        if min(height, width) < side:
            skipped[name] = too_small(width, height, side)
        else:
            arrays.append(pixels[start:stop].reshape(3, height, width))
            names.append(name)
        start = stop
    require_photos(data, names, skipped)
    return Windows(arrays, side, names, skipped)
