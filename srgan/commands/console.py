"""What a program does before all else: nothing that it prints can end it, and a missing package is said in a sentence.

Takes nothing but Python's own library, so it works where no package is installed.
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
    """An output whose failure does not end the work: letters that it does not have are written as escapes, and when
    nobody reads it any more, or its disk is full, what is printed from then on is dropped."""

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
        """Leads the output, with what still waits in it, to nowhere; says so unless its reader has gone of itself."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        if error.errno not in (errno.EPIPE, errno.EINVAL) and self is not sys.stderr:  # EINVAL: Windows' closed pipe
            print(f"The output cannot be written ({error.strerror}): the rest of it is lost.", file=sys.stderr)


def prepare(program: str) -> None:
    """To be called first by the program of that name, before it imports any package."""
    sys.stdout, sys.stderr = safe(sys.stdout), safe(sys.stderr)

    def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, ModuleNotFoundError) and not is_ours(error.name or ""):
            print(f"{program}: the package {error.name} is missing in {sys.executable}: {SET_UP}.", file=sys.stderr)
        elif isinstance(error, UserError):
            print(f"{program}: {error}", file=sys.stderr)
        else:
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = tell


def as_typed() -> list[str]:
    """The words that started this program: for a command that the reader is to type again."""
    program, *words = sys.argv
    path = Path(program)
    if path.name == "__main__.py":
        return ["python", "-m", path.parent.name, *words]
    return ["python", program, *words] if path.suffix == ".py" else [path.stem, *words]


def is_ours(module: str) -> bool:
    return module.partition(".")[0] == "srgan"


def safe(stream: T) -> "T | Console":
    """The same output as a Console. None, and what is no file (in a notebook, say), stay as they are."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.flush()
    console = Console(
        stream.buffer, stream.encoding, "backslashreplace",
        line_buffering=stream.line_buffering, write_through=stream.write_through,
    )  # fmt: skip
    console.before = stream  # kept, since its end would close the output
    return console
