"""Publishes a run in a separate thread while it trains."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub.utils import disable_progress_bars
from tqdm import tqdm

from srgan.errors import UserError
from srgan.publish.push import push


class Publisher:
    """Publishes a run every few epochs in a separate thread. If that fails, prints why, and the training continues."""

    def __init__(self, repo_id: str, every: int, write: Callable[[], Path]) -> None:
        """every: epochs, 0 for never; write: returns a model folder with the current model, which stays unchanged
        until the next call."""
        self.repo_id, self.every, self.write = repo_id, every, write
        self.thread: threading.Thread | None = None

    def after_epoch(self, epoch: int) -> None:
        if not self.every or epoch % self.every:
            return
        if self.thread is not None and self.thread.is_alive():
            tqdm.write(f"Epoch {epoch} is not published, because the previous upload is still running.")
            return
        with self.told():
            self.thread = threading.Thread(target=self.push, args=(self.write(),))
            self.thread.start()

    def push(self, folder: Path) -> None:
        disable_progress_bars()  # they would break up the training's progress bar
        with self.told():
            push(folder, self.repo_id, tqdm.write)

    @contextmanager
    def told(self) -> Iterator[None]:
        try:
            yield
        except UserError as error:
            tqdm.write(f"Not published; training continues: {error}")

    def wait(self) -> None:
        if self.thread is not None:
            self.thread.join()
