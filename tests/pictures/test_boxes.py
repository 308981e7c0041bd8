"""Cutting a picture into boxes."""

import numpy as np
import pytest
import torch

from srgan.pictures.boxes import Box


@pytest.mark.parametrize(("width", "height", "side"), [(1, 1, 5), (5, 5, 5), (6, 5, 5), (23, 40, 10), (1, 500, 64)])
def test_parts_cover_every_pixel_once_and_are_about_equal(width: int, height: int, side: int) -> None:
    covered = np.zeros((height, width), int)
    parts = Box(0, 0, width, height).parts(side)
    for box in parts:
        assert 1 <= box.side <= side
        covered[box.top : box.bottom, box.left : box.right] += 1
    assert (covered == 1).all()
    assert max(box.width for box in parts) - min(box.width for box in parts) <= 1
    assert len(parts) == -(-width // side) * -(-height // side)


def test_a_box_grows_to_the_edge_of_the_picture_and_no_further() -> None:
    whole = Box(0, 0, 30, 20)
    assert Box(10, 8, 12, 9).grown(3, whole) == (7, 5, 15, 12)
    assert Box(0, 0, 28, 20).grown(5, whole) == whole


def test_a_box_of_a_window_is_the_box_of_the_picture() -> None:
    picture = torch.arange(2 * 20 * 30).view(1, 2, 20, 30)
    around, box = Box(4, 3, 20, 18), Box(6, 5, 11, 12)
    assert torch.equal(box.inside(around).of(around.of(picture)), picture[..., 5:12, 6:11])
    large = picture.repeat_interleave(4, -1).repeat_interleave(4, -2)
    assert torch.equal(box.of(large, 4), picture[..., 5:12, 6:11].repeat_interleave(4, -1).repeat_interleave(4, -2))
