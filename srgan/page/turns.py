"""Gives requests their turns on the machine, several times a second, so that small pictures do not wait for large ones.
Work that nobody waits for any more is not finished."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Condition, Lock, Semaphore

import gradio as gr

from srgan.errors import UserError
from srgan.page import zero
from srgan.page.gradio_changes import somebody_waits
from srgan.upscaler import Watch, unwatched
from srgan.words import number

MOST_AT_ONCE = 64
"""Largest number of requests that wait for a turn or are being processed. A handler reads and refuses pictures before
it asks for a turn, so requests that will be refused do not wait."""

LARGE_PIXELS = 256 * 256
"""Pictures with more pixels than this at the network's input are large, and their number is limited."""

MOST_LARGE = 2
"""Number of large pictures that are processed at once; each takes up to 200 MB. Other large pictures wait, and small
ones overtake them."""

MOST_LENT = 4
"""Number of requests that have a GPU of their own at once on ZeroGPU."""

SILENT_SECONDS = 0.4
"""Seconds of work before the remaining time is estimated."""

SLICE_SECONDS = 0.3
"""Seconds for which a request keeps its turn at least: small pictures are done within one turn."""

TOLD_SECONDS = 0.1
"""Least seconds between two messages about the progress. A message takes time that small pictures would notice."""

LOOK_SECONDS = 0.2
"""Seconds between two checks whether somebody still waits."""

Wanted = Callable[[], bool]
"""Whether somebody still waits for the result."""


class Left(Exception):
    """Whoever asked for the result has left and no longer waits for it."""


class WaitingRoom:
    """Counts the requests that wait for a turn or are worked on."""

    def __init__(self, most: int) -> None:
        self.most, self.taken = most, 0
        self._lock = Lock()

    @contextmanager
    def one(self, patient: bool = False) -> Iterator[None]:
        """Takes a place. Raises UserError if all are taken, except for a patient request."""
        with self._lock:
            if self.taken >= self.most and not patient:
                raise UserError(f"{self.taken} pictures are waiting already: try again in a minute.")
            self.taken += 1
        try:
            yield
        finally:
            with self._lock:
                self.taken -= 1


class Turns:
    """A lock that is passed on in the order in which it was asked for. Each request has its own place in the line."""

    def __init__(self) -> None:
        self._condition = Condition()
        self._line: deque[object] = deque()
        self._began = 0.0

    def take(self, place: object, waits: Callable[[], object]) -> None:
        """Waits for the turn and calls `waits` now and then. If that raises, `give` must still be called."""
        with self._condition:
            self._line.append(place)
            while self._line[0] is not place:
                waits()
                self._condition.wait(LOOK_SECONDS)
            self._began = time.monotonic()

    def give(self, place: object) -> None:
        with self._condition:
            if place in self._line:
                self._line.remove(place)
            self._condition.notify_all()

    def pass_on(self, place: object, waits: Callable[[], object]) -> None:
        """Passes on a turn that has lasted long enough to those who wait, and waits for the next one."""
        if time.monotonic() - self._began >= SLICE_SECONDS:
            self.give(place)
            self.take(place, waits)


PLACES = WaitingRoom(MOST_AT_ONCE)
TURNS = Turns()
LARGE = Semaphore(MOST_LARGE)
LENT = Semaphore(MOST_LENT)


def waiting() -> int:
    """Returns the number of requests that wait for their turn."""
    return max(0, PLACES.taken - (MOST_LENT if zero.HERE else 1))


@contextmanager
def working(pixels: int, patient: bool = False) -> Iterator[Watch]:
    """Waits for the request's turn. Yields a Watch for the work: it shows the progress and lets others have a turn.

    A large picture takes many seconds to be read and judged, so it waits for its turn only when the network first
    reports to the Watch; small pictures are served until then.

    pixels: at the network's input, or of the picture that is read, if it has more. Raises UserError if too many
    requests wait already; a patient request waits nevertheless. Raises Left, as the Watch does, if nobody waits for the
    result any more.
    """
    wanted, place = somebody_waits(), object()
    with PLACES.one(patient):
        if zero.HERE:  # where each request has a GPU of its own
            with acquired(LENT, wanted):
                yield unwatched
            return
        large = pixels > LARGE_PIXELS
        lane: AbstractContextManager = acquired(LARGE, wanted) if large else nullcontext()
        with lane:
            try:
                if not large:
                    TURNS.take(place, telling(wanted))
                stop_unless(wanted)
                yield watching(place, wanted, has_turn=not large)
            finally:
                TURNS.give(place)


@contextmanager
def acquired(semaphore: Semaphore, wanted: Wanted) -> Iterator[None]:
    waits = telling(wanted)
    while not semaphore.acquire(timeout=LOOK_SECONDS):
        waits()
    try:
        yield
    finally:
        semaphore.release()


def stop_unless(wanted: Wanted) -> None:
    if not wanted():
        raise Left


def telling(wanted: Wanted) -> Callable[[], None]:
    """Returns the function that a waiting request calls now and then: it tells the visitor how many others there
    are."""
    told = 0

    def waits() -> None:
        nonlocal told
        stop_unless(wanted)
        if (others := PLACES.taken - 1) != told:
            told = others
            verb = "is" if others == 1 else "are"
            tell(f"waiting, as {number(others, 'other')} {verb} being served")

    return waits


def watching(place: object, wanted: Wanted, has_turn: bool) -> Watch:
    told = time.monotonic()
    began: tuple[float, float] | None = None

    def watch(share: float) -> None:
        nonlocal told, began, has_turn
        if not has_turn:
            TURNS.take(place, telling(wanted))
            has_turn = True
        stop_unless(wanted)
        now = time.monotonic()
        began = began or (now, share)  # reading and judging the picture came before, and tell nothing of the rest
        if now - told >= TOLD_SECONDS:
            told = now
            gr.Progress()(share, desc=time_left(now - began[0], share - began[1], 1 - share) or None)
        TURNS.pass_on(place, lambda: stop_unless(wanted))

    return watch


def tell(words: str, share: float = 0) -> None:
    """Tells the visitor what is being done before or after the network's work, at a share of 0 or 1.

    Without a number, Gradio shows no words; so "- 0.0%" follows them, on a line of its own that style.css hides.
    """
    gr.Progress()(share, desc=f"{words}\n")


def time_left(elapsed: float, done: float, left: float) -> str:
    """Returns the time left in words; "" while too little is done to tell.

    elapsed: seconds that the share `done` of the work took. left: the share that is left.
    """
    if elapsed < SILENT_SECONDS or done < 0.01:
        return ""
    seconds = elapsed * left / done
    if seconds < 90:
        return f"about {max(1, round(seconds))} s left"
    return f"about {round(seconds / 60)} min left"
