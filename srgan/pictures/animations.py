"""Animations: GIF, animated PNG and animated WebP, frame by frame, with their timing and repetitions."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from srgan.errors import UserError
from srgan.files import write_whole
from srgan.pictures.formats import (
    MAX_PIXELS,
    BrokenPicture,
    extremes,
    fitted,
    format_of,
    options_of,
    readable,
    standard,
)
from srgan.pictures.sizes import area

ANIMATED = frozenset({"GIF", "PNG", "WEBP"})
"""Pillow's names of the formats that can hold animations."""

SHOWN_FOR = 100.0
"""Milliseconds for which programs show a frame if the file says 0."""

MOST_KEPT_PIXELS = 250_000_000
"""Largest number of pixels of all frames of a GIF or animated PNG together: Pillow keeps them all in memory until it
writes."""

TO_BACKGROUND, STAYS = 2, 1
"""GIF's disposal methods: whether a frame is cleared before the next one is drawn, or stays."""


@dataclass(frozen=True)
class Animation:
    """An animation in a file."""

    path: Path
    size: tuple[int, int]
    milliseconds: list[float]
    """the duration of each frame; 0 if the file does not state it"""
    plays: int
    """how often it is played; 0: endlessly"""
    transparent: bool
    """whether a pixel of any frame is not opaque"""

    def frames(self) -> Iterator[Image.Image]:
        """Yields the frames as they are shown, all RGB or all RGBA, of one size. Raises BrokenPicture for a damaged
        one."""
        mode = "RGBA" if self.transparent else "RGB"
        with open_animation(self.path) as file:
            for number in numbers(file):
                yield frame_at(file, number).convert(mode)


def read_animation(path: Path) -> Animation | None:
    """Returns None if the file is not an animation or cannot be read at all. Decodes all frames once. Raises
    BrokenPicture for a damaged frame."""
    if not is_animation(path):
        return None
    milliseconds, transparent = [], False
    with open_animation(path) as file:
        for number in numbers(file):
            shown = frame_at(file, number)
            milliseconds.append(float(file.info.get("duration") or 0.0))
            transparent |= shown.mode.endswith("A") and extremes(shown.getchannel("A"))[0] < 255
        return Animation(path, file.size, milliseconds, plays_of(file), transparent)


def is_animation(path: Path) -> bool:
    with contextlib.suppress(Exception), open_animation(path) as file:
        several = file.format in ANIMATED and getattr(file, "is_animated", False) and len(numbers(file)) > 1
        return several and area(file.size) <= MAX_PIXELS  # a larger one is refused as a picture
    return False


@contextlib.contextmanager
def open_animation(path: Path) -> Iterator[Any]:
    with Image.open(path, formats=readable()) as file:
        yield file


def numbers(file: Any) -> range:
    """Returns the numbers of the frames that are shown. The first picture of a PNG may be only for programs without
    animations."""
    return range(1 if file.info.get("default_image") else 0, file.n_frames)


def frame_at(file: Any, number: int) -> Image.Image:
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
    """Writes frames of a size, all RGB or all RGBA, with the animation's timing and repetitions. Returns a sentence
    for everything that the format cannot hold. quality: as for `save_picture`.

    Frames of a WebP are written as they come. Raises UserError if those of another format would take too much memory.
    """
    format = format_of(path)
    pixels = area(size) * len(animation.milliseconds)
    if format.name != "WEBP" and pixels > MOST_KEPT_PIXELS:
        raise UserError(
            f"{path}: {len(animation.milliseconds)} frames of {size[0]}x{size[1]} take too much memory in a "
            f"{format.name}: write a .webp, or choose a smaller size."
        )
    rest = iter(frames)
    first, notes = fitted(next(rest), format)
    times = [value or SHOWN_FOR for value in animation.milliseconds]
    options = {**options_of(format, quality), "save_all": True, "append_images": rest}
    if format.name == "GIF":
        options["disposal"] = TO_BACKGROUND if animation.transparent else STAYS
        options["duration"] = [max(10, 10 * round(value / 10)) for value in times]  # hundredths of a second
        if animation.plays != 1:
            options["loop"] = max(0, animation.plays - 1)  # a GIF counts repetitions
    elif format.name == "PNG":
        options["append_images"] = list(rest)  # Pillow goes through them twice
        options |= {"disposal": 1 if animation.transparent else 0, "blend": 0}  # cleared, and replaced
        options |= {"duration": times, "loop": animation.plays}
    else:
        options |= {"duration": [round(value) for value in times], "loop": animation.plays}
    write_whole(path, lambda partial: first.save(partial, format.name, **options))
    return notes
