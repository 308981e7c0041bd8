"""A photo, its low-resolution copy, both enlargements of that, and how close they come."""

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
from srgan.pictures.images import enlarge, normalize, to_picture, to_pixels, to_tensor

LEAST_SIDE = 32
"""Pixels on each side that a photo needs to be compared: less leaves nothing to see, and SSIM no window."""


Figures = dict[str, float | None]
"""psnr_y [dB; None where nothing differs], ssim_y and, where its network was given, lpips."""

Enlarge = Callable[[Image.Image, float], tuple[Image.Image, int]]
"""(picture, detail) -> its enlargement, and the milliseconds that it took: `Upscaler.enlarge_timed`, say."""

KEPT_TRIALS = 4
"""So many photos: who moves Detail has the rest of the work done. LPIPS keeps 43 MB of each at 1024 px."""


@dataclass(frozen=True)
class Comparison:
    original: Image.Image
    """the photo, reduced to fit and trimmed to multiples of 4"""
    low: Image.Image
    """a quarter of its width and height: all that both enlargements are made from"""
    bicubic: Image.Image
    restored: Image.Image
    figures: dict[str, Figures]
    """of "bicubic" and "restored" """
    milliseconds: int
    """that restoring it took"""


@dataclass(frozen=True)
class Trial:
    """What a photo sets for every model: the small copy, and the enlargement to beat."""

    original: Image.Image
    low: Image.Image
    bicubic: Image.Image
    figures: Figures
    """of the bicubic"""
    measure: Callable[[Tensor], Figures]
    """of uint8 [1, 3, H, W], against the photo"""


def compare(
    enlarge_timed: Enlarge,
    photo: Image.Image,
    detail: float,
    size: int,
    lpips: LPIPS | None = None,
    degrade: str = "clean",
) -> Comparison:
    """`photo` is RGB; `size` is the original's long side in pixels, at most; `degrade`, of `degradation.KINDS`, how
    the small copy is worn. Raises UserError for a photo too small.
    """
    fitted = fit(photo, size)
    trial = prepare(fitted.size, fitted.tobytes(), lpips, degrade)
    restored, milliseconds = enlarge_timed(trial.low, detail)
    figures = {"bicubic": dict(trial.figures), "restored": trial.measure(to_tensor(restored).unsqueeze(0))}
    return Comparison(trial.original, trial.low, trial.bicubic, restored, figures, milliseconds)


@lru_cache(maxsize=KEPT_TRIALS)
def prepare(size: tuple[int, int], pixels: bytes, lpips: LPIPS | None, degrade: str) -> Trial:
    """size, pixels: of an RGB picture whose sides are multiples of 4. LPIPS is taken where its network is."""
    photo = to_tensor(Image.frombytes("RGB", size, pixels)).unsqueeze(0)
    low, original = copies_alike(degrade, normalize(photo))
    target = to_pixels(original)  # grey where the small copy is
    distance = lpips.against(normalize(target.to(lpips.mean.device))) if lpips else None

    def measured(found: Tensor) -> Figures:
        figures = measure(found, target)
        if lpips and distance:
            figures["lpips"] = round(float(distance(normalize(found.to(lpips.mean.device)))), 4)
        return figures

    bicubic = to_pixels(enlarge(low))
    shown, small, enlarged = (to_picture(pixels[0]) for pixels in (target, to_pixels(low), bicubic))
    return Trial(shown, small, enlarged, measured(bicubic), measured)


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


def measure(pixels: Tensor, target: Tensor) -> Figures:
    """PSNR is None where the two are identical: JSON has no infinity."""
    psnr, ssim = float(psnr_y(pixels, target)), float(ssim_y(pixels, target))
    return {"psnr_y": round(psnr, 2) if math.isfinite(psnr) else None, "ssim_y": round(ssim, 4)}
