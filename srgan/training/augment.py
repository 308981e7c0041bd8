"""Random changes of each photo, on the device: flips, quarter turns and colour jitter."""

import torch
from torch import Tensor

from srgan.device import send
from srgan.pictures.images import normalize

DRAWS = 7
"""Number of random numbers for each photo."""


def augmented(pixels: Tensor, jitter: float, draws: Tensor, turn: bool = False) -> Tensor:
    """Changes uint8 crops [N, 3, H, W] at random, and returns floats in [-1, 1] of the same shape.

    draws: [DRAWS, N] between 0 and 1, drawn on the CPU, so that the same seed gives the same changes on every device.
    turn: square crops are turned as well as mirrored.
    """
    flip, *colours, upside, aside = send(draws, pixels.device).view(DRAWS, -1, 1, 1, 1)
    high = random_flip(normalize(pixels), flip)
    if turn:
        high = random_turn(high, upside, aside)
    if jitter:
        high = colour_jitter((high + 1) / 2, jitter, torch.stack(colours)) * 2 - 1
    return high


def random_window(images: tuple[Tensor, ...], shift: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Cuts the same window out of each image, at a random place and `shift` pixels smaller than the images."""
    top, left = torch.randint(0, shift + 1, (2,), generator=generator).tolist()
    height, width = (side - shift for side in images[0].shape[-2:])
    return tuple(image[..., top : top + height, left : left + width] for image in images)


def random_flip(images: Tensor, draws: Tensor) -> Tensor:
    """Mirrors each image left to right where its draw, of [N, 1, 1, 1] in [0, 1), is below 1/2."""
    return torch.where(draws < 0.5, images.flip(-1), images)


def random_turn(images: Tensor, upside: Tensor, aside: Tensor) -> Tensor:
    """Puts each square image into one of four positions. With `random_flip` these are all eight positions of a
    square, which super-resolution networks are commonly trained in (Lim et al. 2017, EDSR)."""
    images = torch.where(upside < 0.5, images.flip(-2), images)
    return torch.where(aside < 0.5, images.transpose(-1, -2), images)


def colour_jitter(images: Tensor, amount: float, draws: Tensor) -> Tensor:
    """Multiplies saturation and contrast by 1 +- amount, and changes brightness and hue by +- amount. RGB in [0, 1].

    draws: [4, N, 1, 1, 1] in [0, 1), one for each change and image.
    """
    saturation, contrast, brightness, hue = (draws * 2 - 1) * amount
    images = shift_hue_and_saturation(images, hue, 1 + saturation)
    mean = images.mean(dim=(-2, -1), keepdim=True)
    return ((images - mean) * (1 + contrast) + mean + brightness).clamp(0, 1)


def shift_hue_and_saturation(images: Tensor, hue: Tensor, saturation: Tensor) -> Tensor:
    """Turns the hue by `hue` full circles and multiplies the saturation, in HSV (Smith 1978). RGB in [0, 1]."""
    value, brightest = images.max(dim=1, keepdim=True)
    spread = value - images.amin(dim=1, keepdim=True)
    red, green, blue = images.unbind(1)
    turns = torch.stack([green - blue, blue - red, red - green], dim=1).gather(1, brightest)
    angle = (turns / spread.clamp_min(1e-8) + 2 * brightest) / 6 + hue
    strength = ((spread / value.clamp_min(1e-8)) * saturation).clamp(0, 1)
    # Back to RGB without branches: each channel is the value less a trapezoid of the hue (n = 5, 3, 1 for R, G, B).
    n = torch.arange(5.0, 0.0, -2.0, device=images.device).view(1, 3, 1, 1)
    k = (n + angle * 6) % 6
    return value - value * strength * torch.minimum(k, 4 - k).clamp(0, 1)
