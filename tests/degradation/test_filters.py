"""Resampling by matrices, against Pillow."""

import pytest
import torch
from helpers import textured
from PIL import Image

from srgan.degradation.filters import NAMES, resize_matrices
from srgan.pictures.images import to_tensor

SIDE = 48


@pytest.mark.parametrize("name", NAMES)
def test_each_filter_is_pillows_in_both_directions(name: str) -> None:
    """Each image of a batch has its own size, and the matrix is 0 beyond it."""
    picture, sizes = textured(1, SIDE, SIDE), (7, 12, 29, 48, 61)
    matrices = resize_matrices(
        torch.full((len(sizes),), NAMES.index(name)), torch.full((len(sizes),), SIDE), torch.tensor(sizes), 64, 50
    )
    assert matrices.shape == (len(sizes), 64, 50)
    for matrix, size in zip(matrices, sizes, strict=True):
        used = matrix[:size, :SIDE]
        assert torch.equal(matrix.count_nonzero(), used.count_nonzero())
        found = (used @ to_tensor(picture).float() @ used.T).round().clamp(0, 255)
        wanted = to_tensor(picture.resize((size, size), Image.Resampling[name.upper()])).float()
        assert (found - wanted).abs().max() <= 1, size  # Pillow rounds between the two axes


def test_sources_differ_within_a_batch_too() -> None:
    filters, sources = torch.tensor([0, 1]), torch.tensor([8, 6])
    both = resize_matrices(filters, sources, torch.tensor([4, 3]), 4, 8)
    for place in (0, 1):
        alone = resize_matrices(filters[place, None], sources[place, None], torch.tensor([4 - place]), 4, 8)[0]
        assert torch.equal(both[place], alone)
    assert both[1, 3].count_nonzero() == 0 and both[1, :, 6:].count_nonzero() == 0
