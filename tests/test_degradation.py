"""What --degrade does to small photos, against Pillow's filter and libjpeg."""

import io

import pytest
import torch
from helpers import textured
from PIL import Image, ImageFilter

from srgan.degradation import DRAWS, NOISE, degrade, gaussian_blur, jpeg
from srgan.images import to_picture, to_pixels, to_tensor, to_unit


def per_image(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1)


def photo(width: int, height: int) -> torch.Tensor:
    """uint8 [3, H, W] with smooth colours and edges, as JPEG is made for."""
    return to_tensor(textured(0, width * 4, height * 4).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("size", [(64, 48), (50, 37)], ids=["whole blocks", "cut blocks"])
@pytest.mark.parametrize("quality", [10, 50, 75, 95])
@pytest.mark.parametrize("halved", [False, True])
def test_jpeg_is_libjpegs(size: tuple[int, int], quality: int, halved: bool) -> None:
    pixels = photo(*size)
    file = io.BytesIO()
    to_picture(pixels).save(file, "JPEG", quality=quality, subsampling=2 if halved else 0)
    wanted = to_tensor(Image.open(file)).float()
    found = to_pixels(jpeg(to_unit(pixels[None]), per_image(quality), per_image(halved).bool()))[0].float()
    damage = (wanted - pixels.float()).abs().mean()
    assert damage > 1, "this quality must cost something for the test to say anything"
    # Not to the last bit: libjpeg's transform has integers, and a coefficient at a border may fall to either side.
    assert (found - wanted).abs().mean() < max(0.5, damage / 3)


def test_each_image_has_its_own_blur_and_it_is_a_gaussian() -> None:
    dot = torch.zeros(2, 1, 31, 31)
    dot[:, :, 15, 15] = 1
    found = gaussian_blur(dot, per_image(0.2, 0.8))
    assert found[0, 0, 15, 15] > 0.99
    distance = torch.arange(31.0) - 15
    for image, wanted in zip(found, (0.2, 0.8), strict=True):
        profile = image[0].sum(0)
        assert profile.sum() == pytest.approx(1, abs=1e-5)
        assert (profile * distance**2).sum().sqrt() == pytest.approx(wanted, abs=0.2 if wanted < 0.3 else 0.01)
    grey = torch.full((1, 3, 8, 9), 0.25)
    torch.testing.assert_close(gaussian_blur(grey, per_image(0.8)), grey)


def test_blur_is_close_to_pillows() -> None:
    pixels = photo(40, 30)
    wanted = to_tensor(to_picture(pixels).filter(ImageFilter.GaussianBlur(0.8))).float()
    found = to_pixels(gaussian_blur(to_unit(pixels[None]), per_image(0.8)))[0].float()
    assert (found - wanted).abs().mean() < 0.2 * (pixels.float() - wanted).abs().mean()


def test_the_share_asked_for_is_degraded_and_the_rest_untouched() -> None:
    images = to_unit(photo(16, 16)[None]).repeat(400, 1, 1, 1)
    random = torch.Generator().manual_seed(3)
    draws, noise = torch.rand(DRAWS, 400, generator=random), torch.randn(images.shape, generator=random)
    found = degrade(images, 0.25, draws, noise)
    changed = (found != images).flatten(1).any(1)
    assert torch.equal(changed, draws[0] < 0.25) and 60 < changed.sum() < 140
    assert torch.equal(found, to_unit(to_pixels(found)))  # the 256 levels that a file holds
    differing = found[changed].flatten(1)  # each by its own amounts, of which JPEG makes hardly two alike
    assert len(torch.unique(differing, dim=0)) > 0.9 * len(differing)
    mild = (found - images)[changed].abs().mean() * 127.5
    assert 1 < mild < 20


def test_noise_has_the_strength_drawn() -> None:
    grey = torch.zeros(1, 3, 64, 64)
    noise = torch.randn(grey.shape, generator=torch.Generator().manual_seed(0))
    draws = torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0]).view(DRAWS, 1)  # hit, sharp, noisiest, best quality, whole colour
    found = degrade(grey, 1.0, draws, noise) * 127.5
    assert found.std() == pytest.approx(NOISE[1], rel=0.15)
