"""Reads a visitor's picture in the form that the whole page uses: 8 bits, colours in sRGB, no profile."""

import time
from functools import lru_cache
from pathlib import Path
from threading import Semaphore
from typing import NamedTuple

from PIL import Image

from srgan.errors import UserError
from srgan.page.close_ups import faces_of
from srgan.page.turns import tell
from srgan.pictures import images
from srgan.pictures.boxes import Box
from srgan.pictures.colour import to_eight_bits, to_srgb
from srgan.pictures.formats import COMMON_FORMATS, extremes, open_picture
from srgan.upscaler import resized

LARGE_FILE = 200_000
"""Files of more bytes take long enough to read that visitors are told."""

READING = Semaphore(2)
"""Limits how many pictures are read before their turn, so that at most two pictures of up to 100 megapixels are in
memory. Each is read again when its turn comes."""


def read(path: str) -> tuple[Image.Image, list[str]]:
    """Reads an uploaded file as RGB, or RGBA if something is transparent. Also returns a sentence for everything that
    is not kept.

    Raises UserError if it cannot be read, or has been deleted.
    """
    try:
        data = Path(path).read_bytes()
    except OSError:
        raise UserError(
            f"{path} is no longer here, because the page deletes uploads within two hours: upload it again."
        ) from None
    if len(data) > LARGE_FILE:
        tell("reading the picture")
    picture, notes = open_picture(path, data, COMMON_FORMATS)
    tables = getattr(picture, "quantization", None)
    picture, more = to_srgb(picture)
    notes += more
    if picture.mode == "I;16":
        picture = to_eight_bits(picture)
        notes.append("It has 16 bits per channel; the page uses 8 of them.")
    seen_through = picture.mode.endswith("A") and extremes(picture.getchannel("A"))[0] < 255
    picture = picture.convert("RGBA" if seen_through else "RGB")
    picture.info = {}
    if tables:
        picture.quantization = tables  # pyright: ignore[reportAttributeAccessIssue] - only JpegImageFile has it
    return picture, notes


class Seen(NamedTuple):
    """What is known of a picture after it was read for the first time."""

    size: tuple[int, int]
    """width and height in pixels"""
    faces: tuple[Box, ...]
    """the largest first"""
    problem: str
    """why no faces can be found; "" if they can"""
    seconds: float
    """that it took to read it and to find the faces"""


def seen(path: str) -> Seen:
    """Reads a picture unless it was read before. Raises UserError if `read` cannot read it."""
    try:
        status = Path(path).stat()
    except OSError:
        read(path)  # which says what is wrong
        raise
    return seen_once(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def seen_once(path: str, length: int, changed: int) -> Seen:
    """Decoding a phone's photo takes seconds. So everything that is asked before its turn is found out at once: the
    picture itself, of up to 300 MB, is not kept."""
    began = time.monotonic()
    with READING:
        photo = images.flat(read(path)[0])
        if length > LARGE_FILE:
            tell("looking for faces")
        faces, problem = faces_of(photo)
    return Seen(photo.size, faces, problem, time.monotonic() - began)


def read_opaque(path: str) -> tuple[Image.Image, list[str]]:
    """Reads a file as `read` does, but lays transparent parts on white and returns RGB."""
    picture, notes = read(path)
    if picture.mode == "RGBA":
        notes.append("Its transparent parts are laid on white.")
    return images.flat(picture), notes


def plain_enlargement(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Enlarges RGB or RGBA to that width and height by bicubic, to be shown beside the restored picture."""
    if picture.size == size:
        return picture
    width, height = size
    colour = images.opaque(picture) if picture.mode == "RGBA" else picture
    low = images.normalize(images.to_tensor(colour)).unsqueeze(0)
    large = images.to_picture(images.to_pixels(images.bicubic(low, height, width))[0])
    if picture.mode == "RGBA":
        large.putalpha(resized(picture.getchannel("A"), size))
    return large
