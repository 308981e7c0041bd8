"""What a request does: pictures as files in, pictures as files and figures out. Nothing of how they are shown."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import torch
from PIL import Image

from srgan.degradation.chain import KINDS
from srgan.errors import UserError
from srgan.measure import comparison
from srgan.models import SCALE
from srgan.page import zero
from srgan.page.close_ups import close_ups, faces_of, what_is_shown
from srgan.page.offered_models import Models
from srgan.page.served_files import save_png, save_zip
from srgan.page.uploads import bicubic, read, read_opaque
from srgan.pictures.images import flat
from srgan.upscaler import Upscaler

SIZES = (128, 256, 512, 1024)
WEAR = "blur of {blur:g} px, noise of {noise:g} levels, JPEG {quality:g}"
WORN = {
    "clean": "",
    "web": f" and worn as on the web ({WEAR.format_map(KINDS['web'])})",
    "old": f" and worn as an old photo (grey, {WEAR.format_map(KINDS['old'])})",
}
"""How a small copy can be made, and what is said of it."""
DEFAULT_COPY = "clean"
"""Where the model cannot be chosen by the picture."""
DEFAULT_DETAIL = 1.0
DEFAULT_SIZE = 512
"""At which a portrait's face is about as large as the faces that the shipped model was trained on."""
MOST_PIXELS = 1_000_000
MOST_FILES = 32
"""Pictures in a batch."""

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

    A picture that is small already is for `enlarge`.

    Args:
        picture: the photo, of at least 32x32 pixels and at most 30 MB
        detail: from 0, closest to the truth on average, to 1, the most texture, partly imagined
        size: pixels on the long side at which the photo is compared: 128, 256, 512 or 1024
        made_for: what kind of photo it is, where there is a network for each; by default the picture decides
        small_copy: how it is worn: clean, web (a little blur, noise and JPEG) or old (grey, and more of all three)

    Returns:
        PNG files of the restored picture, the bicubic one, the original and the small copy
        figures: PSNR in dB, SSIM and perhaps LPIPS of both, milliseconds, device, model
        what was done, and what of the photo was not kept
    """
    if size not in SIZES:
        raise UserError(f"size is {size}; it must be one of {', '.join(map(str, SIZES))}.")
    if small_copy not in WORN:
        raise UserError(f"small_copy is {small_copy}; it must be one of {', '.join(WORN)}.")
    photo, notes = read_opaque(picture)
    why = ""

    def enlarge_timed(low: Image.Image, detail: float) -> tuple[Image.Image, int]:
        nonlocal made_for, why
        made_for, detail, why = models.settled(made_for, low, detail)
        return models.enlarge_timed(low, detail, made_for)

    found = comparison.compare(enlarge_timed, photo, detail, size, models.lpips, small_copy)
    upscaler = models.chosen(made_for)
    about = {
        "milliseconds": found.milliseconds, "device": device_name(upscaler.device),
        "model": upscaler.name, "revision": upscaler.revision,
    }  # fmt: skip
    done = what_was_done(photo, found.original, found.low, size, small_copy)
    said = [done, why, *notes]
    name = Path(picture).stem
    return (
        save_png(found.restored, f"{name}-restored"),
        save_png(found.bicubic, f"{name}-bicubic"),
        save_png(found.original, f"{name}-original"),
        save_png(found.low, f"{name}-{found.low.width}x{found.low.height}"),
        {**found.figures, **about},
        " ".join(filter(None, said)),
    )


def compare_by_one(
    models: Models,
    picture: str,
    detail: float = DEFAULT_DETAIL,
    size: int = DEFAULT_SIZE,
    small_copy: str = DEFAULT_COPY,
) -> tuple[str, str, str, str, Figures, str]:
    """`compare`, where there is one model and so no choice of it."""
    return compare(models, picture, detail, size, small_copy=small_copy)


compare_by_one.__name__ = compare.__name__
compare_by_one.__doc__ = compare.__doc__


class Restored(NamedTuple):
    small: Image.Image
    """as it was sent: RGB or RGBA"""
    large: Image.Image
    """at 4 times its size, in the same mode"""
    milliseconds: int
    made_for: str
    """the choice by which it was restored"""
    why: str
    """a sentence on what was assumed of it, where it has decided that itself"""
    notes: list[str]
    """a sentence for all of the file that was not kept"""


def restore(models: Models, picture: str, detail: float, made_for: str) -> Restored:
    small, notes = read(picture)
    if small.width * small.height > MOST_PIXELS:
        raise UserError(
            f"The picture is {small.width}x{small.height}, more than the 1 megapixel that is enlarged here: "
            "see it in the Compare tab, or enlarge it on your own computer with python -m srgan upscale."
        )
    made_for, detail, why = models.settled(made_for, small, detail)
    return Restored(small, *models.enlarge_timed(small, detail, made_for), made_for, why, notes)


def enlarge(
    models: Models, picture: str, detail: float = DEFAULT_DETAIL, made_for: str = ""
) -> tuple[str, tuple[str, str], str, str, list[str]]:
    """Enlarges a small picture four times in width and height by a neural network that draws the missing detail.

    That detail is a likely guess and no evidence: nobody may be identified by it.

    Args:
        picture: the small picture, of at most 1 megapixel and 30 MB
        detail: from 0, closest to the truth on average, to 1, the most texture, partly imagined
        made_for: what kind of picture it is, where there is a network for each; by default the picture decides

    Returns:
        PNG file of the enlarged picture, transparent where the small one is
        PNG files of the pair of bicubic enlargement and enlarged picture
        what was done, and what of the picture was not kept
        how many faces were found, and PNG files that show them before and after
    """
    small, restored, milliseconds, made_for, why, notes = restore(models, picture, detail, made_for)
    plain = bicubic(small)
    faces, problem = faces_of(flat(small))
    name = Path(picture).stem
    file = save_png(restored, f"{name}-x{SCALE}")
    shown = [
        save_png(face, f"{name}-face-{number}")
        for number, face in enumerate(close_ups(faces, flat(plain), flat(restored)), start=1)
    ]
    sentence = (
        f"{small.width}x{small.height} became {small.width * SCALE}x{small.height * SCALE}: "
        f"{milliseconds} ms on {device_name(models.chosen(made_for).device)}."
    )
    sentence = " ".join(filter(None, [sentence, why, *notes]))
    return file, (save_png(plain, f"{name}-bicubic"), file), sentence, problem or what_is_shown(faces), shown


def batch(
    models: Models,
    pictures: Sequence[str],
    detail: float = DEFAULT_DETAIL,
    made_for: str = "",
) -> Iterator[tuple[Any, list[str], str]]:
    """Enlarges up to 32 small pictures as `enlarge` does, and packs the results.

    Args:
        pictures: the small pictures, each of at most 1 megapixel and 30 MB
        detail: from 0, closest to the truth on average, to 1, the most texture, partly imagined
        made_for: what kind of pictures they are, where there is a network for each; by default the picture decides

    Returns:
        ZIP file of the enlarged pictures
        their PNG files, one by one
        what was done; for each picture what of it was not kept, or why it could not be enlarged
    """
    if len(pictures) > MOST_FILES:
        raise UserError(f"These are {len(pictures)} pictures; at most {MOST_FILES} are enlarged at once.")
    done, notes, refused = [], [], []
    for number, picture in enumerate(pictures, start=1):
        try:
            restored = restore(models, picture, detail, made_for)
            large, lost = restored.large, [restored.why] * bool(restored.why) + restored.notes
            done.append(save_png(large, f"{Path(picture).stem}-x{SCALE}"))
            notes += [f"{Path(picture).name}: {' '.join(lost)}"] if lost else []
        except UserError as error:
            refused.append(without_folder(str(error), picture))
        bar = "▰" * number + "▱" * (len(pictures) - number)
        yield gr.skip(), list(done), f"{number} of {len(pictures)} {bar}"  # the end where nobody waits any more
    if not done:
        raise UserError(" ".join(refused))
    sentence = f"{len(done)} of {len(pictures)} pictures are {SCALE} times as wide and high."
    yield save_zip(done), done, "\n\n".join([sentence, *notes, *refused])


def compare_epochs(picture: str, first: str, second: str) -> tuple[str, str, str, str, str]:
    """PNG files of the low-resolution picture, of what two epochs of a model restore from it, and of the original; and
    what of the photo was not kept."""
    photo, notes = read_opaque(picture)
    found = [
        comparison.compare(load_epoch(epoch).enlarge_timed, photo, DEFAULT_DETAIL, DEFAULT_SIZE)
        for epoch in (first, second)
    ]
    low, original = found[0].low, found[0].original
    name = Path(picture).stem
    names = ("low", tag(first), tag(second), "original")
    pictures = (low, found[0].restored, found[1].restored, original)
    files = [save_png(shown, f"{name}-{title}") for title, shown in zip(names, pictures, strict=True)]
    return files[0], files[1], files[2], files[3], " ".join(notes)


def tag(epoch: str) -> str:
    """ "epoch-20" of USER/NAME@epoch-20."""
    return epoch.split("@")[-1]


@lru_cache(maxsize=4)
def load_epoch(model: str) -> Upscaler:
    """On ZeroGPU for the CPU: once the page is there, no more weights can be sent along with a lent GPU."""
    return Upscaler.load(model, "cpu" if zero.HERE else "auto")


def what_was_done(
    photo: Image.Image, original: Image.Image, small: Image.Image, size: int, small_copy: str = DEFAULT_COPY
) -> str:
    how = "reduced" if max(photo.size) > size else "trimmed"
    first = f"It was {how} to {original.width}x{original.height} to be the original, and that"
    if original.size == photo.size:
        first = "It is the original as it is, and was reduced"
    return (
        f"Your photo is {photo.width}x{photo.height}. {first} to **{small.width}x{small.height}**{WORN[small_copy]}, "
        "which is all that the two enlargements have seen."
    )


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def without_folder(sentence: str, picture: str) -> str:
    """The upload folder means nothing to a visitor."""
    return sentence.replace(f"{Path(picture).parent}{os.sep}", "")


@contextmanager
def answering(name: str, picture: str | list[str]) -> Iterator[None]:
    """Shows a UserError on the page as it is, and logs what has become of the request."""
    outcome, began = "failed", time.perf_counter()
    try:
        yield
        outcome = "done"
    except UserError as error:
        outcome = "refused"
        sentence = str(error) if isinstance(picture, list) else without_folder(str(error), picture)
        raise gr.Error(sentence, print_exception=False) from None
    except GeneratorExit:
        outcome = "left"
        raise
    finally:  # neither the picture nor its name
        log.info("%s %s in %.0f ms", name, outcome, 1000 * (time.perf_counter() - began))


def spoken(
    function: Callable[..., Any], example: str | None = None, first: tuple[Any, ...] = (), start: Any = None
) -> Callable[..., Any]:
    """A handler that shows UserErrors on the page as they are.

    Without a picture it takes the example, whose result at the page's `first` settings is `start`, or does nothing.
    """
    named = getattr(function, "func", function)

    @wraps(function)
    def handler(picture: str | None, *settings: Any) -> Any:
        shown = picture or example
        if not shown:
            return gr.skip()
        if picture is None and settings == first:
            return start
        with answering(named.__name__, shown):
            return function(shown, *settings)

    handler.__name__, handler.__doc__ = named.__name__, named.__doc__  # what a language model reads
    return handler
