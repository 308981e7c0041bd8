"""How worn a picture is by its file and by its pixels, and which model is chosen for it."""

import io
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT
from PIL import Image

from srgan import Automatic
from srgan.degradation.chain import copies_alike
from srgan.jpeg_blocks import zero_shares
from srgan.measure.metrics import psnr_y
from srgan.page import uploads
from srgan.pictures.formats import open_picture, standard
from srgan.pictures.images import normalize, open_rgb, to_picture, to_pixels, to_tensor
from srgan.pictures.sizes import TargetSize
from srgan.signs import (
    NETWORK_WINDOW,
    NOISE,
    WORN_SHARE,
    block_share,
    colour_noise,
    jpeg_quality,
    looked_at,
    removed_by,
    worn_share,
)
from srgan.wear import NOISY_DETAIL, RESTORED, RESTORED_NOISY, WORN_BLOCKS, WORN_QUALITY

EXAMPLES = ("obama.jpg", "collins.png", "biden.jpg", "cat.png", "coffee.png")


@pytest.fixture(scope="module")
def models() -> Automatic:
    return Automatic.load("cpu")


def original(name: str, side: int = 384) -> Image.Image:
    photo = open_rgb(ROOT / "examples" / name)
    photo.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=None)
    return photo.crop((0, 0, photo.width // 4 * 4, photo.height // 4 * 4))


def copy(name: str, kind: str, side: int = 384) -> Image.Image:
    """Returns an example's small copy, whose long side is a quarter of `side`."""
    low, _ = copies_alike(kind, normalize(to_tensor(original(name, side))).unsqueeze(0))
    return to_picture(to_pixels(low)[0])


def share(models: Automatic, picture: Image.Image) -> float:
    low = looked_at(picture, NETWORK_WINDOW)
    return worn_share(low, removed_by(models.worn.restore_closest, low))


def psnr_of(picture: Image.Image, photo: Image.Image) -> float:
    return float(psnr_y(to_tensor(picture).unsqueeze(0), to_tensor(photo).unsqueeze(0)))


def as_jpeg(picture: Image.Image, **options: object) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", **options)
    return Image.open(file)


@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_quality_of_a_jpeg_is_told_from_its_tables(mode: str, subsampling: int) -> None:
    picture = copy("cat.png", "clean").convert(mode)
    for quality in (5, 20, 49, 50, 68, 75, 85, 90, 95, 100):
        found = as_jpeg(picture, quality=quality, subsampling=subsampling)
        assert jpeg_quality(found) == jpeg_quality(standard(found)) == quality


def test_tables_that_libjpeg_does_not_make_have_the_nearest_quality() -> None:
    own = [[max(1, 2 * (row + column)) for row in range(8) for column in range(8)]] * 2
    assert 85 <= (jpeg_quality(as_jpeg(copy("cat.png", "clean"), qtables=own)) or 0) <= 92


def test_a_broken_table_harms_nothing(models: Automatic) -> None:
    """A file may state steps of 0, which JPEG cannot have."""
    picture = as_jpeg(copy("obama.jpg", "clean"), quality=90)
    blocks = models.choose(picture)[1].blocks
    picture.quantization = {0: [0] * 64}  # pyright: ignore[reportAttributeAccessIssue] - only JpegImageFile has it
    assert models.choose(picture)[1].blocks == blocks is not None


def test_only_the_picture_as_it_was_read_has_a_quality(tmp_path: Path) -> None:
    """A large JPEG is clean after it has been reduced."""
    picture = as_jpeg(copy("cat.png", "clean"), quality=40)
    assert jpeg_quality(picture.resize((9, 9))) is None
    assert jpeg_quality(standard(picture).resize((9, 9))) is None
    assert jpeg_quality(copy("cat.png", "clean")) is None
    place = tmp_path / "small.jpg"
    copy("cat.png", "clean").save(place, quality=40)
    assert jpeg_quality(open_picture(place)[0]) == jpeg_quality(uploads.read(str(place))[0]) == 40
    assert jpeg_quality(uploads.read_opaque(str(place))[0]) is None


@pytest.mark.parametrize("name", EXAMPLES)
def test_clean_and_worn_pictures_are_told_apart_by_pixels(models: Automatic, name: str) -> None:
    copies = {kind: copy(name, kind) for kind in ("clean", "box", "jpeg75", "jpeg50", "web", "old")}
    blocks = {kind: block_share(zero_shares(looked_at(small))) for kind, small in copies.items()}
    for kind in ("clean", "box"):
        assert share(models, copies[kind]) < 0.9 * WORN_SHARE
        assert blocks[kind] < 0.6 * WORN_BLOCKS
    assert share(models, copies["old"]) > 1.5 * WORN_SHARE
    assert all(blocks[kind] > 1.1 * WORN_BLOCKS for kind in ("web", "old", "jpeg75", "jpeg50"))


def test_the_model_fits_the_picture_and_it_is_said_why(models: Automatic) -> None:
    small = copy("obama.jpg", "clean")
    upscaler, choice = models.choose(small)
    assert upscaler is models.clean and choice.why == "Looks clean: restored with the model for clean photos."
    assert np.array_equal(models.enlarge(small, 0.5), models.clean.enlarge(small, 0.5))
    upscaler, choice = models.choose(as_jpeg(small, quality=68))
    assert upscaler is models.worn
    assert choice.why == f"Looks worn (JPEG quality 68): {RESTORED}"
    worn = copy("obama.jpg", "web")
    upscaler, choice = models.choose(worn)
    assert upscaler is models.worn and choice.why == f"Looks worn (JPEG quality 75, blur or noise): {RESTORED_NOISY}"
    assert np.array_equal(models.enlarge(worn, 0.5), models.worn.enlarge(worn, 0.5 * NOISY_DETAIL))
    assert models.choose(as_jpeg(worn, quality=98))[0] is models.worn  # saved at high quality after it was worn
    assert models.choose(as_jpeg(small, quality=WORN_QUALITY))[0] is models.worn


def test_a_png_of_a_jpeg_is_restored_as_the_jpeg(models: Automatic, tmp_path: Path) -> None:
    jpeg = as_jpeg(copy("obama.jpg", "clean"), quality=50)
    jpeg.save(tmp_path / "screenshot.png")
    picture = Image.open(tmp_path / "screenshot.png")
    assert models.choose(picture)[1] == models.choose(jpeg)[1]
    assert np.array_equal(models.enlarge(picture, 0.5), models.enlarge(jpeg, 0.5))


def test_blocks_that_were_changed_after_jpeg_are_seen(models: Automatic) -> None:
    brighter = as_jpeg(copy("obama.jpg", "clean"), quality=60).point(lambda level: round(255 * (level / 255) ** 0.7))
    choice = models.choose(brighter)[1]
    assert choice.why == f"Looks worn (JPEG blocks): {RESTORED}" and choice.blocks is None


@pytest.mark.parametrize("quality", [75, 90])
def test_a_jpeg_is_restored_closer_to_its_original(models: Automatic, quality: int) -> None:
    gained = []
    for name in EXAMPLES:
        photo, small = original(name), as_jpeg(copy(name, "clean"), quality=quality, subsampling=2)
        upscaler, choice = models.choose(small)
        assert upscaler is models.worn
        held, plain = upscaler.enlarge(small), upscaler.enlarge(small, correction=None)
        assert np.array_equal(held, models.enlarge(small))  # the same whoever chooses the model
        if choice.blocks:
            assert choice.blocks.quality == quality
            gained.append(psnr_of(held, photo) - psnr_of(plain, photo))
        else:
            assert np.array_equal(held, plain)
    assert len(gained) >= 3 and min(gained) > 0 and sum(gained) / len(gained) > 0.1


def test_the_caller_decides_on_the_correction_if_it_gives_one(models: Automatic) -> None:
    small = as_jpeg(copy("cat.png", "clean", 160), quality=75)
    held, plain = models.enlarge(small), models.worn.enlarge(small, correction=None)
    assert np.array_equal(models.enlarge(small, correction=None), plain)
    coarser = models.worn.blocks_to_hold(as_jpeg(copy("cat.png", "clean", 160), quality=30))
    other = models.worn.enlarge(small, correction=coarser)
    assert coarser and not np.array_equal(other, held) and not np.array_equal(other, plain)


def test_a_picture_without_blocks_costs_no_network(models: Automatic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.worn, "restore", lambda *_: pytest.fail("the network ran"))
    for kind in ("clean", "box"):
        assert models.worn.blocks_to_hold(copy("cat.png", kind)) is None
    jpeg = as_jpeg(copy("cat.png", "clean"), quality=75)
    assert models.clean.blocks_to_hold(jpeg) is None  # this model has not learned to remove JPEG
    for size, tileable in ((TargetSize(scale=0.5), False), (TargetSize(scale=1), True)):
        models.worn.enlarge(jpeg.crop((0, 0, 32, 24)), size=size, tileable=tileable)


@pytest.mark.parametrize("name", EXAMPLES)
def test_wear_from_before_the_jpeg_does_not_come_back(models: Automatic, name: str) -> None:
    assert models.choose(copy(name, "web"))[1].blocks is None
    before = as_jpeg(copy(name, "clean"), quality=20).crop((3, 2, 80, 60))
    choice = models.choose(as_jpeg(before, quality=82))[1]
    assert choice.worn and choice.blocks is None


def noisy(picture: Image.Image, levels: float, channels: int = 3) -> Image.Image:
    noise = np.random.default_rng(0).normal(0, levels, (picture.height, picture.width, channels))
    return Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).round().astype(np.uint8))


def test_white_noise_has_the_stated_deviation() -> None:
    flat = Image.new("RGB", (256, 256), (128, 128, 128))
    for levels in (4, 10, 20):
        assert colour_noise(looked_at(noisy(flat, levels))) == pytest.approx(0.514 * levels, rel=0.03)
    assert colour_noise(looked_at(flat)) == 0


@pytest.mark.parametrize("name", EXAMPLES)
def test_noise_without_jpeg_is_recognised(models: Automatic, name: str) -> None:
    """The model for clean copies would take it for texture."""
    for kind in ("clean", "box"):
        assert colour_noise(looked_at(copy(name, kind), NETWORK_WINDOW)) < 0.9 * NOISE
    small = noisy(copy(name, "clean"), 8)
    upscaler, choice = models.choose(small)
    assert upscaler is models.worn and "noise" in choice.why
    by_clean, by_choice = models.clean.enlarge(small), models.enlarge(small)
    assert psnr_of(by_choice, original(name)) > psnr_of(by_clean, original(name)) + 1


def test_a_large_picture_is_judged_by_parts_of_it(models: Automatic, monkeypatch: pytest.MonkeyPatch) -> None:
    restored = []
    restore = models.worn.restore
    monkeypatch.setattr(models.worn, "restore", lambda low, detail: restored.append(low) or restore(low, detail))
    for kind, expected in (("clean", models.clean), ("web", models.worn)):
        assert models.choose(copy("biden.jpg", kind, 2048))[0] is expected
    assert all(low.shape == (4, 3, NETWORK_WINDOW, NETWORK_WINDOW) for low in restored) and len(restored) == 2


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (3, 300), (2000, 9)])
def test_any_picture_is_judged_and_a_flat_one_is_clean(models: Automatic, mode: str, size: tuple[int, int]) -> None:
    assert models.choose(Image.new(mode, size, 100 if mode in ("I;16", "F") else None))[0] is models.clean


def test_greys_of_16_bits_are_judged_as_those_of_8(models: Automatic) -> None:
    grey = copy("obama.jpg", "old").convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    shares = [share(models, picture) for picture in (deep, grey)]
    assert shares[0] == pytest.approx(shares[1], abs=1e-3)
    seen_through = grey.convert("RGBA")
    seen_through.putalpha(128)
    assert models.choose(seen_through)[0] is models.choose(deep)[0] is models.worn
