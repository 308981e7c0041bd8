"""How photos are cut where nobody says so: `--crop-at auto` looks at some of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from PIL import Image

from srgan.faces import detect
from srgan.photos.faces import EYES, LOOKED_AT, cut_faces, eyes_of
from srgan.pictures.images import centre_crop

LOOKED_AT_MOST = 32
"""Photos."""

TRAINING_CROP = 128
"""Pixels a side of the middle in which CelebA's photos have the eyes at EYES."""

IN_PLACE = 0.1
"""Of the crop's side: so far from EYES at most lie the eyes of aligned photos."""

MOST_ARE = 0.8
"""Share of the photos that must be aligned for all to be cut in the middle."""

MANY_ARE = 0.25
"""Share of the photos that must show a face which can be cut out."""


class Sampled(Protocol):
    def sample(self, most: int) -> Iterator[Image.Image]:
        """Up to so many of the photos, RGB; those that cannot be read are left out."""
        ...


@dataclass(frozen=True)
class Choice:
    crop_at: Literal["centre", "random", "faces"]
    why: str
    """a sentence"""


def choose(photos: Sampled, side: int, streamed: bool = False) -> Choice:
    """How photos are to be cut to crops of that side. Raises UserError where the face detector is missing."""
    seen = aligned = showing = 0
    for photo in photos.sample(LOOKED_AT_MOST):
        in_middle = any(shows_aligned(photo, middle) for middle in (side, TRAINING_CROP))
        seen += 1
        aligned += in_middle
        showing += in_middle or bool(cut_faces(photo, side).crops)
    if seen and aligned >= MOST_ARE * seen:
        return Choice("centre", f"{aligned} of {seen} photos looked at have an aligned face in the middle")
    if seen and showing >= MANY_ARE * seen:
        return Choice("faces", f"{showing} of {seen} photos looked at show faces that can be cut out")
    why = f"{showing} of {seen} photos looked at show a face that can be cut out"
    return Choice("centre" if streamed else "random", why)


def shows_aligned(photo: Image.Image, side: int) -> bool:
    """Whether the middle of a photo frames a face as the training crops do."""
    if min(photo.size) < side:
        return False
    middle = centre_crop(photo, side, side)
    for face in detect(middle, LOOKED_AT):
        places = [complex(*eye) * side for eye in EYES]
        if all(abs(found - place) <= IN_PLACE * side for found, place in zip(eyes_of(face), places, strict=True)):
            return True
    return False
