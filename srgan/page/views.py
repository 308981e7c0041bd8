"""What the page shows of an answer: the pictures in one view with one zoom for all, or the reason why there is none."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import quote

import gradio as gr
from PIL import Image

PAGE = Path(__file__).resolve().parent

BEFORE, AFTER, ORIGINAL = "Before", "After", "Original"
TERMS = {BEFORE: "(bicubic)", AFTER: "(SRGAN)"}
PAIRS = (f"{BEFORE} | {AFTER}", f"{AFTER} | {ORIGINAL}", f"{BEFORE} | {ORIGINAL}")


class View(TypedDict):
    """What srgan/page/viewer.html shows."""

    pictures: dict[str, str]
    """addresses of the pictures by their names"""
    terms: dict[str, str]
    """the technical term beside a name"""
    pair: list[str]
    """names of the pictures left and right of the line"""
    photo: str
    """the upload that they were made from"""
    width: int
    height: int
    """size in pixels at which all are shown"""


def viewer(elem_id: str) -> gr.HTML:
    """Returns the view of the pictures, two of them with a line between them. srgan/page/viewer_script.html moves and
    zooms them."""
    return gr.HTML(
        {}, html_template=(PAGE / "viewer.html").read_text(encoding="utf-8"), elem_id=elem_id, elem_classes="views",
        apply_default_css=False, label="pictures",
    )  # fmt: skip


def view(files: Mapping[str, str], photo: str, pair: str = PAIRS[0]) -> View:
    """Describes a view. files: by the names above, shown at the size of the last one; photo: the upload that they were
    made from."""
    with Image.open(list(files.values())[-1]) as picture:
        width, height = picture.size
    return {
        "pictures": {name: address(file) for name, file in files.items()}, "terms": TERMS,
        "pair": pair.split(" | "), "photo": quote(photo), "width": width, "height": height,
    }  # fmt: skip


def address(file: str) -> str:
    """Returns the address of a file that the page serves, relative to the page."""
    return f"gradio_api/file={quote(Path(file).as_posix())}"


def problem_shown() -> gr.Markdown:
    """Makes the component for the sentence that says why there is no result."""
    return gr.Markdown(visible=False, elem_classes="problem", label="what went wrong")


def refusal(sentence: str) -> Any:
    return gr.update(value=sentence, visible=True)


NO_PROBLEM: Any = gr.update(value="", visible=False)
NO_FILE: Any = gr.update(value=None, interactive=False)


def file_offered(file: str) -> Any:
    return gr.update(value=file, interactive=True)


def download_button(label: str, **more: Any) -> gr.DownloadButton:
    """Returns a button for a file. srgan/page/style.css hides it while the next result is worked on."""
    return gr.DownloadButton(label, size="sm", min_width=150, elem_classes="download", **more)
