"""Finds the photos in a folder, a zip or a shard, and lists what is left out."""

import stat
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from srgan import ranks
from srgan.errors import UserError
from srgan.pictures.formats import HEIF_PACKAGE, JXL_PACKAGE, endings

SYSTEM_NAMES = frozenset(
    {"@eadir", "__macosx", "#recycle", "$recycle.bin", "system volume information", "lost+found", "thumbs.db",
     "desktop.ini"}
)  # fmt: skip
"""Names, in lower case, of files that operating systems and network drives create. Names that begin with a dot count
too."""

NEED_PACKAGES = {**dict.fromkeys((".heic", ".heif", ".hif"), HEIF_PACKAGE), ".jxl": JXL_PACKAGE}
"""The packages that read files with these endings."""

HIDDEN = "hidden or of the system"

SHOWN_KINDS = 6


@dataclass
class Found:
    """The content of a folder."""

    photos: list[Path] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    """number of files of each kind"""

    def take(self, path: Path, mode: int) -> bool:
        """Counts a file as a photo or by its kind, and returns whether it is a photo. mode: from the file's status."""
        kind = kind_left_out(path.name) if stat.S_ISREG(mode) else "pipes, devices and the like"
        if kind:
            self.left_out[kind] += 1
        else:
            self.photos.append(path)
        return not kind


def find_photos(folder: str | Path) -> list[Path]:
    """Lists every picture in a folder and its subfolders, sorted by path. What is left out is reported once, on stderr.

    Links to folders and pictures are followed, but no picture is listed twice. Raises UserError if there is none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder.")
    found = search(folder)
    tell(folder, len(found.photos), found.left_out)
    return sorted(found.photos)


def tell(place: Path, photos: int, left_out: Counter[str]) -> None:
    """Reports what a place holds beside its photos. Raises UserError if it holds no photos."""
    beside = kinds(left_out)
    if not photos:
        raise UserError(f"{place} holds no photos{f', but {beside}' if beside else ''}.")
    if beside:
        say(f"Left out of {place}: {beside}.")


@cache
def say(sentence: str) -> None:
    """Prints a line once, however often a folder is searched, and from one process only."""
    if ranks.is_first():
        tqdm.write(sentence, file=sys.stderr)


def kinds(left_out: Counter[str]) -> str:
    """For example "3 .txt, 1 hidden", with the most frequent first."""
    shown = left_out.most_common(SHOWN_KINDS)
    parts = [f"{count} {kind}" for kind, count in shown]
    if rest := left_out.total() - sum(count for _, count in shown):
        parts.append(f"{rest} of other kinds")
    return ", ".join(parts)


def search(folder: Path) -> Found:
    """Returns the photos below a folder, in no order, and what else is there."""
    found, seen = Found(), set[tuple[int, int]]()
    folders, links = [folder], list[Path]()
    while folders or links:  # links last: a photo that also has a path without links gets that name
        path = folders.pop() if folders else links.pop(0)
        try:
            status = path.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            if not stat.S_ISDIR(status.st_mode):
                found.take(path, status.st_mode)
                continue
            entries = sorted(path.iterdir())
        except OSError:
            found.left_out["links or folders that cannot be read"] += 1
            continue
        for entry in entries:
            if is_of_the_system(entry.name):
                found.left_out[HIDDEN] += 1
            elif entry.is_symlink():
                links.append(entry)
            elif entry.is_dir():
                folders.append(entry)
            else:
                try:
                    status = entry.stat()
                except FileNotFoundError:  # deleted since the folder was listed
                    continue
                if found.take(entry, status.st_mode):
                    seen.add((status.st_dev, status.st_ino))
    return found


def among(names: Iterable[str]) -> tuple[list[str], Counter[str]]:
    """Selects the pictures among the paths of files in an archive, and counts what is left out by kind."""
    pictures, left_out = [], Counter[str]()
    for name in names:
        kind = kind_left_out(name)
        if kind:
            left_out[kind] += 1
        else:
            pictures.append(name)
    return pictures, left_out


def is_picture(name: str) -> bool:
    """Returns whether a file in an archive is a picture, by its path."""
    return not kind_left_out(name)


def kind_left_out(name: str) -> str:
    """Returns the kind of a file that is no photo, by its path, such as ".txt"; "" for a photo."""
    path = PurePosixPath(name)
    if any(map(is_of_the_system, path.parts)):
        return HIDDEN
    ending = path.suffix.lower()
    if ending in endings():
        return ""
    if ending in NEED_PACKAGES:
        return f"{ending} (pip install {NEED_PACKAGES[ending]} to read them)"
    return ending or "without an ending"


def is_of_the_system(name: str) -> bool:
    return (name.startswith(".") and name not in (".", "..")) or name.lower() in SYSTEM_NAMES
