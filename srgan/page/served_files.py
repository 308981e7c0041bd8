"""The files that the page takes in and gives out, and how long they stay."""

import contextlib
import hashlib
import logging
import os
import shutil
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from threading import Lock, Thread

import gradio as gr
from PIL import Image

from srgan.errors import UserError
from srgan.files import numbered, take_free, write_whole
from srgan.page.gradio_changes import forget_files, upload_folder, use_folder
from srgan.pictures.formats import fitted, format_of

KEPT_SECONDS = 3600
"""Files are looked through as often, and go when they have not been asked for in that time: two hours at the most."""
FOLDER = "srgan-page-"

log = logging.getLogger("srgan.page")

sweeping = Lock()
"""Held from the look at a file's age to its end, so that it is not deleted just when its time begins anew."""


@contextlib.contextmanager
def own_folder() -> Iterator[Path]:
    """A folder below GRADIO_TEMP_DIR that Gradio takes for all of this page's files, and that goes when it ends.

    Goes too what another page has left that was killed: a page that runs touches its folder (`sweep`).
    """
    parent = Path(upload_folder()).resolve()
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f"{FOLDER}*"):
        with contextlib.suppress(OSError):  # another page that starts may be quicker
            if left.stat().st_mtime < time.time() - 3 * KEPT_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=FOLDER, dir=parent, ignore_cleanup_errors=True) as name:
        use_folder(name)
        yield Path(name)


def keep_swept(folder: Path, demo: gr.Blocks) -> None:
    """Starts to delete what visitors have sent and got; what is there now belongs to the page.

    Gradio's own delete_cache forgets uploads that were refused or broken off, leaves folders behind, and ends for good
    where a request comes while it looks through its list.
    """
    kept = set(folder.rglob("*"))

    def run() -> None:
        while True:
            time.sleep(KEPT_SECONDS)
            sweep(folder, kept)
            forget_files(demo)

    Thread(target=run, daemon=True).start()


def sweep(folder: Path, kept: Collection[Path] = ()) -> None:
    """Deletes old files; and folders that have been empty for as long, as one may just have been made to be filled."""
    os.utime(folder)
    oldest = time.time() - KEPT_SECONDS
    for path in sorted(folder.rglob("*"), reverse=True):
        with contextlib.suppress(OSError), sweeping:  # not empty, or gone
            if path not in kept and last_kept(path) < oldest:
                path.rmdir() if path.is_dir() else path.unlink()


def last_kept(path: Path) -> float:
    """When a file came or was kept anew. A copy may bring an older time along; `st_ctime` tells when it came, but on
    Windows not when it was kept anew."""
    status = path.stat()
    return max(status.st_ctime, status.st_mtime)


def keep(path: Path) -> bool:
    """Keeps a file, and its folder for one that is to be written there, for another hour. False: there is no file."""
    with sweeping:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.utime(path.parent)
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
    return True


def served(folder: str, name: str) -> Path:
    """A file's place where Gradio serves and deletes it."""
    return Path(upload_folder()).resolve() / folder / name


def save(path: Path, write: Callable[[Path], object]) -> str:
    """The file, written unless it is there. Raises UserError without a path of this machine in it: visitors read it."""
    try:
        if not keep(path):
            write_whole(path, write)
    except (UserError, OSError) as error:
        log.error("%s", error)
        raise UserError(f"{path.name} cannot be saved on the machine that runs this page: its log says why.") from None
    return str(path)


PNG_OPTIONS = {"compress_level": 1, "compress_type": zlib.Z_RLE}
"""Files of photos are as small as with Pillow's own choice, in a quarter of the time; flat parts take next to
nothing."""


def save_png(picture: Image.Image, name: str) -> str:
    """The file. Always whole: another visitor may be reading it."""
    pixels = hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).hexdigest()
    path = served(pixels, f"{name}.png")
    return save(path, lambda partial: picture.save(partial, "PNG", **PNG_OPTIONS))


FORMATS = {"PNG": ".png", "JPEG": ".jpg", "WebP": ".webp"}
"""Formats in which a result can be downloaded, with the endings of their names."""


def save_as(file: str, format: str) -> str:
    """A result's PNG file, or another of its files -> the file in a format. Raises UserError when it is deleted."""
    png = Path(file).with_suffix(FORMATS["PNG"])
    path = png.with_suffix(FORMATS[format])

    def write(partial: Path) -> None:
        with Image.open(png) as picture:
            written = format_of(path)
            fitted(picture, written)[0].save(partial, written.name, **written.options)

    return file if path == Path(file) else save(path, write)


def save_zip(files: Sequence[str]) -> str:
    """Whole files, uncompressed as PNG is compressed already; of one name on any disk, the later ones are numbered."""
    path = served(hashlib.sha256("".join(files).encode()).hexdigest(), "restored.zip")

    def write(partial: Path) -> None:
        taken: set[str] = set()
        with zipfile.ZipFile(partial, "w") as archive:
            for file in map(Path, files):
                archive.write(file, take_free(numbered(Path(file.name)), taken))

    return save(path, write)
