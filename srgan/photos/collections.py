"""A folder or a zip of photos that can be read in any order."""

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from srgan.errors import UserError
from srgan.photos.finding import among, find_photos, tell
from srgan.pictures.images import centre_crop, open_rgb, to_tensor

READING = b"colours in sRGB"
"""Part of a cache's key: it changes when files come to be read as other pixels."""


@dataclass(frozen=True)
class Collection:
    """Photos that can be read in any order."""

    place: Path
    """the folder or the zip"""
    names: list[str]
    """path of each photo inside it, sorted"""
    stamp: bytes
    """changes with the name, size or time of any of them"""
    read: Callable[[str, int, bool], np.ndarray | str]
    """(name, side, whole) -> as `read_crop` has it; from any thread"""


def folder_collection(folder: Path) -> Collection:
    photos = find_photos(folder)
    digest = hashlib.sha256(READING)
    for photo in photos:
        status = photo.stat()
        digest.update(f"\0{status.st_size}\0{status.st_mtime_ns}\0".encode() + os.fsencode(photo.relative_to(folder)))
    names = [str(photo.relative_to(folder)) for photo in photos]
    return Collection(
        folder, names, digest.digest(), lambda name, side, whole: read_crop(folder / name, side, None, whole)
    )


def zip_collection(path: Path) -> Collection:
    """The pictures in a zip, which is read where it lies. Raises UserError when it is not one, or holds none."""
    try:
        archive, status = zipfile.ZipFile(path), path.stat()
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read as a zip ({error}): was its download cut short?") from None
    names, left_out = among(name for name in archive.namelist() if not name.endswith("/"))
    names.sort()
    tell(path, len(names), left_out)

    def read(name: str, side: int, whole: bool) -> np.ndarray | str:
        try:
            data = archive.read(name)
        except Exception as error:  # damaged, encrypted, or packed in a way that Python does not know
            return f"cannot be read ({error})"
        return read_crop(name, side, data, whole)

    return Collection(path, names, READING + f"{status.st_size} {status.st_mtime_ns}".encode(), read)


def read_crop(path: str | Path, side: int, data: bytes | None = None, whole: bool = False) -> np.ndarray | str:
    """The middle of a photo, uint8 [3, side, side], or the reason why it has none.

    data: the file's bytes, where they are at hand; `path` then only names it. whole: all of it, [3, H, W], where a crop
    of that size could be cut.
    """
    try:
        picture = open_rgb(path, data)
    except UserError as error:
        return str(error).removeprefix(f"{path}: ").rstrip(".")
    if min(picture.size) < side:
        return too_small(picture.width, picture.height, side)
    return to_tensor(picture if whole else centre_crop(picture, side, side)).numpy()


def too_small(width: int, height: int, side: int) -> str:
    return f"is {width}x{height}, smaller than {side}x{side}"


def decode(photos: Collection, side: int, whole: bool = False) -> Iterator[tuple[str, np.ndarray | str]]:
    """Each photo's name with what `read_crop` gives for it, in order."""
    size = 16 if whole else 256  # in groups, so that few decoded photos wait in memory
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,  # Pillow decodes outside the interpreter lock
        tqdm(total=len(photos.names), desc="reading photos", unit=" photos", leave=False) as bar,
    ):
        for start in range(0, len(photos.names), size):
            group = photos.names[start : start + size]
            for name, found in zip(group, pool.map(lambda name: photos.read(name, side, whole), group), strict=True):
                bar.update()
                yield name, found
