"""Files that are whole or not there: written under a temporary name, synced, renamed."""

import contextlib
import os
from collections.abc import Callable
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
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror or error}); what was there before is unharmed."
        ) from error
    finally:
        with contextlib.suppress(OSError):  # it would hide the reason
            partial.unlink()
