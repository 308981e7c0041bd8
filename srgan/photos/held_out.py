"""Chooses the photos that are held out: the last by name, and none that looks like a photo used for training."""

import numpy as np

from srgan.photos.pieces import ALIKE

NEXT_TO = 8
"""Photos of a burst are at most this far apart in the order of names."""


def hold_out(looks: np.ndarray, count: int) -> list[int]:
    """Returns the positions of up to `count` photos, sorted: the last ones, except those that look like photos which
    stay.

    Returns [] if every photo looks like too many others. looks: uint8 [N, 32], from `look`. Photos that look alike,
    directly or through others, form a group; a group is held out as a whole or not at all.
    """
    signs = np.unpackbits(looks, axis=1).astype(np.float32) * 2 - 1
    settled = np.zeros(len(looks), bool)
    held: list[int] = []
    for last in range(len(looks) - 1, -1, -1):
        if len(held) == count:
            break
        if settled[last]:
            continue
        group = group_of(signs, last)
        settled[group] = True
        if len(group) <= count - len(held):
            held += group
    return sorted(held)


def group_of(signs: np.ndarray, first: int) -> list[int]:
    """All photos that look like the first one, directly or through others. signs: -1 or 1 for each bit, [N, bits]."""
    found, waiting = {first}, [first]
    while waiting:
        differing = (1 - signs @ signs[waiting.pop()] / signs.shape[1]) / 2
        fresh = set(np.flatnonzero(differing <= ALIKE).tolist()) - found
        found |= fresh
        waiting += fresh
    return sorted(found)


def near_duplicates(looks: np.ndarray) -> int:
    """Returns the number of photos that look like one shortly before them in the order of names."""
    alike = np.zeros(len(looks), bool)
    for distance in range(1, min(NEXT_TO, len(looks) - 1) + 1):
        differing = np.unpackbits(np.bitwise_xor(looks[distance:], looks[:-distance]), axis=1).mean(1)
        alike[distance:] |= differing <= ALIKE
    return int(alike.sum())
