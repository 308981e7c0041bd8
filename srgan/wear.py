"""Decides how worn a picture is, and so which of two models enlarges it.

The model for clean copies takes JPEG blocks and sensor noise for texture and enlarges them. The model for worn pictures
removes them, but makes clean ones smoother than they were. benchmarks/wear.md shows the cost of each choice.

There are four signs: coarse compression, which a JPEG file states and which shows in the pixels of any other file,
such as a PNG screenshot of a JPEG; blocks of pixels that were changed after JPEG; the amount of detail that the model
for worn pictures removes; and noise in the colours.
"""

from typing import Any, NamedTuple

from PIL import Image

from srgan.jpeg_blocks import JpegBlocks
from srgan.pictures.formats import as_standard
from srgan.shipped import WEIGHTS
from srgan.signs import (
    NETWORK_WINDOW,
    NOISE,
    WORN_SHARE,
    are_the_only_wear,
    block_share,
    colour_noise,
    jpeg_quality,
    looked_at,
    removed_by,
    seen_blocks,
    worn_share,
)
from srgan.upscaler import SHIPPED_MODEL, Upscaler

CLEAN_MODEL = WEIGHTS / "celeba-faces"
"""The model for pictures that nothing has worn. A Space may leave it out."""

WORN_MODEL = SHIPPED_MODEL
"""The model for pictures in any state."""

WORN_QUALITY = 90
"""A JPEG of this quality or lower, counted as in libjpeg, is worn: see benchmarks/wear.md."""

WORN_BLOCKS = 0.35
"""A picture with this `block_share` or more is worn: see benchmarks/wear.md."""

NOISY_DETAIL = 0.9
"""Pictures with blur or strong noise are restored with the requested detail times this: more draws rings into small
eyes and mouths there. See benchmarks/wear.md."""

RESTORED = "restored with the model for worn photos."

RESTORED_NOISY = f"restored with the model for worn photos, with {NOISY_DETAIL:g} times the detail."


class ModelChoice(NamedTuple):
    """The judgement of a picture."""

    worn: bool
    why: str
    """a sentence that explains the choice to the user"""
    noisy: bool = False
    """worn by blur or strong noise"""
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

        size, how: the other arguments of `Upscaler.enlarge`. Raises UserError if detail is not between 0 and 1.
        """
        upscaler, choice = self.choose(picture)
        detail = choice.detail(upscaler.check_detail(detail))
        return upscaler.enlarge(picture, detail, *size, **{"correction": choice.blocks, **how})


def judge(picture: Image.Image, worn_model: Upscaler) -> ModelChoice:
    """Judges whether a picture of any mode and size is worn, and by what. worn_model: for `worn_share`."""
    picture = as_standard(picture)  # once, not for each look at it
    blocks, shares = seen_blocks(picture)
    quality = min(jpeg_quality(picture) or 100, blocks.quality if blocks else 100)
    signs = []
    if quality <= WORN_QUALITY:
        signs.append(f"JPEG quality {quality}")
    elif not blocks and block_share(shares) >= WORN_BLOCKS:
        signs.append("JPEG blocks")
    low = looked_at(picture, NETWORK_WINDOW)
    removed = removed_by(worn_model.restore_closest, low)
    if noisy := worn_share(low, removed) >= WORN_SHARE:
        signs.append("blur or noise")
    elif colour_noise(low) >= NOISE:
        signs.append("noise")
    if not signs:
        return ModelChoice(False, "Looks clean: restored with the model for clean photos.")
    why = f"Looks worn ({', '.join(signs)}): {RESTORED_NOISY if noisy else RESTORED}"
    held = blocks if blocks and are_the_only_wear(blocks, low, removed) else None
    return ModelChoice(True, why, noisy, held)
