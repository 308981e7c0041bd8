"""Pieces of photos for training, and a measure of whether two of them show the same."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from PIL import Image

LOOK_SIDE = 16
"""A look has this many rows, each of this many comparisons between neighbouring means."""

ALIKE = 0.15
"""Looks of one scene differ in at most this share of the comparisons. Two CelebA crops differ less in one of a million
pairs, a portrait and a copy that was shifted, turned, made brighter and noisy in 9 of 10."""


class LeftOut(NamedTuple):
    """A photo, or a face in one, that is not used for training."""

    reason: str
    """the word by which they are counted, such as "too small" """
    words: str
    """the rest of a sentence that begins with the photo's name"""
    side: int = 0
    """side in pixels of the largest crop that it could give, if it is too small"""


def too_small(width: int, height: int, side: int) -> LeftOut:
    """Describes a photo or a face that is smaller than a crop of that side."""
    return LeftOut("too small", f"is {width}x{height}, smaller than {side}x{side}", min(width, height))


@dataclass
class Pieces:
    """The pieces of a photo."""

    crops: list[np.ndarray] = field(default_factory=list)
    """uint8 [3, H, W] each"""
    left_out: list[LeftOut] = field(default_factory=list)


def look(pixels: np.ndarray) -> np.ndarray:
    """A perceptual hash of uint8 [3, H, W]: uint8 [32], the bits of whether each of 16x16 means is darker than its
    right neighbour. A burst's photos differ in few of them."""
    grey = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).convert("L")
    means = np.asarray(grey.resize((LOOK_SIDE + 1, LOOK_SIDE), Image.Resampling.BOX), np.int16)
    return np.packbits(means[:, :-1] < means[:, 1:])
