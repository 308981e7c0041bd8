"""A photo, its low-resolution copy, both enlargements of that, and how close they come."""

import math
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from srgan.errors import UserError
from srgan.images import enlarge, reduce, to_picture, to_pixels, to_tensor, to_unit
from srgan.metrics import psnr_y, ssim_y
from srgan.models import SCALE
from srgan.upscaler import Upscaler

LEAST_SIDE = 32
"""Pixels on each side that a photo needs to be compared: less leaves nothing to see, and SSIM no window."""


@dataclass(frozen=True)
class Comparison:
    original: Image.Image
    """the photo, reduced to fit and trimmed to multiples of 4"""
    low: Image.Image
    """a quarter of its width and height: all that both enlargements are made from"""
    bicubic: Image.Image
    restored: Image.Image
    figures: dict[str, dict[str, float | None]]
    """psnr_y [dB; None where nothing differs] and ssim_y, of "bicubic" and "restored" """
    milliseconds: int
    """that restoring it took"""


def compare(upscaler: Upscaler, photo: Image.Image, detail: float, size: int) -> Comparison:
    """`photo` is RGB; `size` is the original's long side in pixels, at most. Raises UserError for a photo too small."""
    original = fit(photo, size)
    target = to_tensor(original).unsqueeze(0)
    low = reduce(to_unit(target))
    small = to_picture(to_pixels(low)[0])
    restored, milliseconds = upscaler.enlarge_timed(small, detail)
    bicubic = to_pixels(enlarge(low))
    figures = {
        "bicubic": measure(bicubic, target),
        "restored": measure(to_tensor(restored).unsqueeze(0), target),
    }
    return Comparison(original, small, to_picture(bicubic[0]), restored, figures, milliseconds)


def fit(photo: Image.Image, size: int) -> Image.Image:
    """The photo, reduced to `size` pixels on its long side where it is larger, and trimmed to multiples of 4."""
    ratio = min(1.0, size / max(photo.size))
    width, height = (max(1, round(side * ratio)) for side in photo.size)
    if min(width, height) < LEAST_SIDE:
        reduced = f" and would be {width}x{height} at {size} px" if ratio < 1 else ""
        raise UserError(
            f"The photo is {photo.width}x{photo.height}{reduced}, too small to compare, which takes "
            f"{LEAST_SIDE} pixels on each side: {'choose a larger size' if reduced else 'take the Enlarge tab'}."
        )
    reduced_photo = photo.resize((width, height), Image.Resampling.BICUBIC) if ratio < 1 else photo
    return reduced_photo.crop((0, 0, width - width % SCALE, height - height % SCALE))


def measure(pixels: Tensor, target: Tensor) -> dict[str, float | None]:
    """PSNR is None where the two are identical: JSON has no infinity."""
    psnr, ssim = float(psnr_y(pixels, target)), float(ssim_y(pixels, target))
    return {"psnr_y": round(psnr, 2) if math.isfinite(psnr) else None, "ssim_y": round(ssim, 4)}
