"""Components that several tabs share."""

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from srgan.page.handlers import DEFAULT_DETAIL
from srgan.page.offered_models import Models

SIZES_OFFERED = [
    ("4 times", ""), ("same size, cleaned up", "x1"), ("2 times", "x2"), ("3 times", "x3"), ("8 times", "x8"),
]  # fmt: skip
"""Names and values of the sizes on offer; `srgan.pictures.sizes` parses the values."""


def picture_input(label: str, tab: str) -> gr.Image:
    return gr.Image(
        label=label, elem_id=f"picture-{tab}", type="filepath", sources=["upload", "clipboard", "webcam"], height=240,
        format="png", image_mode=None, buttons=[],
    )  # fmt: skip


def detail_input(models: Models) -> gr.Slider:
    info = "0: closest to the original. 1: sharpest, partly imagined."
    if not models.can_blend:
        info = "This model has no fidelity weights, so there is nothing to choose."
    return gr.Slider(
        0, 1, DEFAULT_DETAIL, step=0.05, label="Detail", info=info, interactive=models.can_blend,
        buttons=[], scale=2, min_width=240,
    )  # fmt: skip


def made_for_input(models: Models) -> list[gr.Radio]:
    """Returns the choice of a model, if the page offers several."""
    if len(models.made_for) == 1:
        return []
    choice = gr.Radio(
        models.made_for, value=models.made_for[0], label="Made for", info="What the model has learned from.",
        elem_classes="choice", scale=2, min_width=240,
    )  # fmt: skip
    return [choice]


def size_input(elem_id: str) -> gr.Dropdown:
    return gr.Dropdown(
        SIZES_OFFERED, value="", allow_custom_value=True, label="Size of the result", elem_id=elem_id,
        info="Choose, or type: 1920x1080, width 1600, 12 MP", scale=1, min_width=200,
    )  # fmt: skip


def stop_button() -> gr.Button:
    """Returns the button that ends the work. srgan/page/style.css shows it while there is work."""
    return gr.Button("Cancel", size="sm", elem_classes="stop")


def hide_old_reason(problem: gr.Markdown, picture: gr.Image, asked: Sequence[Callable[..., Any]]) -> None:
    """Hides the reason why there was no result as soon as the visitor gives another picture, and "Stopped." as soon as
    other work begins: the stopped work would take it for its own when it ends.

    asked: the events that begin work on the same picture.
    """
    hidden = "update({ value: '', visible: false })"
    picture.input(None, None, problem, js=f"() => {hidden}")  # `change` can come again, after the answer
    gr.on(asked, None, problem, problem, js=f"(problem) => problem === 'Stopped.' ? {hidden} : update()")


def remember_upload(picture: gr.Image, tab: str) -> None:
    """Carries a visitor's own picture to the other tabs."""
    picture.input(None, picture, js=f"(picture) => {{ carried.keep('{tab}', picture); }}")


def carry_on_select(tab: gr.Tab, picture: gr.Image, name: str) -> None:
    """Takes over the picture that was last sent in another tab, when this tab is selected."""
    tab.select(None, None, picture, js=f"() => carried.take('{name}')")


def faces_shown() -> tuple[gr.Markdown, gr.Gallery]:
    """Makes the places for a sentence about the faces that were found and for a close-up of each."""
    with gr.Column(elem_classes=["faces", "later"]):
        found = gr.Markdown(label="how many faces were found")
        gallery = gr.Gallery(
            label="Faces, before and after", show_label=False, format="png", object_fit="contain", height="auto",
            interactive=False, buttons=["fullscreen"], allow_preview=True,
        )  # fmt: skip
    return found, gallery
