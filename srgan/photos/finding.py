"""Which files of a folder, a zip or a shard are its photos, and what is left out of it."""

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
"""What operating systems and network drives put into folders, in lower case; so is all that begins with a dot."""

NEED_PACKAGES = {**dict.fromkeys((".heic", ".heif", ".hif"), HEIF_PACKAGE), ".jxl": JXL_PACKAGE}
"""What reads files of these endings."""

HIDDEN = "hidden or of the system"

SHOWN_KINDS = 6


@dataclass
class Found:
    """What a folder holds."""

    photos: list[Path] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    """how many of each kind"""

    def take(self, path: Path, mode: int) -> bool:
        """Counts a file as a photo or by its kind; `mode` is of its status. Gives whether it is a photo."""
        kind = kind_left_out(path.name) if stat.S_ISREG(mode) else "pipes, devices and the like"
        if kind:
            self.left_out[kind] += 1
        else:
            self.photos.append(path)
        return not kind


def find_photos(folder: str | Path) -> list[Path]:
    """Every picture in the folder and below it, sorted by path; what is left out is said once, on stderr.

    Linked folders and pictures are followed, but none is given twice. Raises UserError when there is none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder.")
    found = search(folder)
    tell(folder, len(found.photos), found.left_out)
    return sorted(found.photos)


def tell(place: Path, photos: int, left_out: Counter[str]) -> None:
    """Says what a place holds beside its photos. Raises UserError where it holds none of these."""
    beside = kinds(left_out)
    if not photos:
        raise UserError(f"{place} holds no photos{f', but {beside}' if beside else ''}.")
    if beside:
        say(f"Left out of {place}: {beside}.")


@cache
def say(sentence: str) -> None:
    """Once, however often a folder is searched, and by one process."""
    if ranks.is_first():
        tqdm.write(sentence, file=sys.stderr)


def kinds(left_out: Counter[str]) -> str:
    """ "3 .txt, 1 hidden", say; the most frequent first."""
    shown = left_out.most_common(SHOWN_KINDS)
    parts = [f"{count} {kind}" for kind, count in shown]
    if rest := left_out.total() - sum(count for _, count in shown):
        parts.append(f"{rest} of other kinds")
    return ", ".join(parts)


def search(folder: Path) -> Found:
    """The photos below a folder, in no order, and what is not one."""
    found, seen = Found(), set[tuple[int, int]]()
    folders, links = [folder], list[Path]()
    while folders or links:  # links last: what is there under its own name as well is given by that
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
    """The pictures among the paths of files in an archive, and how many of each kind are left out."""
    pictures, left_out = [], Counter[str]()
    for name in names:
        kind = kind_left_out(name)
        if kind:
            left_out[kind] += 1
        else:
            pictures.append(name)
    return pictures, left_out


def is_picture(name: str) -> bool:
    """Whether the path of a file in an archive is one of a picture."""
    return not kind_left_out(name)


def kind_left_out(name: str) -> str:
    """What a file is that is no photo, by its path: ".txt", say. "" for a photo."""
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
