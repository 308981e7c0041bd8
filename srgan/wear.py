"""How worn is a picture? And with which of the two models that ship is it to be enlarged, then.

The model for clean copies takes JPEG's blocks and a sensor's noise for texture, and draws them out; the model for worn
pictures removes them, but paints clean ones smoother than they were. benchmarks/wear.md has what each choice costs.

Three things tell: how coarsely the file is compressed, where it is a JPEG; whether the pixels hold the blocks of a
JPEG, whatever the file (a PNG screenshot of a JPEG is worn too); and how much of them the model for worn pictures takes
for wear.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from srgan.degradation.jpeg import BLOCK, LUMA_TABLE, cosine_matrix, table
from srgan.pictures.formats import as_standard
from srgan.pictures.images import bicubic, flat, greyed, normalize, to_tensor
from srgan.shipped import WEIGHTS
from srgan.upscaler import SHIPPED_MODEL, Upscaler

CLEAN_MODEL = WEIGHTS / "celeba-faces"
"""For pictures that nothing has worn; a Space may leave it out."""

WORN_MODEL = SHIPPED_MODEL
"""For pictures in any state."""

WORN_DETAIL = 0.7
"""Times the detail that was asked for, in worn pictures: more of it draws rings into small eyes and mouths."""

WORN_QUALITY = 90
"""JPEG of this quality, as libjpeg counts it, and of any below is worn: see benchmarks/wear.md."""

WORN_SHARE = 0.15
"""From this `worn_share` on a picture is worn: see benchmarks/wear.md."""

WORN_BLOCKS = 0.35
"""From this `block_share` on a picture is worn: see benchmarks/wear.md."""

FINE = 5
"""From this sum of its two frequencies on, of 14, a coefficient of a JPEG's block counts as fine detail."""

LEVEL = 127.5
"""Grey levels of 256 in 1 of [-1, 1]."""

WINDOW = 64
"""Side in pixels of the four parts that are looked at, where the picture has more pixels than they have."""


RESTORED = f"restored with the model for worn photos, with {WORN_DETAIL:g} times the detail."


class Choice(NamedTuple):
    """What is assumed of a picture."""

    worn: bool
    why: str
    """a sentence for whoever looks at the result"""

    def detail(self, asked: float) -> float:
        """The detail to restore with, where `asked` was asked for."""
        return asked * WORN_DETAIL if self.worn else asked


class Automatic:
    """Two models, and for each picture the one that fits how worn it is.

    >>> Automatic.load().enlarge(Image.open("photo.jpg"), detail=0.8).save("large.png")

    Give it the picture as `Image.open` made it: one that was converted or copied no longer tells its JPEG quality.
    """

    def __init__(self, clean: Upscaler, worn: Upscaler) -> None:
        self.clean, self.worn = clean, worn

    @classmethod
    def load(cls, device: str = "auto", precision: str = "auto") -> "Automatic":
        """The two models that ship. Raises UserError when one of them is not there or not whole."""
        return cls(Upscaler.load(CLEAN_MODEL, device, precision), Upscaler.load(WORN_MODEL, device, precision))

    def choose(self, picture: Image.Image) -> tuple[Upscaler, Choice]:
        """The model for this picture, of any mode and size, and what was assumed of the picture."""
        choice = judge(picture, self.worn)
        return (self.worn if choice.worn else self.clean), choice

    def enlarge(self, picture: Image.Image, detail: float = 1.0, *size: Any, **how: Any) -> Image.Image:
        """`Upscaler.enlarge` by the model that `choose` gives, with WORN_DETAIL times the detail for worn pictures; all
        else as it takes it.

        Raises UserError when detail is outside 0 to 1.
        """
        upscaler, choice = self.choose(picture)
        return upscaler.enlarge(picture, choice.detail(upscaler.check_detail(detail)), *size, **how)


def judge(picture: Image.Image, worn_model: Upscaler) -> Choice:
    """Whether a picture of any mode and size is worn. worn_model: for `worn_share`; not run where JPEG tells."""
    quality = jpeg_quality(picture)
    if quality and quality <= WORN_QUALITY:
        return Choice(True, f"Looks worn (JPEG quality {quality}): {RESTORED}")
    if block_share(picture) >= WORN_BLOCKS:
        return Choice(True, f"Looks worn (blocks of a JPEG): {RESTORED}")
    if worn_share(picture, worn_model) >= WORN_SHARE:
        return Choice(True, f"Looks worn (blur or noise): {RESTORED}")
    return Choice(False, "Looks clean: restored with the model for clean photos.")


def jpeg_quality(picture: Image.Image) -> int | None:
    """1 to 100 as libjpeg counts it, of a picture that `Image.open` has read from a JPEG file, or of `standard`'s copy
    of it; None for any other picture.

    Tables that libjpeg does not make (of cameras, of Photoshop) have the quality whose table is nearest.
    """
    tables = getattr(picture, "quantization", None) or {}
    if 0 not in tables:
        return None
    found = torch.tensor(list(tables[0]), dtype=torch.float32).view(8, 8)
    qualities = torch.arange(100, 0, -1)  # of several with the same table the best
    made = table(LUMA_TABLE, qualities.float().view(-1, 1, 1, 1)).view(-1, 8, 8)
    return int(qualities[(made - found).abs().sum((1, 2)).argmin()])


def block_share(picture: Image.Image) -> float:
    """How much more often fine detail is exactly none in the blocks of some 8x8 grid than in those of others: 0 to 1.

    JPEG rounds most of the fine coefficients of its blocks to 0, and in blocks that lie across its own they are not 0
    again. The share of those below one grey level is taken for each of the 64 grids, and the median from the largest.
    0 for pictures of less than two blocks a side.
    """
    grey = LEVEL * greyed(sample(picture))[:, :1]
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
    """How much of a picture's fine detail the model for worn pictures does not believe: near 0 for clean ones.

    The faithful weights restore it, and the reduction of that is compared with the picture: blur, noise and blocks
    are gone from it. The deviation of the difference is divided by that of the picture's Laplacian plus one grey
    level: detail that is hard to restore makes both large, and a flat picture neither.
    """
    low = sample(picture)
    again = bicubic(worn_model.restore(low, 0.0 if worn_model.can_blend else 1.0), *low.shape[-2:])
    lost, grey = (LEVEL * greyed(images)[:, :1] for images in (low - again, low))
    return float(deviation(lost) / (deviation(laplacian(grey)) + 1))


def sample(picture: Image.Image) -> Tensor:
    """A picture of any mode -> in [-1, 1], [1, 3, H, W] where that is small, else four windows from around its middle
    [4, 3, h, w], whole blocks of a JPEG apart."""
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
    """[N, 1, H, W] -> the same; borders repeat their last pixel."""
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    beside = padded[..., 2:, 1:-1] + padded[..., :-2, 1:-1] + padded[..., 1:-1, 2:] + padded[..., 1:-1, :-2]
    return 4 * images - beside


def deviation(images: Tensor) -> Tensor:
    return images.square().mean().sqrt()
