"""A folder or a zip of photos -> square crops, decoded once into a memory-mapped cache."""

import hashlib
import json
import math
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from tqdm import tqdm

from srgan import ranks
from srgan.device import send
from srgan.errors import UserError
from srgan.files import write_whole
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


class Photos(Protocol):
    """What a run trains on: `Crops`, `Windows`, or a stream."""

    identity: list[str]
    """tells apart what a run must not be resumed with"""

    def __len__(self) -> int:
        """Photos in an epoch."""

    def batches(self, seed: int, epoch: int, start: int, stop: int, size: int) -> Iterator[Tensor]:
        """The photos from `start` to `stop` of an epoch's order, `size` at a time: uint8 [size, 3, side, side].

        To one rank of several, its share of each `size`.
        """


@dataclass(frozen=True)
class Crops:
    """The centre crops of a collection, in order of name."""

    pixels: np.ndarray | Tensor
    """uint8 [N, 3, side, side], mapped from disk, or on a GPU"""
    names: list[str]
    """path of each crop's photo inside the folder"""
    skipped: dict[str, str]
    """photos left out, and why"""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def identity(self) -> list[str]:
        return self.names

    def on(self, device: torch.device, free: int) -> "Crops":
        """The same crops on the device, where they take at most half of the `free` bytes there; else as they are."""
        if self.pixels.nbytes > free // 2:
            return self
        pixels = torch.empty(self.pixels.shape, dtype=torch.uint8, device=device)
        for start in range(0, len(self), 1024):  # in parts, so that main memory need not hold them all
            pixels[start : start + 1024] = torch.from_numpy(self.pixels[start : start + 1024].copy())
        return replace(self, pixels=pixels)

    def batch(self, indices: Sequence[int]) -> Tensor:
        """uint8 [len(indices), 3, side, side], on a GPU if the crops are there."""
        chosen = np.asarray(indices)
        if isinstance(self.pixels, Tensor):
            return self.pixels[send(torch.from_numpy(chosen), self.pixels.device)]
        return torch.from_numpy(self.pixels[chosen])

    def batches(self, seed: int, epoch: int, start: int, stop: int, size: int) -> Iterator[Tensor]:
        """The photos from `start` to `stop` of an epoch's order, `size` at a time: uint8 [size, 3, side, side].

        To one rank of several, its share of each `size`.
        """
        order = shuffled(len(self), seed, epoch)[:stop]
        for first in range(start, stop, size):
            indices = order[first : first + size]
            yield self.batch(indices[ranks.share(len(indices)).part])

    def split(self, held_out: int | None) -> tuple["Crops", "Crops"]:
        """(to train on, held out: the last by name, as many as `held_out_count` says)."""
        count = count_to_hold_out(held_out, len(self))
        first = Crops(self.pixels[:-count], self.names[:-count], self.skipped)
        return first, self.last(count)

    def last(self, count: int) -> "Crops":
        """The last `count` by name, or all where there are fewer; which photos were skipped is said of the whole."""
        return Crops(self.pixels[-count:], self.names[-count:], {})


def held_out_count(given: int | None, photos: int) -> int:
    """5 % and at most 500 where no number is given."""
    return given if given is not None else min(500, max(1, photos // 20))


def count_to_hold_out(given: int | None, photos: int) -> int:
    """The same of a known number of photos. Raises UserError where nothing would be left to train on."""
    count = held_out_count(given, photos)
    if count >= photos:
        raise UserError(
            f"{photos} usable photos are too few to hold {count} out and train on the rest: "
            "add photos or set --held-out lower."
        )
    return count


def cache_root() -> Path:
    """$SRGAN_CACHE, else srgan/ in the user's cache folder."""
    return Path(
        os.environ.get("SRGAN_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "srgan"
    )


def cache_limit() -> float:
    """Bytes that the cache may take: $SRGAN_CACHE_GB, else 50 GB. Raises UserError where that is no number above 0."""
    given = os.environ.get("SRGAN_CACHE_GB") or "50"
    try:
        limit = float(given) * 1e9
    except ValueError:
        limit = math.nan
    if not limit > 0:
        raise UserError(f"SRGAN_CACHE_GB is {given!r}; it must be a number of gigabytes above 0.")
    return limit


def load_crops(data: str | Path, side: int) -> Crops:
    """The crops of a folder or a zip, from the cache where they are there: [N, 3, side, side], 3 bytes a pixel.

    Broken photos and those that are smaller than a crop are skipped and named. Raises UserError where none is left.
    """
    pixels, index = cached(data, side)
    require_photos(data, index["names"], index["skipped"])
    return Crops(pixels.reshape(-1, 3, side, side), index["names"], index["skipped"])


def cached(data: str | Path, side: int | None = None) -> tuple[np.ndarray, dict[str, Any]]:
    """The photos of a folder or a zip as the cache holds them, in which they are put where they are not there.

    side: of the crops that are wanted; None: whole photos. Gives their pixels, uint8, one photo behind the other, and
    the index: "names", "sizes" ([height, width]) and "skipped". The cache is keyed by the photos' paths, sizes and
    times, so a changed folder is read anew. Raises UserError where the cache cannot be written.
    """
    path = Path(data).resolve()
    photos = zip_collection(path) if path.is_file() and path.suffix.lower() == ".zip" else folder_collection(path)
    key = hashlib.sha256(f"3 {side}\0".encode() + os.fsencode(photos.place) + photos.stamp)
    place = cache_root() / key.hexdigest()[:24]
    if (found := open_entry(place)) is not None:
        return found
    limit = cache_limit()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_suffix(".lock")):
            if (found := open_entry(place)) is None:  # else another run has written it meanwhile
                write_entry(place, photos, side)
                found = open_entry(place)
        make_room(place, limit)
    except OSError as error:
        raise UserError(
            f"the photo cache cannot be written to {place.parent} ({error}): set SRGAN_CACHE to a folder with room."
        ) from None
    if found is None:
        raise UserError(f"the photo cache in {place} was changed while it was written: start again.")
    return found


def require_photos(data: str | Path, names: Sequence[str], skipped: dict[str, str]) -> None:
    """Raises UserError where no photo is left, with the reasons."""
    if not names:
        raise UserError(f"none of the {len(skipped)} photos in {data} can be used: {first_reasons(skipped)}.")


def first_reasons(skipped: dict[str, str], most: int = 3) -> str:
    shown = "; ".join(f"{name} {reason}" for name, reason in list(skipped.items())[:most])
    return shown + (f"; and {len(skipped) - most} more" if len(skipped) > most else "")


# The cache: a folder for each collection, of two files. The index is written last, so that it vouches for the other.

INDEX, PIXELS = "index.json", "photos.bin"


def open_entry(place: Path) -> tuple[np.ndarray, dict[str, Any]] | None:
    """What an entry of the cache holds, which counts as used now; None where it is not there or not whole."""
    try:
        index = json.loads((place / INDEX).read_text(encoding="utf-8"))
        pixels = np.memmap(place / PIXELS, np.uint8, "r") if index["names"] else np.empty(0, np.uint8)
        if len(index["names"]) != len(index["sizes"]) or pixels.size != 3 * sum(h * w for h, w in index["sizes"]):
            return None
    except (OSError, ValueError, KeyError, TypeError):  # cleaned away, or cut short
        return None
    with suppress(OSError):  # a cache that may only be read
        os.utime(place / INDEX)
    return pixels, index


def write_entry(place: Path, photos: Collection, side: int | None) -> None:
    """Decodes the photos into an entry, in place of what was left of it. An interruption leaves nothing."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    try:
        index = write_photos(photos, side, place / PIXELS)
        write_whole(place / INDEX, lambda partial: partial.write_text(json.dumps(index), encoding="utf-8"))
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise


def write_photos(photos: Collection, side: int | None, path: Path) -> dict[str, Any]:
    """The pixels of all that can be used go into the file; gives the index."""
    names, sizes, skipped = [], [], {}
    with path.open("wb") as file:
        for name, photo in decode(photos, side or 1, whole=side is None):
            if isinstance(photo, str):
                skipped[name] = photo
            else:
                file.write(photo.tobytes())
                names.append(name)
                sizes.append(photo.shape[1:])
    return {"names": names, "sizes": sizes, "skipped": skipped}


def make_room(kept: Path, limit: float) -> None:
    """Deletes what was longest unused beside the entry `kept`, until the cache holds `limit` bytes at most.

    What a killed process has left unfinished goes too. A process that has an entry open keeps what it has.
    """
    others = [path for path in kept.parent.iterdir() if re.fullmatch("[0-9a-f]{24}", path.name) and path != kept]
    sizes = {path: size_of(path) for path in others}
    held = size_of(kept) + sum(sizes.values())
    for path in sorted(others, key=last_used):
        if held <= limit and last_used(path):
            continue
        with suppress(OSError), FileLock(path.with_suffix(".lock"), timeout=0):  # it may be written just now
            shutil.rmtree(path)
            held -= sizes[path]


def size_of(entry: Path) -> int:
    """Bytes; 0 of one that another process has deleted meanwhile."""
    try:
        return sum(path.stat().st_size for path in entry.iterdir())
    except FileNotFoundError:
        return 0


def last_used(entry: Path) -> float:
    """Seconds; 0 of one that is not finished."""
    try:
        return (entry / INDEX).stat().st_mtime
    except FileNotFoundError:
        return 0.0


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


def shuffled(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order of the photos in an epoch: a function of (seed, epoch) alone, so that a resumed run has it too."""
    return np.random.default_rng((seed, epoch)).permutation(count)
