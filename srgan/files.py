"""Writes files completely or not at all, and chooses a different name for each file."""

import contextlib
import errno
import os
import secrets
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, count
from pathlib import Path

from srgan.errors import UserError

CANNOT_SYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)
"""Error numbers from drives that do not support fsync, such as some network drives."""


def write_whole(path: Path, write: Callable[[Path], object], lasting: bool = True) -> None:
    """Calls `write` with a temporary path beside `path`, then renames the result. If that fails, the old file stays.

    The temporary name is unique, so any number of threads and processes may write the same file. It keeps the suffix,
    from which libraries infer the format. lasting: whether to wait until the disk has it, so that it outlasts a power
    cut. Raises UserError if the disk refuses.
    """
    partial = path.with_name(f".{secrets.token_hex(8)}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        if lasting:
            with partial.open("rb+") as file:  # Windows syncs only a file that is open for writing
                sync(file.fileno())
        partial.replace(path)
        if lasting:
            with contextlib.suppress(OSError):  # not every system has folders that can be opened
                sync_folder(path.parent)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror or error}); what was there before is unharmed."
        ) from error
    finally:
        with contextlib.suppress(OSError):  # it would hide the reason
            partial.unlink()


def sync(descriptor: int) -> None:
    """Flushes a file to the disk, if the drive supports it."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in CANNOT_SYNC:
            raise


def sync_folder(folder: Path) -> None:
    """Flushes the renaming of a folder's files to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_partial(folder: Path) -> None:
    """Deletes the temporary files of killed processes in a folder and its subfolders."""
    for partial in folder.rglob(".*.partial*"):
        partial.unlink(missing_ok=True)


def is_same(first: Path, second: Path) -> bool:
    """Returns whether both exist and are the same file or folder. Asks the disk, because some disks do not
    distinguish `A` from `a`."""
    try:
        return first.samefile(second)
    except OSError:
        return False


def lies_in(path: Path, folder: Path) -> bool:
    """Returns whether a path, which need not exist, is an existing folder or lies below it."""
    path = path.resolve()
    return any(is_same(place, folder) for place in (path, *path.parents))


# Names of results


def folded(name: str) -> str:
    """Returns a form of the name without differences in case and Unicode composition. It is equal for names that some
    disk treats as the same file."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def take_free(wanted: Iterable[Path], taken: set[str]) -> Path:
    """Returns the first wanted name that is free on any disk, and adds it to `taken`, which holds folded names."""
    name = next(name for name in wanted if folded(name.as_posix()) not in taken)
    taken.add(folded(name.as_posix()))
    return name


def numbered(name: Path) -> Iterator[Path]:
    """Yields a.png, a-2.png, a-3.png, ..."""
    return chain([name], (name.with_name(f"{name.stem}-{number}{name.suffix}") for number in count(2)))


def with_ending(paths: Sequence[Path], ending: str | Callable[[Path], str], suffix: str = "") -> list[Path]:
    """Returns a file name for the result of each path, in the same order. No two denote the same file on any disk.

    a.jpg becomes a.png; if a.bmp is there too, they become a.jpg.png and a.bmp.png; if even that is taken, a number is
    added. ending: for all results, or one for each path. suffix: inserted before the ending.
    """
    ends = [f"{suffix}.{ending if isinstance(ending, str) else ending(path)}" for path in paths]
    wanted = [path.with_name(f"{path.stem}{end}") for path, end in zip(paths, ends, strict=True)]
    counts = Counter(folded(name.as_posix()) for name in wanted)
    taken = {folded(folder.as_posix()) for path in paths for folder in path.parents}  # a file cannot have their names
    results = []
    for path, name, end in zip(paths, wanted, ends, strict=True):
        short = [name] if counts[folded(name.as_posix())] == 1 else []
        results.append(take_free(chain(short, numbered(path.with_name(f"{path.name}{end}"))), taken))
    return results
