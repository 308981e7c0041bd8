"""Whose turn it is on the machine: requests take turns several times a second, so that small pictures do not wait for
large ones; and what nobody waits for any more is not finished."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition, Semaphore

import gradio as gr

from srgan.page import zero
from srgan.page.gradio_changes import somebody_waits
from srgan.upscaler import Watch, unwatched

LARGE_PIXELS = 256 * 256
"""Pictures that the network takes in with more pixels than that are large: their number is limited."""

MOST_LARGE = 2
"""Large pictures in work at once: each takes up to 200 MB. Others wait outside, and small ones pass them."""

SILENT_SECONDS = 0.4
"""No time left is estimated before."""

SLICE_SECONDS = 0.3
"""So long a request keeps its turn at least: small pictures are done within one."""

LOOK_SECONDS = 0.2
"""Between two looks at whether somebody still waits."""


class Left(Exception):
    """Nobody waits for the result any more."""


class Turns:
    """A lock that is handed on in the order in which it was asked for."""

    def __init__(self) -> None:
        self._condition = Condition()
        self._given, self._serving = 0, 0
        self._began = 0.0

    def take(self) -> None:
        with self._condition:
            mine = self._given
            self._given += 1
            self._condition.wait_for(lambda: self._serving == mine)
            self._began = time.monotonic()

    def give(self) -> None:
        with self._condition:
            self._serving += 1
            self._condition.notify_all()

    def pass_on(self) -> None:
        """Gives a turn that has lasted long enough to those who wait, and takes it again after them."""
        if time.monotonic() - self._began >= SLICE_SECONDS:
            self.give()
            self.take()


TURNS = Turns()
LARGE = Semaphore(MOST_LARGE)


@contextmanager
def working(pixels: int) -> Iterator[Watch]:
    """Takes the request's turn for work on so many pixels. The Watch that it gives tells how far the work is and lets
    others have a turn; it raises Left where nobody waits for the result any more."""
    if zero.HERE:  # where each request has a GPU of its own
        yield unwatched
        return
    wanted = somebody_waits()
    with lane(pixels, wanted):
        TURNS.take()
        try:
            check(wanted)
            yield watching(wanted)
        finally:
            TURNS.give()


@contextmanager
def lane(pixels: int, wanted: Callable[[], bool]) -> Iterator[None]:
    """A place among the large pictures, for one that is."""
    if pixels <= LARGE_PIXELS:
        yield
        return
    while not LARGE.acquire(timeout=LOOK_SECONDS):
        check(wanted)
    try:
        yield
    finally:
        LARGE.release()


def check(wanted: Callable[[], bool]) -> None:
    if not wanted():
        raise Left


def watching(wanted: Callable[[], bool]) -> Watch:
    began = time.monotonic()

    def watch(share: float) -> None:
        check(wanted)
        gr.Progress()(share, desc=time_left(time.monotonic() - began, share))
        TURNS.pass_on()

    return watch


def time_left(elapsed: float, share: float) -> str:
    """Returns the time left in words; "" while too little is done to tell."""
    if elapsed < SILENT_SECONDS or share < 0.01:
        return ""
    seconds = elapsed * (1 - share) / share
    if seconds < 90:
        return f"about {max(1, round(seconds))} s left"
    return f"about {round(seconds / 60)} min left"
