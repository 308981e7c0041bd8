"""PIL pictures, tensors, and the one bicubic that training, evaluation, the page and the command line share."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from srgan.models import SCALE
from srgan.pictures.colour import to_eight_bits, to_srgb
from srgan.pictures.formats import on_white, open_picture, standard
from srgan.pictures.large import WINDOW, in_windows

EIGHT_BITS, SIXTEEN_BITS = 2 / 255, 2 / 65535
"""One step of a picture's levels in [-1, 1]."""

FLAT_RADIUS = 2
"""A pixel counts as flat if all pixels within this distance are like it."""


def open_rgb(path: str | Path, data: bytes | None = None, formats: Sequence[str] = ()) -> Image.Image:
    """Opens the picture in a file in `to_rgb`'s form. Raises UserError if it cannot be read.

    data, formats: as for `open_picture`.
    """
    return flat(to_srgb(open_picture(path, data, formats)[0])[0])


def to_rgb(picture: Image.Image) -> Image.Image:
    """Converts a picture to upright 8-bit RGB in sRGB, with transparent parts on white.

    Pictures are compared and trained in this form, because levels of different colour spaces cannot be compared.
    """
    return flat(to_srgb(standard(picture))[0])


def flat(picture: Image.Image) -> Image.Image:
    """A picture of `standard`'s modes -> 8-bit RGB on white."""
    if picture.mode == "I;16":
        picture = to_eight_bits(picture)
    if picture.mode.endswith("A"):
        picture = on_white(picture)
    return picture.convert("RGB")


def to_tensor(picture: Image.Image) -> Tensor:
    """RGB picture -> uint8 [3, H, W]."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def to_picture(pixels: Tensor) -> Image.Image:
    """uint8 [3, H, W] -> RGB picture."""
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())


def normalize(pixels: Tensor) -> Tensor:
    """uint8 -> float32 in [-1, 1], the range of both networks."""
    return pixels.float() / 127.5 - 1.0


def to_pixels(images: Tensor) -> Tensor:
    """Floats in [-1, 1] -> uint8, rounded to nearest and clipped."""
    return ((images.float() + 1.0) * 127.5).round_().clamp_(0, 255).to(torch.uint8)


def to_network(picture: Image.Image) -> Tensor:
    """L, RGB or I;16 -> [1, 3, H, W]: uint8, or from 16 bits floats in [-1, 1]; greys three times."""
    if picture.mode == "I;16":
        levels = torch.from_numpy(np.asarray(picture).astype(np.float32))
        return (levels / 32767.5 - 1.0).expand(1, 3, -1, -1)
    return to_tensor(picture.convert("RGB")).unsqueeze(0)


def from_network(image: Tensor, mode: str) -> Image.Image:
    """Floats in [-1, 1], [3, H, W] -> a picture of the mode L, RGB or I;16; greys are BT.601 luma, or the one channel
    of [1, H, W]."""
    if mode == "RGB":
        return to_picture(to_pixels(image))
    grey = (image if len(image) == 1 else greyed(image))[0]
    if mode == "L":
        return Image.fromarray(to_pixels(grey).cpu().numpy())
    levels = ((grey + 1.0) * 32767.5).round().clamp(0, 65535)
    return Image.fromarray(levels.cpu().numpy().astype(np.uint16))


def greyed(images: Tensor) -> Tensor:
    """[..., 3, H, W] -> the same, where each channel is BT.601 luma."""
    red, green, blue = images.float().split(1, dim=-3)
    return (0.299 * red + 0.587 * green + 0.114 * blue).expand_as(images)


def opaque(picture: Image.Image) -> Image.Image:
    """Converts LA or RGBA to L or RGB, and gives transparent pixels the colour of the visible ones around them.

    The colours that programs leave there, mostly black, would come out as a dark fringe. A pixel's own colour is
    weighted by its alpha over the largest alpha beside it; the rest comes from coarser and coarser means of the visible
    pixels.
    """
    if picture.width * picture.height > 2 * WINDOW**2:
        # Saves memory. Far from all visible pixels, the colours differ between windows.
        return in_windows(picture, opaque, picture.mode[:-1], around=WINDOW // 16)
    *channels, alpha = (np.array(channel) for channel in picture.split())
    seen = torch.from_numpy(alpha).float()[None, None]
    weight = (seen / F.max_pool2d(seen, 3, 1, 1)).nan_to_num_(0.0)
    filled = [fill(torch.from_numpy(channel).float()[None, None], weight) for channel in channels]
    bands = [Image.fromarray(band[0, 0].round().clamp(0, 255).to(torch.uint8).numpy()) for band in filled]
    return Image.merge(picture.mode[:-1], bands)


def fill(values: Tensor, weight: Tensor) -> Tensor:
    """Keeps values whose weight is 1, and replaces those of weight 0 by weighted means of the values around them.

    values, weight: [1, 1, H, W].
    """
    height, width = values.shape[-2:]
    if height == width == 1 or bool((weight == 1).all()):
        return values
    total = F.avg_pool2d(weight, 2, ceil_mode=True)
    means = F.avg_pool2d(values * weight, 2, ceil_mode=True) / total.clamp(min=1e-9)
    coarse = F.interpolate(fill(means, (4 * total).clamp(max=1.0)), (height, width), mode="bilinear")
    return torch.lerp(coarse, values, weight)


def bicubic(images: Tensor, height: int, width: int) -> Tensor:
    """Resizes floats [N, C, H, W] to [N, C, height, width]: cubic convolution with a = -0.5, widened when reducing.

    This is the filter of Pillow and of MATLAB's imresize (Keys 1981), which published figures use.
    """
    return F.interpolate(images.float(), (height, width), mode="bicubic", antialias=True, align_corners=False)


def round_to_8_bits(images: Tensor) -> Tensor:
    """Floats in [-1, 1] -> the nearest of the 256 levels that a file can hold, clipped to [-1, 1]."""
    return ((images + 1.0) * 127.5).round().clamp(0, 255) / 127.5 - 1.0


def reduce(images: Tensor) -> Tensor:
    """Floats in [-1, 1], [N, 3, 4H, 4W] -> [N, 3, H, W], rounded to 8 bits as a low-resolution file would be."""
    height, width = images.shape[-2:]
    return round_to_8_bits(bicubic(images, height // SCALE, width // SCALE))


def enlarge_bicubic(images: Tensor) -> Tensor:
    """Returns the bicubic baseline. Floats in [-1, 1], [N, 3, H, W] -> [N, 3, 4H, 4W], rounded to 8 bits."""
    height, width = images.shape[-2:]
    return round_to_8_bits(bicubic(images, height * SCALE, width * SCALE))


def back_project(low: Tensor, high: Tensor) -> Tensor:
    """Corrects an enlargement so that its reduction comes closer to the picture itself (Irani and Peleg 1991).

    For clean pictures: the wear of a worn one would come back. Floats in [-1, 1], [N, 3, H, W] and [N, 3, 4H, 4W].
    """
    lost = low.float() - bicubic(high, *low.shape[-2:])
    return high.float() + bicubic(lost, *high.shape[-2:])


BACK_RADIUS = 4
"""Low-resolution pixels around a point that `back_project` looks at: two that the bicubic enlarges it from, and two
that each of these is reduced from."""


def where_flat(low: Tensor, level: float = EIGHT_BITS) -> tuple[Tensor, Tensor]:
    """Returns the bilinear enlargement, and its weight in the result: 1 where the picture is flat, 0 elsewhere.

    Pixels are flat if their neighbours up to FLAT_RADIUS differ by at most one grey level in each channel; the weight
    falls to 0 at a difference of three. The network has nothing to restore there and does harm: it takes the zeros
    around a picture for grey, which draws a frame into other colours, and it shifts saturated colours by a few levels.

    low: floats in [-1, 1], [N, 3, H, W]; level: one step of its levels. Returns [N, 3, 4H, 4W] and [N, 1, 4H, 4W].
    """
    side = 2 * FLAT_RADIUS + 1
    largest, least = (F.max_pool2d(sign * low, side, 1, FLAT_RADIUS) for sign in (1, -1))
    steps = (largest + least).amax(1, keepdim=True) / level
    weight = ((3 - steps) / 2).clamp(0, 1)
    smooth, weight = (F.interpolate(values, scale_factor=SCALE, mode="bilinear") for values in (low, weight))
    return smooth, weight


def keep_flat(low: Tensor, high: Tensor) -> Tensor:
    """A network's enlargement with its flat parts replaced (see `where_flat`). Floats, [N, 3, H, W] and [N, 3, 4H,
    4W]."""
    return torch.lerp(high, *where_flat(low))


def centre_crop(picture: Image.Image, width: int, height: int) -> Image.Image:
    """Cuts out the middle of a picture, which must be at least that large. An odd pixel is cut off at the right and
    bottom."""
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))
