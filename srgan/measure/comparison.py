"""Compares two enlargements of a photo's low-resolution copy with the photo: bicubic and the network's."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image
from torch import Tensor

from srgan.degradation.chain import copies_alike
from srgan.errors import UserError
from srgan.measure.metrics import LPIPS, psnr_y, ssim_y
from srgan.models import SCALE
from srgan.pictures.images import enlarge_bicubic, normalize, to_picture, to_pixels, to_tensor

LEAST_SIDE = 32
"""Smallest width and height in pixels of a photo that can be compared. SSIM's window does not fit into smaller ones."""


Figures = dict[str, float | None]
"""psnr_y in dB (None if the pictures are identical), ssim_y and, with its network, lpips."""

Enlarge = Callable[[Image.Image, float], tuple[Image.Image, int]]
"""Maps (picture, detail) to its enlargement and the milliseconds that it took; for example `Upscaler.enlarge_timed`."""

KEPT_TRIALS = 4
"""Number of photos whose Trial is kept, so that moving the Detail slider only runs the network. For LPIPS,
each photo of 1024 pixels takes 43 MB."""


@dataclass(frozen=True)
class Comparison:
    original: Image.Image
    """the photo, reduced to fit and trimmed to multiples of 4"""
    low: Image.Image
    """the small copy, a quarter as wide and high; both enlargements are made from it"""
    bicubic: Image.Image
    restored: Image.Image
    figures: dict[str, Figures]
    """the figures of "bicubic" and "restored" """
    milliseconds: int
    """time for restoring the small copy"""


@dataclass(frozen=True)
class Trial:
    """The part of a comparison that is the same for every model: the small copy and the bicubic enlargement."""

    original: Image.Image
    low: Image.Image
    bicubic: Image.Image
    figures: Figures
    """the figures of the bicubic enlargement"""
    measure: Callable[[Tensor], Figures]
    """returns the LPIPS of uint8 [1, 3, H, W] against the photo"""


def compare_with_photo(
    enlarge_timed: Enlarge,
    photo: Image.Image,
    detail: float,
    size: int,
    lpips: LPIPS | None = None,
    degrade: str = "clean",
) -> Comparison:
    """Compares the enlargements of an RGB photo.

    size: longest side of the original in pixels; degrade: the kind of wear of the small copy, from `degradation.KINDS`.
    Raises UserError if the photo is too small.
    """
    fitted = fit(photo, size)
    trial = make_trial(fitted.size, fitted.tobytes(), lpips, degrade)
    restored, milliseconds = enlarge_timed(trial.low, detail)
    figures = {"bicubic": dict(trial.figures), "restored": trial.measure(to_tensor(restored).unsqueeze(0))}
    return Comparison(trial.original, trial.low, trial.bicubic, restored, figures, milliseconds)


@lru_cache(maxsize=KEPT_TRIALS)
def make_trial(size: tuple[int, int], pixels: bytes, lpips: LPIPS | None, degrade: str) -> Trial:
    """Makes the Trial of an RGB picture whose sides are multiples of 4. Measures LPIPS if its network is given."""
    photo = to_tensor(Image.frombytes("RGB", size, pixels)).unsqueeze(0)
    low, original = copies_alike(degrade, normalize(photo))
    target = to_pixels(original)  # grey if the small copy is
    distance = lpips.against(normalize(target.to(lpips.mean.device))) if lpips else None

    def measured(found: Tensor) -> Figures:
        figures = figures_of(found, target)
        if lpips and distance:
            figures["lpips"] = round(float(distance(normalize(found.to(lpips.mean.device)))), 4)
        return figures

    bicubic = to_pixels(enlarge_bicubic(low))
    shown, small, enlarged = (to_picture(pixels[0]) for pixels in (target, to_pixels(low), bicubic))
    return Trial(shown, small, enlarged, measured(bicubic), measured)


def fit(photo: Image.Image, size: int) -> Image.Image:
    """Reduces the photo to at most `size` pixels on its long side, and trims it to multiples of 4."""
    ratio = min(1.0, size / max(photo.size))
    width, height = (max(1, round(side * ratio)) for side in photo.size)
    if min(width, height) < LEAST_SIDE:
        reduced = f" and would be {width}x{height} at {size} px" if ratio < 1 else ""
        raise UserError(
            f"The photo is {photo.width}x{photo.height}{reduced}, but comparing needs at least {LEAST_SIDE} pixels on "
            f"each side: {'choose a larger size' if reduced else 'use the Enlarge tab'}."
        )
    reduced_photo = photo.resize((width, height), Image.Resampling.BICUBIC) if ratio < 1 else photo
    return reduced_photo.crop((0, 0, width - width % SCALE, height - height % SCALE))


def figures_of(pixels: Tensor, target: Tensor) -> Figures:
    """Returns the figures of one picture. PSNR is None if the pictures are identical, because JSON has no infinity."""
    psnr, ssim = float(psnr_y(pixels, target)), float(ssim_y(pixels, target))
    return {"psnr_y": round(psnr, 2) if math.isfinite(psnr) else None, "ssim_y": round(ssim, 4)}
