"""Keeps decoded photos in memory-mapped files. Entries that were not used for longest make room for new ones."""

import hashlib
import json
import math
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypedDict

import numpy as np
from filelock import FileLock

from srgan.errors import UserError
from srgan.files import write_whole
from srgan.photos.cutting import Cutting
from srgan.photos.pieces import Pieces, look

INDEX, PIXELS = "index.json", "photos.bin"
"""The two files of an entry. The index is written last: if it is there, the other file is complete."""


def cache_root() -> Path:
    """$SRGAN_CACHE, or srgan/ in the user's cache folder."""
    return Path(
        os.environ.get("SRGAN_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "srgan"
    )


def cache_limit() -> float:
    """Returns the size limit of the cache in bytes: $SRGAN_CACHE_GB, by default 50 GB. Raises UserError if that is no
    number above 0."""
    given = os.environ.get("SRGAN_CACHE_GB") or "50"
    try:
        limit = float(given) * 1e9
    except ValueError:
        limit = math.nan
    if not limit > 0:
        raise UserError(f"SRGAN_CACHE_GB is {given!r}; it must be a number of gigabytes above 0.")
    return limit


class Readable(Protocol):
    """Photos that the cache can hold: a folder's, a zip's, or a stream's."""

    @property
    def place(self) -> Path | str: ...

    @property
    def stamp(self) -> bytes:
        """A digest that changes if any of the photos changes."""
        ...

    def pieces(self, cutting: Cutting) -> Iterator[tuple[str, Pieces]]: ...


class Index(TypedDict):
    """The content of index.json: what an entry holds."""

    names: list[str]
    """name of each crop"""
    sizes: list[tuple[int, int]]
    """height and width of each crop"""
    looks: list[str]
    """`look` of each crop, in hexadecimal"""
    photos: int
    """number of photos that gave a crop"""
    skipped: dict[str, str]
    """photos of which something was left out, and why"""
    left_out: dict[str, int]
    """how often each reason occurred"""
    small: list[int]
    """sides in pixels of what was too small"""


def cached(photos: Readable, cutting: Cutting) -> tuple[np.ndarray, Index]:
    """Returns the crops of photos from the cache. If they are not there, cuts and stores them first.

    Returns the pixels, uint8, one crop after the other, and the index. The key of an entry contains the photos' paths,
    sizes and times, so a changed folder is read again. Raises UserError if the cache cannot be written.
    """
    key = hashlib.sha256(f"4 {cutting}\0".encode() + os.fsencode(photos.place) + photos.stamp)
    place = cache_root() / key.hexdigest()[:24]
    if (found := open_entry(place)) is not None:
        return found
    limit = cache_limit()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_suffix(".lock")):
            if (found := open_entry(place)) is None:  # else another run has written it meanwhile
                write_entry(place, photos, cutting)
                found = open_entry(place)
        make_room(place, limit)
    except OSError as error:
        raise UserError(
            f"the photo cache cannot be written to {place.parent} ({error}): set SRGAN_CACHE to a "
            "folder with enough free space."
        ) from None
    if found is None:
        raise UserError(f"the photo cache in {place} was changed while it was written: start again.")
    return found


def open_entry(place: Path) -> tuple[np.ndarray, Index] | None:
    """Reads an entry of the cache, which then counts as used now. Returns None if it is missing or incomplete."""
    try:
        index: Index = json.loads((place / INDEX).read_text(encoding="utf-8"))
        pixels = np.memmap(place / PIXELS, np.uint8, "r") if index["names"] else np.empty(0, np.uint8)
        if len(index["names"]) != len(index["sizes"]) or pixels.size != 3 * sum(h * w for h, w in index["sizes"]):
            return None
    except (OSError, ValueError, KeyError, TypeError):  # cleaned away, or cut short
        return None
    with suppress(OSError):  # a cache that may only be read
        os.utime(place / INDEX)
    return pixels, index


def write_entry(place: Path, photos: Readable, cutting: Cutting) -> None:
    """Decodes the photos into an entry, replacing an incomplete one. An interruption leaves nothing."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    try:
        index = write_photos(photos.pieces(cutting), place / PIXELS)
        write_whole(place / INDEX, lambda partial: partial.write_text(json.dumps(index), encoding="utf-8"))
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise


def write_photos(photos: Iterable[tuple[str, Pieces]], path: Path) -> Index:
    """Writes the pixels of all usable photos to the file. Returns the index."""
    names, sizes, looks, skipped, small = [], [], [], {}, []
    left_out, used = Counter[str](), 0
    with path.open("wb") as file:
        for name, pieces in photos:
            used += bool(pieces.crops)
            for number, crop in enumerate(pieces.crops):
                file.write(crop.tobytes())
                names.append(numbered_name(name, number))
                sizes.append(crop.shape[1:])
                looks.append(look(crop).tobytes().hex())
            for left in pieces.left_out:
                left_out[left.reason] += 1
                small += [left.side] if left.side else []
            if pieces.left_out:
                skipped[name] = "; ".join(left.words for left in pieces.left_out)
    return {
        "names": names, "sizes": sizes, "looks": looks, "photos": used, "skipped": skipped, "left_out": left_out,
        "small": small,
    }  # fmt: skip


def numbered_name(name: str, number: int) -> str:
    """Returns the name of a photo's crop by its number: the first has the photo's name, the next are a-face2.jpg,
    a-face3.jpg, ..."""
    path = Path(name)
    return str(path.with_name(f"{path.stem}-face{number + 1}{path.suffix}")) if number else name


def make_room(kept: Path, limit: float) -> None:
    """Deletes the entries that were not used for longest, except `kept`, until the cache holds at most `limit` bytes.

    Unfinished entries of killed processes are deleted too. A process that has an entry open keeps its content.
    """
    others = [path for path in kept.parent.iterdir() if re.fullmatch("[0-9a-f]{24}", path.name) and path != kept]
    sizes = {path: entry_size(path) for path in others}
    held = entry_size(kept) + sum(sizes.values())
    for path in sorted(others, key=last_used):
        if held <= limit and last_used(path):
            continue
        with suppress(OSError), FileLock(path.with_suffix(".lock"), timeout=0):  # it may be written just now
            shutil.rmtree(path)
            held -= sizes[path]


def entry_size(entry: Path) -> int:
    """Returns the size of an entry in bytes; 0 if another process has deleted it meanwhile."""
    try:
        return sum(path.stat().st_size for path in entry.iterdir())
    except FileNotFoundError:
        return 0


def last_used(entry: Path) -> float:
    """Returns the time of the last use in seconds; 0 for an unfinished entry."""
    try:
        return (entry / INDEX).stat().st_mtime
    except FileNotFoundError:
        return 0.0
