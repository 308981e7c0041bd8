"""JPEG blocks: found in the pixels of any picture, and an enlargement that is held to them."""

import io

import numpy as np
import pytest
import torch
from helpers import ROOT
from PIL import Image
from torch import Tensor

from srgan.degradation.jpeg import LUMA_TABLE, cosine_matrix, to_coefficients
from srgan.jpeg_blocks import GAIN, LEVEL, SLACK, JpegBlocks, find_blocks, grey_levels, zero_shares
from srgan.model_folder import Model
from srgan.pictures.boxes import Box
from srgan.pictures.images import bicubic, normalize, open_rgb, to_tensor
from srgan.signs import jpeg_table
from srgan.upscaler import Upscaler

TABLE = tuple(map(tuple, torch.tensor(LUMA_TABLE).float().tolist()))


def photo(side: int = 96) -> Image.Image:
    picture = open_rgb(ROOT / "examples" / "cat.png")
    picture.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=None)
    return picture


def as_jpeg(picture: Image.Image, **options: object) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", **options)
    return Image.open(file)


def found_in(picture: Image.Image, *tables: Tensor) -> JpegBlocks | None:
    return find_blocks(seen(picture), zero_shares(seen(picture)), tables)


def seen(picture: Image.Image) -> Tensor:
    return normalize(to_tensor(picture.convert("RGB"))).unsqueeze(0)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("corner", [(0, 0), (3, 6)])
@pytest.mark.parametrize("quality", [30, 50, 75, 90, 95])
def test_grid_and_quality_are_told_by_the_pixels(quality: int, corner: tuple[int, int], mode: str) -> None:
    picture = as_jpeg(photo().convert(mode), quality=quality, subsampling=2)
    left, top = corner
    found = found_in(picture.crop((left, top, *picture.size)))
    assert found and (found.left, found.top) == (-left % 8, -top % 8)
    assert found.quality == quality
    assert torch.equal(torch.tensor(found.steps), jpeg_table(picture))


def test_of_two_compressions_the_coarser_is_found() -> None:
    found = found_in(as_jpeg(as_jpeg(photo(), quality=60), quality=97))
    assert found and found.quality == 60


def test_tables_that_libjpeg_does_not_make_are_found_if_they_are_given() -> None:
    own = [4 + 3 * row + 5 * column for row in range(8) for column in range(8)]
    picture = as_jpeg(photo(), qtables=[own, own])
    table = jpeg_table(picture)
    assert table is not None
    found = found_in(picture, table)
    assert found and torch.equal(torch.tensor(found.steps), table)
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    assert found_in(turned, table) != found  # the steps of a turned picture are others


def test_where_no_blocks_are_none_are_found() -> None:
    picture = as_jpeg(photo(192), quality=60)
    for without in (photo(), picture.resize((96, 72)), picture.rotate(7), Image.new("RGB", (64, 64), "red")):
        assert found_in(without) is None
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert found_in(Image.fromarray(noise)) is None
    for size in ((1, 1), (15, 200), (200, 9)):
        assert found_in(picture.resize(size)) is None


def coefficients_of(low: Tensor) -> Tensor:
    """[1, 3, 8h, 8w] in [-1, 1] -> the luma's, in grey levels."""
    return to_coefficients(grey_levels(low), cosine_matrix(low.device))


@pytest.mark.parametrize("frequency", [(0, 0), (0, 1), (2, 1), (3, 3)])
def test_what_a_block_shows_is_added_and_the_slack_left(frequency: tuple[int, int]) -> None:
    """One coefficient of the middle block differs by two steps. A smooth wave keeps its form under the bicubic."""
    blocks, place = JpegBlocks(0, 0, TABLE, 50), Box(0, 0, 24, 24)
    row, column = frequency
    step, wave = TABLE[row][column], torch.zeros(1, 1, 24, 24)
    cosines = cosine_matrix(wave.device)
    wave[..., 8:16, 8:16] = torch.outer(cosines[row], cosines[column])
    low, high = (2 * step / LEVEL * wave).expand(1, 3, -1, -1), torch.zeros(1, 3, 96, 96)
    expected = GAIN * bicubic((2 - SLACK) * step / LEVEL * wave, 96, 96)
    torch.testing.assert_close(blocks.correct(low, high, place), expected.expand_as(high), rtol=0, atol=1e-5)
    assert torch.equal(blocks.correct(low * SLACK / 2.01, high, place), high)


def test_an_enlargement_comes_closer_to_the_picture_and_stays_if_it_agrees() -> None:
    low = seen(photo())
    high, place = (
        bicubic(seen(photo(384)), 4 * low.shape[-2], 4 * low.shape[-1]),
        Box(0, 0, low.shape[-1], low.shape[-2]),
    )
    jpeg = seen(as_jpeg(photo(), quality=50))
    blocks = JpegBlocks(0, 0, TABLE, 50)
    steps = torch.tensor(TABLE)

    def excess(image: Tensor) -> float:
        return float((coefficients_of(jpeg - bicubic(image, *low.shape[-2:])) / steps).abs().sub(SLACK).relu().mean())

    assert excess(blocks.correct(jpeg, high, place)) < 0.3 * excess(high)
    loose = JpegBlocks(0, 0, tuple(tuple(1000.0 for _ in row) for row in TABLE), 1)
    assert torch.equal(loose.correct(jpeg, high, place), high)


@pytest.mark.parametrize("corner", [(0, 0), (5, 2)])
def test_a_correction_looks_no_further_than_it_says(corner: tuple[int, int]) -> None:
    """In any part, and so in tiles, the correction is that of the whole picture."""
    blocks, whole = JpegBlocks(*corner, TABLE, 50), Box(0, 0, 61, 53)
    low, high = torch.rand(1, 3, 53, 61) * 2 - 1, torch.rand(1, 3, 212, 244) * 2 - 1
    everywhere = blocks.correct(low, high, whole)
    for part in (Box(0, 0, 10, 10), Box(20, 17, 33, 30), Box(29, 40, 61, 53), Box(7, 7, 8, 8)):
        needed = blocks.needed(part, whole)
        assert needed == needed.grown(0, part.grown(blocks.radius, whole))  # is inside of it
        corrected = blocks.correct(needed.of(low), needed.of(high, 4), needed)
        torch.testing.assert_close(part.inside(needed).of(corrected, 4), part.of(everywhere, 4), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(61, 53), (9, 40), (1, 1)])
def test_tiles_leave_no_trace_of_the_correction(model: Model, size: tuple[int, int]) -> None:
    blocks, picture = JpegBlocks(3, 6, TABLE, 50), photo(100).resize(size)
    upscaler = Upscaler(model, "tiny", "cpu", "fp32")
    whole = np.asarray(upscaler.enlarge(picture, correction=blocks)).astype(int)
    assert size == (1, 1) or np.abs(whole - np.asarray(upscaler.enlarge(picture))).max() > 3
    upscaler.tile = 16
    assert np.abs(whole - np.asarray(upscaler.enlarge(picture, correction=blocks))).max() <= 1
