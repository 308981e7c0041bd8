"""Announces what `srgan upscale` will make and how long it will take, before long work begins."""

import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from srgan.errors import UserError
from srgan.pictures.formats import readable
from srgan.pictures.metadata import ORIENTATION
from srgan.pictures.sizes import FOUR_TIMES, TargetSize, area
from srgan.upscaler import Upscaler

LONG_SECONDS = 30
"""Work that takes longer than this is announced."""

LARGE_PIXELS = 100_000_000
"""Results with more pixels than this are made only after the user has agreed, if there is a terminal."""

TRIAL_SIDE = 128
"""Side in pixels of the picture with which the network's speed is measured."""

OVERLAP = 1.2
"""A large picture takes this many times as long per pixel as a small one, because its tiles overlap."""

LEAST_WORK = 400_000
"""Number of pixels below which the network is not timed: they take only seconds on any machine."""

MOST_LOOKED_AT = 1000
"""Number of pictures of a folder whose sizes are read before the work."""


def upright_size(photo: Path) -> tuple[int, int] | None:
    """Reads the upright width and height from a file's header; None if it cannot be read."""
    try:
        with Image.open(photo, formats=readable()) as file:
            turned = file.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
            return (file.height, file.width) if turned else file.size
    except Exception:  # a damaged file can make Pillow raise anything; it is refused when its turn comes
        return None


def sizes_of(photos: Sequence[Path]) -> list[tuple[int, int]]:
    return [size for size in map(upright_size, photos[:MOST_LOOKED_AT]) if size]


def seconds_a_pixel(upscaler: Upscaler, detail: float) -> float:
    """Measures the network's time per pixel with a small picture."""
    picture = Image.effect_noise((TRIAL_SIDE, TRIAL_SIDE), 50).convert("RGB")
    return OVERLAP * min(upscaler.enlarge_timed(picture, detail)[1] for _ in range(2)) / 1000 / TRIAL_SIDE**2


def estimate(
    sizes: Sequence[tuple[int, int]], target: TargetSize, upscaler: Upscaler, detail: float, times: int = 1
) -> str:
    """Returns a sentence such as "12 MP become 195 MP, about 18 minutes here; --scale 2 gives 49 MP.", or "" for short
    work.

    times: how often the network is applied to each picture."""
    steps = [target.steps(*size) for size in sizes]
    work, largest = times * sum(sum(step.work) for step in steps), max((area(step.size) for step in steps), default=0)
    if work < LEAST_WORK and largest <= LARGE_PIXELS:
        return ""
    seconds = work * seconds_a_pixel(upscaler, detail)
    if seconds < LONG_SECONDS and largest <= LARGE_PIXELS:
        return ""
    before, after = sum(map(area, sizes)), sum(area(step.size) for step in steps)
    many = f"{len(sizes)} pictures of " if len(sizes) > 1 else ""
    sentence = f"{many}{megapixels(before)} become {megapixels(after)}, about {duration(seconds)} here"
    if largest > LARGE_PIXELS and target == FOUR_TIMES:
        half = sum(area(TargetSize(scale=2).of(*size)) for size in sizes)
        sentence += f"; --scale 2 gives {megapixels(half)}"
    return f"{sentence}."


def megapixels(pixels: int) -> str:
    return f"{pixels / 1e6:.2g} MP" if pixels < 10e6 else f"{pixels / 1e6:.0f} MP"


def duration(seconds: float) -> str:
    """ "40 seconds", "18 minutes" or "2.5 hours"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} seconds"
    return f"{round(seconds / 60)} minutes" if seconds < 90 * 60 else f"{seconds / 3600:.1f} hours"


def is_large(size: tuple[int, int], target: TargetSize) -> bool:
    return area(target.of(*size)) > LARGE_PIXELS


def ask_at_terminal(question: str) -> None:
    """Raises UserError unless the answer is yes. Without a terminal, nothing is asked."""
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        return
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UserError("stopped before the work; nothing was written.")
