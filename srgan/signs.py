"""The signs of wear that a picture shows: the steps and blocks of JPEG, detail that a network removes as wear, and
noise in the colours.

`srgan.wear` chooses a model by them. `Upscaler` decides by them whether it holds its result to the JPEG's blocks.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from srgan.degradation.jpeg import BLOCK, TO_YCC
from srgan.jpeg_blocks import JpegBlocks, find_blocks, grey_levels, nearest_quality, zero_shares
from srgan.pictures.formats import as_standard
from srgan.pictures.images import bicubic, flat, normalize, to_tensor

WORN_SHARE = 0.15
"""A picture with this `worn_share` or more has blur, or strong noise: see benchmarks/wear.md."""

HELD_SHARE = 0.1
"""The result for a JPEG is held to its blocks if its `worn_share` is below this. Otherwise the picture may have been
worn before JPEG, and its blocks show that wear too: see benchmarks/recipes.md."""

HELD_UNEXPLAINED = 0.03
"""It is also held to them if its `worn_share` is below WORN_SHARE, and below this when only the part that JPEG cannot
have caused is counted."""

NOISE = 2.5
"""A picture with this much `colour_noise` or more is worn: see benchmarks/wear.md."""

NOISE_SQUARE = 4
"""Side in pixels of the squares in which `colour_noise` is measured."""

WINDOW = 64
"""Side in pixels of the four parts that are examined in a larger picture."""

NETWORK_WINDOW = 48
"""The same for the parts that a network restores, which takes as long as enlarging them."""

LAPLACIAN_OF_NOISE = 20**0.5
"""Standard deviation of the Laplacian of white noise, whose own is 1: the kernel's root of the sum of squares."""

Restore = Callable[[Tensor], Tensor]
"""A network that removes wear: floats in [-1, 1], [N, 3, H, W] -> [N, 3, 4H, 4W]."""


def blocks_to_hold(picture: Image.Image, restore: Restore) -> JpegBlocks | None:
    """Returns the blocks to which the network's enlargement of a picture is held: those of a JPEG, if one compression
    and nothing else has worn the picture.

    picture: of any mode and size. restore: is used only if the picture shows blocks.
    """
    picture = as_standard(picture)
    blocks, _ = seen_blocks(picture)
    if not blocks:
        return None
    low = looked_at(picture, NETWORK_WINDOW)
    return blocks if are_the_only_wear(blocks, low, removed_by(restore, low)) else None


def seen_blocks(picture: Image.Image) -> tuple[JpegBlocks | None, Tensor]:
    """Returns the JPEG blocks that a picture shows, and its `zero_shares`."""
    low, table = looked_at(picture), jpeg_table(picture)
    shares = zero_shares(low)
    return find_blocks(low, shares, [] if table is None else [table]), shares


def are_the_only_wear(blocks: JpegBlocks, low: Tensor, removed: Tensor) -> bool:
    """Returns whether one JPEG compression alone has worn a picture that shows these blocks.

    low: as `looked_at` returns it. removed: as `removed_by` returns it.
    """
    share = worn_share(low, removed)
    if share >= WORN_SHARE:
        return False
    return share < HELD_SHARE or worn_share(low, blocks.unexplained(removed)) < HELD_UNEXPLAINED


def jpeg_table(picture: Image.Image) -> Tensor | None:
    """Returns the steps for luma, [8, 8], of a picture that `Image.open` has read from a JPEG file, or of `standard`'s
    copy of it; None for other pictures."""
    tables = getattr(picture, "quantization", None) or {}
    if 0 not in tables:
        return None
    steps = torch.tensor(list(tables[0]), dtype=torch.float32).view(BLOCK, BLOCK)
    return steps.clamp(min=1)  # a broken file may state 0


def jpeg_quality(picture: Image.Image) -> int | None:
    """Returns the quality, 1 to 100 as in libjpeg, of a picture that has a `jpeg_table`; None for other pictures.

    Tables that libjpeg does not make, such as those of cameras and Photoshop, get the quality with the nearest table.
    """
    table = jpeg_table(picture)
    return None if table is None else nearest_quality(table)


def block_share(shares: Tensor) -> float:
    """Measures JPEG blocks: how much more often fine detail is exactly zero in the blocks of one 8x8 grid than in other
    grids. 0 to 1.

    shares: `zero_shares` of the picture. The result is the largest minus the median.
    """
    return float(shares.max() - shares.median())


def removed_by(restore: Restore, low: Tensor) -> Tensor:
    """Returns what a network removes as wear: [N, 1, H, W] in grey levels. low: as `looked_at` returns it.

    The network's result, which has no blur, noise and blocks, is reduced again and subtracted from the picture.
    """
    return grey_levels(low - bicubic(restore(low), *low.shape[-2:]))


def worn_share(low: Tensor, removed: Tensor) -> float:
    """Measures how much of a picture's fine detail a network removes as wear: near 0 for clean pictures.

    The deviation of what is removed is divided by the deviation of the picture's Laplacian plus one grey level. Detail
    that is hard to restore makes both large; a flat picture makes neither large. low: as `looked_at` returns it.
    removed: as `removed_by` returns it, or a part of it.
    """
    return float(deviation(removed) / (deviation(laplacian(grey_levels(low))) + 1))


def colour_noise(low: Tensor) -> float:
    """Estimates the noise of a picture from its colours, as a standard deviation in grey levels. For white noise of s
    levels in each channel it is about half of s.

    The fine detail of photos is mostly in their luma and leaves some places flat; noise is everywhere. So the Laplacian
    of both colour differences (Cb and Cr) is measured in squares of NOISE_SQUARE pixels, and the 10th percentile of the
    squares counts. Grey noise has no colour and does not show. A picture of less than 6 pixels in a side has 0.

    Source of the Laplacian: Immerkaer 1996, "Fast noise variance estimation". low: as `looked_at` returns it.
    """
    colours = torch.einsum("cr,nrhw->nchw", torch.tensor(TO_YCC)[1:].to(low), 127.5 * low)
    fine = laplacian(colours.flatten(0, 1).unsqueeze(1))[..., 1:-1, 1:-1]
    if min(fine.shape[-2:]) < NOISE_SQUARE:
        return 0.0
    squares = F.avg_pool2d(fine.square().view(len(low), 2, *fine.shape[-2:]).mean(1, keepdim=True), NOISE_SQUARE)
    return float(squares.quantile(0.1).sqrt() / LAPLACIAN_OF_NOISE)


def looked_at(picture: Image.Image, side: int = WINDOW) -> Tensor:
    """Returns the parts of a picture of any mode that are examined, in [-1, 1]: all of a small picture, [1, 3, H, W],
    or four windows around the middle of a larger one, [4, 3, h, w].

    side: of the windows, in pixels. They start multiples of 8 pixels from the picture's corner (JPEG blocks).
    """
    picture = as_standard(picture)
    width, height = picture.size
    if height * width <= 4 * side**2:
        return normalize(to_tensor(flat(picture))).unsqueeze(0)
    tall, wide = min(height, side), min(width, side)
    tops, lefts = window_starts(height, tall), window_starts(width, wide)
    windows = [picture.crop((left, top, left + wide, top + tall)) for top in tops for left in lefts]
    return normalize(torch.stack([to_tensor(flat(window)) for window in windows]))


def window_starts(length: int, window: int) -> list[int]:
    """Returns where the two windows along a side of the picture start: after a quarter and three quarters of the rest,
    rounded down to whole JPEG blocks."""
    return [(length - window) * quarter // (4 * BLOCK) * BLOCK for quarter in (1, 3)]


def laplacian(images: Tensor) -> Tensor:
    """Returns the Laplacian of [N, 1, H, W], of the same size. Borders repeat their last pixel."""
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    beside = padded[..., 2:, 1:-1] + padded[..., :-2, 1:-1] + padded[..., 1:-1, 2:] + padded[..., 1:-1, :-2]
    return 4 * images - beside


def deviation(images: Tensor) -> Tensor:
    return images.square().mean().sqrt()
