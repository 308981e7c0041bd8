"""Decides how worn a picture is, and so which of two models enlarges it.

The model for clean copies takes JPEG blocks and sensor noise for texture and enlarges them. The model for worn pictures
removes them, but makes clean ones smoother than they were. benchmarks/wear.md shows the cost of each choice.

There are three signs: coarse compression, which a JPEG file states and which shows in the pixels of any other file,
such as a PNG screenshot of a JPEG; blocks of pixels that were changed after JPEG; and the amount of detail that the
model for worn pictures removes.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from srgan.degradation.jpeg import BLOCK
from srgan.jpeg_blocks import JpegBlocks, find_blocks, grey_levels, nearest_quality, zero_shares
from srgan.pictures.formats import as_standard
from srgan.pictures.images import bicubic, flat, normalize, to_tensor
from srgan.shipped import WEIGHTS
from srgan.upscaler import SHIPPED_MODEL, Upscaler

CLEAN_MODEL = WEIGHTS / "celeba-faces"
"""The model for pictures that nothing has worn. A Space may leave it out."""

WORN_MODEL = SHIPPED_MODEL
"""The model for pictures in any state."""

WORN_QUALITY = 90
"""A JPEG of this quality or lower, counted as in libjpeg, is worn: see benchmarks/wear.md."""

WORN_SHARE = 0.15
"""A picture with this `worn_share` or more is worn: see benchmarks/wear.md."""

HELD_SHARE = 0.1
"""The result for a JPEG is held to its blocks if its `worn_share` is below this. Otherwise the picture may have been
worn before JPEG, and its blocks show that wear too: see benchmarks/recipes.md."""

HELD_UNEXPLAINED = 0.03
"""It is also held to them if its `worn_share` is below this when only the part that JPEG cannot have caused is
counted."""

WORN_BLOCKS = 0.35
"""A picture with this `block_share` or more is worn: see benchmarks/wear.md."""

WINDOW = 64
"""Side in pixels of the four parts that are examined in a larger picture."""

NETWORK_WINDOW = 48
"""The same for the parts that the worn model restores, which takes as long as enlarging them."""

NOISY_DETAIL = 0.7
"""Pictures with noise or blur are restored with the requested detail times this: more draws rings into small eyes and
mouths there."""

RESTORED = "restored with the model for worn photos."

RESTORED_NOISY = f"restored with the model for worn photos, with {NOISY_DETAIL:g} times the detail."


class ModelChoice(NamedTuple):
    """The judgement of a picture."""

    worn: bool
    why: str
    """a sentence that explains the choice to the user"""
    noisy: bool = False
    """worn by noise or blur, not by JPEG alone"""
    blocks: JpegBlocks | None = None
    """the blocks to hold the enlargement to, if one JPEG compression and nothing else has worn the picture"""

    def detail(self, asked: float) -> float:
        """Returns the detail to restore with, if the user asked for `asked`."""
        return asked * NOISY_DETAIL if self.noisy else asked


class Automatic:
    """Two models, and for each picture the one that fits how worn it is.

    >>> Automatic.load().enlarge(Image.open("photo.jpg"), detail=0.8).save("large.png")

    Give it the picture as `Image.open` made it: one that was converted or copied no longer tells its JPEG quality.
    """

    def __init__(self, clean: Upscaler, worn: Upscaler) -> None:
        self.clean, self.worn = clean, worn

    @classmethod
    def load(cls, device: str = "auto", precision: str = "auto") -> "Automatic":
        """Loads the two models that ship. Raises UserError if one of them is missing or incomplete."""
        return cls(Upscaler.load(CLEAN_MODEL, device, precision), Upscaler.load(WORN_MODEL, device, precision))

    def choose(self, picture: Image.Image) -> tuple[Upscaler, ModelChoice]:
        """Returns the model for this picture, of any mode and size, and the judgement of the picture."""
        choice = judge(picture, self.worn)
        return (self.worn if choice.worn else self.clean), choice

    def enlarge(self, picture: Image.Image, detail: float = 1.0, *size: Any, **how: Any) -> Image.Image:
        """Enlarges with the model that `choose` returns, and with the detail that suits the picture.

        Raises UserError if detail is not between 0 and 1.
        """
        upscaler, choice = self.choose(picture)
        detail = choice.detail(upscaler.check_detail(detail))
        return upscaler.enlarge(picture, detail, *size, correction=choice.blocks, **how)


def judge(picture: Image.Image, worn_model: Upscaler) -> ModelChoice:
    """Judges whether a picture of any mode and size is worn, and by what. worn_model: for `worn_share`."""
    picture = as_standard(picture)  # once, not for each look at it
    low, table = looked_at(picture), jpeg_table(picture)
    shares = zero_shares(low)
    blocks = find_blocks(low, shares, [] if table is None else [table])
    quality = min(jpeg_quality(picture) or 100, blocks.quality if blocks else 100)
    signs = []
    if quality <= WORN_QUALITY:
        signs.append(f"JPEG quality {quality}")
    elif not blocks and block_share(shares) >= WORN_BLOCKS:
        signs.append("JPEG blocks")
    low = looked_at(picture, NETWORK_WINDOW)
    removed = removed_by(worn_model, low)
    share = worn_share(low, removed)
    if noisy := share >= WORN_SHARE:
        signs.append("blur or noise")
    if not signs:
        return ModelChoice(False, "Looks clean: restored with the model for clean photos.")
    why = f"Looks worn ({', '.join(signs)}): {RESTORED_NOISY if noisy else RESTORED}"
    if noisy or not blocks:
        return ModelChoice(True, why, noisy)
    only_jpeg = share < HELD_SHARE or worn_share(low, blocks.unexplained(removed)) < HELD_UNEXPLAINED
    return ModelChoice(True, why, blocks=blocks if only_jpeg else None)


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


def removed_by(worn_model: Upscaler, low: Tensor) -> Tensor:
    """Returns what the model for worn pictures removes: [N, 1, H, W] in grey levels. low: as `looked_at` returns it.

    The fidelity weights restore the picture. The result, which has no blur, noise and blocks, is reduced again and
    subtracted from the picture.
    """
    again = bicubic(worn_model.restore(low, 0.0 if worn_model.can_blend else 1.0), *low.shape[-2:])
    return grey_levels(low - again)


def worn_share(low: Tensor, removed: Tensor) -> float:
    """Measures how much of a picture's fine detail the model for worn pictures removes: near 0 for clean pictures.

    The deviation of what is removed is divided by the deviation of the picture's Laplacian plus one grey level. Detail
    that is hard to restore makes both large; a flat picture makes neither large. low: as `looked_at` returns it.
    removed: as `removed_by` returns it, or a part of it.
    """
    return float(deviation(removed) / (deviation(laplacian(grey_levels(low))) + 1))


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
