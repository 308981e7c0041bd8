"""JPEG on tensors, against libjpeg."""

import io

import pytest
import torch
from helpers import textured
from PIL import Image

from srgan.degradation.jpeg import jpeg
from srgan.pictures.images import normalize, to_picture, to_pixels, to_tensor


def per_image(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1)


def photo(width: int, height: int) -> torch.Tensor:
    """Returns uint8 [3, H, W] with smooth colours and edges, for which JPEG is made."""
    return to_tensor(textured(0, width * 4, height * 4).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("size", [(64, 48), (50, 37)], ids=["whole blocks", "cut blocks"])
@pytest.mark.parametrize("quality", [10, 50, 75, 95])
@pytest.mark.parametrize("halved", [False, True])
def test_jpeg_is_libjpegs(size: tuple[int, int], quality: int, halved: bool) -> None:
    pixels = photo(*size)
    file = io.BytesIO()
    to_picture(pixels).save(file, "JPEG", quality=quality, subsampling=2 if halved else 0)
    wanted = to_tensor(Image.open(file)).float()
    found = to_pixels(jpeg(normalize(pixels[None]), per_image(quality), per_image(halved).bool()))[0].float()
    damage = (wanted - pixels.float()).abs().mean()
    assert damage > 1, "this quality must cost something for the test to say anything"
    # Not exactly: libjpeg's transform uses integers, and a coefficient halfway between two levels may round either way.
    assert (found - wanted).abs().mean() < max(0.5, damage / 3)
