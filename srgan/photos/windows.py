"""Photos of anything, kept whole. Training uses windows at random places, for subjects that are not centred."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from srgan import ranks
from srgan.photos.cache import cached
from srgan.photos.collections import open_collection
from srgan.photos.crops import Crops, Tally, positions_held_out, read_looks, require_photos, shuffled
from srgan.photos.cutting import Cutting
from srgan.photos.pieces import too_small


@dataclass(frozen=True)
class Windows:
    """Square windows of whole photos. An epoch has as many of each photo as fit into it side by side, at new random
    places."""

    photos: list[np.ndarray]
    """uint8 [3, H, W] each, mapped from disk"""
    side: int
    names: list[str]
    """path of each photo inside the folder"""
    skipped: dict[str, str]
    """photos left out, and why"""
    reduce: float = 1.0
    """largest factor by which the part of a photo that a window shows is reduced"""
    tally: Tally = field(default_factory=Tally)
    looks: np.ndarray | None = None
    """uint8 [N, 32], from `look`; None if unknown"""
    cached_bytes: int = 0
    """bytes that the whole collection takes in the cache, held-out photos included"""

    @cached_property
    def owners(self) -> np.ndarray:
        """The photo of each window of an epoch, before shuffling."""
        room = [(photo.shape[1] // self.side) * (photo.shape[2] // self.side) for photo in self.photos]
        return np.repeat(np.arange(len(self.photos)), room)

    def __len__(self) -> int:
        return len(self.owners)

    @property
    def identity(self) -> list[str]:
        return self.names

    @property
    def photo_count(self) -> int:
        return len(self.names)

    def batches(self, seed: int, epoch: int, start: int, stop: int, size: int) -> Iterator[Tensor]:
        """Yields the windows from `start` to `stop` of an epoch's order, `size` at a time: uint8 [size, 3, side, side].

        Each rank gets its share of every batch.
        """
        order = self.owners[shuffled(len(self), seed, epoch)]
        # By position, so that a resumed run has them too.
        places = np.random.default_rng((seed, epoch, 1)).random((len(self), 2))
        sizes = np.random.default_rng((seed, epoch, 2)).random(len(self))
        for first in range(start, stop, size):
            step = range(first, min(first + size, stop))
            share = step[ranks.share(len(step)).part]
            windows = [self.window(order[i], places[i, 0], places[i, 1], sizes[i]) for i in share]
            yield torch.from_numpy(np.stack(windows))

    def window(self, photo: int, down: float, right: float, size: float = 0.0) -> np.ndarray:
        """Cuts a window out of a photo, uint8 [3, side, side], reduced by the one bicubic if it shows more of the
        photo.

        down, right: the place, from 0 up to but not including 1. size: the factor, in the same range: all factors from
        1 to `reduce`, as far as the photo allows, are equally likely on a logarithmic scale.
        """
        pixels = self.photos[photo]
        shown = int(self.side * min(self.reduce, min(pixels.shape[1:]) / self.side) ** size)
        top, left = int(down * (pixels.shape[1] - shown + 1)), int(right * (pixels.shape[2] - shown + 1))
        part = pixels[:, top : top + shown, left : left + shown]
        if shown == self.side:
            return part
        picture = Image.fromarray(np.ascontiguousarray(part.transpose(1, 2, 0)))
        small = picture.resize((self.side, self.side), Image.Resampling.BICUBIC)
        return np.asarray(small).transpose(2, 0, 1)

    def split(self, held_out: int | None, by_look: bool = False) -> tuple["Windows", Crops]:
        """Returns the photos to train on, and the middle crops of the held-out ones: the last photos by name, as many
        as `held_out_count` says.

        by_look: photos that look alike stay on one side, so other photos, or fewer, may be held out.
        """
        held = positions_held_out(len(self.names), held_out, self.looks if by_look else None)
        rest = sorted(set(range(len(self.names))) - set(held))
        first = replace(self, photos=[self.photos[i] for i in rest], names=[self.names[i] for i in rest])
        middles = np.stack([self.middle(self.photos[index]) for index in held])
        return first, Crops(middles, [self.names[index] for index in held], {})

    def middle(self, pixels: np.ndarray) -> np.ndarray:
        top, left = ((extent - self.side) // 2 for extent in pixels.shape[1:])
        return pixels[:, top : top + self.side, left : left + self.side]


MOST_SCALES = 4.0
"""With `reduce` "auto", a window of a sharp photo shows at most this many times its side."""

MOST_OF_PHOTO = 0.5
"""With `reduce` "auto", a window shows at most this share of the shorter side of the median photo."""


def load_windows(data: str | Path, side: int, reduce: float | Literal["auto"] = 1.0) -> Windows:
    """Loads the photos of a folder or a zip through the cache, which takes 3 bytes per pixel.

    reduce: as for `Windows`; "auto": each photo is reduced first until it is sharp, and windows show up to MOST_SCALES
    times their side. Broken photos and those that are smaller than a window are skipped and named. Raises UserError if
    none is left.
    """
    pixels, index = cached(open_collection(data), Cutting("sharp", side) if reduce == "auto" else Cutting("whole"))
    arrays, names, looks, skipped, start = [], [], [], dict(index["skipped"]), 0
    small = list(index["small"])
    for name, (height, width), look in zip(index["names"], index["sizes"], index["looks"], strict=True):
        stop = start + 3 * height * width
        if min(height, width) < side:
            left = too_small(width, height, side)
            skipped[name] = left.words
            small.append(left.side)
        else:
            arrays.append(pixels[start:stop].reshape(3, height, width))
            names.append(name)
            looks.append(look)
        start = stop
    tally = Tally(len(names), index["left_out"], small)
    require_photos(data, names, skipped, tally, side)
    if reduce == "auto":
        shorter = float(np.median([min(photo.shape[1:]) for photo in arrays]))
        reduce = max(1.0, min(MOST_SCALES, MOST_OF_PHOTO * shorter / side))
    return Windows(arrays, side, names, skipped, reduce, tally, read_looks(looks), pixels.nbytes)
