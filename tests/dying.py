"""Runs train.py in a process that is killed, as by `kill -9`, at a chosen moment."""

import os
import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import srgan.files
import srgan.training.trainer
from srgan.training.trainer import Trainer

ROOT = Path(__file__).resolve().parent.parent


def train_until(moment: str, number: int, arguments: list[str]) -> None:
    """Trains until the process dies. moment: one of MOMENTS; number: the occurrence at which it dies, 0 for never."""
    left = [number]

    def now() -> bool:
        left[0] -= 1
        return left[0] == 0

    MOMENTS[moment](now)
    sys.argv = [str(ROOT / "train.py"), *arguments]
    runpy.run_path(sys.argv[0], run_name="__main__")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner: Any, name: str, now: Callable[[], bool]) -> None:
    original = getattr(owner, name)

    def function(*arguments: Any, **named: Any) -> Any:
        if now():
            die()
        return original(*arguments, **named)

    setattr(owner, name, function)


def within_a_step(now: Callable[[], bool]) -> None:
    before(Trainer, "update_ema", now)  # the networks are updated, but not their average


def within_validation(now: Callable[[], bool]) -> None:
    before(srgan.training.trainer, "evaluate", now)


def within_writing_the_state(now: Callable[[], bool]) -> None:
    original = Path.write_bytes

    def write(path: Path, data: memoryview) -> int:
        if path.suffix == ".pt" and now():  # its temporary name shows only the ending
            original(path, data[: len(data) // 2])
            die()
        return original(path, data)

    Path.write_bytes = write


def around_renaming_the_state(now: Callable[[], bool], renamed: bool) -> None:
    original = Path.replace

    def replace(path: Path, target: Path) -> Path:
        last = target.name == "state.pt" and now()
        if last and not renamed:
            die()
        result = original(path, target)
        if last:
            die()
        return result

    Path.replace = replace


MOMENTS: dict[str, Callable[[Callable[[], bool]], None]] = {
    "step": within_a_step,
    "validation": within_validation,
    "writing": within_writing_the_state,
    "before renaming": lambda now: around_renaming_the_state(now, renamed=False),
    "after renaming": lambda now: around_renaming_the_state(now, renamed=True),
}
