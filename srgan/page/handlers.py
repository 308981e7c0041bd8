"""What a request does: it takes pictures as files and returns pictures as files, and figures. How they are shown is
decided elsewhere."""

import logging
import os
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from PIL import Image

from srgan.degradation.chain import KINDS
from srgan.device import device_name
from srgan.errors import UserError
from srgan.faces import draw_faces, drawn_around
from srgan.measure import comparison
from srgan.models import SCALE
from srgan.page import zero
from srgan.page.close_ups import close_ups, faces_of, how_many, what_is_shown
from srgan.page.offered_models import Models
from srgan.page.served_files import save_png, save_pngs, save_zip
from srgan.page.turns import LARGE_PIXELS, Left, tell, working
from srgan.page.uploads import READING, plain_enlargement, read, read_opaque, seen
from srgan.pictures.boxes import Box
from srgan.pictures.images import flat
from srgan.pictures.sizes import TargetSize
from srgan.upscaler import Upscaler

SIZES = (128, 256, 512, 1024)
WEAR = "blur of {blur:g} px, noise of {noise:g} levels, JPEG {quality:g}"
WORN = {
    "clean": "",
    "web": f" and worn as on the web ({WEAR.format_map(KINDS['web'])})",
    "old": f" and worn as an old photo (grey, {WEAR.format_map(KINDS['old'])})",
}
"""The kinds of small copy, and what the answer says of each."""
DEFAULT_COPY = "clean"
"""The small copy if the model cannot be chosen by the picture."""
DEFAULT_DETAIL = 1.0
DEFAULT_SIZE = 512
"""Long side of Compare's original in pixels: a portrait's face is then about as large as those in training."""
MOST_PIXELS = 1_000_000
"""Largest picture that is enlarged 4 times, in pixels. No result of another size may have more pixels than such a
picture's."""
MOST_FILES = 32
"""Largest number of pictures in a batch."""

log = logging.getLogger("srgan.page")

Figures = dict[str, Any]


def compare(
    models: Models,
    picture: str,
    detail: float = DEFAULT_DETAIL,
    size: int = DEFAULT_SIZE,
    made_for: str = "",
    small_copy: str = DEFAULT_COPY,
) -> tuple[str, str, str, str, Figures, str]:
    """Shows how well small pictures of this kind are enlarged: a photo is reduced to a quarter of its width and height,
    the network and plain bicubic enlarge that copy, and both are measured against the photo.

    Use `enlarge` for a picture that is small already.

    Args:
        picture: the photo, of at least 32x32 pixels and at most 30 MB
        detail: from 0, closest to the original on average, to 1, most texture, partly imagined
        size: pixels on the long side at which the photo is compared: 128, 256, 512 or 1024
        made_for: what kind of photo it is, if there is a network for each; by default the picture decides
        small_copy: how it is worn: clean, web (a little blur, noise and JPEG) or old (grey, and more of all three)

    Returns:
        PNG files of the restored picture, the bicubic one, the original and the small copy
        figures: PSNR in dB, SSIM and perhaps LPIPS of both, milliseconds, device, model
        what was done, and what was not kept of the photo
    """
    if size not in SIZES:
        raise UserError(f"size is {size}; it must be one of {', '.join(map(str, SIZES))}.")
    if small_copy not in WORN:
        raise UserError(f"small_copy is {small_copy}; it must be one of {', '.join(WORN)}.")
    models.check_detail(made_for, detail)
    with READING:
        photo, notes = read_opaque(picture)
        full, photo = photo.size, comparison.fit(photo, size)
    why = ""

    def enlarge_timed(low: Image.Image, detail: float) -> tuple[Image.Image, int]:
        nonlocal made_for, why
        with working(low.width * low.height) as watch:
            made_for, detail, why, correction = models.settled(made_for, low, detail)
            return models.chosen(made_for).enlarge_timed(low, detail, watch=watch, correction=correction)

    found = comparison.compare_with_photo(enlarge_timed, photo, detail, size, models.lpips, small_copy)
    upscaler = models.chosen(made_for)
    about = {
        "milliseconds": found.milliseconds, "device": device_name(upscaler.device),
        "model": upscaler.name, "revision": upscaler.revision,
    }  # fmt: skip
    done = what_was_done(full, found.original, found.low, size, small_copy)
    said = [done, why, *notes]
    name = Path(picture).stem
    restored, plain, original, low = save_pngs(
        [
            (found.restored, f"{name}-restored"),
            (found.bicubic, f"{name}-bicubic"),
            (found.original, f"{name}-original"),
            (found.low, f"{name}-{found.low.width}x{found.low.height}"),
        ]
    )
    return restored, plain, original, low, {**found.figures, **about}, " ".join(filter(None, said))


def compare_by_one(
    models: Models,
    picture: str,
    detail: float = DEFAULT_DETAIL,
    size: int = DEFAULT_SIZE,
    small_copy: str = DEFAULT_COPY,
) -> tuple[str, str, str, str, Figures, str]:
    """`compare` for a page with one model, which leaves no choice."""
    return compare(models, picture, detail, size, small_copy=small_copy)


compare_by_one.__name__ = compare.__name__
compare_by_one.__doc__ = compare.__doc__


class Restored(NamedTuple):
    small: Image.Image
    """the picture as it was sent: RGB or RGBA"""
    large: Image.Image
    """the result, in the same mode"""
    milliseconds: int
    made_for: str
    """the choice by which it was restored"""
    why: str
    """a sentence about what was assumed of the picture, if the picture has decided on the model"""
    notes: list[str]
    """a sentence for everything of the file that was not kept"""
    done: str
    """what was done, without a full stop"""


class TooLarge(UserError):
    """The result would have too many pixels."""

    def __init__(self, size: tuple[int, int], wanted: tuple[int, int]) -> None:
        super().__init__(
            f"The picture is {size[0]}x{size[1]} and would become {wanted[0]}x{wanted[1]}, more than the "
            f"{most_result() / 1e6:g} megapixels that a result may have here: ask for a smaller size (x1 cleans it up "
            "at its own size), see it in the Compare tab, or enlarge it on your own computer with "
            "python -m srgan upscale."
        )


def most_result() -> int:
    """Returns the largest number of pixels of a result."""
    return SCALE**2 * MOST_PIXELS


SECONDS_A_MEGAPIXEL = deque([15.0], maxlen=8)
"""Seconds that the network took for a megapixel of input in recent requests; before the first one, for the example
that the page shows."""


def time_for(pixels: float, besides: float = 0) -> str:
    """Returns in words how long the network will take for so many pixels, and the rest so many seconds."""
    seconds = statistics.median(SECONDS_A_MEGAPIXEL) * pixels / 1e6 + besides
    return f"about {max(1, round(seconds))} s" if seconds < 90 else f"about {round(seconds / 60)} minutes"


def restore(
    models: Models, picture: str, detail: float, made_for: str, size: str = "", patient: bool = False
) -> Restored:
    """Raises UserError; the subclass TooLarge if another size would help. patient: as for `working`."""
    target = TargetSize.parse(size)
    models.check_detail(made_for, detail)
    small_size = seen(picture).size
    steps = target.steps(*small_size)
    if steps.size[0] * steps.size[1] > most_result():
        raise TooLarge(small_size, steps.size)
    work = sum(steps.work)
    with working(max(work, small_size[0] * small_size[1]), patient) as watch:
        small, notes = read(picture)
        if work > LARGE_PIXELS:
            tell("judging how worn it is")
        made_for, detail, why, correction = models.settled(made_for, small, detail)
        large, milliseconds = models.chosen(made_for).enlarge_timed(small, detail, target, watch, correction)
    if work > LARGE_PIXELS:  # less tells little of a large picture
        SECONDS_A_MEGAPIXEL.append(1000 * milliseconds / work)
    done = f"{small.width}x{small.height} became {large.width}x{large.height}"
    if small.size == large.size:
        done = f"{small.width}x{small.height} was cleaned up at its own size"
    return Restored(small, large, milliseconds, made_for, why, notes, done)


def pixels_of(faces: Sequence[Box], size: tuple[int, int]) -> int:
    """Returns the number of pixels that the network restores to draw the faces of a picture of that size."""
    areas = (drawn_around(face, size) for face in faces)
    return sum(area.width * area.height for area in areas)


def restore_faces(models: Models, picture: str, detail: float, made_for: str) -> Restored:
    """Restores the faces of a picture at its own size, and keeps everything else. Raises UserError."""
    size, faces, problem, _ = seen(picture)
    if problem or not faces:
        raise UserError(problem or "No face was found in the picture.")
    with working(size[0] * size[1]) as watch:
        began = time.perf_counter()
        photo, notes = read(picture)
        tell("judging how worn it is")
        made_for, detail, why, correction = models.settled(made_for, photo, detail)
        upscaler = models.unlent.chosen(made_for)
        drawn = draw_faces(photo, upscaler, photo, faces, detail, watch=watch, correction=correction)
    milliseconds = round(1000 * (time.perf_counter() - began))
    done = f"{how_many(faces)} and restored in {photo.width}x{photo.height}"
    return Restored(photo, drawn, milliseconds, made_for, why, ["Everything else is as it was.", *notes], done)


def enlarge(
    models: Models, picture: str, detail: float = DEFAULT_DETAIL, made_for: str = "", size: str = ""
) -> tuple[str, tuple[str, str], str, str, list[str]]:
    """Enlarges a small picture with a neural network that draws the missing detail, by default four times in width and
    height.

    That detail is a likely guess, not evidence: never identify anyone by it.

    Args:
        picture: the small picture, of at most 30 MB; the result has at most 16 megapixels
        detail: from 0, closest to the original on average, to 1, most texture, partly imagined
        made_for: what kind of picture it is, if there is a network for each; by default the picture decides
        size: x2, x1 (cleans the picture up), width 1600, height 1200, 1920x1080 (to fit into) or 12 MP; "" is x4

    Returns:
        PNG file of the enlarged picture, transparent where the small one is
        PNG files of the pair of bicubic enlargement and enlarged picture
        what was done, and what was not kept of the picture
        how many faces were found, and PNG files that show them before and after
    """
    return present(models, picture, restore(models, picture, detail, made_for, size), TargetSize.parse(size).label)


def enlarge_by_one(
    models: Models, picture: str, detail: float = DEFAULT_DETAIL, size: str = ""
) -> tuple[str, tuple[str, str], str, str, list[str]]:
    """`enlarge` for a page with one model, which leaves no choice."""
    return enlarge(models, picture, detail, size=size)


enlarge_by_one.__name__ = enlarge.__name__
enlarge_by_one.__doc__ = enlarge.__doc__


def present(
    models: Models, picture: str, restored: Restored, label: str, timed: bool = True
) -> tuple[str, tuple[str, str], str, str, list[str]]:
    """Returns the outputs of `enlarge` for a result. label: the end of the file's name."""
    small, large, milliseconds, made_for, why, notes, done = restored
    if large.width * large.height > MOST_PIXELS:
        tell("preparing the result", 1)
    name = Path(picture).stem
    with ThreadPoolExecutor(1) as beside_this:
        saving = beside_this.submit(save_png, large, f"{name}-{label}")
        plain = plain_enlargement(small, large.size)
        faces, problem = faces_of(flat(small))
        shown = close_ups(faces, flat(plain), flat(large), small.size)
        beside, *face_files = save_pngs(
            [(plain, f"{name}-bicubic")]
            + [(face, f"{name}-face-{number}") for number, face in enumerate(shown, start=1)]
        )
        file = saving.result()
    took = f"{milliseconds} ms" if milliseconds < 10_000 else f"{round(milliseconds / 1000)} s"
    time_taken = f": {took} on {device_name(models.chosen(made_for).device)}" if timed else ""
    sentence = f"{done}{time_taken}."
    sentence = " ".join(filter(None, [sentence, why, *notes]))
    return file, (beside, file), sentence, problem or what_is_shown(faces), face_files


def batch(
    models: Models,
    pictures: Sequence[str],
    detail: float = DEFAULT_DETAIL,
    made_for: str = "",
    size: str = "",
) -> Iterator[tuple[Any, list[str], str]]:
    """Enlarges up to 32 small pictures as `enlarge` does, and packs the results.

    Args:
        pictures: the small pictures, each of at most 30 MB; a result has at most 16 megapixels
        detail: from 0, closest to the original on average, to 1, most texture, partly imagined
        made_for: what kind of pictures they are, if there is a network for each; by default the picture decides
        size: x2, x1 (cleans the pictures up), width 1600, height 1200, 1920x1080 (to fit into) or 12 MP; "" is x4

    Returns:
        ZIP file of the enlarged pictures
        their PNG files, one by one
        what was done; for each picture what was not kept of it, or why it could not be enlarged
    """
    for pairs, archive, said in batch_pairs(models, pictures, detail, made_for, size):
        yield archive or gr.skip(), [file for file, _ in pairs[1::2]], said


def batch_by_one(
    models: Models, pictures: Sequence[str], detail: float = DEFAULT_DETAIL, size: str = ""
) -> Iterator[tuple[Any, list[str], str]]:
    """`batch` for a page with one model, which leaves no choice."""
    yield from batch(models, pictures, detail, size=size)


Captioned = tuple[str, str]
"""A picture's file and its caption."""


def batch_pairs(
    models: Models, pictures: Sequence[str], detail: float, made_for: str, size: str
) -> Iterator[tuple[list[Captioned], str, str]]:
    """Enlarges a batch. Yields after each picture: the finished pictures, before and after in turn; the ZIP file of the
    results, "" until the end; and what was done. Raises UserError if nothing can be done."""
    if len(pictures) > MOST_FILES:
        raise UserError(f"These are {len(pictures)} pictures; at most {MOST_FILES} are enlarged at once.")
    pairs: list[Captioned] = []
    notes, refused = [], []
    label = TargetSize.parse(size).label
    for number, picture in enumerate(pictures, start=1):
        name, stem = Path(picture).name, Path(picture).stem
        try:
            small, large, _, _, why, lost, _ = restore(models, picture, detail, made_for, size, patient=True)
            lost = [why] * bool(why) + lost
            before = (save_png(small, f"{stem}-before"), f"{name}, {small.width}x{small.height}")
            pairs += [before, (save_png(large, f"{stem}-{label}"), f"after, {large.width}x{large.height}")]
            notes += [f"{name}: {' '.join(lost)}"] if lost else []
        except UserError as error:
            refused.append(with_name(without_folder(str(error), picture), picture))
        bar = "▰" * number + "▱" * (len(pictures) - number)
        said = "\n\n".join([f"{number} of {len(pictures)} {bar}", *refused])
        yield list(pairs), "", said  # the work ends here if nobody waits any more
    if not pairs:
        raise UserError(" ".join(refused))
    own_words = {f"x{SCALE}": f"{SCALE} times as wide and high", "x1": "cleaned up at their own size"}
    how = own_words.get(label, f"done ({size.strip()})")
    sentence = f"{len(pairs) // 2} of {len(pictures)} pictures are {how}."
    archive = save_zip([file for file, _ in pairs[1::2]])
    yield pairs, archive, "\n\n".join([sentence, *notes, *refused])


def compare_epochs(picture: str, first: str, second: str) -> tuple[str, str, str, str, str]:
    """Returns PNG files of the small copy, of what two epochs of a model restore from it, and of the original; and what
    was not kept of the photo."""
    photo, notes = read_opaque(picture)
    found = [
        comparison.compare_with_photo(load_epoch(epoch).enlarge_timed, photo, DEFAULT_DETAIL, DEFAULT_SIZE)
        for epoch in (first, second)
    ]
    low, original = found[0].low, found[0].original
    name = Path(picture).stem
    names = ("low", tag(first), tag(second), "original")
    pictures = (low, found[0].restored, found[1].restored, original)
    files = save_pngs([(shown, f"{name}-{title}") for title, shown in zip(names, pictures, strict=True)])
    return files[0], files[1], files[2], files[3], " ".join(notes)


def tag(epoch: str) -> str:
    """ "epoch-20" for USER/NAME@epoch-20."""
    return epoch.split("@")[-1]


@lru_cache(maxsize=4)
def load_epoch(model: str) -> Upscaler:
    """Loads an epoch's model. On ZeroGPU it is loaded on the CPU, because a lent GPU takes only weights that were there
    at the start."""
    return Upscaler.load(model, "cpu" if zero.HERE else "auto")


def what_was_done(
    full: tuple[int, int], original: Image.Image, small: Image.Image, size: int, small_copy: str = DEFAULT_COPY
) -> str:
    """Describes how the small copy was made. full: width and height of the photo."""
    how = "reduced" if max(full) > size else "trimmed"
    made = f". It was {how} to {original.width}x{original.height} to make the original"
    if original.size == full:
        made = " and serves as the original"
    return (
        f"The photo is {full[0]}x{full[1]}{made}. The original was reduced to "
        f"**{small.width}x{small.height}**{WORN[small_copy]}. Both enlargements are made from this small copy alone."
    )


def without_folder(sentence: str, picture: str) -> str:
    """Removes the upload folder, which means nothing to a visitor."""
    return sentence.replace(f"{Path(picture).parent}{os.sep}", "")


def with_name(sentence: str, picture: str) -> str:
    """Adds the picture's name to a sentence about one of several pictures."""
    name = Path(picture).name
    return sentence if sentence.startswith(name) else f"{name}: {sentence}"


class Stopped(gr.Error):
    """The visitor has stopped the work."""


@contextmanager
def answering(name: str, picture: str | list[str]) -> Iterator[None]:
    """Shows a UserError on the page as it is, and logs the outcome of the request."""
    outcome, began = "failed", time.perf_counter()
    try:
        yield
        outcome = "done"
    except UserError as error:
        outcome = "refused"
        sentence = str(error) if isinstance(picture, list) else without_folder(str(error), picture)
        raise gr.Error(sentence, print_exception=False) from None
    except Left:
        outcome = "left"
        raise Stopped("Stopped.", print_exception=False) from None
    except GeneratorExit:
        outcome = "left"
        raise
    finally:  # the log contains neither the picture nor its name
        log.info("%s %s in %.0f ms", name, outcome, 1000 * (time.perf_counter() - began))


def spoken(
    function: Callable[..., Any], example: str | None = None, first: tuple[Any, ...] = (), start: Any = None
) -> Callable[..., Any]:
    """Makes a handler that shows UserErrors on the page as they are.

    Without a picture it takes the example, whose result at the page's `first` settings is `start`, or does nothing.
    """
    plain = getattr(function, "func", function)

    @wraps(function)
    def handler(picture: str | None, *settings: Any) -> Any:
        shown = picture or example
        if not shown:
            return gr.skip()
        if picture is None and settings == first:
            return start
        with answering(plain.__name__, shown):
            return function(shown, *settings)

    handler.__name__, handler.__doc__ = plain.__name__, plain.__doc__  # what a language model reads
    return handler
