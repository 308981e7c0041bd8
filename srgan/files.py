"""Files that are whole or not there: written under a temporary name, synced, renamed."""

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from srgan.errors import UserError


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Calls `write` with a temporary path beside `path`, then renames it there. What was there survives a failure.

    The temporary name keeps the suffix, by which libraries tell a format. Raises UserError when the disk refuses.
    """
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
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


def with_ending(paths: Sequence[Path], ending: str) -> list[Path]:
    """Where a result of each goes: a.png for a.jpg, but a.jpg.png and a.bmp.png where there are both."""
    stems = Counter(path.with_suffix("") for path in paths)
    return [
        path.with_suffix(f".{ending}" if stems[path.with_suffix("")] == 1 else f"{path.suffix}.{ending}")
        for path in paths
    ]
