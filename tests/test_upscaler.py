"""Enlarging pictures: sizes, tiles, the blend between the two weight sets, and odd pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import as_tensor, is_one_sentence, textured
from PIL import Image

import srgan.device
import srgan.upscaler
from srgan.device import choose_device, choose_dtype
from srgan.errors import UserError
from srgan.images import to_pixels, to_unit
from srgan.model_folder import Model
from srgan.models import Generator
from srgan.upscaler import Upscaler, tiled


@pytest.fixture
def upscaler(model: Model) -> Upscaler:
    return Upscaler(model, "tiny-faces", "cpu", "fp32")


def network(model: Model, kind: str) -> Generator:
    generator = Generator(model.config.channels, model.config.blocks)
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
        plain = network(model, kind)(to_unit(as_tensor(picture)))
    wanted = to_pixels(plain)[0].permute(1, 2, 0).numpy().astype(int)
    assert np.abs(pixels(upscaler.enlarge(picture, detail)) - wanted).max() <= 1


def test_between_them_the_weights_are_blended(upscaler: Upscaler, model: Model) -> None:
    low = to_unit(as_tensor(textured(2, 13, 11)))
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
    low = torch.cat([to_unit(as_tensor(textured(seed, 10, 8))) for seed in range(3)])
    together = upscaler.restore(low)
    assert together.shape == (3, 3, 32, 40) and together.dtype == torch.float32
    alone = torch.cat([upscaler.restore(image.unsqueeze(0)) for image in low])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


# Tiles


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("features_tile", "image_tile"), [(16, 8), (7, 5), (1000, 9), (20, 1000)])
def test_tiles_leave_no_trace(
    model: Model, monkeypatch: pytest.MonkeyPatch, precision: str, features_tile: int, image_tile: int
) -> None:
    upscaler = Upscaler(model, "", "cpu", precision)
    picture = textured(4, 50, 37)
    whole = pixels(upscaler.enlarge(picture))
    monkeypatch.setattr(srgan.upscaler, "FEATURES_TILE", features_tile)
    monkeypatch.setattr(srgan.upscaler, "IMAGE_TILE", image_tile)
    assert np.abs(pixels(upscaler.enlarge(picture)) - whole).max() <= (1 if precision == "fp32" else 2)


def test_tiles_are_as_small_as_they_are_said_to_be() -> None:
    seen: list[tuple[int, ...]] = []

    def double(window: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(window.shape[-2:]))
        return window.repeat_interleave(2, -1).repeat_interleave(2, -2)

    images = torch.rand(2, 3, 23, 40)
    assert torch.equal(tiled(double, images, 10, 3, 2), images.repeat_interleave(2, -1).repeat_interleave(2, -2))
    assert len(seen) == 3 * 4
    assert max(max(shape) for shape in seen) == 16


# Pictures that are not RGB


def test_grey_transparent_and_cmyk_pictures_are_enlarged_as_their_rgb(upscaler: Upscaler) -> None:
    grey = textured(5, 12, 10).convert("L")
    assert np.array_equal(pixels(upscaler.enlarge(grey)), pixels(upscaler.enlarge(grey.convert("RGB"))))
    inks = textured(5, 12, 10).convert("CMYK")
    assert np.array_equal(pixels(upscaler.enlarge(inks)), pixels(upscaler.enlarge(inks.convert("RGB"))))
    clear = textured(5, 12, 10).convert("RGBA")
    clear.putalpha(0)
    white = Image.new("RGB", (12, 10), "white")
    assert np.array_equal(pixels(upscaler.enlarge(clear)), pixels(upscaler.enlarge(white)))


def test_a_turned_photo_is_enlarged_upright(upscaler: Upscaler, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    textured(6, 12, 10).save(tmp_path / "turned.png", exif=exif)
    turned = Image.open(tmp_path / "turned.png")
    upright = Image.fromarray(np.rot90(np.asarray(textured(6, 12, 10)), -1).copy())
    assert np.array_equal(pixels(upscaler.enlarge(turned)), pixels(upscaler.enlarge(upright)))


def test_the_picture_that_was_given_is_left_as_it_was(upscaler: Upscaler) -> None:
    picture = textured(7, 8, 8)
    upscaler.enlarge(picture)
    assert np.array_equal(pixels(picture), pixels(textured(7, 8, 8)))


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


def test_precision_is_as_asked_and_otherwise_what_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert choose_dtype(cpu, "fp32") == torch.float32
    assert choose_dtype(cpu, "bf16") == torch.bfloat16
    for fast, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(srgan.device, "cpu_has_bf16", lambda fast=fast: fast)
        assert choose_dtype(cpu) == dtype
