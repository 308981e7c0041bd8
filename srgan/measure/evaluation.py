"""Measures one or more ways to enlarge pictures, all on the same pictures."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from statistics import fmean

import torch
from PIL import Image
from torch import Tensor

from srgan.degradation.chain import copies_alike
from srgan.jpeg_blocks import JpegBlocks
from srgan.measure.metrics import FIGURES, LPIPS, psnr_rgb, psnr_y, ssim_y
from srgan.measure.pairs import Pairs
from srgan.pictures.images import enlarge_bicubic, normalize, to_picture, to_pixels, to_tensor
from srgan.upscaler import Upscaler

Restore = Callable[[Tensor], Tensor]
"""Low-resolution floats [N, 3, H, W] in [-1, 1] -> restored [N, 3, 4H, 4W] in [-1, 1]."""

Keep = Callable[[str, list[str], Tensor], object]
"""Called with a system's name, the pictures' names, and the restored pictures, uint8 [N, 3, 4H, 4W]."""

Row = dict[str, float]
"""psnr_y in dB, ssim_y, psnr_rgb in dB and, with its network, lpips."""

BICUBIC: dict[str, Restore] = {"bicubic": enlarge_bicubic}


def blends(upscaler: Upscaler, details: Sequence[float] | None = None) -> dict[str, Restore]:
    """Returns a function for each detail setting of the model. The default settings are 0, 0.5 and 1, or only 1 for a
    model without fidelity weights.

    A model that has learned to remove JPEG restores picture by picture, because `Upscaler.enlarge` holds each result to
    the blocks of its own picture.
    """
    if details is None:
        details = (0.0, 0.5, 1.0) if upscaler.can_blend else (1.0,)
    settings = [upscaler.check_detail(detail) for detail in details]
    if not upscaler.model.config.removes_jpeg():
        return {f"detail {d:g}": partial(upscaler.restore, detail=d) for d in settings}

    @lru_cache(maxsize=1)  # every setting gets the same copies
    def judged(low: Tensor) -> list[tuple[Image.Image, JpegBlocks | None]]:
        pictures = [to_picture(pixels) for pixels in to_pixels(low)]
        return [(picture, upscaler.blocks_to_hold(picture)) for picture in pictures]

    def restore(low: Tensor, detail: float) -> Tensor:
        large = [upscaler.enlarge(picture, detail, correction=blocks) for picture, blocks in judged(low)]
        return normalize(torch.stack([to_tensor(picture) for picture in large])).to(low.device)

    return {f"detail {d:g}": partial(restore, detail=d) for d in settings}


@torch.inference_mode()
def evaluate(
    systems: Mapping[str, Restore],
    pictures: Iterable[Pairs],
    lpips: LPIPS | None,
    device: torch.device,
    keep: Keep | None = None,
    degrade: str = "clean",
) -> dict[str, dict[str, Row]]:
    """Returns each picture's figures by its name, for each system.

    If the low-resolution copy is not given, the picture is reduced by 4 and rounded to 8 bits, then worn as
    `degrade`, a kind from `degradation.KINDS`, describes. Restored pictures are rounded to 8 bits too, as in a file,
    and passed to `keep`. An exact restoration, for example of a flat picture, counts as 100 dB.
    """
    rows: dict[str, dict[str, Row]] = {system: {} for system in systems}
    for pairs in pictures:
        given = None if pairs.low is None else normalize(pairs.low.to(device))
        low, wanted = copies_alike(degrade, normalize(pairs.high.to(device)), given)
        high = to_pixels(wanted)
        for system, restore in systems.items():
            restored = to_pixels(restore(low))
            if keep is not None:
                keep(system, pairs.names, restored)
            columns = measure(restored, high, lpips)
            for place, name in enumerate(pairs.names):
                rows[system][name] = {figure: column[place] for figure, column in columns.items()}
    return rows


def measure(restored: Tensor, original: Tensor, lpips: LPIPS | None) -> dict[str, list[float]]:
    """Returns the figures of uint8 images [N, 3, H, W], in order."""
    columns = {
        "psnr_y": psnr_y(restored, original).clamp(max=100),
        "ssim_y": ssim_y(restored, original),
        "psnr_rgb": psnr_rgb(restored, original).clamp(max=100),
    }
    if lpips is not None:
        columns["lpips"] = lpips(normalize(restored), normalize(original))
    return {name: column.tolist() for name, column in columns.items()}


def means(rows: Mapping[str, Mapping[str, Row]]) -> dict[str, Row]:
    """Returns the means over the pictures for each system; empty if there are no pictures."""
    figures = {system: next(iter(of.values()), {}).keys() for system, of in rows.items()}
    return {s: {name: fmean(row[name] for row in of.values()) for name in figures[s]} for s, of in rows.items()}


def show(row: Row) -> str:
    """Formats figures as text: "PSNR-Y 30.61 dB, SSIM-Y 0.8710, LPIPS 0.1620"."""
    shown = ((figure, row[name]) for name, figure in FIGURES.items() if name in row)
    return ", ".join(f"{figure.title} {figure.show(value)} {figure.unit}".rstrip() for figure, value in shown)
