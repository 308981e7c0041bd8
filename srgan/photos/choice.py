"""Decides how photos are cut with `--crop-at auto`, by looking at some of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from PIL import Image

from srgan.faces import detect
from srgan.photos.face_crops import EYES, LOOKED_AT, cut_faces, eyes_of
from srgan.pictures.images import centre_crop

LOOKED_AT_MOST = 32
"""Number of photos that are examined at most."""

TRAINING_CROP = 128
"""Side in pixels of the centre crop of CelebA's photos in which the eyes lie at EYES."""

IN_PLACE = 0.1
"""Largest distance of the eyes from EYES in aligned photos, as a share of the crop's side."""

MOST_ARE = 0.8
"""If at least this share of the photos is aligned, all are cut in the middle."""

MANY_ARE = 0.25
"""If at least this share of the photos shows a usable face, the faces are cut out."""


class Sampled(Protocol):
    def sample(self, most: int) -> Iterator[Image.Image]:
        """Yields up to `most` of the photos, RGB. Photos that cannot be read are left out."""
        ...


@dataclass(frozen=True)
class CropChoice:
    crop_at: Literal["centre", "random", "faces"]
    why: str
    """a sentence that explains the choice"""


def choose(photos: Sampled, side: int, streamed: bool = False) -> CropChoice:
    """Decides how to cut the photos to crops of that side. Raises UserError if the face detector is missing."""
    seen = aligned = showing = 0
    for photo in photos.sample(LOOKED_AT_MOST):
        in_middle = any(shows_aligned(photo, middle) for middle in {side, TRAINING_CROP})
        seen += 1
        aligned += in_middle
        showing += in_middle or bool(cut_faces(photo, side).crops)
    if seen and aligned >= MOST_ARE * seen:
        return CropChoice("centre", f"{aligned} of {seen} photos looked at have an aligned face in the middle")
    if seen and showing >= MANY_ARE * seen:
        return CropChoice("faces", f"{showing} of {seen} photos looked at show faces that can be cut out")
    why = f"{showing} of {seen} photos looked at show a face that can be cut out" if seen else "none can be read"
    return CropChoice("centre" if streamed else "random", why)


def shows_aligned(photo: Image.Image, side: int) -> bool:
    """Returns whether the middle of a photo frames a face like the training crops."""
    if min(photo.size) < side:
        return False
    middle = centre_crop(photo, side, side)
    for face in detect(middle, LOOKED_AT):
        if all(abs(found - eye * side) <= IN_PLACE * side for found, eye in zip(eyes_of(face), EYES, strict=True)):
            return True
    return False
