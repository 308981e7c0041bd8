"""Enlarging pictures: sizes, tiles, the blend between the two weight sets, and odd pictures."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from conftest import tiny_model
from helpers import as_tensor, is_one_sentence, run_python, textured
from PIL import Image, ImageCms, ImageDraw

import srgan.device
import srgan.upscaler
from srgan.device import choose_device, choose_dtype, glibc
from srgan.errors import UserError
from srgan.model_folder import Model
from srgan.models import Generator, Upsampling
from srgan.pictures.boxes import Box
from srgan.pictures.images import back_project, bicubic, normalize, to_pixels
from srgan.pictures.resampling import Grid
from srgan.pictures.sizes import TargetSize
from srgan.upscaler import SHIPPED_MODEL, Upscaler, difference_from_cpu, resized, working_device


@pytest.fixture
def upscaler(model: Model) -> Upscaler:
    return Upscaler(model, "tiny-faces", "cpu", "fp32")


def network(model: Model, kind: str) -> Generator:
    generator = model.config.network()
    generator.load_state_dict(model.weights[kind])
    return generator


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).astype(int)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 7), (3, 5), (33, 17), (200, 3), (64, 64)])
def test_any_picture_comes_back_four_times_as_large(upscaler: Upscaler, width: int, height: int) -> None:
    enlarged = upscaler.enlarge(textured(0, width, height) if width * height > 1 else Image.new("RGB", (1, 1), "teal"))
    assert (enlarged.mode, enlarged.size) == ("RGB", (4 * width, 4 * height))


@pytest.mark.parametrize(("detail", "kind"), [(0.0, "fidelity"), (1.0, "detail")])
def test_the_ends_of_detail_are_the_two_weight_sets(upscaler: Upscaler, model: Model, detail: float, kind: str) -> None:
    picture = textured(1, 13, 11)
    with torch.no_grad():
        plain = network(model, kind)(normalize(as_tensor(picture)))
    wanted = to_pixels(plain)[0].permute(1, 2, 0).numpy().astype(int)
    assert np.abs(pixels(upscaler.enlarge(picture, detail)) - wanted).max() <= 1


def test_between_them_the_weights_are_blended(upscaler: Upscaler, model: Model) -> None:
    low = normalize(as_tensor(textured(2, 13, 11)))
    for detail in (0.5, 0.8):
        blend = network(model, "detail")
        fidelity, full = model.weights["fidelity"], model.weights["detail"]
        blend.load_state_dict({name: (1 - detail) * fidelity[name] + detail * full[name] for name in full})
        with torch.no_grad():
            torch.testing.assert_close(upscaler.restore(low, detail), blend(low), rtol=0, atol=1e-4)
    ends = upscaler.restore(low, 0.0), upscaler.restore(low, 1.0)
    assert (ends[0] - ends[1]).abs().mean() > 0.05


def test_detail_is_full_unless_told(upscaler: Upscaler) -> None:
    picture = textured(3, 9, 9)
    assert np.array_equal(pixels(upscaler.enlarge(picture)), pixels(upscaler.enlarge(picture, 1.0)))


@pytest.mark.parametrize("detail", [-0.01, 1.01, float("nan"), float("inf")])
def test_detail_outside_0_to_1_is_refused(upscaler: Upscaler, detail: float) -> None:
    with pytest.raises(UserError) as caught:
        upscaler.enlarge(textured(0, 4, 4), detail)
    assert is_one_sentence(str(caught.value)) and str(detail) in str(caught.value)


def test_a_model_of_one_weight_set_has_one_detail(one_set_folder: Path) -> None:
    upscaler = Upscaler.load(one_set_folder, "cpu", "fp32")
    assert not upscaler.can_blend
    assert upscaler.enlarge(textured(0, 5, 5)).size == (20, 20)
    with pytest.raises(UserError, match="one-set") as caught:
        upscaler.enlarge(textured(0, 5, 5), 0.5)
    assert is_one_sentence(str(caught.value))


def test_a_folder_is_loaded_under_its_name(model_folder: Path) -> None:
    upscaler = Upscaler.load(model_folder, "cpu")
    assert upscaler.name == "tiny-faces" and upscaler.can_blend


def test_a_whole_batch_goes_through_at_once(upscaler: Upscaler) -> None:
    low = torch.cat([normalize(as_tensor(textured(seed, 10, 8))) for seed in range(3)])
    together = upscaler.restore(low)
    assert together.shape == (3, 3, 32, 40) and together.dtype == torch.float32
    alone = torch.cat([upscaler.restore(image.unsqueeze(0)) for image in low])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


# Tiles


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("tile", [7, 20, 36, 100])
@pytest.mark.parametrize("upsampling", get_args(Upsampling))
def test_tiles_leave_no_trace(upsampling: Upsampling, precision: str, tile: int) -> None:
    model = tiny_model(upsampling=upsampling)
    upscaler = Upscaler(model, "", "cpu", precision)
    picture = textured(4, 50, 37)
    low = normalize(as_tensor(picture))
    whole, restored = pixels(upscaler.enlarge(picture)), upscaler.restore(low)
    upscaler.tile = tile
    assert np.abs(pixels(upscaler.enlarge(picture)) - whole).max() <= (1 if precision == "fp32" else 2)
    torch.testing.assert_close(upscaler.restore(low), restored, rtol=0, atol=1e-5 if precision == "fp32" else 0.02)


def back_projecting(model: Model) -> Upscaler:
    config = replace(model.config, back_projection=True)
    return Upscaler(Model(config, model.weights, {}), "", "cpu", "fp32")


@pytest.mark.parametrize("best", [False, True])
def test_a_model_with_back_projection_corrects_its_result(model: Model, best: bool) -> None:
    """The result is the same in one tile and in many, because a tile includes all pixels that the correction reads."""
    upscaler, picture = back_projecting(model), textured(4, 50, 37)
    plain = Upscaler(model, "", "cpu", "fp32").restore(normalize(as_tensor(picture)))
    low = normalize(as_tensor(picture))
    torch.testing.assert_close(upscaler.restore(low), back_project(low, plain), rtol=0, atol=1e-5)
    whole = pixels(upscaler.enlarge(picture, best=best))
    upscaler.tile = 20
    assert np.abs(pixels(upscaler.enlarge(picture, best=best)) - whole).max() <= 1
    upscaler.tile = 100
    many = Image.new("RGB", (150, 111))
    for place in [(x, y) for x in (0, 50, 100) for y in (0, 37, 74)]:
        many.paste(picture, place)
    middle = pixels(upscaler.enlarge(many, best=best))[4 * 37 : 8 * 37, 4 * 50 : 8 * 50]
    assert np.abs(pixels(upscaler.enlarge(picture, best=best, tileable=True)) - middle).max() <= 1


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_tiles_of_the_shipped_model_leave_no_trace(precision: str) -> None:
    """The network with 32 blocks sees 70 pixels in each direction, so the picture is long and, to save time, low."""
    upscaler = Upscaler.load(device="cpu", precision=precision)
    picture = textured(6, 200, 12)
    whole = pixels(upscaler.enlarge(picture))
    upscaler.tile = 24
    assert np.abs(pixels(upscaler.enlarge(picture)) - whole).max() <= 1


def test_the_halo_is_no_smaller_than_what_the_network_sees(model: Model) -> None:
    """The gradient of one output pixel reaches exactly as far as the radius says."""
    generator = network(model, "detail")
    for function, radius, channels in (
        (generator.to_features, generator.features_radius, 3),
        (generator.to_image, generator.image_radius, model.config.channels),
    ):
        side = 2 * radius + 9
        image = torch.randn(1, channels, side, side, requires_grad=True)
        out = function(image)
        scale = out.shape[-1] // side
        middle = side // 2
        # All output pixels of the middle input pixel: the outer ones see the furthest.
        out[..., scale * middle : scale * (middle + 1), scale * middle : scale * (middle + 1)].sum().backward()
        rows = image.grad[0].abs().sum((0, 2)).nonzero().flatten()
        assert middle - int(rows.min()) == radius and int(rows.max()) - middle == radius


def test_no_tile_is_larger_than_it_may_be(upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, int] = {}
    for name in ("to_features", "to_image"):
        original = getattr(Generator, name)

        def watched(
            self: Generator, window: torch.Tensor, *rest: Any, name: str = name, original: Any = original
        ) -> torch.Tensor:
            seen[name] = max(seen.get(name, 0), *window.shape[-2:])
            return original(self, window, *rest)

        monkeypatch.setattr(Generator, name, watched)
    upscaler.tile = 20
    upscaler.enlarge(textured(0, 100, 80))
    generator = upscaler.generator(1.0)
    assert seen["to_image"] == 20 // srgan.upscaler.IMAGE_TILES + 2 * generator.image_radius
    assert seen["to_features"] == 20 + 2 * (generator.image_radius + generator.features_radius)


def with_memory_for(monkeypatch: pytest.MonkeyPatch, side: int, error: RuntimeError) -> list[int]:
    """Makes the device run out of memory for windows above a side. Returns the list of all sides that are requested."""
    asked: list[int] = []
    original = Generator.to_features

    def to_features(self: Generator, window: torch.Tensor, *rest: Any) -> torch.Tensor:
        asked.append(max(window.shape[-2:]))
        if asked[-1] > side:
            raise error
        return original(self, window, *rest)

    monkeypatch.setattr(Generator, "to_features", to_features)
    return asked


OUT_OF_MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.parametrize("error", [OUT_OF_MEMORY, RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_where_memory_runs_out_the_tiles_get_smaller(
    upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    picture = textured(3, 150, 90)
    whole = pixels(upscaler.enlarge(picture))
    asked = with_memory_for(monkeypatch, 70, error)
    assert np.abs(pixels(upscaler.enlarge(picture)) - whole).max() <= 1
    assert asked[0] == 150 and sum(side > 70 for side in asked) == 2  # 150, 75 and its halo; then 37 and its halo fits
    asked.clear()
    upscaler.enlarge(picture)
    assert max(asked) <= 70  # the smaller size is remembered


def test_tiles_grow_again_when_there_is_memory_again(upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch) -> None:
    full = upscaler.tile
    picture = textured(3, 150, 20)
    with monkeypatch.context() as patch:
        with_memory_for(patch, 70, OUT_OF_MEMORY)
        upscaler.enlarge(picture)
    assert upscaler.tile == 37
    for _ in range(srgan.upscaler.GROWS_AFTER):
        upscaler.enlarge(textured(3, 20, 20))  # fits in any case, and shows nothing
    sides = [upscaler.tile for _ in range(3 * srgan.upscaler.GROWS_AFTER) if upscaler.enlarge(picture)]
    assert sorted(set(sides)) == [37, 74, 148, 296] and sides.count(37) < srgan.upscaler.GROWS_AFTER
    upscaler.tile, upscaler._fitted = full - 1, srgan.upscaler.GROWS_AFTER
    upscaler.enlarge(textured(3, 20, 20))
    assert upscaler.tile == full  # but not above it


def test_where_memory_stays_short_few_tiles_are_tried_in_vain(
    upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = with_memory_for(monkeypatch, 70, OUT_OF_MEMORY)
    for _ in range(3 * srgan.upscaler.GROWS_AFTER):
        upscaler.enlarge(textured(3, 150, 20))
    assert sum(side > 70 for side in asked) <= 2 + 3


def test_no_memory_at_all_is_one_sentence(upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch) -> None:
    with_memory_for(monkeypatch, 0, OUT_OF_MEMORY)
    with pytest.raises(UserError, match="memory") as caught:
        upscaler.enlarge(textured(3, 150, 90))
    assert is_one_sentence(str(caught.value))


def test_other_errors_are_not_taken_for_a_lack_of_memory(upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = with_memory_for(monkeypatch, 0, RuntimeError("expected scalar type Half"))
    with pytest.raises(RuntimeError, match="Half"):
        upscaler.enlarge(textured(3, 20, 20))
    assert len(asked) == 1


MEMORY = """
import resource, sys
from PIL import Image
from srgan.upscaler import Upscaler
model, precision, *sizes = sys.argv[1:]
upscaler = Upscaler.load(model, "cpu", precision)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
upscaler.enlarge(Image.new("RGB", (16, 16)))
idle = peak()
for size in sizes:
    width, height = map(int, size.split("x"))
    upscaler.enlarge(Image.effect_noise((width, height), 50).convert("RGB"))
    print(peak() - idle)
"""


def test_a_large_result_takes_the_memory_of_a_tile_and_of_its_own_pixels(model_folder: Path) -> None:
    """960x540 -> 3840x2160 must take less than 1.5 GB more than an idle process. Most of that is for the network, whose
    tiles are no larger than the first picture here; the rest grows with the tile and the pixels."""
    done = run_python("-c", MEMORY, str(SHIPPED_MODEL), "fp32", "128x128", "128x192")
    assert done.returncode == 0, done.stderr
    first, second = map(int, done.stdout.split())
    grows = max(0, second - first) / (128 * 64)
    assert first + grows * (960 * 540 - 128 * 128) < 1.5e9


def test_the_picture_and_its_result_are_in_memory_once(model_folder: Path) -> None:
    done = run_python("-c", MEMORY, str(model_folder), "fp32", "256x256", "256x2048")
    assert done.returncode == 0, done.stderr
    first, second = map(int, done.stdout.split())
    assert second - first < 6 * 16 * 256 * 1792  # bytes; Pillow takes four for each pixel of the result


@pytest.mark.skipif(glibc() is None, reason="about glibc's memory")
def test_layers_take_memory_that_is_there() -> None:
    """Counts the memory pages that the system provides for another picture, with and without keep_memory."""
    code = """
import resource, sys
from PIL import Image
from srgan import upscaler
if sys.argv[1] == "without":
    upscaler.keep_memory = lambda device: None
enlarger, picture = upscaler.Upscaler.load(device="cpu", precision="fp32"), Image.new("RGB", (64, 64))
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    enlarger.enlarge(picture)
    pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(pages)
"""
    done = {how: run_python("-c", code, how) for how in ("with", "without")}
    pages = {how: int(result.stdout) for how, result in done.items()}
    assert pages["with"] < pages["without"] / 2


# Other sizes


def by_torch(picture: Image.Image, width: int, height: int) -> np.ndarray:
    """Resizes with PyTorch's antialiased bicubic filter."""
    reduced = bicubic(normalize(as_tensor(picture)), height, width)
    return to_pixels(reduced)[0].permute(1, 2, 0).numpy().astype(float)


@pytest.mark.parametrize("tile", [9, 512])
@pytest.mark.parametrize("size", ["x1", "x2", "x3", "x1.5", "width 70", "0.01 MP", "200x64"])
def test_the_network_enlarges_four_times_and_one_reduction_follows(upscaler: Upscaler, size: str, tile: int) -> None:
    picture, target = textured(2, 53, 31), TargetSize.parse(size)
    large = upscaler.enlarge(picture)
    upscaler.tile = tile
    found = upscaler.enlarge(picture, size=target)
    assert found.size == target.of(53, 31)
    assert np.abs(pixels(found) - by_torch(large, *found.size)).max() <= 2  # without rounding in between


def test_beyond_four_times_the_network_is_applied_twice(upscaler: Upscaler) -> None:
    picture = textured(2, 23, 17)
    large = upscaler.enlarge(upscaler.enlarge(picture, 0.5), 0.5)
    assert np.array_equal(pixels(upscaler.enlarge(picture, 0.5, TargetSize(scale=16))), pixels(large))
    found = upscaler.enlarge(picture, 0.5, TargetSize(scale=8))
    assert found.size == (184, 136)
    assert np.abs(pixels(found) - by_torch(large, 184, 136)).max() <= 2


def test_a_size_below_the_pictures_is_a_reduction_cleaned_up(upscaler: Upscaler) -> None:
    picture = textured(2, 53, 31)
    small = Image.fromarray(by_torch(picture, 20, 12).astype(np.uint8))
    wanted = by_torch(upscaler.enlarge(small), 20, 12)
    found = upscaler.enlarge(picture, size=TargetSize(width=20))
    assert found.size == (20, 12) and np.abs(pixels(found) - wanted).max() <= 2


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "I;16"])
@pytest.mark.parametrize("size", ["x1.5", "x8", "width 11"])
def test_other_modes_have_other_sizes_too(upscaler: Upscaler, mode: str, size: str) -> None:
    grey = textured(4, 22, 13).convert("L")
    picture = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257) if mode == "I;16" else grey.convert(mode)
    found = upscaler.enlarge(picture, size=TargetSize.parse(size))
    assert (found.mode, found.size) == (mode, TargetSize.parse(size).of(22, 13))
    if mode.endswith("A"):
        opaque = upscaler.enlarge(picture.convert(mode[:-1]), size=TargetSize.parse(size))
        assert found.getchannel("A").getextrema() == (255, 255)
        assert np.array_equal(np.asarray(found)[..., :-1].squeeze(), np.asarray(opaque))
    if mode == "I;16":
        wanted = upscaler.enlarge(grey, size=TargetSize.parse(size))
        assert np.abs(pixels(found) / 257 - pixels(wanted)).max() <= 4  # 8 bits are rounded in between


def test_a_part_is_what_the_whole_has_there(upscaler: Upscaler) -> None:
    picture, part = textured(3, 90, 70), Box(20, 11, 61, 48)
    for size in ((360, 280), (135, 105), (90, 70)):
        whole = upscaler.enlarge(picture, size=TargetSize(fit=size))
        place = Grid.between(picture.size, size, 4).place(part)
        found = upscaler.enlarge_part(picture, part, size, around=100)
        assert np.abs(pixels(found) - pixels(whole.crop(place))).max() <= 1


def test_the_watch_sees_all_of_the_work_and_may_end_it(upscaler: Upscaler) -> None:
    shares: list[float] = []
    upscaler.tile = 16
    picture, size = textured(3, 40, 30), TargetSize(scale=8)
    large = upscaler.enlarge(picture, size=size, watch=shares.append)
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == pytest.approx(1)
    assert len(set(shares)) > 100
    assert np.array_equal(pixels(large), pixels(upscaler.enlarge(picture, size=size)))

    class Cancelled(Exception):
        pass

    def cancel(share: float) -> None:
        shares.append(share)
        if share > 0.3:
            raise Cancelled

    shares.clear()
    with pytest.raises(Cancelled):
        upscaler.enlarge(picture, size=size, watch=cancel)
    assert shares[-2] <= 0.3
    assert np.array_equal(pixels(large), pixels(upscaler.enlarge(picture, size=size)))


# The mirrored picture, and textures


@pytest.mark.parametrize("tile", [9, 512])
def test_the_best_is_the_mean_with_the_mirrored_picture(upscaler: Upscaler, tile: int) -> None:
    picture = textured(2, 53, 31)
    mirror = Image.Transpose.FLIP_LEFT_RIGHT
    wanted = (
        pixels(upscaler.enlarge(picture)) + pixels(upscaler.enlarge(picture.transpose(mirror)).transpose(mirror))
    ) / 2
    upscaler.tile = tile
    shares: list[float] = []
    best = upscaler.enlarge(picture, watch=shares.append, best=True)
    assert np.abs(pixels(best) - wanted).max() <= 1
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1)
    assert np.abs(pixels(best) - pixels(upscaler.enlarge(picture))).max() > 2


@pytest.mark.parametrize(
    ("size", "mode", "tile"),
    [("x4", "RGB", 9), ("x1.5", "RGB", 512), ("x8", "RGB", 512), ("width 10", "LA", 512), ("x4", "I;16", 512)],
)
def test_a_tileable_result_is_the_middle_of_many_laid_side_by_side(
    upscaler: Upscaler, size: str, mode: str, tile: int
) -> None:
    picture = textured(2, 20, 12)
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    elif mode == "LA":
        picture = picture.convert("LA")
        picture.putalpha(textured(3, 20, 12).convert("L").point(lambda level: max(level, 1)))
    else:
        picture = picture.convert(mode)
    many = Image.new(picture.mode, (5 * 20, 5 * 12))
    for number in range(25):
        many.paste(picture, (number % 5 * 20, number // 5 * 12))
    upscaler.tile = tile
    target = TargetSize.parse(size)
    found = upscaler.enlarge(picture, size=target, tileable=True)
    width, height = found.size
    middle = upscaler.enlarge(many, size=TargetSize(fit=(5 * width, 5 * height)))
    assert middle.size == (5 * width, 5 * height)
    wanted = middle.crop((2 * width, 2 * height, 3 * width, 3 * height))
    level = 257 if mode == "I;16" else 1
    assert np.abs(pixels(found) - pixels(wanted)).max() <= 2 * level


# Flat parts


@pytest.mark.parametrize("tile", [7, 512])
@pytest.mark.parametrize("colour", [(0, 0, 255), (200, 30, 60), (255, 0, 255), (0, 255, 0)])
def test_a_flat_picture_stays_as_it_is(tile: int, colour: tuple[int, int, int]) -> None:
    """This holds for a single pixel, in bf16, which rounds, and at the edges, beyond which the network sees grey."""
    upscaler = Upscaler.load(device="cpu", precision="bf16")
    upscaler.tile = tile
    for size in ((20, 16), (1, 1)):
        for detail in (0.0, 1.0):
            assert np.abs(pixels(upscaler.enlarge(Image.new("RGB", size, colour), detail)) - colour).max() <= 2


def test_only_flat_parts_are_kept_from_the_network(upscaler: Upscaler, model: Model) -> None:
    """In a picture with a flat and a textured half, each half is what it would be alone, except near the border."""
    picture = textured(4, 40, 24)
    picture.paste((0, 0, 255), (0, 0, 20, 24))
    with torch.no_grad():
        plain = (
            to_pixels(network(model, "detail")(normalize(as_tensor(picture))))[0].permute(1, 2, 0).numpy().astype(int)
        )
    found = pixels(upscaler.enlarge(picture))
    assert np.abs(found[:, : 4 * 17] - (0, 0, 255)).max() <= 1
    assert np.abs(found[:, 4 * 21 :] - plain[:, 4 * 21 :]).max() <= 1
    upscaler.tile = 9
    assert np.abs(pixels(upscaler.enlarge(picture)) - found).max() <= 1


# Pictures that are not RGB


def luma(picture: Image.Image) -> np.ndarray:
    return pixels(picture) @ [0.299, 0.587, 0.114]


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_stays_grey(upscaler: Upscaler, mode: str) -> None:
    grey = textured(5, 12, 10).convert(mode)
    enlarged = upscaler.enlarge(grey)
    assert (enlarged.mode, enlarged.size) == ("L", (48, 40))
    assert np.abs(pixels(enlarged) - luma(upscaler.enlarge(grey.convert("RGB")))).max() <= 1


@pytest.mark.parametrize("mode", ["P", "CMYK", "YCbCr", "HSV", "RGBX"])
def test_other_colours_are_enlarged_as_their_rgb(upscaler: Upscaler, mode: str) -> None:
    picture = textured(5, 12, 10).convert(mode)
    enlarged = upscaler.enlarge(picture)
    assert enlarged.mode == "RGB"
    assert np.array_equal(pixels(enlarged), pixels(upscaler.enlarge(picture.convert("RGB"))))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_sixteen_bits_stay_sixteen_bits(model: Model, precision: str) -> None:
    upscaler = Upscaler(model, "", "cpu", precision)
    levels = np.linspace(20_000, 21_000, 24 * 20).astype(np.uint16).reshape(20, 24)
    enlarged = upscaler.enlarge(Image.fromarray(levels))
    assert (enlarged.mode, enlarged.size) == ("I;16", (96, 80))
    low = torch.from_numpy(levels.astype(np.float32) / 32767.5 - 1).expand(1, 3, -1, -1)
    with torch.no_grad():
        red, green, blue = network(model, "detail")(low)[0]
    wanted = (0.299 * red + 0.587 * green + 0.114 * blue + 1) * 32767.5
    assert np.abs(pixels(enlarged) - wanted.numpy()).max() <= 2
    assert len(np.unique(pixels(enlarged))) > 500


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_enlarged_on_its_own_by_the_bicubic(upscaler: Upscaler, mode: str) -> None:
    picture = textured(5, 40, 30).convert(mode)
    alpha = textured(8, 40, 30).convert("L").point(lambda level: max(1, level))
    picture.putalpha(alpha)
    enlarged = upscaler.enlarge(picture)
    assert (enlarged.mode, enlarged.size) == (mode, (160, 120))
    wanted = to_pixels(bicubic(normalize(torch.from_numpy(np.array(alpha)))[None, None], 120, 160))[0, 0]
    assert np.array_equal(np.asarray(enlarged.getchannel("A")), wanted.numpy())


def test_tiles_leave_no_trace_in_alpha() -> None:
    alpha = textured(8, 40, 30).convert("L")
    for size in ((160, 120), (97, 73), (40, 30), (21, 11)):
        whole = resized(alpha, size)
        assert whole.size == size
        assert np.abs(pixels(resized(alpha, size, tile=7)) - pixels(whole)).max() <= 1


def test_where_nothing_is_transparent_colours_are_those_of_rgb(upscaler: Upscaler) -> None:
    for alpha in (255, 128):
        picture = textured(5, 12, 10).convert("RGBA")
        picture.putalpha(alpha)
        enlarged = upscaler.enlarge(picture)
        assert np.array_equal(pixels(enlarged.convert("RGB")), pixels(upscaler.enlarge(textured(5, 12, 10))))
        assert np.unique(pixels(enlarged.getchannel("A"))).tolist() == [alpha]


def disc(hidden: str) -> Image.Image:
    """Returns a teal disc with a soft edge. Fully transparent pixels have another colour."""
    alpha = Image.new("L", (96, 96))
    ImageDraw.Draw(alpha).ellipse((16, 16, 80, 80), fill=255)
    alpha = alpha.resize((24, 24), Image.Resampling.BOX)
    picture = Image.new("RGB", (24, 24), hidden)
    picture.paste("teal", mask=alpha.point(lambda level: 255 if level else 0))
    picture.putalpha(alpha)
    return picture


def test_what_is_hidden_under_transparency_does_not_bleed(upscaler: Upscaler) -> None:
    black, lime = (pixels(upscaler.enlarge(disc(hidden))) for hidden in ("black", "lime"))
    assert np.array_equal(black, lime)
    shows = black[..., 3] > 0
    assert len(np.unique(black[..., 3])) > 20
    flat = pixels(upscaler.enlarge(Image.new("RGB", (24, 24), "teal")))
    assert np.abs(black[..., :3] - flat)[shows].max() <= 1
    naive = pixels(upscaler.enlarge(disc("black").convert("RGB")))
    assert np.abs(naive - flat)[shows].max() > 20  # the colour would show otherwise


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (6, 1), (5, 7)])
def test_pictures_without_a_visible_pixel_are_enlarged_too(upscaler: Upscaler, size: tuple[int, int]) -> None:
    enlarged = upscaler.enlarge(Image.new("RGBA", size))
    assert enlarged.size == (4 * size[0], 4 * size[1])
    assert pixels(enlarged)[..., 3].max() == 0


def test_a_turned_photo_is_enlarged_upright(upscaler: Upscaler, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    textured(6, 12, 10).save(tmp_path / "turned.png", exif=exif)
    turned = Image.open(tmp_path / "turned.png")
    upright = Image.fromarray(np.rot90(np.asarray(textured(6, 12, 10)), -1).copy())
    assert np.array_equal(pixels(upscaler.enlarge(turned)), pixels(upscaler.enlarge(upright)))


def test_profile_and_dpi_go_along(upscaler: Upscaler) -> None:
    picture = textured(7, 8, 8)
    picture.info = {
        "icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        "dpi": (300, 300),
    }
    assert upscaler.enlarge(picture).info == picture.info


def test_the_picture_that_was_given_is_left_as_it_was(upscaler: Upscaler) -> None:
    picture = textured(7, 8, 8)
    upscaler.enlarge(picture)
    assert np.array_equal(pixels(picture), pixels(textured(7, 8, 8)))


# Loading


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, srgan; print(*sys.modules); from srgan import Upscaler; print(*sys.modules)"
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    first, second = (set(line.split()) for line in done.stdout.splitlines())
    assert not first & {"torch", "numpy", "PIL", "huggingface_hub", "gradio"}
    assert "torch" in second and not second & {"gradio", "torchvision", "matplotlib"}


# Devices


def test_bf16_is_close_to_fp32(model: Model) -> None:
    picture = textured(8, 24, 24)
    exact, fast = (pixels(Upscaler(model, "", "cpu", precision).enlarge(picture)) for precision in ("fp32", "bf16"))
    assert 0 < np.abs(exact - fast).mean() < 2


def test_a_device_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="--device cuda") as caught:
        choose_device("cuda")
    assert is_one_sentence(str(caught.value))
    assert choose_device("auto") == torch.device("cpu")


@pytest.fixture
def with_an_apple_chip(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes PyTorch report an Apple GPU that does not exist."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    working_device.cache_clear()
    yield
    working_device.cache_clear()


@pytest.mark.usefixtures("with_an_apple_chip")
def test_a_chip_that_does_not_work_is_left_alone_and_that_is_said(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This machine has no such chip, so everything that is sent to it fails."""
    upscaler = Upscaler(model)
    assert upscaler.device.type == "cpu" and "MPS" in upscaler.fallback and is_one_sentence(upscaler.fallback)
    working_device.cache_clear()
    monkeypatch.setattr(srgan.upscaler, "difference_from_cpu", lambda device: "")
    assert working_device("auto") == (torch.device("mps"), "")
    assert choose_device("auto").type == "cpu"  # training uses only CUDA or the CPU


@pytest.mark.usefixtures("with_an_apple_chip")
@pytest.mark.parametrize(("error", "works"), [(0.0, True), (1e-4, True), (0.05, False), (float("nan"), False)])
def test_a_chip_has_to_compute_what_the_cpu_computes(
    monkeypatch: pytest.MonkeyPatch, error: float, works: bool
) -> None:
    restore, chosen = Upscaler.restore, srgan.upscaler.working_device

    def on_a_chip(name: str) -> tuple[torch.device, str]:
        return (torch.device("cpu"), "chip") if name == "mps" else chosen(name)

    def off(self: Upscaler, low: torch.Tensor) -> torch.Tensor:
        return restore(self, low) + (error if self.fallback == "chip" else 0.0)

    monkeypatch.setattr(srgan.upscaler, "working_device", on_a_chip)
    monkeypatch.setattr(Upscaler, "restore", off)
    assert (difference_from_cpu(torch.device("mps")) == "") == works


def test_precision_is_as_asked_and_otherwise_what_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert choose_dtype(cpu, "fp32") == torch.float32
    assert choose_dtype(cpu, "bf16") == torch.bfloat16
    for fast, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(srgan.device, "cpu_has_bf16", lambda fast=fast: fast)
        assert choose_dtype(cpu) == dtype
