"""Animations: GIF, animated PNG and animated WebP, frame by frame, with their timing and repetitions."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from srgan.errors import UserError
from srgan.files import write_whole
from srgan.pictures.formats import MAX_PIXELS, BrokenPicture, fitted, format_of, readable, standard

ANIMATED = frozenset({"GIF", "PNG", "WEBP"})
"""Pillow's names of the formats that hold animations."""

SHOWN_FOR = 100.0
"""Milliseconds that programs show a frame of a GIF for which the file says 0."""

MOST_KEPT_PIXELS = 250_000_000
"""Of all frames of a GIF or animated PNG: Pillow has them all in memory before it writes."""

TO_BACKGROUND, STAYS = 2, 1
"""GIF's disposals: what a frame leaves behind for the next one."""


@dataclass(frozen=True)
class Animation:
    """What an animation's frames have in common."""

    path: Path
    size: tuple[int, int]
    milliseconds: list[float]
    """of each frame"""
    plays: int
    """0: without end"""
    transparent: bool

    def frames(self) -> Iterator[Image.Image]:
        """Each as it is shown, RGB or RGBA, all of one size. Raises BrokenPicture where one is damaged."""
        mode = "RGBA" if self.transparent else "RGB"
        with opened(self.path) as file:
            for number in numbers(file):
                yield frame(file, number).convert(mode)


def read_animation(path: Path) -> Animation | None:
    """None of what is no animation, or cannot be read at all. Decodes it once. Raises BrokenPicture for a damaged
    frame."""
    if not is_animation(path):
        return None
    milliseconds, transparent = [], False
    with opened(path) as file:
        for number in numbers(file):
            shown = frame(file, number)
            milliseconds.append(float(file.info.get("duration") or 0.0))
            transparent |= shown.mode.endswith("A") and shown.getchannel("A").histogram()[255] < area(shown.size)
        return Animation(path, file.size, milliseconds, plays_of(file), transparent)


def is_animation(path: Path) -> bool:
    with contextlib.suppress(Exception), opened(path) as file:
        several = file.format in ANIMATED and getattr(file, "is_animated", False) and len(numbers(file)) > 1
        return several and area(file.size) <= MAX_PIXELS  # a larger one is refused as a picture
    return False


def area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    with Image.open(path, formats=readable()) as file:
        yield file


def numbers(file: Any) -> range:
    """Of the frames that are shown: a PNG's picture for programs that show no animations may not be one."""
    return range(1 if file.info.get("default_image") else 0, file.n_frames)


def frame(file: Any, number: int) -> Image.Image:
    try:
        file.seek(number)
        return standard(file)
    except Exception as error:  # a damaged file can make Pillow raise anything
        raise BrokenPicture(f"{file.filename}: frame {number + 1} is broken ({error}).") from None


def plays_of(file: Image.Image) -> int:
    loop = file.info.get("loop")
    if file.format != "GIF":
        return int(loop or 0)
    return 1 if loop is None else int(loop) + 1 if loop else 0  # a GIF counts repetitions


def save_animation(
    animation: Animation, frames: Iterable[Image.Image], path: Path, size: tuple[int, int], quality: int | None = None
) -> list[str]:
    """Writes the frames, RGB or RGBA of a size, with the animation's timing and repetitions. Gives a sentence for all
    that the format cannot hold.

    Raises UserError where they would take too much memory: a WebP is written as they come.
    """
    format = format_of(path)
    pixels = area(size) * len(animation.milliseconds)
    if format.name != "WEBP" and pixels > MOST_KEPT_PIXELS:
        raise UserError(
            f"{path}: {len(animation.milliseconds)} frames of {size[0]}x{size[1]} are too much for the memory that "
            f"writing a {format.name} takes: name it .webp, or take a smaller size."
        )
    rest = iter(frames)
    first, notes = fitted(next(rest), format)
    times = [value or SHOWN_FOR for value in animation.milliseconds]
    options: dict[str, Any] = {**format.options, "save_all": True, "append_images": rest}
    if format.name == "PNG":
        options["append_images"] = list(rest)  # Pillow looks through them twice
    if format.name == "GIF":
        times = [max(10.0, 10 * round(value / 10)) for value in times]  # hundredths of a second
        options["disposal"] = TO_BACKGROUND if animation.transparent else STAYS
        if animation.plays != 1:
            options["loop"] = max(0, animation.plays - 1)
    else:
        options["loop"] = animation.plays
    if format.name == "PNG":
        options |= {"disposal": 1 if animation.transparent else 0, "blend": 0}  # cleared, and replaced
    if quality is not None and "quality" in options:
        options["quality"] = quality
    options["duration"] = [round(value) for value in times] if format.name != "PNG" else times
    write_whole(path, lambda partial: first.save(partial, format.name, **options))
    return notes
