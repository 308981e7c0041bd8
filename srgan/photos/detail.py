"""How sharp a picture is: a measure of its finest detail, and how far a photo can be reduced before it loses any."""

import numpy as np
from PIL import Image

TILE = 64
"""Pixels a side of the parts that are measured."""

FINE, COARSE = (0.25, 0.5), (0.0625, 0.125)
"""Bands in cycles a pixel: the octave that a picture of half the size cannot hold, and the one two octaves below."""

LARGEST_SHARE = 0.25
"""Of the parts: those with the strongest contours, by which the whole is judged. Most photos are blurred in places."""

MOST_TILES = 400
"""In a row or column of them every second, third, ... is left out of a larger photo."""

SHARP = 0.3
"""The detail of a sharp photo: nine in ten of a mixed collection have more. Once enlarged by bicubic, two times, three
or four, they are below it (medians) until they are reduced by 1.4 to 2, 2.8 and 2.8."""

REDUCTIONS = (1.0, 1.41, 2.0, 2.83, 4.0, 5.66, 8.0)
"""Factors that are tried on a photo."""


def detail(picture: Image.Image) -> float:
    """The amplitude of the fine band over that of the coarse one, 0 where there is neither; RGB or L, 8 x 8 or larger.

    Natural photos have about as much of every octave. Of CelebA's 128x128 crops it is 0.34 (median; 1 %: 0.13), and
    0.07 once these are blurred by a Gaussian of 1 pixel, 0.02 by one of 1.5.
    """
    grey = np.asarray(picture.convert("L"), np.float32)
    side = min(TILE, *grey.shape)
    step = side // 2 * max(1, round((4 * grey.size / side**2 / MOST_TILES) ** 0.5))
    tiles = np.lib.stride_tricks.sliding_window_view(grey, (side, side))[::step, ::step].reshape(-1, side, side)
    window = np.hanning(side).astype(np.float32)
    spectrum = np.abs(np.fft.rfft2((tiles - tiles.mean((1, 2), keepdims=True)) * np.outer(window, window))) ** 2
    fine, coarse = (spectrum[:, band(side, *limits)].sum(1) for limits in (FINE, COARSE))
    judged = coarse >= np.quantile(coarse, 1 - LARGEST_SHARE)
    return float(np.sqrt(fine[judged].sum() / max(coarse[judged].sum(), 1e-6)))


def band(side: int, low: float, high: float) -> np.ndarray:
    """Which values of a real spectrum [side, side // 2 + 1] lie in a band of cycles a pixel."""
    radius = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    return (radius >= low) & (radius < high)


def reduced_to_sharp(picture: Image.Image, least: int) -> Image.Image:
    """The photo reduced until it is sharp, as far as its shorter side keeps `least` pixels.

    What is sharp is given back as it is, and what never gets so, as large.
    """
    for factor in REDUCTIONS:
        width, height = (round(extent / factor) for extent in picture.size)
        if min(width, height) < least:
            break
        small = picture if factor == 1 else picture.resize((width, height), Image.Resampling.BICUBIC)
        if detail(small) >= SHARP:
            return small
    return picture
