"""A folder or a zip of photos -> square crops, decoded once into a memory-mapped cache."""

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from srgan import ranks
from srgan.device import send
from srgan.errors import UserError
from srgan.finding import among, find_photos, tell
from srgan.images import centre_crop, open_rgb, to_tensor

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
        return f"is {picture.width}x{picture.height}, smaller than {side}x{side}"
    return to_tensor(picture if whole else centre_crop(picture, side, side)).numpy()


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


def load_crops(data: str | Path, side: int) -> Crops:
    """The crops of a folder or a zip, from the cache where it is there. Broken and small photos are skipped, named."""
    place, index = cached(data, f"crops 2 {side}", lambda photos, partial: write_crops(photos, side, partial))
    return Crops(np.load(place / "crops.npy", mmap_mode="r"), index["names"], index["skipped"])


def cached(
    data: str | Path, what: str, write: Callable[[Collection, Path], dict[str, Any]]
) -> tuple[Path, dict[str, Any]]:
    """Where the cache of a folder or a zip lies, which `write` has filled, and what `write` gave.

    It is keyed by `what` and the photos' paths, sizes and times, so a changed folder gets a new one. It is written
    beside its place and renamed into it: two runs that start at once both find it whole. Raises UserError where no
    photo can be used.
    """
    path = Path(data).resolve()
    photos = zip_collection(path) if path.is_file() and path.suffix.lower() == ".zip" else folder_collection(path)
    key = hashlib.sha256(f"{what}\0".encode() + os.fsencode(photos.place) + photos.stamp)
    place = cache_root() / key.hexdigest()[:24]
    if not (place / "index.json").exists():
        build_cache(place, lambda partial: write(photos, partial))
    index = json.loads((place / "index.json").read_text())
    if not index["names"]:
        raise UserError(
            f"none of the {len(photos.names)} photos in {path} can be used: {first_reasons(index['skipped'])}."
        )
    return place, index


def first_reasons(skipped: dict[str, str], most: int = 3) -> str:
    shown = "; ".join(f"{name} {reason}" for name, reason in list(skipped.items())[:most])
    return shown + (f"; and {len(skipped) - most} more" if len(skipped) > most else "")


def build_cache(place: Path, write: Callable[[Path], dict[str, Any]]) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="partial-", dir=place.parent, ignore_cleanup_errors=True) as name:
            partial = Path(name) / place.name
            partial.mkdir()
            index = write(partial)
            (partial / "index.json").write_text(json.dumps(index))
            if not place.exists():
                partial.rename(place)
    except OSError as error:
        if not (place / "index.json").exists():  # another run may have been first, which is as good
            raise UserError(
                f"the photo cache cannot be written to {place.parent} ({error}): set SRGAN_CACHE to a folder with room."
            ) from None


def write_crops(photos: Collection, side: int, place: Path) -> dict[str, Any]:
    pixels = np.lib.format.open_memmap(place / "crops.npy", "w+", np.uint8, (len(photos.names), 3, side, side))
    names, skipped = [], {}
    for name, crop in decode(photos, side):
        if isinstance(crop, str):
            skipped[name] = crop
        else:
            pixels[len(names)] = crop
            names.append(name)
    pixels.flush()
    if skipped:
        shrink(place / "crops.npy", pixels[: len(names)])
    return {"names": names, "skipped": skipped}


def shrink(path: Path, kept: np.ndarray) -> None:
    smaller = path.with_suffix(".smaller.npy")
    np.save(smaller, kept)
    smaller.replace(path)


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
