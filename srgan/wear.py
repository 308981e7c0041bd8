"""Decides how worn a picture is, and so which of two models enlarges it.

The model for clean copies takes JPEG blocks and sensor noise for texture and enlarges them. The model for worn pictures
removes them, but makes clean ones smoother than they were. benchmarks/wear.md shows the cost of each choice.

There are three signs: coarse compression of a JPEG file; JPEG blocks in the pixels of any file, such as a PNG
screenshot of a JPEG; and the amount of detail that the model for worn pictures removes.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from srgan.degradation.jpeg import BLOCK, LUMA_TABLE, cosine_matrix, scaled_table
from srgan.pictures.formats import as_standard
from srgan.pictures.images import bicubic, flat, greyed, normalize, to_tensor
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

WORN_BLOCKS = 0.35
"""A picture with this `block_share` or more is worn: see benchmarks/wear.md."""

FINE = 5
"""A coefficient of a JPEG block counts as fine detail if the sum of its two frequencies, at most 14, is this or
more."""

LEVEL = 127.5
"""Number of grey levels in a difference of 1 in the range [-1, 1]."""

WINDOW = 64
"""Side in pixels of the four parts that are examined in a larger picture."""


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
        return upscaler.enlarge(picture, choice.detail(upscaler.check_detail(detail)), *size, **how)


def judge(picture: Image.Image, worn_model: Upscaler) -> ModelChoice:
    """Judges whether a picture of any mode and size is worn, and by what. worn_model: for `worn_share`."""
    signs = []
    quality = jpeg_quality(picture)
    if quality and quality <= WORN_QUALITY:
        signs.append(f"JPEG quality {quality}")
    elif block_share(picture) >= WORN_BLOCKS:
        signs.append("JPEG blocks")
    if noisy := worn_share(picture, worn_model) >= WORN_SHARE:
        signs.append("blur or noise")
    if not signs:
        return ModelChoice(False, "Looks clean: restored with the model for clean photos.")
    return ModelChoice(True, f"Looks worn ({', '.join(signs)}): {RESTORED_NOISY if noisy else RESTORED}", noisy)


def jpeg_quality(picture: Image.Image) -> int | None:
    """Returns the quality, 1 to 100 as in libjpeg, of a picture that `Image.open` has read from a JPEG file, or of
    `standard`'s copy of it; None for other pictures.

    Tables that libjpeg does not make, such as those of cameras and Photoshop, get the quality with the nearest table.
    """
    tables = getattr(picture, "quantization", None) or {}
    if 0 not in tables:
        return None
    found = torch.tensor(list(tables[0]), dtype=torch.float32).view(8, 8)
    qualities = torch.arange(100, 0, -1)  # of several with the same table the best
    made = scaled_table(LUMA_TABLE, qualities.float().view(-1, 1, 1, 1)).view(-1, 8, 8)
    return int(qualities[(made - found).abs().sum((1, 2)).argmin()])


def block_share(picture: Image.Image) -> float:
    """Measures JPEG blocks: how much more often fine detail is exactly zero in the blocks of one 8x8 grid than in other
    grids. 0 to 1.

    JPEG rounds most of the fine coefficients of its blocks to 0. In blocks that lie across its grid they are not 0. The
    share of coefficients below one grey level is computed for each of the 64 grids; the result is the largest share
    minus the median. It is 0 for pictures with a side of less than two blocks.
    """
    grey = LEVEL * greyed(looked_at(picture))[:, :1]
    if min(grey.shape[-2:]) < 2 * BLOCK:
        return 0.0
    cosines = cosine_matrix(grey.device)
    waves = torch.einsum("ia,jb->ijab", cosines, cosines)
    places = torch.arange(BLOCK)
    fine = waves[places.view(-1, 1) + places >= FINE].unsqueeze(1)
    none = (F.conv2d(grey, fine).abs() < 1).float().mean((0, 1))
    shares = torch.stack([none[down::BLOCK, right::BLOCK].mean() for down in range(BLOCK) for right in range(BLOCK)])
    return float(shares.max() - shares.median())


def worn_share(picture: Image.Image, worn_model: Upscaler) -> float:
    """Measures how much of a picture's fine detail the model for worn pictures removes: near 0 for clean pictures.

    The fidelity weights restore the picture. The result, which has no blur, noise and blocks, is reduced again and
    compared with the picture. The deviation of the difference is divided by the deviation of the picture's Laplacian
    plus one grey level. Detail that is hard to restore makes both large; a flat picture makes neither large.
    """
    low = looked_at(picture)
    again = bicubic(worn_model.restore(low, 0.0 if worn_model.can_blend else 1.0), *low.shape[-2:])
    lost, grey = (LEVEL * greyed(images)[:, :1] for images in (low - again, low))
    return float(deviation(lost) / (deviation(laplacian(grey)) + 1))


def looked_at(picture: Image.Image) -> Tensor:
    """Returns a small picture of any mode whole, [1, 3, H, W], and four windows around the middle of a larger one, [4,
    3, h, w]; in [-1, 1].

    The windows are whole JPEG blocks apart.
    """
    picture = as_standard(picture)
    width, height = picture.size
    if height * width <= 4 * WINDOW**2:
        return normalize(to_tensor(flat(picture))).unsqueeze(0)
    tall, wide = min(height, WINDOW), min(width, WINDOW)
    sides = ((height, tall), (width, wide))
    starts = ([(side - part) * quarter // (4 * BLOCK) * BLOCK for quarter in (1, 3)] for side, part in sides)
    tops, lefts = starts
    windows = [picture.crop((left, top, left + wide, top + tall)) for top in tops for left in lefts]
    return normalize(torch.stack([to_tensor(flat(window)) for window in windows]))


def laplacian(images: Tensor) -> Tensor:
    """Returns the Laplacian of [N, 1, H, W], of the same size. Borders repeat their last pixel."""
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    beside = padded[..., 2:, 1:-1] + padded[..., :-2, 1:-1] + padded[..., 1:-1, 2:] + padded[..., 1:-1, :-2]
    return 4 * images - beside


def deviation(images: Tensor) -> Tensor:
    return images.square().mean().sqrt()
