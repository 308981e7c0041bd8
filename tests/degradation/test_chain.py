"""How small copies are worn: each step against Pillow or against its statistics, and the presets."""

import dataclasses
import io

import pytest
import torch
from helpers import textured
from PIL import Image, ImageFilter

from srgan.degradation.chain import DRAWS, KINDS, PRESETS, WEARS, Amounts, Shift, draw, fixed, small_copy
from srgan.pictures.images import greyed, normalize, reduce, to_picture, to_pixels, to_tensor

CPU = torch.device("cpu")


def photos(count: int = 1, side: int = 96) -> torch.Tensor:
    return normalize(torch.stack([to_tensor(textured(seed, side, side)) for seed in range(count)]))


def no_noise(high: torch.Tensor) -> torch.Tensor:
    return torch.zeros(len(high), 3, high.shape[-2] // 4, high.shape[-1] // 4)


def copy(high: torch.Tensor, normal: torch.Tensor | None = None, **amounts: float) -> torch.Tensor:
    """Returns the small copies, worn by these amounts only."""
    plain = fixed("clean", len(high), CPU)
    given = {name: torch.full_like(getattr(plain, name), value) for name, value in amounts.items()}
    return small_copy(high, plain._replace(**given), no_noise(high) if normal is None else normal)[0]


def grey_levels(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return (found - wanted).abs() * 127.5


def test_a_clean_copy_is_the_one_bicubic_to_the_bit() -> None:
    high = photos(3)
    low, wanted = small_copy(high, fixed("clean", 3, CPU), torch.randn(3, 3, 24, 24))
    assert torch.equal(low, reduce(high)) and torch.equal(wanted, high)


@pytest.mark.parametrize("name", ["box", "bilinear", "bicubic", "lanczos"])
def test_reducing_through_an_intermediate_size_is_pillows(name: str) -> None:
    place = ["box", "bilinear", "bicubic", "lanczos"].index(name)
    for detour, between in ((0.0, 24), (0.5, 12), (1.5, 36)):
        picture, method = textured(0, 96, 96), Image.Resampling[name.upper()]
        wanted = picture.resize((between, between), method).resize((24, 24), method)
        found = copy(photos(), filter=place, detour=detour)[0]
        assert grey_levels(found, normalize(to_tensor(wanted))).max() < 2.01, (name, detour)


def test_round_blur_is_pillows_and_each_image_has_its_own() -> None:
    high = photos(2)
    amounts = fixed("clean", 2, CPU)._replace(blur=torch.tensor([0.8, 0.0]))
    low = small_copy(high, amounts, no_noise(high))[0]
    wanted = to_tensor(to_picture(to_pixels(reduce(high))[0]).filter(ImageFilter.GaussianBlur(0.8)))
    cost = grey_levels(reduce(high)[0], normalize(wanted)).mean()
    assert grey_levels(low[0], normalize(wanted)).mean() < 0.2 * cost  # Pillow approximates the Gaussian by boxes
    assert torch.equal(low[1], reduce(high)[1])


def test_flat_blur_reaches_further_along_its_angle() -> None:
    dot = torch.full((1, 3, 96, 96), -1.0)
    dot[..., 48:52, 48:52] = 1
    across = copy(dot, blur=1.5, flatness=0.4)[0, 0] + 1
    upright = copy(dot, blur=1.5, flatness=0.4, angle=torch.pi / 2)[0, 0] + 1
    place = torch.arange(24.0) - 12
    wide, high = ((across.sum(dim) * place**2).sum() / across.sum() for dim in (0, 1))
    assert wide**0.5 == pytest.approx(1.5, abs=0.3) and high < wide / 3
    torch.testing.assert_close(upright, across.T, atol=0.02, rtol=0)


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_jpeg_kinds_are_libjpegs_files_of_the_small_copy(quality: int) -> None:
    high, file = photos(), io.BytesIO()
    to_picture(to_pixels(reduce(high))[0]).save(file, "JPEG", quality=quality, subsampling=2)
    wanted = normalize(to_tensor(Image.open(file)))
    found = copy(high, quality=quality)[0]
    assert grey_levels(found, wanted).mean() < 0.3 * grey_levels(reduce(high)[0], wanted).mean() + 0.2


def test_a_second_jpeg_lies_on_a_moved_grid() -> None:
    high, file = photos(side=128), io.BytesIO()
    low = to_pixels(copy(high, quality=60))[0]
    padded = torch.nn.functional.pad(low[None].float(), (3, 4, 5, 2), mode="replicate")[0].to(torch.uint8)
    to_picture(padded).save(file, "JPEG", quality=50, subsampling=2)
    wanted = normalize(to_tensor(Image.open(file))[:, 5:37, 3:35])
    found = copy(high, quality=60, second_quality=50, down=5, right=3)[0]
    in_place = copy(high, quality=60, second_quality=50)[0]
    assert grey_levels(found, wanted).mean() < 1.0 < grey_levels(in_place, wanted).mean()


def test_shift_moves_each_image_by_its_own_and_back() -> None:
    images = torch.rand(2, 3, 9, 11)
    shift = Shift(torch.tensor([2, 7]), torch.tensor([0, 5]), images.shape[-2:])
    moved = shift.there(images)
    assert moved.shape == (2, 3, 16, 18)
    assert torch.equal(moved[1, :, 7:16, 5:16], images[1]) and torch.equal(moved[0, :, 2:11, :11], images[0])
    assert torch.equal(shift.back(moved), images)


def test_noise_has_its_strength_colour_and_growth_with_light() -> None:
    noise = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    level = {value: torch.full((1, 3, 256, 256), value) for value in (-0.75, 0.0, 0.5)}

    def deviation(value: float, **amounts: float) -> float:
        return float((copy(level[value], noise, noise=5.0, **amounts) * 127.5).std())

    assert deviation(0.0) == pytest.approx(5, rel=0.1) and deviation(-0.75) == pytest.approx(5, rel=0.1)
    assert deviation(0.0, shot=True) == pytest.approx(5, rel=0.1)
    assert deviation(-0.75, shot=True) == pytest.approx(2.5, rel=0.1)  # the square root of a quarter of the light
    assert deviation(0.5, shot=True) == pytest.approx(5 * 1.5**0.5, rel=0.1)
    grey = copy(level[0.0], noise, noise=5.0, grey_noise=True)
    assert torch.equal(grey[:, 0], grey[:, 1]) and torch.equal(grey[:, 0], grey[:, 2]) and grey.std() > 0.02


def test_grey_photos_are_to_stay_grey() -> None:
    high = photos(2)
    amounts = fixed("old", 2, CPU)._replace(grey=torch.tensor([True, False]))
    low, wanted = small_copy(high, amounts, no_noise(high))
    assert torch.equal(wanted[0], greyed(high)[0]) and torch.equal(wanted[1], high[1])
    assert grey_levels(low[0, 0], low[0, 1]).max() <= 1 and grey_levels(low[1, 0], low[1, 1]).max() > 1


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_stay_on_their_ranges_and_photos_are_separate(preset: str) -> None:
    count = 400
    random = torch.Generator().manual_seed(3)
    draws = torch.rand(DRAWS, count, generator=random)
    amounts = draw(preset, draws)
    assert sum(PRESETS[preset].values()) == pytest.approx(1)
    used = [WEARS[name] for name in PRESETS[preset]]
    for name, of in (("blur", "blur_deviation"), ("noise", "noise_deviation"), ("quality", "quality")):
        values = getattr(amounts, name)
        happening = values[values > 0]
        share = sum(
            PRESETS[preset][kind] * getattr(WEARS[kind], {"quality": "jpeg"}.get(name, name))
            for kind in PRESETS[preset]
        )
        assert len(happening) / count == pytest.approx(share, abs=0.08)
        if share:
            ranges = [getattr(wear, of) for wear in used if getattr(wear, of)[1]]
            assert min(low for low, _ in ranges) <= happening.min() and happening.max() <= max(
                high for _, high in ranges
            )
    part = Amounts(*(values[5:9] for values in amounts))
    for whole, alone in zip(part, draw(preset, draws[:, 5:9]), strict=True):
        assert torch.equal(whole, alone)
    high, noise = photos(4, 64), torch.randn(4, 3, 16, 16, generator=random)
    together = small_copy(high, part, noise)[0]
    for place in range(4):
        alone = small_copy(high[place, None], Amounts(*(v[place, None] for v in part)), noise[place, None])[0]
        assert grey_levels(together[place], alone[0]).max() < 1.01
    assert torch.equal(together, normalize(to_pixels(together)))  # the 256 levels that a file holds


def test_every_range_is_the_right_way_round() -> None:
    for wear in WEARS.values():
        for field in dataclasses.fields(wear):
            value = getattr(wear, field.name)
            if isinstance(value, tuple):
                assert value[0] <= value[1], field.name
            else:
                assert 0 <= value <= 1, field.name


def test_fixed_kinds_are_what_their_names_say() -> None:
    assert set(KINDS) == {"clean", "jpeg90", "jpeg75", "jpeg50", "web", "old", "box"}
    web = fixed("web", 2, CPU)
    assert web.blur.tolist() == pytest.approx([0.6, 0.6]) and web.noise.tolist() == [3, 3]
    assert web.quality.tolist() == [75, 75] and web.halved.all() and not web.grey.any()
    old = fixed("old", 1, CPU)
    assert (old.grey.item(), old.blur.item(), old.noise.item(), old.quality.item()) == (True, 1, 8, 60)
