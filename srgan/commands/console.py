"""Prepares a program's output, so that no failure to print ends the program and a missing package is named in one
sentence.

This module imports only Python's own library and srgan.errors, so it works before any package is installed.
"""

import errno
import io
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from srgan.errors import UserError

T = TypeVar("T")

SET_UP = (
    "activate the environment that `make demo` has made (`source .venv/bin/activate`; on Windows "
    "`.venv\\Scripts\\activate`), or install the packages with `pip install -r requirements.txt`"
)


class Console(io.TextIOWrapper):
    """An output stream whose failures do not end the program.

    Characters that it cannot encode are written as escapes. If its reader is gone or its disk is full, it drops the
    text.
    """

    before: io.TextIOWrapper

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self.give_up(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self.give_up(error)

    def give_up(self, error: OSError) -> None:
        """Redirects the output, including what is still buffered, to the null device. Tells the user, unless the reader
        has closed it."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        if error.errno not in (errno.EPIPE, errno.EINVAL) and self is not sys.stderr:  # EINVAL: Windows' closed pipe
            print(f"The output cannot be written ({error.strerror}); the rest of it is lost.", file=sys.stderr)


def prepare(program: str) -> None:
    """Sets up output and error messages. Call it before importing any package. program: its name in messages."""
    sys.stdout, sys.stderr = safe(sys.stdout), safe(sys.stderr)

    def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, ModuleNotFoundError) and not is_own_module(error.name or ""):
            print(f"{program}: the package {error.name} is missing in {sys.executable}: {SET_UP}.", file=sys.stderr)
        elif isinstance(error, UserError):
            print(f"{program}: {error}", file=sys.stderr)
        else:
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = tell


def program_as_typed() -> list[str]:
    """Returns the words that started this program, without its arguments, in the form in which the reader can type them
    again."""
    path = Path(sys.argv[0])
    if path.name == "__main__.py":
        return ["python", "-m", path.parent.name]
    return ["python", sys.argv[0]] if path.suffix == ".py" else [path.stem]


def short_name(program: str) -> str:
    """Returns the name that stands before messages: "train.py" for "python here/train.py", "srgan" for "python -m
    srgan"."""
    return Path(program.removeprefix("python ").removeprefix("-m ")).name


def as_typed() -> list[str]:
    """Returns the whole command that started this program."""
    return [*program_as_typed(), *sys.argv[1:]]


def is_own_module(module: str) -> bool:
    return module.partition(".")[0] == "srgan"


def safe(stream: T) -> "T | Console":
    """Wraps an output in a Console. None, and outputs that are not files (in a notebook), are returned unchanged."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.flush()
    console = Console(
        stream.buffer, stream.encoding, "backslashreplace",
        line_buffering=stream.line_buffering, write_through=stream.write_through,
    )  # fmt: skip
    console.before = stream  # kept, since its end would close the output
    return console
