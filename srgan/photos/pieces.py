"""Pieces of photos for training, and a measure of whether two of them show the same."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from PIL import Image

LOOK_SIDE = 16
"""A look compares this many neighbouring means in each of as many rows."""

ALIKE = 0.15
"""Share of the comparisons in which looks of one scene differ at most. Two CelebA crops differ less in one of a million
pairs, a portrait and a copy that was shifted, turned, made brighter and noisy in 9 of 10."""


class LeftOut(NamedTuple):
    """A photo, or a face in one, that is not used for training."""

    reason: str
    """the word by which they are counted, such as "too small" """
    words: str
    """a sentence's end behind the photo's name"""
    side: int = 0
    """pixels of the largest crop that it would have given, where it is too small"""


def too_small(width: int, height: int, side: int) -> LeftOut:
    """What is smaller than a crop of that side."""
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
