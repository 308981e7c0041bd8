"""Pillow's resampling filters as matrices, so that each image of a batch can be resized by its own filter and ratio."""

from collections.abc import Callable

import torch
from torch import Tensor

from srgan.pictures.resampling import cubic


def box(x: Tensor) -> Tensor:
    return ((x > -0.5) & (x <= 0.5)).to(x.dtype)


def triangle(x: Tensor) -> Tensor:
    return (1 - x.abs()).clamp_min(0)


def lanczos(x: Tensor) -> Tensor:
    """Returns the Lanczos kernel with three lobes."""
    return torch.where(x.abs() < 3, torch.sinc(x) * torch.sinc(x / 3), torch.zeros_like(x))


FILTERS: dict[str, Callable[[Tensor], Tensor]] = {
    "box": box, "bilinear": triangle, "bicubic": cubic, "lanczos": lanczos,
}  # fmt: skip
"""Filters by Pillow's names. Each takes a distance in pixels of the coarser of the two images."""

NAMES = tuple(FILTERS)


def resize_matrices(filters: Tensor, sources: Tensor, targets: Tensor, rows: int, columns: int) -> Tensor:
    """Returns a matrix for each image that resizes a line of `sources` pixels to `targets` pixels as Pillow does.

    filters: [N], positions in NAMES. sources, targets: [N], in pixels. Returns [N, rows, columns]: entries beyond an
    image's own target (rows) and source (columns) are 0, so images of several sizes share a batch.
    """
    device = filters.device
    filters, sources, targets = (values.view(-1, 1, 1) for values in (filters, sources, targets))
    row = torch.arange(rows, device=device).view(1, -1, 1)
    column = torch.arange(columns, device=device).view(1, 1, -1)
    ratio = sources / targets
    distance = (column + 0.5 - (row + 0.5) * ratio) / ratio.clamp_min(1)  # reducing widens the filter
    weights = torch.zeros_like(distance)
    for place, function in enumerate(FILTERS.values()):
        weights = torch.where(filters == place, function(distance), weights)
    weights = weights * ((column < sources) & (row < targets))
    total = weights.sum(dim=-1, keepdim=True)
    return weights / torch.where(total == 0, torch.ones_like(total), total)
