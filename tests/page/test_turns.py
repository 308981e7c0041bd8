"""srgan/page/turns.py: visitors take turns, and work that nobody waits for is dropped."""

import threading
from collections.abc import Callable

import pytest

from srgan.page import turns
from srgan.page.turns import LARGE_PIXELS, MOST_LARGE, Left, time_left, working


@pytest.fixture(autouse=True)
def visitors(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """Maps a thread's name to whether its visitor still waits. Visitors that are not in it do wait."""
    there: dict[str, bool] = {}

    def somebody_waits() -> Callable[[], bool]:
        name = threading.current_thread().name
        return lambda: there.get(name, True)

    monkeypatch.setattr(turns, "somebody_waits", somebody_waits)
    return there


def started(work: Callable[[], object], name: str) -> threading.Thread:
    thread = threading.Thread(target=work, name=name)
    thread.start()
    return thread


def serve_a_small_one_beside(large: Callable[[threading.Event, threading.Event], object]) -> threading.Event:
    """Runs `large` and, when it sets its first event, a small picture. Returns the second event, which the small one
    sets when it is done."""
    began, small_is_done = threading.Event(), threading.Event()

    def small() -> None:
        with working(4096) as watch:
            watch(0.5)
        small_is_done.set()

    first = started(lambda: large(began, small_is_done), "large")
    began.wait()
    started(small, "small").join(30)
    first.join(30)
    return small_is_done


def test_a_small_picture_is_done_while_a_large_one_is_worked_on() -> None:
    def large(began: threading.Event, small_is_done: threading.Event) -> None:
        with working(1_000_000) as watch:
            began.set()
            for _ in range(10_000):
                watch(0.5)
                if small_is_done.wait(0.005):
                    return
        pytest.fail("the small one had no turn")

    assert serve_a_small_one_beside(large).is_set()


def test_a_small_picture_is_done_while_a_large_one_is_read() -> None:
    found = []

    def large(reading: threading.Event, small_is_done: threading.Event) -> None:
        with working(1_000_000) as watch:
            reading.set()
            found.append(small_is_done.wait(30))  # it reads and judges without a report
            watch(0.5)
            found.append("had its turn")

    serve_a_small_one_beside(large)
    assert found == [True, "had its turn"]


def test_a_large_picture_waits_for_its_turn_before_the_network_runs() -> None:
    go, inside, began = threading.Event(), threading.Event(), threading.Event()

    def small() -> None:
        with working(4096):
            inside.set()
            assert go.wait(30)

    def large() -> None:
        with working(1_000_000) as watch:
            watch(0.0)
            began.set()

    first = started(small, "small")
    inside.wait()
    second = started(large, "large")
    assert not began.wait(0.5)
    go.set()
    first.join(30)
    second.join(30)
    assert began.is_set()


def test_what_nobody_waits_for_is_ended_and_gives_its_turn_back(visitors: dict[str, bool]) -> None:
    done: list[str] = []

    def left() -> None:
        with pytest.raises(Left), working(LARGE_PIXELS + 1) as watch:
            watch(0.1)
            visitors["left"] = False
            watch(0.2)
            done.append("went on")

    def stays() -> None:
        with working(LARGE_PIXELS + 1):
            done.append("had a turn")

    started(left, "left").join(30)
    started(stays, "stays").join(30)
    assert done == ["had a turn"]


def test_large_pictures_wait_outside_where_enough_are_in_work_and_may_leave(visitors: dict[str, bool]) -> None:
    go, inside = threading.Event(), threading.Semaphore(0)

    def large() -> None:
        with working(LARGE_PIXELS + 1) as watch:
            inside.release()
            while not go.wait(0.005):
                watch(0.5)

    def one_too_many() -> None:
        with pytest.raises(Left), working(LARGE_PIXELS + 1):
            inside.release()

    busy = [started(large, str(number)) for number in range(MOST_LARGE)]
    for _ in busy:
        assert inside.acquire(timeout=30)
    waiting = started(one_too_many, "waiting")
    visitors["waiting"] = False
    waiting.join(30)
    assert not inside.acquire(blocking=False)
    go.set()
    for thread in busy:
        thread.join(30)


@pytest.mark.parametrize(
    ("elapsed", "done", "left", "words"),
    [
        (0.1, 0.5, 0.5, ""),
        (5, 0.0, 1.0, ""),
        (5, 0.5, 0.5, "about 5 s left"),
        (5, 0.25, 0.5, "about 10 s left"),
        (10, 0.999, 0.001, "about 1 s left"),
        (60, 0.2, 0.8, "about 4 min left"),
    ],
)
def test_the_time_left_is_told_in_words(elapsed: float, done: float, left: float, words: str) -> None:
    assert time_left(elapsed, done, left) == words


def test_what_comes_before_the_network_is_not_counted_as_the_networks_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large photo is read and judged for many seconds. They once made 99 minutes of 4."""
    clock, told = [0.0], []
    monkeypatch.setattr(turns.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(turns.gr, "Progress", lambda: lambda share, desc: told.append(desc))
    with working(1) as watch:
        clock[0] = 90.0
        watch(0.01)
        clock[0] = 100.0
        watch(0.51)
    assert told == [None, "about 10 s left"]
