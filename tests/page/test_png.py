"""srgan/page/png.py: any reader of PNG files gets the same pixels back."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from srgan.page.png import BAND, write_png


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (7, BAND), (3, BAND + 1), (2, 2 * BAND + 5)])
def test_the_pixels_come_back(mode: str, size: tuple[int, int], tmp_path: Path) -> None:
    count = size[0] * size[1] * len(mode)
    picture = Image.frombytes(mode, size, np.random.default_rng(0).integers(0, 256, count, np.uint8).tobytes())
    write_png(picture, file := tmp_path / "some.png")
    with Image.open(file) as found:
        assert (found.format, found.mode, found.size, found.info) == ("PNG", mode, size, {})
        assert found.tobytes() == picture.tobytes()
    read = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)  # with another library
    np.testing.assert_array_equal(read[..., [2, 1, 0, 3][: len(mode)]], np.asarray(picture))


def test_flat_parts_take_next_to_nothing(tmp_path: Path) -> None:
    write_png(Image.new("RGB", (1000, 1000), "teal"), file := tmp_path / "flat.png")
    assert file.stat().st_size < 20_000
