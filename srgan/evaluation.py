"""A generator's figures on photos it has not been trained on, beside bicubic's."""

from collections.abc import Callable

import torch
from torch import Tensor

from srgan.data import Crops
from srgan.images import enlarge, reduce, to_pixels, to_unit
from srgan.metrics import LPIPS, psnr_y, ssim_y

Restore = Callable[[Tensor], Tensor]
"""Low-resolution floats [N, 3, H, W] in [-1, 1] -> restored [N, 3, 4H, 4W] in [-1, 1]."""


@torch.inference_mode()
def evaluate(
    restore: Restore, crops: Crops, lpips: LPIPS | None, device: torch.device, batch: int = 25
) -> dict[str, float]:
    """Means over the photos of psnr_y [dB], ssim_y and, where its network is given, lpips.

    Each crop is reduced by 4, rounded to 8 bits, restored and rounded to 8 bits again, as a file would be. A photo that
    comes out exact, of one colour say, counts with 100 dB.
    """
    rows: dict[str, list[Tensor]] = {}
    for start in range(0, len(crops.names), batch):
        pixels = crops.batch(range(start, min(start + batch, len(crops.names)))).to(device)
        original = to_unit(pixels)
        restored = to_pixels(restore(reduce(original)))
        rows.setdefault("psnr_y", []).append(psnr_y(restored, pixels).clamp(max=100))
        rows.setdefault("ssim_y", []).append(ssim_y(restored, pixels))
        if lpips is not None:
            rows.setdefault("lpips", []).append(lpips(to_unit(restored), original))
    return {name: torch.cat(values).double().mean().item() for name, values in rows.items()}


def evaluate_bicubic(crops: Crops, lpips: LPIPS | None, device: torch.device) -> dict[str, float]:
    return evaluate(enlarge, crops, lpips, device)


def show(figures: dict[str, float]) -> str:
    """ "PSNR-Y 30.61 dB, SSIM-Y 0.871, LPIPS 0.162"."""
    names = {"psnr_y": "PSNR-Y {:.2f} dB", "ssim_y": "SSIM-Y {:.4f}", "lpips": "LPIPS {:.4f}"}
    return ", ".join(form.format(figures[name]) for name, form in names.items() if name in figures)
