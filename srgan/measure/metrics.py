"""PSNR, SSIM and LPIPS. They take RGB images [N, 3, H, W] and give one figure for each image."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from srgan.errors import UserError
from srgan.models import SCALE


class Figure(NamedTuple):
    """The name, unit and format of a figure."""

    title: str
    unit: str
    digits: int
    kind: str
    """the Hub's name of the metric"""
    protocol: str

    def heading(self) -> str:
        return f"{self.title}, {self.unit}" if self.unit else self.title

    def show(self, value: float) -> str:
        return f"{value:.{self.digits}f}"


FIGURES = {
    "psnr_y": Figure("PSNR-Y", "dB", 2, "psnr", "BT.601 luma, 4 px cut from each border"),
    "ssim_y": Figure("SSIM-Y", "", 4, "ssim", "BT.601 luma, 4 px cut from each border"),
    "psnr_rgb": Figure("PSNR-RGB", "dB", 2, "psnr", "all channels, 4 px cut from each border"),
    "lpips": Figure("LPIPS", "", 4, "lpips", "v0.1, AlexNet"),
}


def luma(pixels: Tensor) -> Tensor:
    """Returns the BT.601 luma in 16 to 235 as MATLAB's rgb2ycbcr computes it, but unrounded. RGB in 0 to 255,
    [N, 3, H, W] -> [N, 1, H, W]; uint8 gives float64."""
    red, green, blue = (pixels if pixels.is_floating_point() else pixels.double()).split(1, dim=1)
    return (65.481 * red + 128.553 * green + 24.966 * blue) / 255 + 16


def inner_luma(pixels: Tensor) -> Tensor:
    """Returns the luma without the outer 4 pixels, which published figures for 4x also leave out."""
    return luma(pixels)[..., SCALE:-SCALE, SCALE:-SCALE]


def psnr_y(restored: Tensor, original: Tensor) -> Tensor:
    """Returns the peak signal-to-noise ratio of the luma in dB, with peak 255 and without 4 pixels at each border.
    uint8 -> float64 [N]."""
    error = (inner_luma(restored) - inner_luma(original)).square().mean((1, 2, 3))
    return 10 * torch.log10(255**2 / error)


def psnr_rgb(restored: Tensor, original: Tensor) -> Tensor:
    """Returns the PSNR over all three channels. It is 1 to 2 dB lower than PSNR-Y, so the two must not be compared."""
    inner = (images.double()[..., SCALE:-SCALE, SCALE:-SCALE] for images in (restored, original))
    error = (next(inner) - next(inner)).square().mean((1, 2, 3))
    return 10 * torch.log10(255**2 / error)


def ssim_y(restored: Tensor, original: Tensor) -> Tensor:
    """Returns the structural similarity of the luma, without 4 pixels at each border. uint8, sides of at least 19 ->
    float64 [N]."""
    return structural_similarity(inner_luma(restored), inner_luma(original))


def structural_similarity(x: Tensor, y: Tensor) -> Tensor:
    """Returns the SSIM (Wang et al. 2004) of one channel in 0 to 255: [N, 1, H, W], sides of at least 11 -> [N].

    Mean over all positions of an 11x11 Gaussian window with standard deviation 1.5 that lies inside the image;
    K1 = 0.01, K2 = 0.03, L = 255.
    """
    offsets = torch.arange(11, dtype=x.dtype, device=x.device) - 5
    line = torch.exp(-offsets.square() / (2 * 1.5**2))
    line = line / line.sum()

    def blur(images: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(images, line.view(1, 1, 1, 11)), line.view(1, 1, 11, 1))

    mean_x, mean_y = blur(x), blur(y)
    variance_x, variance_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similarity = similarity / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))
    return similarity.mean((1, 2, 3))


class LPIPS(nn.Module):
    """Learned perceptual distance v0.1 on AlexNet (Zhang et al. 2018). Only for measuring; training must not use it.

    RGB in [-1, 1], sides of at least 32 -> float32 [N]; 0 for identical images.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(),
        )  # fmt: skip
        self.heads = nn.ParameterList(torch.empty(1, width, 1, 1) for width in (64, 192, 384, 256, 256))
        # ImageNet's mean and deviation for images in [-1, 1], as in the authors' ScalingLayer.
        self.register_buffer("mean", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    @classmethod
    def load(cls, path: str | Path) -> "LPIPS":
        """Loads a .safetensors file with torchvision's AlexNet `features.*` and the heads `lin*.model.1.weight`."""
        try:
            weights = load_file(path)
            network = cls()
            heads = {f"heads.{i}": weights[f"lin{i}.model.1.weight"] for i in range(5)}
            network.load_state_dict(
                heads | {key: value for key, value in weights.items() if key.startswith("features.")}
            )
        except (OSError, KeyError, RuntimeError, SafetensorError) as error:
            raise UserError(
                f"--lpips {path} cannot be read as LPIPS v0.1 Alex weights ({type(error).__name__})."
            ) from None
        return network

    def activations(self, images: Tensor) -> list[Tensor]:
        """Returns the five ReLU outputs, each position scaled to unit length over its channels."""
        x = (images.float() - self.mean) / self.deviation
        found = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                found.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return found

    def against(self, original: Tensor) -> Callable[[Tensor], Tensor]:
        """Prepares `forward` for many restorations of one original, whose features are computed once."""
        seen = self.activations(original)

        def distance(restored: Tensor) -> Tensor:
            pairs = zip(self.activations(restored), seen, self.heads, strict=True)
            return torch.stack([(head * (a - b).square()).sum(1).mean((-2, -1)) for a, b, head in pairs]).sum(0)

        return distance

    def forward(self, restored: Tensor, original: Tensor) -> Tensor:
        return self.against(original)(restored)
