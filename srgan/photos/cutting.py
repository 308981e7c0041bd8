"""Cuts photos for training: the middle, the whole photo, or its faces."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from srgan.errors import UserError
from srgan.photos.face_crops import cut_faces
from srgan.photos.pieces import LeftOut, Pieces, too_small
from srgan.photos.sharpness import reduced_to_sharp
from srgan.pictures.images import centre_crop, open_rgb, to_tensor

WINDOWS = 4
"""A photo is not reduced so far, to make it sharp, that fewer than this many crops fit side by side."""


@dataclass(frozen=True)
class Cutting:
    """The way in which photos are cut. It is part of the cache's key."""

    kind: Literal["centre", "whole", "sharp", "faces"]
    """centre: the middle; whole: all of the photo; sharp: all of it, reduced until it is sharp; faces: each face"""
    side: int = 0
    """side of the crops in pixels; `whole` does not use it"""

    def cut(self, picture: Image.Image) -> Pieces:
        """Cuts an RGB picture. Raises UserError if the face detector is missing."""
        if self.kind == "faces":
            return cut_faces(picture, self.side)
        if min(picture.size) < self.side:
            return Pieces(left_out=[too_small(*picture.size, self.side)])
        if self.kind == "centre":
            picture = centre_crop(picture, self.side, self.side)
        elif self.kind == "sharp":
            picture = reduced_to_sharp(picture, WINDOWS * self.side)
        return Pieces([to_tensor(picture).numpy()])


def open_photo(path: str | Path, data: bytes | None = None) -> Image.Image | LeftOut:
    """Opens the RGB picture in a file, or returns the reason why that is impossible.

    data: the file's bytes, if they are already read.
    """
    try:
        return open_rgb(path, data)
    except UserError as error:
        return LeftOut("cannot be read", f"cannot be read: {str(error).removeprefix(f'{path}: ').rstrip('.')}")
