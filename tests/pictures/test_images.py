"""Reading files, value ranges, and bicubic resampling, against Pillow and MATLAB."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import SHARED, as_tensor, is_one_sentence, textured
from PIL import Image, ImageCms

from srgan.errors import UserError
from srgan.pictures.images import (
    BACK_RADIUS,
    back_project,
    bicubic,
    centre_crop,
    enlarge_bicubic,
    normalize,
    open_rgb,
    reduce,
    round_to_8_bits,
    to_picture,
    to_pixels,
    to_rgb,
    to_tensor,
)  # fmt: skip

# The value range


def test_all_levels_come_back_from_the_networks_range() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    unit = normalize(levels)
    assert unit.min() == -1 and unit.max() == 1 and unit.dtype == torch.float32
    assert torch.equal(to_pixels(unit), levels)
    assert torch.equal(to_pixels(round_to_8_bits(unit)), levels)


def test_floats_are_rounded_to_nearest_and_clipped() -> None:
    values = torch.tensor([-3.0, -1.0, (100.4 / 127.5) - 1, (100.6 / 127.5) - 1, 1.0, 3.0])
    assert to_pixels(values).tolist() == [0, 0, 100, 101, 255, 255]
    assert to_pixels(round_to_8_bits(values)).tolist() == [0, 0, 100, 101, 255, 255]


def test_pictures_and_tensors_keep_rows_columns_and_channels_apart() -> None:
    picture = textured(0, 7, 5)
    tensor = to_tensor(picture)
    assert tensor.shape == (3, 5, 7)
    assert tuple(tensor[:, 4, 6].tolist()) == picture.getpixel((6, 4))
    assert np.array_equal(np.asarray(to_picture(tensor)), np.asarray(picture))


# Bicubic resampling


def off_by(first: torch.Tensor, second: torch.Tensor) -> int:
    """Returns the largest difference of two pixels in grey levels."""
    return int((first.int() - second.int()).abs().max())


@pytest.mark.parametrize(
    ("size", "target"), [((128, 128), (32, 32)), ((32, 32), (128, 128)), ((101, 75), (25, 18)), ((25, 18), (100, 72))]
)
def test_bicubic_is_pillows(size: tuple[int, int], target: tuple[int, int]) -> None:
    # Away from black and white: Pillow clips between its two passes.
    picture = textured(3, *size, low=50, high=205)
    ours = to_pixels(bicubic(normalize(as_tensor(picture)), target[1], target[0]))
    assert off_by(ours, as_tensor(picture.resize(target, Image.Resampling.BICUBIC))) <= 1


@pytest.mark.parametrize(("size", "target"), [((60, 44), (15, 11)), ((15, 11), (60, 44))])
def test_bicubic_is_pillows_at_full_contrast(size: tuple[int, int], target: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).choice(np.array([0.0, 255.0], np.float32), (size[1], size[0]))
    pillows = np.asarray(Image.fromarray(noise).resize(target, Image.Resampling.BICUBIC))  # floats: nothing is clipped
    ours = bicubic(torch.from_numpy(noise).expand(1, 3, -1, -1), target[1], target[0])
    np.testing.assert_allclose(ours[0, 0].numpy(), pillows, atol=0.01)


def test_reduce_and_enlarge_are_the_bicubic_rounded_to_8_bits() -> None:
    picture = textured(4, 96, 80, low=50, high=205)
    low = reduce(normalize(as_tensor(picture)))
    small = picture.resize((24, 20), Image.Resampling.BICUBIC)
    assert off_by(to_pixels(low), as_tensor(small)) <= 1
    high = enlarge_bicubic(normalize(as_tensor(small)))
    assert off_by(to_pixels(high), as_tensor(small.resize((96, 80), Image.Resampling.BICUBIC))) <= 1
    for images in (low, high):
        levels = (images + 1) * 127.5
        torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)


def test_back_projection_adds_what_the_reduction_lacks_and_nothing_else() -> None:
    high = torch.rand(2, 3, 28, 20) - 0.5
    exact = bicubic(high, 7, 5)
    torch.testing.assert_close(back_project(exact, high), high, rtol=0, atol=1e-6)
    torch.testing.assert_close(back_project(exact + 0.25, high), high + 0.25, rtol=0, atol=1e-6)
    constant = torch.full((1, 3, 4, 6), 0.3)
    torch.testing.assert_close(back_project(constant, torch.zeros(1, 3, 16, 24)), torch.full((1, 3, 16, 24), 0.3))
    low, image = torch.rand(1, 3, 9, 8), torch.rand(1, 3, 36, 32)
    before, after = (float((low - bicubic(x, 9, 8)).abs().mean()) for x in (image, back_project(low, image)))
    assert after < 0.5 * before


def test_back_projection_looks_as_far_as_its_radius_says() -> None:
    centre = BACK_RADIUS + 3
    side = 2 * centre + 1
    high = torch.zeros(1, 3, 4 * side, 4 * side, requires_grad=True)
    inside = slice(4 * centre, 4 * centre + 4)
    back_project(torch.zeros(1, 3, side, side), high)[..., inside, inside].sum().backward()
    assert high.grad is not None
    rows = high.grad[0].abs().sum((0, 2)).nonzero().flatten() // 4
    assert centre - int(rows.min()) == int(rows.max()) - centre == BACK_RADIUS


def test_a_constant_picture_stays_what_it_is() -> None:
    for level in (0, 1, 127, 254, 255):
        image = normalize(torch.full((1, 3, 16, 12), level, dtype=torch.uint8))
        assert to_pixels(reduce(image)).unique().tolist() == [level]
        assert to_pixels(enlarge_bicubic(image)).unique().tolist() == [level]


@pytest.mark.parametrize("name", ["Set5", "Set14"])
def test_reducing_is_matlabs(name: str) -> None:
    """The result differs by at most one grey level. MATLAB mirrors a picture at its border and Pillow does not, so the
    two pixels there are compared after mirroring."""
    folder = SHARED / "data" / name
    if not folder.is_dir():
        pytest.skip(f"{name} is not beside the checkout")
    pairs = [(path, folder / "LR_bicubic_X4" / f"{path.stem}x4.png") for path in sorted((folder / "HR").iterdir())]
    assert len(pairs) in (5, 14)
    for high, low in pairs:
        original, matlabs = normalize(as_tensor(Image.open(high))), as_tensor(Image.open(low))
        assert off_by(to_pixels(reduce(original))[..., 2:-2, 2:-2], matlabs[..., 2:-2, 2:-2]) <= 1, high.name
        mirrored = torch.cat([original[..., :16].flip(-1), original, original[..., -16:].flip(-1)], -1)
        mirrored = torch.cat([mirrored[..., :16, :].flip(-2), mirrored, mirrored[..., -16:, :].flip(-2)], -2)
        assert off_by(to_pixels(reduce(mirrored))[..., 4:-4, 4:-4], matlabs) <= 1, high.name


# Files


def save(picture: Image.Image, path: Path, **options: object) -> Path:
    picture.save(path, **options)
    return path


def test_grey_pictures_become_three_equal_channels(tmp_path: Path) -> None:
    grey = textured(1, 8, 6).convert("L")
    found = open_rgb(save(grey, tmp_path / "grey.png"))
    assert found.mode == "RGB"
    assert np.array_equal(np.asarray(found), np.stack([np.asarray(grey)] * 3, -1))


def test_one_bit_pictures_become_black_and_white(tmp_path: Path) -> None:
    bits = np.array([[True, False], [False, True]])
    found = np.asarray(open_rgb(save(Image.fromarray(bits), tmp_path / "bits.png")))
    assert np.array_equal(found[..., 0], bits * 255)


def test_sixteen_bit_greys_keep_their_range(tmp_path: Path) -> None:
    levels = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    found = np.asarray(open_rgb(save(Image.fromarray(levels), tmp_path / "deep.png")))
    assert np.array_equal(found[..., 1], (levels // 257).astype(np.uint8))


def test_palettes_are_looked_up(tmp_path: Path) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 128, 255])
    picture.putdata([1, 0])
    found = open_rgb(save(picture, tmp_path / "palette.png"))
    assert [found.getpixel((x, 0)) for x in (0, 1)] == [(0, 128, 255), (255, 0, 0)]


def test_what_is_transparent_is_laid_on_white(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (3, 1))
    picture.putdata([(255, 0, 0, 255), (0, 0, 0, 0), (0, 0, 0, 128)])
    found = open_rgb(save(picture, tmp_path / "rgba.png"))
    assert [found.getpixel((x, 0)) for x in range(3)] == [(255, 0, 0), (255, 255, 255), (127, 127, 127)]
    grey = Image.new("LA", (2, 1))
    grey.putdata([(40, 255), (40, 0)])
    found = open_rgb(save(grey, tmp_path / "la.png"))
    assert [found.getpixel((x, 0)) for x in range(2)] == [(40, 40, 40), (255, 255, 255)]
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putdata([0, 1])
    found = open_rgb(save(palette, tmp_path / "palette.png", transparency=0))
    assert [found.getpixel((x, 0)) for x in range(2)] == [(255, 255, 255), (40, 50, 60)]


def test_cmyk_inks_become_colours(tmp_path: Path) -> None:
    picture = Image.new("CMYK", (2, 1))
    picture.putdata([(0, 255, 255, 0), (255, 0, 0, 0)])
    found = open_rgb(save(picture, tmp_path / "inks.tif"))
    assert [found.getpixel((x, 0)) for x in (0, 1)] == [(255, 0, 0), (0, 255, 255)]


@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, 3), (8, 1)])
def test_photos_are_turned_upright(tmp_path: Path, orientation: int, turns: int) -> None:
    picture = textured(2, 8, 6)
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = open_rgb(save(picture, tmp_path / "turned.png", exif=exif))
    assert np.array_equal(np.asarray(found), np.rot90(np.asarray(picture), turns))


def test_a_plain_picture_goes_through_unchanged(tmp_path: Path) -> None:
    picture = textured(5, 9, 4)
    assert np.array_equal(np.asarray(open_rgb(save(picture, tmp_path / "plain.png"))), np.asarray(picture))
    assert np.array_equal(np.asarray(to_rgb(picture)), np.asarray(picture))


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        open_rgb(path)
    text = str(caught.value)
    assert is_one_sentence(text) and str(path) in text
    return text


def test_files_that_are_no_pictures_are_refused_by_name(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "missing.png")
    (tmp_path / "text.jpg").write_text("not a picture")
    assert "not a picture" in refusal(tmp_path / "text.jpg")
    (tmp_path / "empty.png").touch()
    assert "not a picture" in refusal(tmp_path / "empty.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif"])
def test_truncated_pictures_are_refused(tmp_path: Path, suffix: str) -> None:
    path = save(textured(6, 64, 64), tmp_path / f"cut{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refusal(path)


def png_header(width: int, height: int) -> bytes:
    """Returns a PNG that has a header with this size and no content."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("width", "height"), [(10_001, 10_000), (40_000, 40_000)])
def test_gigantic_pictures_are_refused_from_their_header(tmp_path: Path, width: int, height: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(width, height))
    text = refusal(path)
    assert "broken" not in text
    assert "megapixels" in text


def test_centre_crop_is_the_middle() -> None:
    picture = textured(7, 178, 218)
    crop = centre_crop(picture, 128, 128)
    assert np.array_equal(np.asarray(crop), np.asarray(picture)[45:173, 25:153])
    odd = centre_crop(textured(8, 7, 6), 4, 5)
    assert np.array_equal(np.asarray(odd), np.asarray(textured(8, 7, 6))[0:5, 1:5])


def test_pictures_are_compared_in_srgb(tmp_path: Path) -> None:
    picture = Image.new("RGB", (8, 8), (200, 30, 60))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"tXYZ").replace(b"gXYZ", b"rXYZ").replace(b"tXYZ", b"gXYZ")
    picture.save(tmp_path / "wide.png", icc_profile=swapped)
    with Image.open(tmp_path / "wide.png") as file:
        for found in (open_rgb(tmp_path / "wide.png"), to_rgb(file)):
            assert np.abs(np.array(found.getpixel((0, 0))) - (30, 200, 60)).max() <= 2


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("ending", ["jpg", "tif", "webp", "png"])
def test_a_damaged_picture_is_read_or_refused_in_a_sentence(tmp_path: Path, ending: str) -> None:
    picture = textured(0, 24, 20)
    exif = picture.getexif()
    exif[0x0112], exif[0x010F], exif[0x011A] = 6, "maker", 72.0
    path = tmp_path / f"photo.{ending}"
    picture.save(path, exif=exif)
    whole, random, refused = path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(300):
        damaged = bytearray(whole)
        for place in random.integers(0, min(len(whole), 400), 3):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        try:
            assert open_rgb(path).mode == "RGB"
        except UserError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 0
