"""Random changes of training photos: what they do, how large they are, and that they can be repeated."""

import colorsys

import torch
from helpers import as_tensor, textured

from srgan.pictures.images import normalize
from srgan.training.augment import (
    DRAWS,
    augmented,
    colour_jitter,
    random_flip,
    random_turn,
    random_window,
    shift_hue_and_saturation,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draws(count: int) -> torch.Tensor:
    return torch.rand(4, count, 1, 1, 1, generator=seeded())


def test_half_of_the_images_are_exactly_mirrored() -> None:
    images = torch.rand(3000, 3, 2, 4)
    flipped = random_flip(images, torch.rand(3000, 1, 1, 1, generator=seeded()))
    mirrored = (flipped == images.flip(-1)).flatten(1).all(1)
    unchanged = (flipped == images).flatten(1).all(1)
    assert bool((mirrored ^ unchanged).all())
    assert 0.45 < mirrored.float().mean() < 0.55


def test_the_window_is_the_same_in_each_image_and_may_lie_anywhere() -> None:
    image = torch.arange(12 * 12).view(1, 1, 12, 12)
    random, corners = seeded(), set()
    for _ in range(300):
        one, other = random_window((image, image + 1000), 3, random)
        assert one.shape == (1, 1, 9, 9) and torch.equal(one + 1000, other)
        corners.add(one[0, 0, 0, 0].item())
        assert torch.equal(one - one[..., :1, :1], image[..., :9, :9])
    assert corners == {12 * row + column for row in range(4) for column in range(4)}
    assert torch.equal(random_window((image,), 0, random)[0], image)


def test_hue_and_saturation_are_those_of_hsv() -> None:
    colours = torch.cat([torch.rand(200, 3, generator=seeded()), torch.tensor([[0.5, 0.5, 0.5], [0, 0, 0], [1, 1, 0]])])
    for hue, saturation in ((0.0, 1.0), (0.05, 0.95), (-0.05, 1.05), (0.4, 1.6), (-0.7, 0.0)):
        amounts = torch.full((len(colours), 1, 1, 1), hue), torch.full((len(colours), 1, 1, 1), saturation)
        found = shift_hue_and_saturation(colours.view(-1, 3, 1, 1), *amounts).view(-1, 3)
        for before, after in zip(colours.tolist(), found.tolist(), strict=True):
            h, s, v = colorsys.rgb_to_hsv(*before)
            wanted = colorsys.hsv_to_rgb((h + hue) % 1, min(1.0, s * saturation), v)
            assert max(abs(a - b) for a, b in zip(after, wanted, strict=True)) < 1e-5, (before, hue, saturation)


def test_contrast_and_brightness_stay_in_their_ranges_and_reach_them() -> None:
    # Grey has no hue and no saturation, so only contrast (the distance of the two levels) and brightness change.
    grey = torch.tensor([0.4, 0.6]).view(1, 1, 1, 2).expand(2000, 3, 1, 2)
    dark, light = colour_jitter(grey, 0.05, draws(2000))[:, 0, 0].unbind(-1)
    contrast, brightness = (light - dark) / 0.2, (light + dark) / 2 - 0.5
    for amounts, middle in ((contrast, 1.0), (brightness, 0.0)):
        assert middle - 0.05 - 1e-5 <= amounts.min() < middle - 0.049
        assert middle + 0.049 < amounts.max() <= middle + 0.05 + 1e-5
        assert len(amounts.unique()) > 1900  # each photo has a different amount


def test_hue_and_saturation_stay_in_their_ranges_and_reach_them() -> None:
    # One colour has no contrast, and brightness moves its three channels alike.
    rose = torch.tensor([0.6, 0.4, 0.4]).view(1, 3, 1, 1).expand(2000, 3, 2, 2)
    red, green, blue = colour_jitter(rose, 0.05, draws(2000))[..., 0, 0].unbind(-1)
    spread = red - torch.minimum(green, blue)
    saturation, hue = spread / 0.2, (green - blue) / spread / 6
    for amounts, middle in ((saturation, 1.0), (hue, 0.0)):
        assert middle - 0.05 - 1e-5 <= amounts.min() < middle - 0.049
        assert middle + 0.049 < amounts.max() <= middle + 0.05 + 1e-5
        assert len(amounts.unique()) > 1900


def test_jitter_never_leaves_the_range_of_colours() -> None:
    changed = colour_jitter(torch.randint(0, 2, (50, 3, 4, 4)).float(), 0.5, draws(50))
    assert changed.min() >= 0 and changed.max() <= 1


def photos(count: int = 6) -> torch.Tensor:
    return torch.cat([as_tensor(textured(seed, 48, 32)) for seed in range(count)])


def changed(jitter: float, seed: int) -> torch.Tensor:
    return augmented(photos(), jitter, torch.rand(DRAWS, 6, generator=seeded(seed)))


def test_without_jitter_a_photo_is_only_mirrored() -> None:
    for before, after in zip(normalize(photos()), changed(0.0, 1), strict=True):
        assert torch.equal(after, before) or torch.equal(after, before.flip(-1))


def test_the_same_seed_gives_the_same_changes() -> None:
    first, second, other = (changed(0.05, seed) for seed in (3, 3, 4))
    assert torch.equal(first, second) and not torch.equal(first, other)
    assert not torch.equal(first, normalize(photos())) and first.abs().max() <= 1


def test_a_photo_is_changed_alike_wherever_it_is_worked_on() -> None:
    draws = torch.rand(DRAWS, 6, generator=seeded(5))
    parts = [augmented(photos()[part], 0.05, draws[:, part]) for part in (slice(0, 4), slice(4, 6))]
    assert torch.equal(augmented(photos(), 0.05, draws), torch.cat(parts))


def test_a_turned_crop_is_one_of_the_eight_that_a_square_has() -> None:
    crop = torch.arange(3 * 4 * 4, dtype=torch.float32).view(1, 3, 4, 4) / 48
    eight = [torch.rot90(image, turns, (-2, -1)) for image in (crop, crop.flip(-1)) for turns in range(4)]
    flip, upside, aside = torch.rand(3, 400, 1, 1, 1, generator=seeded())
    found = random_turn(random_flip(crop.repeat(400, 1, 1, 1), flip), upside, aside)
    counts = [sum(torch.equal(image, one[0]) for image in found) for one in eight]
    assert sum(counts) == 400 and min(counts) > 25


def test_crops_are_turned_only_where_that_is_asked_for() -> None:
    pixels = torch.arange(3 * 32 * 32).remainder(251).to(torch.uint8).view(1, 3, 32, 32).repeat(16, 1, 1, 1)
    for turn in (False, True):
        high = augmented(pixels, 0, torch.rand(DRAWS, 16, generator=seeded()), turn)
        ways = [normalize(pixels[0]), normalize(pixels[0]).flip(-1)]
        assert all(any(torch.equal(image, way) for way in ways) for image in high) != turn
