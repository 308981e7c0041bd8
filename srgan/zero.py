"""ZeroGPU: the GPU that Hugging Face lends a Space, one call at a time. Anywhere else nothing here has an effect.

The `spaces` package, which comes with every Space, makes PyTorch believe in a CUDA device: in the main thread, before
the page is launched, and for no more than to put weights there. A lent call runs in a forked process that has the GPU;
what goes in and comes out is pickled, and of what it raises nothing but a gr.Error keeps its words.
"""

import os
from functools import lru_cache

try:
    import spaces  # before anything touches CUDA
except ImportError:
    spaces = None

from PIL import Image

from srgan.formats import standard
from srgan.upscaler import Upscaler

HERE = spaces is not None and os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
"""Whether this is a ZeroGPU Space; as `spaces` itself reads it."""

KEPT_RESULTS = 16
"""The last ones are given without a GPU: visitors try the same examples, and have minutes a day."""


def seconds(picture: Image.Image, detail: float = 1.0) -> int:
    """How long a call may take: about 5 to get CUDA ready in a new process, and 5 a megapixel. An estimate.

    Who has less than that left today is refused, and who asks for less is served earlier.
    """
    return 5 + round(5 * picture.width * picture.height / 1e6)


def lend(upscaler: Upscaler) -> None:
    """Has `upscaler.enlarge_timed` run on lent GPUs. For the main thread, before the page is launched."""
    if not HERE:
        return
    upscaler.generator(1.0)  # its weights go along with every GPU
    lent = spaces.GPU(upscaler.enlarge_timed, duration=seconds)

    @lru_cache(maxsize=KEPT_RESULTS)
    def result(mode: str, size: tuple[int, int], pixels: bytes, detail: float) -> tuple[Image.Image, int]:
        return lent(Image.frombytes(mode, size, pixels), detail)

    def enlarge_timed(picture: Image.Image, detail: float = 1.0) -> tuple[Image.Image, int]:
        detail, picture = upscaler.check_detail(detail), standard(picture)
        shared, milliseconds = result(picture.mode, picture.size, picture.tobytes(), detail)
        enlarged = shared.copy()
        enlarged.info = dict(picture.info)
        return enlarged, milliseconds

    upscaler.enlarge_timed = enlarge_timed
