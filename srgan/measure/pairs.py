"""Pictures on which a model is measured: high-resolution pictures, and their low-resolution copies if given."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from srgan.errors import UserError
from srgan.models import SCALE
from srgan.photos.crops import Crops, load_crops
from srgan.photos.finding import find_photos, is_of_the_system, is_picture
from srgan.pictures.images import open_rgb, to_tensor

SMALLEST = 32
"""Smallest width and height in pixels of a picture that can be measured; LPIPS needs that many."""

MADE_HERE = "made by the bicubic, rounded to 8 bits"


@dataclass(frozen=True)
class Pairs:
    """Pictures of one size."""

    names: list[str]
    high: Tensor
    """uint8 [N, 3, 4H, 4W]"""
    low: Tensor | None = None
    """uint8 [N, 3, H, W]; None if they are to be made from `high`"""


class CropPictures:
    """The middle squares of photos."""

    copies = MADE_HERE

    def __init__(self, crops: Crops, batch: int = 25) -> None:
        self.crops, self.batch = crops, batch
        self.names, self.left_out = crops.names, crops.skipped
        self.what = "centre {0}x{0} crops".format(crops.pixels.shape[-1])

    def __iter__(self) -> Iterator[Pairs]:
        for start in range(0, len(self.names), self.batch):
            names = self.names[start : start + self.batch]
            yield Pairs(names, self.crops.batch(range(start, start + len(names))))


class WholePictures:
    """A folder's pictures in full, trimmed at the right and bottom to multiples of 4.

    If the folder contains an HR folder, its pictures are used, and their copies come from the LR folder beside it:
    LR, LR_bicubic_X4, DIV2K_valid_LR_bicubic/X4 and the like. A copy has the picture's name, with or without "x4".
    Unusable pictures are added to `left_out` during the iteration. Raises UserError if two folders match.
    """

    what = "whole"

    def __init__(self, folder: Path, last: int | None = None) -> None:
        self.root = high_folder(folder) or folder
        self.photos = find_photos(self.root)
        self.photos = self.photos[-check_last(last, len(self.photos)) :]
        self.names = [self.name(photo) for photo in self.photos]
        self.left_out: dict[str, str] = {}
        place = None if self.root == folder else low_folder(folder)
        self.ready = {key(path, place): path for path in find_photos(place)} if place else {}
        ready = sum(self.copy_of(photo) is not None for photo in self.photos)
        given, made = f"{ready} from {place.name if place else ''}", f"{len(self.photos) - ready} {MADE_HERE}"
        self.copies = ", ".join(part for part in (given, made) if not part.startswith("0 "))

    def __iter__(self) -> Iterator[Pairs]:
        for photo in self.photos:
            try:
                yield self.pair(photo)
            except UserError as error:
                self.left_out[self.name(photo)] = str(error).removeprefix(f"{photo}: ").rstrip(".")

    def name(self, photo: Path) -> str:
        return photo.relative_to(self.root).as_posix()

    def copy_of(self, photo: Path) -> Path | None:
        name = key(photo, self.root)
        return self.ready.get(f"{name}x{SCALE}") or self.ready.get(name)

    def pair(self, photo: Path) -> Pairs:
        picture = open_rgb(photo)
        if min(picture.size) < SMALLEST:
            raise UserError(f"is {picture.width}x{picture.height}, smaller than {SMALLEST}x{SMALLEST}")
        width, height = picture.width // SCALE, picture.height // SCALE
        high = to_tensor(picture.crop((0, 0, width * SCALE, height * SCALE))).unsqueeze(0)
        ready = self.copy_of(photo)
        if ready is None:
            return Pairs([self.name(photo)], high)
        copy = open_rgb(ready)
        if copy.size != (width, height):
            raise UserError(f"has a copy {ready.name} of {copy.width}x{copy.height} instead of {width}x{height}")
        return Pairs([self.name(photo)], high, to_tensor(copy).unsqueeze(0))


Pictures = CropPictures | WholePictures


def open_pictures(folder: Path, side: int, whole: bool = False, last: int | None = None) -> Pictures:
    """Opens the pictures in full for a folder of pairs or if `whole` is set; otherwise the middle square, `side` pixels
    wide, of each photo."""
    if whole or high_folder(folder):
        return WholePictures(folder, last)
    crops = load_crops(folder, side)
    check_last(last, len(crops.names))
    return CropPictures(crops.last(last) if last else crops)


def check_last(last: int | None, count: int) -> int:
    if last is not None and not 1 <= last <= count:
        raise UserError(f"--last is {last}; it must be between 1 and the {count} usable photos.")
    return last or count


def key(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix().lower()


def high_folder(folder: Path) -> Path | None:
    """Returns the folder HR, DIV2K_valid_HR or the like in a folder of pairs; None if there is none."""
    return matching(folder, r"(.*_)?HR")


def low_folder(folder: Path) -> Path | None:
    return matching(folder, rf"(.*_)?LR(.*x{SCALE})?")


def matching(folder: Path, pattern: str) -> Path | None:
    """Returns the folder one or two levels below whose path matches the pattern, if it holds pictures."""
    below = [path for level in ("*", "*/*") for path in sorted(folder.glob(level)) if path.is_dir()]
    below = [path for path in below if not any(map(is_of_the_system, path.relative_to(folder).parts))]
    named = [path for path in below if re.fullmatch(pattern, path.relative_to(folder).as_posix(), re.I)]
    found = [path for path in named if any(file.is_file() and is_picture(file.name) for file in path.iterdir())]
    if len(found) > 1:
        names = " and ".join(path.relative_to(folder).as_posix() for path in found)
        raise UserError(f"{folder} holds both {names}: leave only the one that should be used.")
    return found[0] if found else None
