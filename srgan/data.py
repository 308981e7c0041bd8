"""A folder of photos -> square crops, decoded once into a memory-mapped cache."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from srgan.errors import UserError
from srgan.images import SUFFIXES, centre_crop, open_rgb, to_tensor


def find_photos(folder: str | Path) -> list[Path]:
    """Every picture in the folder and below it, sorted by path. Raises UserError when there is none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder.")
    photos = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not photos:
        raise UserError(f"{folder} holds no photos ({', '.join(sorted(SUFFIXES))}).")
    return photos


@dataclass(frozen=True)
class Crops:
    """The centre crops of a folder's photos, in order of name."""

    pixels: np.ndarray
    """uint8 [N, 3, side, side], mapped from disk"""
    names: list[str]
    """path of each crop's photo inside the folder"""
    skipped: dict[str, str]
    """photos left out, and why"""

    def batch(self, indices: Sequence[int]) -> Tensor:
        """uint8 [len(indices), 3, side, side]"""
        return torch.from_numpy(self.pixels[np.asarray(indices)])

    def split(self, held_out: int | None) -> tuple["Crops", "Crops"]:
        """(to train on, held out: the last by name; 5 % and at most 500 where no number is given)."""
        count = held_out if held_out is not None else min(500, max(1, len(self.names) // 20))
        if count >= len(self.names):
            raise UserError(
                f"{len(self.names)} usable photos are too few to hold {count} out and train on the rest: "
                "add photos or set --held-out lower."
            )
        first = Crops(self.pixels[:-count], self.names[:-count], self.skipped)
        return first, self.last(count)

    def last(self, count: int) -> "Crops":
        """The last `count` by name, or all where there are fewer; which photos were skipped is said of the whole."""
        return Crops(self.pixels[-count:], self.names[-count:], {})


def cache_root() -> Path:
    """$SRGAN_CACHE, else srgan/ in the user's cache folder."""
    return Path(
        os.environ.get("SRGAN_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "srgan"
    )


def load_crops(folder: str | Path, side: int) -> Crops:
    """The crops of a folder, from the cache where it is there. Broken and too small photos are skipped and named.

    The cache is keyed by the photos' paths, sizes and times, so a changed folder gets a new one. It is written beside
    its place and renamed into it: two runs that start at once both find it whole.
    """
    folder = Path(folder).resolve()
    photos = find_photos(folder)
    key = cache_key(folder, photos, side)
    place = cache_root() / key
    if not (place / "index.json").exists():
        build_cache(folder, photos, side, place)
    index = json.loads((place / "index.json").read_text())
    if not index["names"]:
        raise UserError(f"none of the {len(photos)} photos in {folder} can be used: {first_reasons(index['skipped'])}.")
    return Crops(np.load(place / "crops.npy", mmap_mode="r"), index["names"], index["skipped"])


def first_reasons(skipped: dict[str, str], most: int = 3) -> str:
    shown = "; ".join(f"{name} {reason}" for name, reason in list(skipped.items())[:most])
    return shown + (f"; and {len(skipped) - most} more" if len(skipped) > most else "")


def cache_key(folder: Path, photos: Sequence[Path], side: int) -> str:
    digest = hashlib.sha256(f"crops 1 {side}\0".encode() + os.fsencode(folder))
    for photo in photos:
        status = photo.stat()
        digest.update(f"\0{status.st_size}\0{status.st_mtime_ns}\0".encode() + os.fsencode(photo.relative_to(folder)))
    return digest.hexdigest()[:24]


def build_cache(folder: Path, photos: Sequence[Path], side: int, place: Path) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="partial-", dir=place.parent, ignore_cleanup_errors=True) as name:
            partial = Path(name) / place.name
            partial.mkdir()
            write_crops(folder, photos, side, partial)
            if not place.exists():
                partial.rename(place)
    except OSError as error:
        if not (place / "index.json").exists():  # another run may have been first, which is as good
            raise UserError(
                f"the photo cache cannot be written to {place.parent} ({error}): set SRGAN_CACHE to a folder with room."
            ) from None


def write_crops(folder: Path, photos: Sequence[Path], side: int, place: Path) -> None:
    pixels = np.lib.format.open_memmap(place / "crops.npy", "w+", np.uint8, (len(photos), 3, side, side))
    names, skipped = [], {}
    for photo, crop in tqdm(decode(photos, side), "reading photos", len(photos), unit=" photos", leave=False):
        name = str(photo.relative_to(folder))
        if isinstance(crop, str):
            skipped[name] = crop
        else:
            pixels[len(names)] = crop
            names.append(name)
    pixels.flush()
    if skipped:
        shrink(place / "crops.npy", pixels[: len(names)])
    (place / "index.json").write_text(json.dumps({"names": names, "skipped": skipped}))


def shrink(path: Path, kept: np.ndarray) -> None:
    smaller = path.with_suffix(".smaller.npy")
    np.save(smaller, kept)
    smaller.replace(path)


def decode(photos: Sequence[Path], side: int) -> Iterator[tuple[Path, np.ndarray | str]]:
    """Each photo with its crop, uint8 [3, side, side], or with the reason why it has none; in the given order."""

    def read(photo: Path) -> np.ndarray | str:
        try:
            picture = open_rgb(photo)
        except UserError as error:
            return str(error).removeprefix(f"{photo}: ").rstrip(".")
        if min(picture.size) < side:
            return f"is {picture.width}x{picture.height}, smaller than {side}x{side}"
        return to_tensor(centre_crop(picture, side, side)).numpy()

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes outside the interpreter lock
        for start in range(0, len(photos), 256):  # in groups, so that few decoded photos wait in memory
            group = photos[start : start + 256]
            yield from zip(group, pool.map(read, group), strict=True)


def shuffled(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order of the photos in an epoch: a function of (seed, epoch) alone, so that a resumed run has it too."""
    return np.random.default_rng((seed, epoch)).permutation(count)
