"""ZeroGPU: the GPU that Hugging Face lends a Space for one call at a time. Elsewhere this module has no effect.

The `spaces` package, which comes with every Space, makes PyTorch believe that there is a CUDA device. That holds only
in the main thread, before the page is launched, and only for placing weights on it. A lent call runs in a forked
process that has the GPU. Its arguments and results are pickled, and among exceptions only a gr.Error keeps its text.
"""

import os
from collections import OrderedDict
from threading import Lock
from typing import NamedTuple

try:
    import spaces  # before anything touches CUDA
except ImportError:
    spaces = None

from PIL import Image

from srgan.pictures.corrections import CorrectionChoice
from srgan.pictures.formats import standard
from srgan.pictures.sizes import FOUR_TIMES, TargetSize
from srgan.upscaler import Upscaler, Watch, unwatched

HERE = spaces is not None and os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
"""Whether this is a ZeroGPU Space, decided as `spaces` itself does."""

KEPT_BYTES = 256 << 20
"""Memory in bytes for the last results of all models together. They are returned again without a GPU, because visitors
try the same examples and have only minutes of GPU time a day.

The largest result takes 67 MB: 1 megapixel with transparency, and its enlargement.
"""


class Asked(NamedTuple):
    """What a result depends on. `pixels` have `mode` and `size`; models are distinguished by identity."""

    model: Upscaler
    mode: str
    size: tuple[int, int]
    pixels: bytes
    detail: float
    target: TargetSize = FOUR_TIMES
    correction: CorrectionChoice = "auto"


class Answer(NamedTuple):
    mode: str
    size: tuple[int, int]
    pixels: bytes
    milliseconds: int


class LastResults:
    """Keeps the last results, up to a number of bytes. Several threads may use it."""

    def __init__(self, most: int) -> None:
        self.most, self.bytes = most, 0
        self._answers: OrderedDict[Asked, Answer] = OrderedDict()
        self._lock = Lock()

    def get(self, asked: Asked) -> Answer | None:
        with self._lock:
            if asked in self._answers:
                self._answers.move_to_end(asked)
            return self._answers.get(asked)

    def keep(self, asked: Asked, answer: Answer) -> None:
        with self._lock:
            if asked not in self._answers:  # another thread may have asked the same
                self.bytes += len(asked.pixels) + len(answer.pixels)
            self._answers[asked] = answer
            while self.bytes > self.most:
                old = self._answers.popitem(last=False)
                self.bytes -= sum(len(part.pixels) for part in old)


LAST_RESULTS = LastResults(KEPT_BYTES)


def gpu_seconds(
    picture: Image.Image,
    detail: float = 1.0,
    size: TargetSize = FOUR_TIMES,
    watch: Watch = unwatched,
    correction: CorrectionChoice = "auto",
) -> int:
    """Estimates the seconds that a call may take: 5 to start CUDA in a new process, and 5 for each megapixel that the
    network takes in.

    Hugging Face refuses visitors who have less time left today, and serves shorter requests earlier.
    """
    return 5 + round(5 * sum(size.steps(*picture.size).work) / 1e6)


def lend(upscaler: Upscaler) -> None:
    """Makes `upscaler.enlarge_timed` run on lent GPUs. Call it in the main thread, before the page is launched."""
    if spaces is None or not HERE:
        return
    upscaler.generator(1.0)  # loads these weights now, so that every lent GPU gets them
    lent = spaces.GPU(upscaler.enlarge_timed, duration=gpu_seconds)

    def enlarge_timed(
        picture: Image.Image,
        detail: float = 1.0,
        size: TargetSize = FOUR_TIMES,
        watch: Watch = unwatched,
        correction: CorrectionChoice = "auto",
    ) -> tuple[Image.Image, int]:
        """`watch` is not called: the lent GPU works in another process."""
        detail, picture = upscaler.check_detail(detail), standard(picture)
        asked = Asked(upscaler, picture.mode, picture.size, picture.tobytes(), detail, size, correction)
        answer = LAST_RESULTS.get(asked)
        if answer is None:
            enlarged, milliseconds = lent(picture, detail, size, correction=correction)
            answer = Answer(enlarged.mode, enlarged.size, enlarged.tobytes(), milliseconds)
            LAST_RESULTS.keep(asked, answer)
        enlarged = Image.frombytes(answer.mode, answer.size, answer.pixels)
        enlarged.info = dict(picture.info)
        return enlarged, answer.milliseconds

    upscaler.enlarge_timed = enlarge_timed
