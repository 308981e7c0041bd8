"""Pictures that are too large for the memory: their pixels lie in a file."""

import mmap
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from srgan.errors import UserError
from srgan.pictures.boxes import Box

MOST_IN_MEMORY = 64_000_000
"""Largest number of pixels of a picture in memory, if a folder for larger ones is known. Most take 4 bytes."""

BYTES = {"L": 1, "I;16": 2}
"""Bytes that Pillow takes for a pixel of a mode; 4 for all others."""

WINDOW = 2048
"""Side of the windows in which `in_windows` works. A change may take many times the memory of their pixels."""


def blank(mode: str, size: tuple[int, int], folder: Path | None = None) -> Image.Image:
    """Makes a black picture. With a folder, the pixels of a large one lie in a file there.

    The file takes up to 4 bytes per pixel. It has no name, so that the system deletes it as soon as nothing uses it,
    even if the process is killed. Raises UserError if the disk has no space for it and for a result of that size.
    """
    if folder is None or size[0] * size[1] <= MOST_IN_MEMORY:
        return Image.new(mode, size)
    length = size[0] * size[1] * BYTES.get(mode, 4)
    try:
        pixels = mapped_file(folder, length)
    except OSError as error:
        raise UserError(
            f"A picture of {size[0]}x{size[1]} pixels cannot be made, because {folder} needs {2 * length / 1e9:.1f} GB "
            f"of free space for it ({error.strerror or error})."
        ) from None
    # Image.frombuffer does the same, but not for RGB.
    core: Any = Image.core
    picture = Image.new(mode, (0, 0))._new(core.map_buffer(pixels, size, "raw", 0, (mode, 0, 1)))
    picture.pixels_in_file = pixels  # pyright: ignore[reportAttributeAccessIssue] - for let_go
    return picture


def mapped_file(folder: Path, length: int) -> mmap.mmap:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < 2 * length:
        raise OSError(f"{free / 1e9:.1f} GB are free")
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):  # a disk that is full later would kill the process
            os.posix_fallocate(file.fileno(), 0, length)
        else:
            file.truncate(length)
        return mmap.mmap(file.fileno(), length)


def let_go(*pictures: Image.Image) -> None:
    """Gives the memory back that the pixels of `blank`'s large pictures take for the moment. They stay in the file."""
    for picture in pictures:
        pixels = getattr(picture, "pixels_in_file", None)
        if pixels and sys.platform == "linux":  # other systems take it back by themselves when they need it
            pixels.madvise(mmap.MADV_DONTNEED)


def in_windows(
    picture: Image.Image,
    change: Callable[[Image.Image], Image.Image],
    mode: str,
    folder: Path | None = None,
    around: int = 0,
) -> Image.Image:
    """Applies a change, whose result has that mode, to each window of a picture.

    folder: as for `blank`. around: number of extra pixels that the change sees on each side, as far as the picture
    reaches.
    """
    changed, whole = blank(mode, picture.size, folder), Box(0, 0, *picture.size)
    for window in whole.parts(WINDOW):
        seen = window.grown(around, whole)
        changed.paste(change(picture.crop(seen)).crop(window.inside(seen)), window[:2])
        let_go(picture, changed)
    return changed


def save(picture: Image.Image, path: Path, format: str, options: dict[str, Any]) -> None:
    """Image.save. While a large picture is written, its memory is given back piece by piece, except for a TIFF, which
    its library writes in one go."""
    if format == "TIFF" or not hasattr(picture, "pixels_in_file"):
        picture.save(path, format, **options)
        return
    with path.open("wb") as file:
        pieces: Any = LettingGo(file, picture)
        picture.save(pieces, format, **options)


class LettingGo:
    """A file that calls `let_go` before each piece that Pillow writes to it."""

    def __init__(self, file: BinaryIO, picture: Image.Image) -> None:
        self.file, self.picture = file, picture

    def write(self, data: bytes) -> int:
        let_go(self.picture)
        return self.file.write(data)
