"""The files that the page gives out."""

import hashlib
import zipfile
from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path

import gradio as gr
from PIL import Image

from srgan.files import write_whole


def served(folder: str, name: str) -> Path:
    """A file's place where Gradio serves and deletes it."""
    return Path(gr.utils.get_upload_folder()).resolve() / folder / name


def save_png(picture: Image.Image, name: str) -> str:
    """The file. Always whole: another visitor may be reading it."""
    pixels = hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).hexdigest()
    path = served(pixels, f"{name}.png")
    if path.exists():
        path.touch()  # kept for another hour
    else:
        write_whole(path, picture.save)
    return str(path)


def save_zip(files: Sequence[str]) -> str:
    """Whole files, uncompressed as PNG is compressed already; of one name, the later ones are numbered."""
    path = served(hashlib.sha256("".join(files).encode()).hexdigest(), "restored.zip")

    def write(partial: Path) -> None:
        names: set[str] = set()
        with zipfile.ZipFile(partial, "w") as archive:
            for file in map(Path, files):
                numbered = (f"{file.stem}-{number}.png" for number in count(2))
                name = next(name for name in chain([file.name], numbered) if name not in names)
                names.add(name)
                archive.write(file, name)

    write_whole(path, write)
    return str(path)
