"""Runs train.py, `python -m srgan` or a piece of code in a separate process with a separate environment.

The process is forked from one that has PyTorch loaded already. It imports huggingface_hub itself, because that package
reads the environment on import. Sleeps are shortened, because the client waits between its attempts.
"""

import multiprocessing
import os
import runpy
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LONGEST_SLEEP = 0.02


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


def run(arguments: list[str], environment: dict[str, str], folder: Path, timeout: float = 120) -> Result:
    """Runs a command. arguments: those of python: ["train.py", ...], ["-m", "srgan", ...] or ["-c", code]."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "numpy", "torch", "torchvision", "matplotlib.figure", "PIL.Image"])
    outputs = [folder / f".output-{name}" for name in ("out", "err")]
    process = context.Process(target=child, args=(arguments, environment, folder, *outputs))
    process.start()
    process.join(timeout)
    if process.is_alive():
        process.kill()
        process.join()
    texts = [path.read_text() for path in outputs]
    for path in outputs:
        path.unlink()
    assert process.exitcode is not None
    return Result(process.exitcode, *texts)


def child(arguments: list[str], environment: dict[str, str], folder: Path, out: Path, err: Path) -> None:
    for descriptor, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY), descriptor)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path.insert(0, str(ROOT))
    sleep = time.sleep
    time.sleep = lambda seconds: sleep(min(seconds, LONGEST_SLEEP))
    sys.argv = list(arguments)
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    elif arguments[0] == "-c":
        exec(arguments[1], {"__name__": "__main__"})
    else:
        runpy.run_path(str(ROOT / arguments[0]), run_name="__main__")
