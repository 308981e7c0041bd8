"""The parts below the tabs that enlarge: epochs of a training side by side, and how it all works."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from srgan.page.compare_tab import EXAMPLES
from srgan.page.components import picture_input
from srgan.page.events import ON_MODEL
from srgan.page.handlers import compare_epochs, spoken, tag
from srgan.page.offered_models import ANY_PHOTO, AUTOMATIC, CLEAN_FACES, Models
from srgan.page.served_files import served
from srgan.page.views import ORIGINAL, view, viewer
from srgan.publish.card import figures_table
from srgan.reports.pictures import save_curves
from srgan.training.records import EpochRow

HOW = """The network was shown many small copies of photos and learned to draw the large ones. First it learned to
come as close to them as it can on average (Detail 0). Then it learned to draw so that a second network, the
discriminator, cannot tell its drawings from photos (Detail 1). The two networks are a GAN, a generative
adversarial network. *Bicubic* is the enlargement that any program makes. The network restores everything in a picture.
It works best on subjects like those in its training photos, at about the same size."""

LEARNED = {
    AUTOMATIC: '"Auto" chooses "Any photo" for pictures that look blurred, noisy or compressed, and "Clean faces" for '
    "all others.",
    ANY_PHOTO: '"Any photo" was trained on photos of people, animals, places and things, most of them blurred, '
    "noisy and saved as JPEG.",
    CLEAN_FACES: '"Clean faces" was trained only on clean photos of faces.',
}
"""What the page says about each model if it offers several."""


MEASURED = """<small>PSNR measures the error pixel by pixel, SSIM compares small patterns: higher is closer to the
original. Y stands for the brightness alone, RGB for all three colours. LPIPS measures how different two pictures look
to a network that recognises things: lower is closer.</small>"""
"""What the figures of a model mean. On a phone nothing can be pointed at to learn it."""

LEAST_EPOCHS = 3
"""Fewest epochs that make a curve."""


def build_epochs(epochs: Sequence[str]) -> None:
    """Builds the tab that compares epochs of a model: the small copy, one epoch, another, the original."""
    with gr.Tab("Epochs", id="epochs"):
        with gr.Row():
            photo = picture_input("Your photo", "epochs")
            with gr.Column():
                first = gr.Dropdown(list(epochs), value=epochs[0], label="One epoch of the training")
                second = gr.Dropdown(list(epochs), value=epochs[-1], label="Another epoch")
                gr.Examples([[str(path)] for path in EXAMPLES], photo, label="Or try one of these")
        shown = viewer("epochs")
        notes = gr.Markdown()
        gr.on(
            [photo.change, first.input, second.input], show_epochs, [photo, first, second], [shown, notes],
            api_visibility="private", show_progress="minimal", **ON_MODEL,
        )  # fmt: skip


def show_epochs(picture: str | None, first: str, second: str) -> list[Any]:
    """Returns the pictures by their titles, and what was not kept of the photo; nothing without a photo."""
    if not picture:
        return [{}, ""]
    low, *restored, original, notes = spoken(compare_epochs)(picture, first, second)
    titles = [tag(first), tag(second)] if first != second else [tag(first), f"{tag(second)} again"]
    files = {"Small copy": low, **dict(zip(titles, restored, strict=True)), ORIGINAL: original}
    return [view(files, picture, " | ".join(titles)), notes]


def build_how(models: Models) -> None:
    """Shows what the networks have learned, with the figures and curves of the loaded models that have some."""
    several = len(models.upscalers) > 1
    with gr.Accordion("How it works, and how well", open=False):
        more = " ".join(LEARNED[title] for title in models.made_for if title in LEARNED) if several else ""
        gr.Markdown(f"{HOW}\n\n{more}")
        for title, upscaler in models.upscalers.items():
            if several:
                gr.Markdown(f"### Made for: {title}")
            show_learned(title, upscaler.model.metrics)
        if any(has_figures(upscaler.model.metrics) for upscaler in models.upscalers.values()):
            gr.Markdown(MEASURED)


def unbroken(table: str) -> str:
    """Keeps names such as PSNR-Y on one line, which a phone would break at the hyphen."""
    return re.sub(r"(?<=\w)-(?=\w)", "\N{NON-BREAKING HYPHEN}", table)


def has_figures(metrics: Mapping[str, Any]) -> bool:
    return bool(metrics.get("figures")) and "photos" in metrics


def show_learned(title: str, metrics: Mapping[str, Any]) -> None:
    if has_figures(metrics):
        table = unbroken(figures_table(metrics["figures"]))
        gr.Markdown(f"On {metrics['photos']} photos that this model was not trained on:\n\n{table}")
    history = [EpochRow.from_json(row) for row in metrics.get("history", [])]
    if len(history) >= LEAST_EPOCHS:
        path = served(hashlib.sha256(title.encode()).hexdigest(), "curves.png")
        save_curves(history, path)
        gr.Image(
            str(path), label="Its training, epoch by epoch", alt_text="Losses and figures over the epochs",
            format="png", interactive=False, buttons=["fullscreen"],
        )  # fmt: skip
