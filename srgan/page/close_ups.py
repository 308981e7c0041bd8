"""Finds the faces of a picture once, counts them in a sentence, and shows each of them close up."""

from collections.abc import Sequence

from PIL import Image

from srgan.errors import UserError
from srgan.faces import find_faces
from srgan.page.kept import once
from srgan.pictures.boxes import Box
from srgan.pictures.resampling import Grid

MOST_SHOWN = 8

CLOSE_UP = (256, 512)
"""Least and most pixels on the longer side of a face. Smaller faces are enlarged pixel by pixel."""

GAP = 4
"""Width in pixels of the white gap between before and after."""


def faces_of(picture: Image.Image) -> tuple[tuple[Box, ...], str]:
    """Returns the faces of an RGB picture, the largest first; or none, and a sentence that says why they cannot be
    found."""
    try:
        return tuple(once(find_faces, picture)), ""
    except UserError as error:
        return (), f"The search for faces failed, so the whole picture was restored: {error}"


def how_many(faces: Sequence[Box]) -> str:
    return "1 face was found" if len(faces) == 1 else f"{len(faces)} faces were found"


def what_is_shown(faces: Sequence[Box]) -> str:
    """Returns the sentence above the close-ups."""
    if not faces:
        return "No face was found: the whole picture was restored."
    largest = f"the {MOST_SHOWN} largest, " if len(faces) > MOST_SHOWN else ""
    return f"{how_many(faces)}; {largest}before (bicubic) and after:"


def close_ups(
    faces: Sequence[Box], before: Image.Image, after: Image.Image, small: tuple[int, int]
) -> list[Image.Image]:
    """Draws both enlargements of each of the largest faces side by side. small: the size of the picture they are in."""
    grid, whole = Grid.between(small, after.size), Box(0, 0, *after.size)
    places = (grid.place(face).grown(0, whole) for face in faces[:MOST_SHOWN])
    shown = [place for place in places if place.width > 0 and place.height > 0]
    return [side_by_side([close_up(large.crop(box)) for large in (before, after)]) for box in shown]


def close_up(face: Image.Image) -> Image.Image:
    least, most = CLOSE_UP
    side = max(face.size)
    if side > most:
        return face.resize([max(1, round(length * most / side)) for length in face.size], Image.Resampling.BICUBIC)
    times = -(-least // side)
    return face.resize([times * length for length in face.size], Image.Resampling.NEAREST)


def side_by_side(pair: Sequence[Image.Image]) -> Image.Image:
    """Draws two pictures of one size side by side, with a gap."""
    width, height = pair[0].size
    both = Image.new("RGB", (2 * width + GAP, height), "white")
    for place, picture in zip((0, width + GAP), pair, strict=True):
        both.paste(picture, (place, 0))
    return both
