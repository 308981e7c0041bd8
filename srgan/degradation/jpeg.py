"""JPEG compression as tensor operations on the images' device, with libjpeg's arithmetic."""

import torch
import torch.nn.functional as F
from torch import Tensor

from srgan.device import send
from srgan.pictures.images import round_to_8_bits

BLOCK = 8

LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56), (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
CHROMA_TABLE = (
    (17, 18, 24, 47, 99, 99, 99, 99), (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99), (47, 66, 99, 99, 99, 99, 99, 99), *((99,) * 8,) * 4,
)  # fmt: skip
"""Quantisation of 8x8 coefficients at quality 50 (ITU-T T.81, tables K.1 and K.2)."""

TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
"""RGB -> Y, Cb - 128, Cr - 128 (JFIF 1.02)."""


def jpeg(images: Tensor, quality: Tensor, halved: Tensor) -> Tensor:
    """Passes images through JPEG: [N, 3, H, W] in [-1, 1] -> the same, on the 256 levels.

    quality: [N, 1, 1, 1], 1 to 100. halved: [N, 1, 1, 1], whether colour is kept at half the size (4:2:0).
    """
    height, width = images.shape[-2:]
    pad = (0, -width % (2 * BLOCK), 0, -height % (2 * BLOCK))
    matrix = torch.tensor(TO_YCC)
    back = send(matrix.inverse(), images.device)
    matrix = send(matrix, images.device)
    ycc = torch.einsum("ij,njhw->nihw", matrix, F.pad((images + 1) * 127.5, pad, mode="replicate"))
    luma, chroma = ycc.round().split((1, 2), dim=1)
    luma = through_tables(luma - 128, scaled_table(LUMA_TABLE, quality))
    tables = scaled_table(CHROMA_TABLE, quality)
    small = F.interpolate(through_tables(F.avg_pool2d(chroma, 2).round(), tables), scale_factor=2, mode="bilinear")
    chroma = torch.where(halved, small.round(), through_tables(chroma, tables))
    rgb = torch.einsum("ij,njhw->nihw", back, torch.cat([luma + 128, chroma], dim=1))
    return round_to_8_bits(rgb[..., :height, :width] / 127.5 - 1)


def scaled_table(base: tuple[tuple[int, ...], ...], quality: Tensor) -> Tensor:
    """Scales a table as libjpeg does: [N, 1, 1, 1] -> [N, 1, 1, 1, 8, 8]."""
    percent = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality).floor().view(-1, 1, 1, 1, 1, 1)
    return ((send(torch.tensor(base), quality.device) * percent + 50) / 100).floor().clamp(1, 255)


def through_tables(plane: Tensor, steps: Tensor) -> Tensor:
    """Rounds the cosine coefficients of each 8x8 block to multiples of `steps`: [N, C, H, W] around 0 -> the same."""
    cosines = cosine_matrix(plane.device)
    rounded = (to_coefficients(plane, cosines) / steps).round() * steps
    return from_coefficients(rounded, cosines).round().clamp(-128, 127)


def to_coefficients(plane: Tensor, cosines: Tensor) -> Tensor:
    """[N, C, H, W], sides multiples of 8 -> [N, C, H / 8, W / 8, 8, 8], each block's cosine coefficients."""
    blocks = plane.unflatten(-1, (-1, BLOCK)).unflatten(-3, (-1, BLOCK)).transpose(-3, -2)
    return cosines @ blocks @ cosines.T


def from_coefficients(coefficients: Tensor, cosines: Tensor) -> Tensor:
    """The inverse of `to_coefficients`."""
    return (cosines.T @ coefficients @ cosines).transpose(-3, -2).flatten(-2).flatten(-3, -2)


def cosine_matrix(device: torch.device) -> Tensor:
    """Returns the orthonormal DCT-II of 8 values (ITU-T T.81, A.3.3): [8, 8], a row for each frequency."""
    place = torch.arange(BLOCK, dtype=torch.float32, device=device)
    rows = torch.cos((2 * place + 1) * place.view(-1, 1) * torch.pi / (2 * BLOCK)) * (2 / BLOCK) ** 0.5
    rows[0] /= 2**0.5
    return rows
