"""Stores the files that the page receives and gives out, and deletes them in time."""

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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock, Thread

import gradio as gr
from PIL import Image

from srgan.errors import UserError
from srgan.files import numbered, take_free, write_whole
from srgan.page.gradio_changes import forget_files, upload_folder, use_folder
from srgan.pictures.formats import fitted, format_of

KEPT_SECONDS = 3600
"""Seconds between two checks of the files. Each check deletes the files that nobody has asked for since the last one,
so a file is deleted after two hours at most."""
FOLDER = "srgan-page-"
"""Beginning of the names of the pages' folders."""

log = logging.getLogger("srgan.page")

sweeping = Lock()
"""Held while a file's age is checked and the file is deleted, so that no file is deleted just after it was kept
anew."""


@contextlib.contextmanager
def own_folder() -> Iterator[Path]:
    """Makes a folder below GRADIO_TEMP_DIR for all files of this page, which is deleted when the page ends.

    Folders that a killed page has left are deleted too: a running page touches its folder (`sweep`).
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
    """Starts a thread that deletes the files that visitors have sent and received. Files that are there now belong to
    the page and stay.

    Gradio's own delete_cache forgets uploads that were refused or broken off, leaves folders behind, and ends for good
    if a request arrives while it goes through its list.
    """
    kept = set(folder.rglob("*"))

    def run() -> None:
        while True:
            time.sleep(KEPT_SECONDS)
            sweep(folder, kept)
            forget_files(demo)

    Thread(target=run, daemon=True).start()


def sweep(folder: Path, kept: Collection[Path] = ()) -> None:
    """Deletes files that are older than KEPT_SECONDS, and empty folders that are. A newer empty folder stays, because
    a file may be about to be written into it."""
    os.utime(folder)
    oldest = time.time() - KEPT_SECONDS
    for path in sorted(folder.rglob("*"), reverse=True):
        with contextlib.suppress(OSError), sweeping:  # not empty, or gone
            if path not in kept and last_kept(path) < oldest:
                path.rmdir() if path.is_dir() else path.unlink()


def last_kept(path: Path) -> float:
    """Returns the time when a file arrived or was kept anew. A copy may have an older modification time; `st_ctime`
    tells when it arrived, but on Windows not when it was kept anew."""
    status = path.stat()
    return max(status.st_ctime, status.st_mtime)


def keep(path: Path) -> bool:
    """Keeps a file and its folder for another hour. Makes the folder if there is none. Returns whether there is a
    file."""
    with sweeping:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.utime(path.parent)
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
    return True


def served(folder: str, name: str) -> Path:
    """Returns the path at which Gradio serves and deletes a file."""
    return Path(upload_folder()).resolve() / folder / name


def save(path: Path, write: Callable[[Path], object]) -> str:
    """Writes the file unless it is there, and returns its path. Raises UserError if it cannot be written; visitors read
    the sentence, so it names no folder of this machine."""
    try:
        if not keep(path):
            write_whole(path, write, lasting=False)
    except (UserError, OSError) as error:
        log.error("%s", error)
        raise UserError(f"{path.name} cannot be saved on the machine that runs this page: its log says why.") from None
    return str(path)


PNG_OPTIONS = {"compress_level": 1, "compress_type": zlib.Z_RLE}
"""With these options, files of photos are as small as with Pillow's defaults, in a quarter of the time; flat parts take
next to nothing."""


def save_png(picture: Image.Image, name: str) -> str:
    """Saves a picture as PNG and returns the path. The file is always complete: another visitor may be reading it."""
    pixels = hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).hexdigest()
    path = served(pixels, f"{name}.png")
    return save(path, lambda partial: picture.save(partial, "PNG", **PNG_OPTIONS))


SAVED_AT_ONCE = 4
"""Number of threads that save the pictures of an answer. One picture of 0.25 megapixels takes a core about 20 ms."""

FORMATS = {"PNG": ".png", "JPEG": ".jpg", "WebP": ".webp"}
"""Formats in which a result can be downloaded, with the endings of their names."""


def save_pngs(pictures: Sequence[tuple[Image.Image, str]]) -> list[str]:
    """Saves several pictures at the same time, each with its name, and returns the paths. See `save_png`."""
    with ThreadPoolExecutor(SAVED_AT_ONCE) as pool:
        return list(pool.map(save_png, *zip(*pictures, strict=True)))


def save_as(file: str, format: str) -> str:
    """Converts a result's PNG file, or another of its files, to a format and returns the path. Raises UserError if the
    file was deleted."""
    png = Path(file).with_suffix(FORMATS["PNG"])
    path = png.with_suffix(FORMATS[format])

    def write(partial: Path) -> None:
        with Image.open(png) as picture:
            written = format_of(path)
            fitted(picture, written)[0].save(partial, written.name, **written.options)

    return file if path == Path(file) else save(path, write)


def save_zip(files: Sequence[str]) -> str:
    """Packs files into a ZIP, without compressing them again. If names are the same on some disk, the later files are
    numbered."""
    path = served(hashlib.sha256("".join(files).encode()).hexdigest(), "restored.zip")

    def write(partial: Path) -> None:
        taken: set[str] = set()
        with zipfile.ZipFile(partial, "w") as archive:
            for file in map(Path, files):
                archive.write(file, take_free(numbered(Path(file.name)), taken))

    return save(path, write)
