"""The figures against scikit-image, independent formulations and published values."""

from pathlib import Path

import lpips as authors
import numpy as np
import pytest
import torch
from helpers import SHARED, as_tensor, is_one_sentence, textured
from PIL import Image
from safetensors.torch import load_file, save_file
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from srgan.errors import UserError
from srgan.measure.metrics import LPIPS, luma, psnr_rgb, psnr_y, ssim_y
from srgan.pictures.images import normalize


def cut_luma(picture: torch.Tensor) -> np.ndarray:
    """Returns the first channel of MATLAB's rgb2ycbcr for one uint8 [3, H, W], without 4 pixels at each border."""
    red, green, blue = picture.numpy().astype(np.float64) / 255
    return (16 + 65.481 * red + 128.553 * green + 24.966 * blue)[4:-4, 4:-4]


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    """Returns two photos and their degraded copies, one noisy and one blurred."""
    original = torch.cat([as_tensor(textured(seed, 60, 44)) for seed in (0, 1)])
    noise = torch.randn(3, 44, 60, generator=torch.Generator().manual_seed(0)) * 12
    noisy = (original[0] + noise).clamp(0, 255).byte()
    small = textured(1, 60, 44).resize((15, 11), Image.Resampling.BICUBIC)
    return torch.stack([noisy, as_tensor(small.resize((60, 44)))[0]]), original


def test_luma_is_bt601_from_16_to_235() -> None:
    colours = torch.tensor([[0, 255, 255, 0], [0, 255, 0, 0], [0, 255, 0, 255]], dtype=torch.uint8).view(1, 3, 1, 4)
    assert luma(colours).flatten().tolist() == pytest.approx([16.0, 235.0, 16 + 65.481, 16 + 24.966])


def test_psnr_of_a_constant_difference() -> None:
    # 10 levels on every channel are 10 * 219/255 of luma: 20 log10(255 / 8.588) = 29.45272 dB.
    original = as_tensor(textured(2, 40, 40, high=200))
    assert psnr_y(original + 10, original).tolist() == pytest.approx([29.45272], abs=1e-4)


def test_what_lies_on_the_four_outer_pixels_does_not_count() -> None:
    original = as_tensor(textured(2, 40, 40))
    changed = torch.zeros_like(original)
    changed[..., 4:-4, 4:-4] = original[..., 4:-4, 4:-4]
    assert psnr_y(changed, original).item() == float("inf")
    assert ssim_y(changed, original).item() == pytest.approx(1)
    changed[..., 4, 4] = 255 - changed[..., 4, 4]
    assert psnr_y(changed, original).item() < 80


def test_psnr_is_scikit_images() -> None:
    restored, original = pair()
    wanted = [
        peak_signal_noise_ratio(cut_luma(b), cut_luma(a), data_range=255)
        for a, b in zip(restored, original, strict=True)
    ]
    assert psnr_y(restored, original).tolist() == pytest.approx(wanted, abs=1e-6)


def test_psnr_rgb_is_scikit_images() -> None:
    restored, original = pair()
    cut = [(b[:, 4:-4, 4:-4].numpy(), a[:, 4:-4, 4:-4].numpy()) for a, b in zip(restored, original, strict=True)]
    wanted = [peak_signal_noise_ratio(b, a, data_range=255) for b, a in cut]
    assert psnr_rgb(restored, original).tolist() == pytest.approx(wanted, abs=1e-6)


def test_ssim_is_scikit_images() -> None:
    restored, original = pair()
    wanted = [
        structural_similarity(
            cut_luma(a), cut_luma(b), data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for a, b in zip(restored, original, strict=True)
    ]  # like ours, scikit-image's mean excludes the 5 pixels at the border where the window is cut
    assert ssim_y(restored, original).tolist() == pytest.approx(wanted, abs=1e-6)


def test_each_image_has_its_own_figure() -> None:
    restored, original = pair()
    for metric in (psnr_y, psnr_rgb, ssim_y):
        both = metric(restored, original)
        assert both.shape == (2,)
        alone = torch.cat([metric(restored[i : i + 1], original[i : i + 1]) for i in (0, 1)])
        torch.testing.assert_close(both, alone)


# LPIPS

HEADS = [f"lin{number}.model.1.weight" for number in range(5)]


def authors_lpips(path: Path) -> authors.LPIPS:
    """Returns the authors' own network. Its heads come with their package, and its AlexNet comes from the file."""
    reference = authors.LPIPS(net="alex", pnet_rand=True, verbose=False)
    weights = load_file(path)
    slices = [getattr(reference.net, f"slice{number}") for number in range(1, 6)]
    for name, layer in (named for part in slices for named in part.named_children()):
        if isinstance(layer, torch.nn.Conv2d):
            layer.load_state_dict({end: weights[f"features.{name}.{end}"] for end in ("weight", "bias")})
    return reference


@pytest.mark.filterwarnings("ignore::UserWarning:torchvision")  # the package uses torchvision's old weights argument
def test_lpips_is_the_authors(tmp_path: Path, lpips_file: Path) -> None:
    heads = authors_lpips(lpips_file).state_dict()
    save_file(load_file(lpips_file) | {name: heads[name] for name in HEADS}, tmp_path / "authors.safetensors")
    real = SHARED / "models" / "lpips-alex-v0.1.safetensors"
    restored, original = (normalize(images) for images in pair())
    for path in (tmp_path / "authors.safetensors", *([real] if real.exists() else [])):
        found, wanted = LPIPS.load(path)(restored, original), authors_lpips(path)(restored, original).flatten()
        assert found.shape == (2,) and found.min() > 0.001
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_lpips_is_zero_for_equals_and_symmetric(lpips_file: Path) -> None:
    restored, original = (normalize(images) for images in pair())
    lpips = LPIPS.load(lpips_file)
    assert lpips(original, original).tolist() == [0, 0]
    torch.testing.assert_close(lpips(restored, original), lpips(original, restored))


def test_lpips_grows_with_the_disturbance() -> None:
    path = SHARED / "models" / "lpips-alex-v0.1.safetensors"
    if not path.exists():
        pytest.skip("the LPIPS weights are not beside the checkout")
    original = normalize(as_tensor(textured(0, 64, 64)))
    noise = torch.randn(original.shape, generator=torch.Generator().manual_seed(0))
    distances = [
        LPIPS.load(path)((original + amount * noise).clamp(-1, 1), original).item() for amount in (0.02, 0.1, 0.4)
    ]
    assert distances == sorted(distances) and distances[-1] > 0.1


def test_files_that_are_not_lpips_are_refused_by_name(tmp_path: Path, lpips_file: Path) -> None:
    (tmp_path / "text.safetensors").write_text("no weights")
    weights = load_file(lpips_file)
    save_file({k: v for k, v in weights.items() if k != "lin3.model.1.weight"}, tmp_path / "headless.safetensors")
    save_file({k: v for k, v in weights.items() if k != "features.6.bias"}, tmp_path / "part.safetensors")
    save_file({**weights, "features.6.bias": torch.zeros(3)}, tmp_path / "shape.safetensors")
    for name in ("missing", "text", "headless", "part", "shape"):
        with pytest.raises(UserError) as caught:
            LPIPS.load(tmp_path / f"{name}.safetensors")
        assert is_one_sentence(str(caught.value)) and f"{name}.safetensors" in str(caught.value)
