"""Components that several tabs share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from srgan.page.handlers import DEFAULT_DETAIL
from srgan.page.offered_models import Models

PAGE = Path(__file__).resolve().parent
PAIRS = ("bicubic | restored", "restored | original", "bicubic | original")


def picture_input(label: str) -> gr.Image:
    return gr.Image(
        label=label, type="filepath", sources=["upload", "clipboard", "webcam"], height=240, format="png",
        image_mode=None, buttons=[],
    )  # fmt: skip


def wipe_slider(elem_id: str) -> gr.ImageSlider:
    return gr.ImageSlider(
        label=PAIRS[0], elem_id=elem_id, format="png", interactive=False, buttons=["fullscreen"], max_height=512
    )


def detail_input(models: Models) -> gr.Slider:
    info = "0: faithful. 1: sharp, partly imagined."
    if not models.can_blend:
        info = "This model holds one weight set, so there is nothing to choose."
    return gr.Slider(
        0, 1, DEFAULT_DETAIL, step=0.05, label="Detail", info=info, interactive=models.can_blend,
        buttons=[], scale=2, min_width=240,
    )  # fmt: skip


def made_for_input(models: Models) -> list[gr.Radio]:
    """The choice of a model, where there is one to make."""
    if len(models.made_for) == 1:
        return []
    choice = gr.Radio(
        models.made_for, value=models.made_for[0], label="Made for", info="What the model has learned from.",
        elem_classes="choice", scale=2, min_width=240,
    )  # fmt: skip
    return [choice]


def wipe(pair: str, restored: str, bicubic: str, original: str) -> dict[str, Any]:
    """The slider with the two files of a pair, left and right, and its name."""
    files = {"restored": restored, "bicubic": bicubic, "original": original}
    left, right = pair.split(" | ")
    if not (Path(files[left]).exists() and Path(files[right]).exists()):
        raise gr.Error("These pictures are deleted by now: upload the photo again.", print_exception=False)
    return gr.update(value=(files[left], files[right]), label=pair)


def linked_panes(names: Sequence[str]) -> list[gr.Image]:
    """Pictures side by side with one zoom for all (srgan/page/zoom.html)."""
    with gr.Column(elem_classes=["linked", "later"]):
        gr.HTML((PAGE / "zoom_buttons.html").read_text(encoding="utf-8"))
        with gr.Row(elem_classes="panes"):
            return [pane(name) for name in names]


def pane(name: str) -> gr.Image:
    return gr.Image(
        label=name, alt_text=name, format="png", type="filepath", interactive=False, buttons=["fullscreen"],
        min_width=96,
    )  # fmt: skip


def faces_shown() -> tuple[gr.Markdown, gr.Gallery]:
    """A sentence on the faces that were found, and each of them close up."""
    with gr.Column(elem_classes=["faces", "later"]):
        found = gr.Markdown(label="how many faces were found")
        gallery = gr.Gallery(
            label="Faces, before and after", show_label=False, format="png", object_fit="contain", height="auto",
            interactive=False, buttons=["fullscreen"], allow_preview=True,
        )  # fmt: skip
    return found, gallery
