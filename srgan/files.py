"""Files that are whole or not there, and names that no two files share."""

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
"""What a drive answers that does not know fsync, as some network drives do not."""


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Calls `write` with a temporary path beside `path`, then renames it there. What was there survives a failure.

    The temporary name is short and never the same twice, so any number of threads and processes may write one file, and
    keeps the suffix, by which libraries tell a format. Raises UserError when the disk refuses.
    """
    partial = path.with_name(f".{secrets.token_hex(8)}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        with partial.open("rb+") as file:  # Windows syncs only a file that is open for writing
            sync(file.fileno())
        partial.replace(path)
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
    """Brings a file to the disk, where the drive can say that it has done so."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in CANNOT_SYNC:
            raise


def sync_folder(folder: Path) -> None:
    """Brings the renaming of its files to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_partial(folder: Path) -> None:
    """Deletes what processes that were killed while they wrote have left in a folder and below it."""
    for partial in folder.rglob(".*.partial*"):
        partial.unlink(missing_ok=True)


def is_same(first: Path, second: Path) -> bool:
    """Whether both are there and are one file or folder. The disk is asked: it may take `A` and `a` for one name."""
    try:
        return first.samefile(second)
    except OSError:
        return False


def lies_in(path: Path, folder: Path) -> bool:
    """Whether a path, there or not, is a folder that is there or lies below it."""
    path = path.resolve()
    return any(is_same(place, folder) for place in (path, *path.parents))


# Names of results


def folded(name: str) -> str:
    """What two names have in common that are one file on some disk: case and composed letters make no difference."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def take_free(wanted: Iterable[Path], taken: set[str]) -> Path:
    """The first of the wanted names that is free on any disk. From then on it is taken: `taken` holds folded names."""
    name = next(name for name in wanted if folded(name.as_posix()) not in taken)
    taken.add(folded(name.as_posix()))
    return name


def numbered(name: Path) -> Iterator[Path]:
    """a.png, a-2.png, a-3.png, ..."""
    return chain([name], (name.with_name(f"{name.stem}-{number}{name.suffix}") for number in count(2)))


def with_ending(paths: Sequence[Path], ending: str | Callable[[Path], str], suffix: str = "") -> list[Path]:
    """Where a result of each goes, in the same order; no two are one file on any disk.

    a.png for a.jpg; a.jpg.png and a.bmp.png where there are both; and a number where even that is taken.

    ending: of all, or of each path's result. suffix: stands before it.
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
