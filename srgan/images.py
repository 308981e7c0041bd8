"""PIL pictures, tensors, and THE bicubic that training, evaluation, the page and the command line share."""

import io
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from srgan.errors import UserError
from srgan.models import SCALE

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
"""File name endings, in lower case, that count as pictures in a folder."""

MAX_PIXELS = 100_000_000
"""Pictures with more pixels are refused from their header, before they are decoded."""


def open_rgb(path: str | Path, data: bytes | None = None) -> Image.Image:
    """The picture in a file, upright and in RGB (see `to_rgb`). Raises UserError when it cannot be read.

    data: the file's bytes, where they are at hand; `path` then only names it.
    """
    try:
        with Image.open(path if data is None else io.BytesIO(data)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise UserError(
                    f"{path}: {picture.width}x{picture.height} is more than {MAX_PIXELS // 1_000_000} megapixels."
                )
            return to_rgb(picture)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except UnidentifiedImageError:
        raise UserError(f"{path}: not a picture that Pillow can read.") from None
    except Image.DecompressionBombError:  # Pillow's own limit, which it applies before ours
        raise UserError(f"{path}: more than {MAX_PIXELS // 1_000_000} megapixels.") from None
    except UserError:
        raise
    except Exception as error:  # a damaged file can make Pillow raise anything
        raise UserError(f"{path}: the picture is broken ({error}).") from None


def to_rgb(picture: Image.Image) -> Image.Image:
    """Upright (EXIF orientation applied), 8-bit RGB; what is transparent is laid on white."""
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith(("I", "F")):  # 16-bit and float greys: convert() would clip them at 255
        levels = np.asarray(picture, dtype=np.float64)
        span = 65535.0 if picture.mode.startswith("I") else max(1.0, float(levels.max(initial=0.0)))
        picture = Image.fromarray(np.uint8(np.clip(levels / span, 0, 1) * 255 + 0.5))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


def to_tensor(picture: Image.Image) -> Tensor:
    """RGB picture -> uint8 [3, H, W]."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def to_picture(pixels: Tensor) -> Image.Image:
    """uint8 [3, H, W] -> RGB picture."""
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())


def to_unit(pixels: Tensor) -> Tensor:
    """uint8 -> float32 in [-1, 1], the range of both networks."""
    return pixels.float() / 127.5 - 1.0


def to_pixels(images: Tensor) -> Tensor:
    """Floats in [-1, 1] -> uint8, rounded to nearest and clipped."""
    return ((images.float() + 1.0) * 127.5).round_().clamp_(0, 255).to(torch.uint8)


def bicubic(images: Tensor, height: int, width: int) -> Tensor:
    """Floats [N, 3, H, W] -> [N, 3, height, width]: cubic convolution with a = -0.5, widened when reducing.

    That is the filter of Pillow and of MATLAB's imresize (Keys 1981), which published figures are made with.
    """
    return F.interpolate(images.float(), (height, width), mode="bicubic", antialias=True, align_corners=False)


def round_to_8_bits(images: Tensor) -> Tensor:
    """Floats in [-1, 1] -> the nearest of the 256 levels that a file can hold, clipped to [-1, 1]."""
    return ((images + 1.0) * 127.5).round().clamp(0, 255) / 127.5 - 1.0


def reduce(images: Tensor) -> Tensor:
    """Floats in [-1, 1], [N, 3, 4H, 4W] -> [N, 3, H, W], rounded to 8 bits as a low-resolution file would be."""
    height, width = images.shape[-2:]
    return round_to_8_bits(bicubic(images, height // SCALE, width // SCALE))


def enlarge(images: Tensor) -> Tensor:
    """The bicubic baseline. Floats in [-1, 1], [N, 3, H, W] -> [N, 3, 4H, 4W], rounded to 8 bits."""
    height, width = images.shape[-2:]
    return round_to_8_bits(bicubic(images, height * SCALE, width * SCALE))


def centre_crop(picture: Image.Image, width: int, height: int) -> Image.Image:
    """The middle of a picture that is at least that large; an odd pixel left over is cut at the right and bottom."""
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))
