"""The tabs: what a visitor sees, and what happens when something is changed."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from page.files import save_png, served
from page.handlers import FIRST, SIZES, batch, compare, compare_epochs, enlarge, spoken
from page.parts import PAGE, PAIRS, detail_input, linked_panes, picture_input, show_first, wipe, wipe_slider
from srgan import images, zero
from srgan.card import figures_table
from srgan.report import save_curves
from srgan.upscaler import Upscaler

EXAMPLES = [
    PAGE.parent / "examples" / name for name in ("obama.jpg", "collins.png", "biden.jpg", "cat.png", "coffee.png")
]
EXAMPLE_SMALL_SIDE = 128

HOW = """The network was shown many small copies of face photos and learned to draw the large ones: first to come as
close as it can on average (Detail 0), then so that a second network, the discriminator, cannot tell its drawings from
photos (Detail 1; this is a GAN, a generative adversarial network). *Bicubic* is the enlargement that any program makes.
It works on everything in a picture, and is best on faces about as large as those it has learned from."""

FIGURES_NOTE = """<small>PSNR-Y and SSIM-Y against the original, 4 pixels cut from each border: higher is closer.
A sharp picture can score lower than a blurred one: guessed detail a pixel off costs more than none.</small>"""

BATCH_PROGRESS = gr.Progress()

SHOW = "(picture) => picture && document.getElementById('ID').scrollIntoView({block: 'nearest', behavior: 'smooth'})"
"""On a phone the result lies above the examples: it is brought into view when a picture is chosen."""

ON_MODEL = {
    "concurrency_id": "model", "concurrency_limit": 4 if zero.HERE else 1, "trigger_mode": "always_last",
    "show_progress": "minimal",
}  # fmt: skip
"""Events that run the network: one at a time, but where they may wait for a GPU; of a slider's many only the last."""


def build_compare(upscaler: Upscaler, first: Upscaler) -> None:
    """The tab in which the upload is the original. `first` restores the example that is there at the start."""
    with gr.Tab("Compare"), gr.Row(elem_classes="tool"):
        with gr.Column(scale=2, min_width=320):
            slider = wipe_slider("wipe")
            with gr.Row():
                pair = gr.Radio(
                    PAIRS, value=PAIRS[0], label="Left | right of the line",
                    elem_classes="pairs", scale=3, min_width=300,
                )  # fmt: skip
                detail = detail_input(upscaler)
            bicubic, restored, original = linked_panes(("bicubic", "restored", "original"))
        with gr.Column(scale=1, min_width=280):
            photo = picture_input("Your photo")
            gr.Examples([[str(path)] for path in EXAMPLES], photo, label="Or try one of these")
            with gr.Column(elem_classes="later"):
                size = gr.Radio(
                    SIZES, value=FIRST[1], label="Compare at", info="Pixels on the long side", elem_classes="sizes",
                )  # fmt: skip
                size.preprocess = int  # over the API, "512" does as well as 512; compare() checks it
                done = gr.Markdown(label="what was done")
                with gr.Row():
                    download = gr.DownloadButton("Download restored", variant="primary", size="sm", min_width=150)
                    low = gr.DownloadButton("Download small copy", size="sm", min_width=150)
                figures = gr.HTML(
                    {}, html_template=(PAGE / "figures.html").read_text(), label="figures",
                    apply_default_css=False, elem_classes="figures",
                )  # fmt: skip
                gr.Markdown(FIGURES_NOTE)

    panes = [restored, bicubic, original]
    results = [*panes, low, figures, done]
    example = str(EXAMPLES[0])
    start = compare(first, example)
    show_first([*results, slider, download], [*start, (start[1], start[0]), start[0]])
    shown = gr.on(
        [photo.change, detail.input, size.input], spoken(partial(compare, upscaler), example, start),
        [photo, detail, size], results, api_name="compare", show_progress_on=slider, **ON_MODEL,
    )  # fmt: skip
    shown.success(
        lambda pair, *files: (wipe(pair, *files), files[0]), [pair, *panes], [slider, download],
        api_visibility="private", queue=False,
    )  # fmt: skip
    pair.input(wipe, [pair, *panes], slider, api_visibility="private", queue=False)
    photo.change(None, photo, js=SHOW.replace("ID", "wipe"))


def small_copies(photos: Sequence[Path]) -> list[str]:
    """Pictures as small as those that people want enlarged."""
    copies = []
    for path in photos:
        photo = images.open_rgb(path)
        photo.thumbnail((EXAMPLE_SMALL_SIDE, EXAMPLE_SMALL_SIDE), Image.Resampling.BICUBIC, reducing_gap=None)
        copies.append(save_png(photo, f"{path.stem}-small"))
    return copies


def build_enlarge(upscaler: Upscaler, first: Upscaler) -> None:
    """The tab in which the upload is enlarged, with no original to compare with."""
    examples = small_copies(EXAMPLES)
    with gr.Tab("Enlarge"), gr.Row(elem_classes="tool"):
        with gr.Column(scale=2, min_width=320):
            slider = wipe_slider("enlarged")
            detail = detail_input(upscaler)
        with gr.Column(scale=1, min_width=280):
            small = picture_input("Your small picture")
            gr.Examples([[path] for path in examples], small, label="Or try one of these")
            done = gr.Markdown(label="what was done")
            download = gr.DownloadButton("Download restored", variant="primary", size="sm")

    results = [download, slider, done]
    start = enlarge(first, examples[0])
    show_first(results, start)
    gr.on(
        [small.change, detail.input], spoken(partial(enlarge, upscaler), examples[0], start), [small, detail], results,
        api_name="enlarge", show_progress_on=slider, **ON_MODEL,
    )  # fmt: skip
    small.change(None, small, js=SHOW.replace("ID", "enlarged"))


def build_batch(upscaler: Upscaler) -> None:
    """The tab that enlarges many files."""

    def run(pictures: list[str] | None, detail: float, progress: gr.Progress = BATCH_PROGRESS) -> Any:
        return spoken(partial(batch, upscaler, progress=progress))(pictures, detail)

    with gr.Tab("Many at once"), gr.Row(elem_classes="tool"):
        with gr.Column(scale=2, min_width=320):
            gallery = gr.Gallery(
                label="Restored", show_label=False, format="png", columns=4, object_fit="contain", height="auto",
                elem_classes=["results", "later"], buttons=["fullscreen"],
            )  # fmt: skip
            done = gr.Markdown(
                "The results appear here, and in one ZIP.", label="what was done", elem_classes="later"
            )  # fmt: skip
        with gr.Column(scale=1, min_width=280):
            files = gr.File(label="Your small pictures", file_count="multiple", file_types=["image"], height=240)
            detail = detail_input(upscaler)
            start = gr.Button("Enlarge them all", variant="primary")
            download = gr.DownloadButton("Download all as ZIP", size="sm")
    # Not in the turn of single pictures, which would wait for all of it.
    start.click(
        run, [files, detail], [download, gallery, done], api_name="batch", show_progress_on=gallery,
        concurrency_limit=1, trigger_mode="once",
    )  # fmt: skip


def build_epochs(epochs: Sequence[str]) -> None:
    """The tab that compares epochs of a model: low resolution, one epoch, another, the original."""
    with gr.Tab("Epochs"):
        with gr.Row():
            photo = picture_input("Your photo")
            with gr.Column():
                first = gr.Dropdown(list(epochs), value=epochs[0], label="One epoch of the training")
                second = gr.Dropdown(list(epochs), value=epochs[-1], label="Another")
                gr.Examples([[str(path)] for path in EXAMPLES], photo, label="Or try one of these")
        panes = linked_panes(("low resolution", "one epoch", "another", "original"))
        gr.on(
            [photo.change, first.input, second.input], spoken(compare_epochs), [photo, first, second], panes,
            api_visibility="private", **ON_MODEL,
        )  # fmt: skip


def build_how(metrics: dict[str, Any]) -> None:
    """What the network has learned, with the loaded model's own figures and curves where it has some."""
    with gr.Accordion("How it works, and how well", open=False):
        gr.Markdown(HOW)
        if (figures := metrics.get("figures")) and "photos" in metrics:
            gr.Markdown(
                f"On {metrics['photos']} photos that this model has not learned from:\n\n{figures_table(figures)}"
            )
        if history := metrics.get("history"):
            path = served("", "curves.png")
            save_curves(history, path)
            gr.Image(
                str(path), label="Its training, epoch by epoch", alt_text="Losses and figures over the epochs",
                format="png", interactive=False, buttons=["fullscreen"],
            )  # fmt: skip
