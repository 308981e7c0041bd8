"""A folder or a zip of photos that can be read in any order."""

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from srgan.errors import UserError
from srgan.photos.cutting import Cutting, open_photo
from srgan.photos.finding import among, find_photos, tell
from srgan.photos.pieces import LeftOut, Pieces

READING = b"colours in sRGB"
"""Part of a cache's key. It changes if files are decoded to other pixels."""


@dataclass(frozen=True)
class Collection:
    """Photos that can be read in any order."""

    place: Path
    """the folder or the zip"""
    names: list[str]
    """path of each photo inside it, sorted"""
    stamp: bytes
    """changes with the name, size or time of any of them"""
    read: Callable[[str], Image.Image | LeftOut]
    """maps a name to the result of `open_photo`; for any thread"""

    def pieces(self, cutting: Cutting) -> Iterator[tuple[str, Pieces]]:
        """Yields each photo's name with what is cut out of it, in order."""
        return cut_all(((name, partial(self.read, name)) for name in self.names), cutting, len(self.names))

    def sample(self, most: int) -> Iterator[Image.Image]:
        """Returns up to so many readable photos, evenly spread over the names."""
        for number in range(min(most, len(self.names))):
            photo = self.read(self.names[number * len(self.names) // min(most, len(self.names))])
            if isinstance(photo, Image.Image):
                yield photo


def open_collection(data: str | Path) -> Collection:
    """Opens a folder or a zip. Raises UserError if it is missing or holds no photos."""
    path = Path(data).resolve()
    return zip_collection(path) if path.is_file() and path.suffix.lower() == ".zip" else folder_collection(path)


def folder_collection(folder: Path) -> Collection:
    names, digest = [], hashlib.sha256(READING)
    for photo in find_photos(folder):
        try:
            status = photo.stat()
        except OSError:  # deleted since the folder was listed
            continue
        names.append(str(photo.relative_to(folder)))
        digest.update(f"\0{status.st_size}\0{status.st_mtime_ns}\0".encode() + os.fsencode(names[-1]))
    return Collection(folder, names, digest.digest(), lambda name: open_photo(folder / name))


def zip_collection(path: Path) -> Collection:
    """Opens the pictures in a zip without unpacking it. Raises UserError if it is no zip or holds none."""
    try:
        archive, status = zipfile.ZipFile(path), path.stat()
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read as a zip ({error}): was its download cut short?") from None
    names, left_out = among(name for name in archive.namelist() if not name.endswith("/"))
    names.sort()
    tell(path, len(names), left_out)

    def read(name: str) -> Image.Image | LeftOut:
        try:
            data = archive.read(name)
        except Exception as error:  # damaged, encrypted, or packed in a way that Python does not know
            return LeftOut("cannot be read", f"cannot be read ({error})")
        return open_photo(name, data)

    return Collection(path, names, READING + f"{status.st_size} {status.st_mtime_ns}".encode(), read)


def read_crop(path: str | Path, side: int, data: bytes | None = None) -> np.ndarray | str:
    """Cuts the middle out of a photo, uint8 [3, side, side], or returns the reason why that is impossible.

    data: the file's bytes, if they are already read; `path` then only names it.
    """
    photo = open_photo(path, data)
    if isinstance(photo, LeftOut):
        return photo.words
    pieces = Cutting("centre", side).cut(photo)
    return pieces.crops[0] if pieces.crops else pieces.left_out[0].words


Reader = Callable[[], "Image.Image | LeftOut"]


def cut_all(photos: Iterable[tuple[str, Reader]], cutting: Cutting, total: int | None) -> Iterator[tuple[str, Pieces]]:
    """Yields each photo's name with what is cut out of it, in order. Photos are read and cut in threads.

    total: the number of photos, if it is known.
    """

    def work(photo: tuple[str, Reader]) -> Pieces:
        picture = photo[1]()
        return Pieces(left_out=[picture]) if isinstance(picture, LeftOut) else cutting.cut(picture)

    size = 256 if cutting.kind == "centre" else 16  # in groups, so that few decoded photos wait in memory
    waiting = iter(photos)
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,  # Pillow decodes outside the interpreter lock
        tqdm(total=total, desc="reading photos", unit=" photos", leave=False) as bar,
    ):
        while group := list(islice(waiting, size)):
            for (name, _), pieces in zip(group, pool.map(work, group), strict=True):
                bar.update()
                yield name, pieces
