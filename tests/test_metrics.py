"""The figures against scikit-image, independent formulations and published values."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import SHARED, as_tensor, is_one_sentence, textured
from PIL import Image
from safetensors.torch import load_file, save_file
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchvision.models import alexnet

from srgan.errors import UserError
from srgan.images import enlarge, to_pixels, to_unit
from srgan.metrics import LPIPS, luma, psnr_y, ssim_y


def cut_luma(picture: torch.Tensor) -> np.ndarray:
    """MATLAB's rgb2ycbcr, first channel, of one uint8 [3, H, W], without 4 pixels at each border."""
    red, green, blue = picture.numpy().astype(np.float64) / 255
    return (16 + 65.481 * red + 128.553 * green + 24.966 * blue)[4:-4, 4:-4]


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    """Two photos, each with a disturbed copy: one noisy, one blurred."""
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


def test_ssim_is_scikit_images() -> None:
    restored, original = pair()
    wanted = [
        structural_similarity(
            cut_luma(a), cut_luma(b), data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for a, b in zip(restored, original, strict=True)
    ]  # scikit-image's mean leaves out the 5 pixels at the border at which the window is not whole, as ours does
    assert ssim_y(restored, original).tolist() == pytest.approx(wanted, abs=1e-6)


def test_each_image_has_its_own_figure() -> None:
    restored, original = pair()
    for metric in (psnr_y, ssim_y):
        both = metric(restored, original)
        assert both.shape == (2,)
        alone = torch.cat([metric(restored[i : i + 1], original[i : i + 1]) for i in (0, 1)])
        torch.testing.assert_close(both, alone)


@pytest.mark.parametrize(("name", "decibels"), [("Set5", 28.42), ("Set14", 26.10)])
def test_bicubic_reaches_its_published_figure(name: str, decibels: float) -> None:
    """Within 0.03 dB: the figures are published for MATLAB, which mirrors at borders and rounds the luma."""
    folder = SHARED / "data" / name
    if not folder.is_dir():
        pytest.skip(f"{name} is not beside the checkout")
    found = []
    for path in sorted((folder / "HR").iterdir()):
        low = as_tensor(Image.open(folder / "LR_bicubic_X4" / f"{path.stem}x4.png"))
        found.append(psnr_y(to_pixels(enlarge(to_unit(low))), as_tensor(Image.open(path))).item())
    assert float(np.mean(found)) == pytest.approx(decibels, abs=0.03)


# LPIPS


def lpips_files(random: Path) -> list[Path]:
    real = SHARED / "models" / "lpips-alex-v0.1.safetensors"
    return [random, *([real] if real.exists() else [])]


def reference_lpips(path: Path, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """As the paper has it, on torchvision's own AlexNet and ImageNet normalisation."""
    weights = load_file(path)
    network = alexnet(weights=None).features
    network.load_state_dict({k.removeprefix("features."): v for k, v in weights.items() if k.startswith("features.")})
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x, y = (((images + 1) / 2 - mean.view(3, 1, 1)) / deviation.view(3, 1, 1) for images in (first, second))
    total, taken = torch.zeros(len(first)), 0
    with torch.no_grad():
        for layer in network[:12]:
            x, y = layer(x), layer(y)
            if isinstance(layer, torch.nn.ReLU):
                a, b = (torch.nn.functional.normalize(features, dim=1) for features in (x, y))
                total += ((a - b) ** 2 * weights[f"lin{taken}.model.1.weight"]).sum(1).mean((1, 2))
                taken += 1
    assert taken == 5
    return total


def test_lpips_is_the_papers_formula(lpips_file: Path) -> None:
    restored, original = (to_unit(images) for images in pair())
    for path in lpips_files(lpips_file):
        found = LPIPS.load(path)(restored, original)
        wanted = reference_lpips(path, restored, original)
        assert found.shape == (2,) and found.min() > 0.001
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5)


def test_lpips_is_zero_for_equals_and_symmetric(lpips_file: Path) -> None:
    restored, original = (to_unit(images) for images in pair())
    lpips = LPIPS.load(lpips_file)
    assert lpips(original, original).tolist() == [0, 0]
    torch.testing.assert_close(lpips(restored, original), lpips(original, restored))


def test_lpips_grows_with_the_disturbance() -> None:
    path = SHARED / "models" / "lpips-alex-v0.1.safetensors"
    if not path.exists():
        pytest.skip("the LPIPS weights are not beside the checkout")
    original = to_unit(as_tensor(textured(0, 64, 64)))
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
