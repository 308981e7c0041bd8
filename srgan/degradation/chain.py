"""Makes small copies that look like real small photos: reduced, blurred, noisy and compressed.

Everything is computed on the images' device. `draw` draws the amounts for each photo of a batch from the ranges of a
preset, `fixed` gives all photos the same amounts, and `small_copy` applies them. benchmarks/degradations.md compares
the ranges with those of other systems.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from srgan.degradation.filters import NAMES, resize_matrices
from srgan.degradation.jpeg import jpeg
from srgan.device import send
from srgan.models import SCALE
from srgan.pictures.images import greyed, reduce, round_to_8_bits

Range = tuple[float, float]

BICUBIC = NAMES.index("bicubic")

BLUR_REACH = 4
"""Radius of the blur kernel in pixels: 2.5 standard deviations of the widest blur."""


@dataclass(frozen=True, kw_only=True)
class Wear:
    """Ranges from which the amounts of each photo are drawn, and probabilities (0 to 1) of each step.

    Lengths are in pixels of the small copy; noise is in grey levels of 256.
    """

    any_filter: float = 0.0
    """probability of box, bilinear, bicubic or Lanczos, equally likely, instead of bicubic"""
    detour: float = 0.0
    """probability of an intermediate size"""
    detour_size: Range = (1.0, 1.0)
    """range of the intermediate size, relative to the small copy's"""
    blur: float = 0.0
    blur_deviation: Range = (0.0, 0.0)
    noise: float = 0.0
    noise_deviation: Range = (0.0, 0.0)
    shot: float = 0.0
    """probability that noise grows with brightness, like photon noise"""
    grey_noise: float = 0.0
    """probability that the noise is the same in all three channels"""
    jpeg: float = 0.0
    quality: Range = (95.0, 95.0)
    """range of the JPEG quality, counted as in libjpeg"""
    halved: float = 0.0
    """probability that JPEG keeps colour at half the size (4:2:0)"""
    twice: float = 0.0
    """probability of a second JPEG, on a shifted block grid"""
    grey: float = 0.0
    """probability that the small copy and the photo to restore are grey"""


WEARS = {
    "clean": Wear(),
    "copy": Wear(any_filter=1.0),
    "web": Wear(
        any_filter=0.5, detour=0.3, detour_size=(0.6, 2.0), blur=0.5, blur_deviation=(0.2, 0.9),
        noise=0.5, noise_deviation=(0.5, 5.0), shot=0.3, grey_noise=0.3,
        jpeg=0.9, quality=(40.0, 95.0), halved=0.8, twice=0.3, grey=0.05,
    ),
    "old": Wear(
        any_filter=0.5, detour=0.4, detour_size=(0.5, 1.5), blur=0.85, blur_deviation=(0.4, 1.6),
        noise=0.9, noise_deviation=(2.0, 14.0), shot=0.3, grey_noise=0.5,
        jpeg=0.8, quality=(30.0, 90.0), halved=0.8, twice=0.3, grey=0.5,
    ),
}  # fmt: skip

PRESETS: dict[str, Mapping[str, float]] = {
    "clean": {"clean": 1.0},
    "copy": {"clean": 0.5, "copy": 0.5},
    "web": {"clean": 0.1, "copy": 0.1, "web": 0.8},
    "old": {"old": 1.0},
    "any": {"clean": 0.1, "copy": 0.1, "web": 0.65, "old": 0.15},
}
"""The choices of `--degrade`: the kinds of wear and the share of photos that gets each."""


class Amounts(NamedTuple):
    """The amount of each step for each photo of a batch, as tensors [N]."""

    filter: Tensor
    """position in filters.NAMES"""
    detour: Tensor
    """intermediate size relative to the small copy's; 0: none"""
    blur: Tensor
    """larger standard deviation of a Gaussian, in pixels of the small copy; 0: no blur"""
    flatness: Tensor
    """smaller standard deviation relative to the larger"""
    angle: Tensor
    """direction of the larger standard deviation, in radians"""
    noise: Tensor
    """standard deviation in grey levels; 0: no noise"""
    shot: Tensor
    """bool: noise grows with the square root of brightness; the deviation is that at the middle of the range"""
    grey_noise: Tensor
    """bool"""
    quality: Tensor
    """JPEG quality; 0: no JPEG"""
    second_quality: Tensor
    """quality of a second JPEG; 0: none"""
    halved: Tensor
    """bool: colour at half the size"""
    down: Tensor
    """pixels by which the second JPEG's grid of blocks is moved, 0 to 7"""
    right: Tensor
    grey: Tensor
    """bool"""

    def on(self, device: torch.device) -> "Amounts":
        return Amounts(*(send(values, device) for values in self))


KINDS: dict[str, dict[str, float]] = {
    "clean": {},
    "jpeg90": {"quality": 90},
    "jpeg75": {"quality": 75},
    "jpeg50": {"quality": 50},
    "web": {"blur": 0.6, "noise": 3, "quality": 75},
    "old": {"grey": True, "blur": 1.0, "noise": 8, "quality": 60},
    "box": {"filter": NAMES.index("box")},
}
"""Fixed kinds of wear, the same for every photo, for measuring and showing. JPEG keeps colour at half the size."""

DRAWS = 21
"""Number of random numbers that `draw` needs for each photo."""


def draw(preset: str, draws: Tensor) -> Amounts:
    """Draws the amounts for each photo from a preset of PRESETS. draws: [DRAWS, N], uniform in [0, 1), on the CPU."""
    numbers = iter(draws)
    kinds = [WEARS[name] for name in PRESETS[preset]]
    ends = torch.tensor(list(PRESETS[preset].values())).cumsum(0)
    kind = torch.bucketize(next(numbers), ends, right=True).clamp_max(len(kinds) - 1)

    def of(name: str) -> Tensor:
        """Returns a field's value for each photo's kind of wear: [N], or [2, N] for a range."""
        return torch.tensor([getattr(one, name) for one in kinds])[kind].movedim(0, -1)

    def happens(name: str) -> Tensor:
        return next(numbers) < of(name)

    def between(name: str) -> Tensor:
        low, high = of(name)
        return low + (high - low) * next(numbers)

    return Amounts(
        filter=torch.where(happens("any_filter"), (next(numbers) * len(NAMES)).long(), BICUBIC),
        detour=happens("detour") * between("detour_size"),
        blur=happens("blur") * between("blur_deviation"),
        flatness=0.4 + 0.6 * next(numbers), angle=torch.pi * next(numbers),
        noise=happens("noise") * between("noise_deviation"), shot=happens("shot"), grey_noise=happens("grey_noise"),
        quality=happens("jpeg") * between("quality"),
        second_quality=happens("twice") * between("quality"),
        halved=happens("halved"), down=(8 * next(numbers)).long(), right=(8 * next(numbers)).long(),
        grey=happens("grey"),
    )  # fmt: skip


def fixed(kind: str, count: int, device: torch.device) -> Amounts:
    """Returns the amounts of a kind of KINDS, the same for each of `count` photos."""
    values: dict[str, float] = dict.fromkeys(Amounts._fields, 0.0)
    values |= {"filter": BICUBIC, "flatness": 1.0, "halved": True} | KINDS[kind]
    kinds = {"filter": torch.long, "down": torch.long, "right": torch.long}
    kinds |= dict.fromkeys(("shot", "grey_noise", "halved", "grey"), torch.bool)
    return Amounts(**{
        name: torch.full((count,), value, dtype=kinds.get(name, torch.float32), device=device)
        for name, value in values.items()
    })  # fmt: skip


def copies_alike(kind: str, high: Tensor, low: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Makes small copies with the wear of a kind of KINDS, with the same random numbers each time.

    low: bicubic copies in 8-bit levels, if they exist already.
    """
    count, _, height, width = high.shape
    amounts = fixed(kind, count, high.device)
    if KINDS[kind].get("grey"):
        high, low = greyed(high), None if low is None else greyed(low)
    if "filter" in KINDS[kind]:
        low = reduced(high, amounts)
    elif low is None:
        low = reduce(high)
    if not KINDS[kind].keys() - {"filter"}:
        return low, high
    noise = torch.randn(3, height // SCALE, width // SCALE, generator=torch.Generator().manual_seed(0))
    return worn(low, amounts, send(noise, high.device).expand(count, -1, -1, -1)), high


def small_copy(high: Tensor, amounts: Amounts, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Makes the small copies [N, 3, H, W], in 8-bit levels, and the photos to restore from them [N, 3, 4H, 4W]; all in
    [-1, 1].

    The steps follow Wang et al. 2021 (Real-ESRGAN, section 3.1), in the order in which they happen to a real photo.
    high: photos [N, 3, 4H, 4W] in [-1, 1]. noise: normal random numbers [N, 3, H, W]. If a small copy is made grey, the
    photo to restore is grey too.
    """
    high = torch.where(image_wise(amounts.grey), greyed(high), high)
    return worn(reduced(high, amounts), amounts, noise), high


def worn(low: Tensor, amounts: Amounts, noise: Tensor) -> Tensor:
    """Applies blur, noise, and JPEG once or twice, to reduced copies [N, 3, H, W]."""
    blurred = torch.where(image_wise(amounts.blur > 0), blur(low, amounts), low)
    shot = (blurred + 1).clamp_min(0).sqrt()
    strength = image_wise(amounts.noise) / 127.5 * torch.where(image_wise(amounts.shot), shot, torch.ones_like(shot))
    noise = torch.where(image_wise(amounts.grey_noise), noise[:, :1].expand_as(noise), noise)
    low = compressed(round_to_8_bits(blurred + strength * noise), amounts.quality, amounts.halved)
    moved = Shift(amounts.down, amounts.right, low.shape[-2:])
    again = moved.back(compressed(moved.there(low), amounts.second_quality, amounts.halved))
    return torch.where(image_wise(amounts.second_quality > 0), again, low)


def image_wise(values: Tensor) -> Tensor:
    """Reshapes [N] to [N, 1, 1, 1]."""
    return values.view(-1, 1, 1, 1)


def reduced(high: Tensor, amounts: Amounts) -> Tensor:
    """Reduces photos to a quarter of their width and height, each by its own filter and intermediate size; 8-bit
    levels.

    Photos that are reduced by bicubic alone are identical to those of `images.reduce`.
    """
    sides = [reduction(length, amounts) for length in high.shape[-2:]]
    low = round_to_8_bits(sides[0] @ high @ sides[1].transpose(-1, -2))
    plain = (amounts.filter == BICUBIC) & (amounts.detour == 0)
    return torch.where(image_wise(plain), reduce(high), low)


def reduction(length: int, amounts: Amounts) -> Tensor:
    """Returns the matrices [N, 1, length / 4, length] that reduce one axis."""
    small = length // SCALE
    direct = amounts.detour == 0
    between = torch.where(direct, small, (amounts.detour * small).round().long().clamp(1, length))
    first = resize_matrices(amounts.filter, torch.full_like(between, length), between, length, length)
    second = resize_matrices(amounts.filter, between, torch.full_like(between, small), small, length)
    return (second @ first).unsqueeze(1)


def blur(images: Tensor, amounts: Amounts) -> Tensor:
    """Blurs each image [N, C, H, W] with its own Gaussian, which is wider in one direction. Borders repeat their
    last pixel."""
    count, channels = images.shape[:2]
    steps = torch.arange(-BLUR_REACH, BLUR_REACH + 1.0, device=images.device)
    down, right = (values.unsqueeze(-1) for values in torch.meshgrid(steps, steps, indexing="ij"))
    along = (right * amounts.angle.cos() + down * amounts.angle.sin()) / amounts.blur.clamp_min(1e-3)
    across = (down * amounts.angle.cos() - right * amounts.angle.sin()) / (amounts.blur * amounts.flatness).clamp_min(
        1e-3
    )
    taps = torch.softmax((-(along**2 + across**2) / 2).flatten(0, 1), dim=0).T  # [N, taps]
    taps = taps.repeat_interleave(channels, 0).view(count * channels, 1, len(steps), len(steps))
    padded = F.pad(images, (BLUR_REACH,) * 4, mode="replicate").flatten(0, 1).unsqueeze(0)  # a convolution a plane
    return F.conv2d(padded, taps, groups=count * channels).view_as(images)


def compressed(images: Tensor, quality: Tensor, halved: Tensor) -> Tensor:
    """Compresses each image with its own JPEG quality. Images with quality 0 stay unchanged."""
    hit = image_wise(quality > 0)
    found = jpeg(
        images, image_wise(torch.where(quality > 0, quality, torch.full_like(quality, 95))), image_wise(halved)
    )
    return torch.where(hit, found, images)


class Shift:
    """Moves each image of a batch down and to the right by its own number of pixels, 0 to 7, and back again."""

    def __init__(self, down: Tensor, right: Tensor, size: torch.Size) -> None:
        self.offsets, self.size = (down, right), size

    def there(self, images: Tensor) -> Tensor:
        """Moves the images. Each axis grows by 7 pixels; borders repeat their last pixel."""
        return self.gather(images, [length + 7 for length in self.size], -1)

    def back(self, images: Tensor) -> Tensor:
        return self.gather(images, list(self.size), 1)

    def gather(self, images: Tensor, lengths: list[int], sign: int) -> Tensor:
        for dim, offset, length in zip((2, 3), self.offsets, lengths, strict=True):
            places = torch.arange(length, device=images.device) + sign * offset.unsqueeze(1)
            places = places.clamp(0, images.shape[dim] - 1).view(len(images), 1, *((-1, 1) if dim == 2 else (1, -1)))
            shape = list(images.shape)
            shape[dim] = length
            images = images.gather(dim, places.expand(shape))
        return images
