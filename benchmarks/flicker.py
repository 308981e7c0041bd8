"""Measures how much more the network's frames flicker than bicubic ones: python benchmarks/flicker.py

A window moves over each example photo by a few pixels per frame. It is reduced by 4 and enlarged again. Each frame is
compared with the next one in the area that both show. Flicker is their mean absolute difference in grey levels.
"""

import argparse
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from srgan.pictures.images import enlarge_bicubic, normalize, open_rgb, to_picture, to_pixels, to_tensor
from srgan.pictures.images import reduce as reduced
from srgan.shipped import EXAMPLES, WEIGHTS
from srgan.upscaler import Upscaler

SIDE = 192
"""Side of the window in pixels, before it is reduced."""

FRAMES = 6

STEP = (3, 1)
"""Pixels by which the window moves right and down per frame. Neither is a multiple of 4, so that every frame samples
different points."""

DETAILS = (0.0, 0.25, 0.5, 0.75, 1.0)


def flicker(frames: list[np.ndarray]) -> float:
    """Returns the mean absolute difference between neighbouring frames in the area that both show, without a margin at
    its edges."""
    (right, down), edge = STEP, 16
    changes = []
    for before, after in pairwise(frames):
        moved, still = before[down:, right:], after[: SIDE - down, : SIDE - right]
        changes.append(np.abs(moved - still)[edge:-edge, edge:-edge].mean())
    return float(np.mean(changes))


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    photos = [open_rgb(EXAMPLES / name) for name in ("obama.jpg", "collins.png", "biden.jpg", "cat.png", "coffee.png")]
    for photo in photos:
        photo.thumbnail((512, 512))
    lows = []
    for photo in photos:
        left, top = (photo.width - SIDE) // 2, (photo.height - SIDE) // 2
        corners = [(left + STEP[0] * number, top + STEP[1] * number) for number in range(FRAMES)]
        windows = [photo.crop((x, y, x + SIDE, y + SIDE)) for x, y in corners]
        lows.append([reduced(normalize(to_tensor(window)).unsqueeze(0)) for window in windows])
    plain = np.mean([flicker([levels(enlarge_bicubic(low)) for low in frames]) for frames in lows])
    print(f"bicubic {plain:.2f}")
    for name in ("celeba-faces", "photos"):
        upscaler = Upscaler.load(WEIGHTS / name)
        for detail in DETAILS:
            found = np.mean([flicker([levels(upscaler.restore(low, detail)) for low in frames]) for frames in lows])
            print(f"{name} detail {detail:g}: {found:.2f}, {found / plain:.2f} times bicubic's", flush=True)


def levels(images: Tensor) -> np.ndarray:
    return np.asarray(to_picture(to_pixels(images)[0]), np.float64)


if __name__ == "__main__":
    main()
