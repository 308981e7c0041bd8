"""Shows the progress of `srgan upscale`: pictures done, shares of pictures, time left, and the current picture."""

import sys
from threading import Lock
from types import TracebackType
from typing import Any

from tqdm import tqdm

from srgan import ranks
from srgan.upscaler import Watch

ONE = "{l_bar}{bar}| [{elapsed}, {remaining} left] {doing}"
MANY = "{l_bar}{bar}| {pictures} pictures [{elapsed}, {remaining} left] {doing}"

FIRST_SHOWN_AFTER = 1
"""Seconds of work before the bar is shown."""

SECONDS_IN_LOGS = 10
"""Seconds between two lines if the bar is written to a file."""


class Bar(tqdm):
    """Counts pictures, of which shares may be done."""

    doing = ""

    @property
    def format_dict(self) -> dict[str, Any]:
        done = round(self.n, 6)  # a sum of shares may be a little off
        counted = {"n": done, "pictures": f"{int(done)}/{self.total:.0f}", "doing": self.doing}
        return {**super().format_dict, **counted}


class Interrupted(Exception):
    """The work on all pictures is to end."""


class Progress:
    """A progress display for several threads. Short work, and all processes but the first, show nothing."""

    def __init__(self, pictures: int) -> None:
        many = pictures > 1
        self._shares: dict[str, float] = {}
        self._lock = Lock()
        self._stopped = False
        self._bar = Bar(
            total=pictures, bar_format=MANY if many else ONE, disable=not ranks.is_first(), leave=many,
            delay=0 if many else FIRST_SHOWN_AFTER, mininterval=0.2 if sys.stderr.isatty() else SECONDS_IN_LOGS,
        )  # fmt: skip

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped = error is not None
        self._bar.close()

    def watch(self, name: str) -> Watch:
        """Returns the Watch for the network while it enlarges the picture of that name. It raises Interrupted once
        Ctrl-C or an error has ended the context, so that no thread goes on with its picture."""

        def watch(share: float) -> None:
            if self._stopped:
                raise Interrupted
            with self._lock:
                self._bar.doing = name
                self._tell(name, share)

        return watch

    def done(self, name: str) -> None:
        """Counts a picture as finished, whether it was enlarged or failed."""
        with self._lock:
            self._tell(name, 1.0)
            del self._shares[name]

    def _tell(self, name: str, share: float) -> None:
        more = share - self._shares.get(name, 0.0)
        self._bar.update(min(more, self._bar.total - self._bar.n))  # a sum of shares may be a little over
        self._shares[name] = share
