"""The tabs: what a visitor sees, and what happens when something is changed."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from srgan import shipped
from srgan.page import zero
from srgan.page.components import (
    PAGE,
    PAIRS,
    detail_input,
    faces_shown,
    linked_panes,
    made_for_input,
    picture_input,
    wipe,
    wipe_slider,
)
from srgan.page.gradio_changes import show_first, take_numbers
from srgan.page.handlers import (
    DEFAULT_COPY,
    DEFAULT_SIZE,
    SIZES,
    answering,
    batch,
    compare,
    compare_by_one,
    compare_epochs,
    enlarge,
    spoken,
    tag,
)
from srgan.page.offered_models import ANY_PHOTO, AUTOMATIC, CLEAN_FACES, Models
from srgan.page.served_files import save_png, served
from srgan.page.uploads import read
from srgan.publish.card import figures_table
from srgan.reports.pictures import save_curves

EXAMPLES = [shipped.EXAMPLES / name for name in ("obama.jpg", "collins.png", "biden.jpg", "cat.png", "coffee.png")]
EXAMPLE_SMALL_SIDE = 128

COPIES = [("Clean", "clean"), ("Web", "web"), ("Old", "old")]

HOW = """The network was shown many small copies of photos and learned to draw the large ones: first to come as
close as it can on average (Detail 0), then so that a second network, the discriminator, cannot tell its drawings from
photos (Detail 1; this is a GAN, a generative adversarial network). *Bicubic* is the enlargement that any program makes.
It works on everything in a picture, and is best on what it has learned from, at about the same size."""

LEARNED = {
    AUTOMATIC: '"Auto" takes "Any photo" for pictures that look blurred, noisy or compressed, and else "Clean faces".',
    ANY_PHOTO: '"Any photo" has learned from photos of people, animals, places and things, most of them blurred, '
    "noised and saved as JPEG.",
    CLEAN_FACES: '"Clean faces" has learned from clean photos of faces alone.',
}
"""What is said of each model where there are several."""

FIGURES_NOTE = """<small>PSNR-Y and SSIM-Y against the original, 4 pixels cut from each border: higher is closer.
A sharp picture can score lower than a blurred one: guessed detail a pixel off costs more than none.</small>"""

LPIPS_NOTE = """<small>LPIPS is how far apart the two pictures look to a network that recognises things: lower is
closer. It minds a blur more than a detail that is a pixel off.</small>"""

SHOW = "(picture) => picture && document.getElementById('ID').scrollIntoView({block: 'nearest', behavior: 'smooth'})"
"""On a phone the result lies above the examples: it is brought into view when a picture is chosen."""

ON_MODEL = {
    "concurrency_id": "model", "concurrency_limit": 4 if zero.HERE else 1, "trigger_mode": "always_last",
    "show_progress": "minimal",
}  # fmt: skip
"""Events that run the network: one at a time, but where they may wait for a GPU; of a slider's many only the last."""


def build_compare(models: Models) -> None:
    """The tab in which the upload is the original."""
    first_copy = "web" if models.automatic else DEFAULT_COPY  # such as people have, where a model is made for it
    with gr.Tab("Compare"), gr.Row(elem_classes="tool"):
        with gr.Column(scale=2, min_width=320):
            slider = wipe_slider("wipe")
            with gr.Row():
                pair = gr.Radio(
                    PAIRS, value=PAIRS[0], label="Left | right of the line",
                    elem_classes="choice", scale=3, min_width=300,
                )  # fmt: skip
                made_for, detail = made_for_input(models), detail_input(models)
            bicubic, restored, original = linked_panes(("bicubic", "restored", "original"))
        with gr.Column(scale=1, min_width=280):
            photo = picture_input("Your photo")
            gr.Examples([[str(path)] for path in EXAMPLES], photo, label="Or try one of these")
            with gr.Column(elem_classes="later"):
                size = gr.Radio(
                    SIZES, value=DEFAULT_SIZE, label="Compare at", info="Pixels on the long side", elem_classes="sizes",
                )  # fmt: skip
                copy = gr.Radio(
                    COPIES, value=first_copy, label="Small copy", info="How it is worn before it is enlarged.",
                    elem_classes="sizes",
                )  # fmt: skip
                take_numbers(size)
                done = gr.Markdown(label="what was done")
                with gr.Row():
                    download = gr.DownloadButton("Download restored", variant="primary", size="sm", min_width=150)
                    low = gr.DownloadButton("Download small copy", size="sm", min_width=150)
                figures = gr.HTML(
                    {}, html_template=(PAGE / "figures.html").read_text(encoding="utf-8"), label="figures",
                    apply_default_css=False, elem_classes="figures",
                )  # fmt: skip
                gr.Markdown(FIGURES_NOTE)
                if models.lpips:
                    gr.Markdown(LPIPS_NOTE)

    panes = [restored, bicubic, original]
    results, settings = [*panes, low, figures, done], [detail, size, *made_for, copy]
    example = str(EXAMPLES[0])
    start = compare(models.at_start(), example, small_copy=first_copy)
    show_first([*results, slider, download], [*start, (start[1], start[0]), start[0]])
    shown = gr.on(
        [photo.change, *(setting.input for setting in settings)],
        spoken(partial(compare if made_for else compare_by_one, models), example, first_values(settings), start),
        [photo, *settings], results, api_name="compare", show_progress_on=slider, **ON_MODEL,
    )  # fmt: skip
    shown.success(
        lambda pair, *files: (wipe(pair, *files), files[0]), [pair, *panes], [slider, download],
        api_visibility="private", queue=False,
    )  # fmt: skip
    pair.input(wipe, [pair, *panes], slider, api_visibility="private", queue=False)
    photo.change(None, photo, js=SHOW.replace("ID", "wipe"))


def first_values(settings: Sequence[gr.components.Component]) -> tuple[Any, ...]:
    return tuple(setting.value for setting in settings)


def small_copies(photos: Sequence[Path]) -> list[str]:
    """Pictures as small as those that people want enlarged."""
    copies = []
    for path in photos:
        photo, _ = read(str(path))
        photo.thumbnail((EXAMPLE_SMALL_SIDE, EXAMPLE_SMALL_SIDE), Image.Resampling.BICUBIC, reducing_gap=None)
        copies.append(save_png(photo, f"{path.stem}-small"))
    return copies


def build_enlarge(models: Models) -> None:
    """The tab in which the upload is enlarged, with no original to compare with."""
    examples = small_copies(EXAMPLES)
    with gr.Tab("Enlarge"), gr.Row(elem_classes="tool"):
        with gr.Column(scale=2, min_width=320):
            slider = wipe_slider("enlarged")
            with gr.Row():
                made_for, detail = made_for_input(models), detail_input(models)
            found, faces = faces_shown()
        with gr.Column(scale=1, min_width=280):
            small = picture_input("Your small picture")
            gr.Examples([[path] for path in examples], small, label="Or try one of these")
            done = gr.Markdown(label="what was done")
            download = gr.DownloadButton("Download restored", variant="primary", size="sm")

    results, settings = [download, slider, done, found, faces], [detail, *made_for]
    start = enlarge(models.at_start(), examples[0])
    show_first(results, start)
    gr.on(
        [small.change, *(setting.input for setting in settings)],
        spoken(partial(enlarge, models), examples[0], first_values(settings), start), [small, *settings], results,
        api_name="enlarge", show_progress_on=slider, **ON_MODEL,
    )  # fmt: skip
    small.change(None, small, js=SHOW.replace("ID", "enlarged"))


def build_batch(models: Models) -> None:
    """The tab that enlarges many files."""

    def run(pictures: list[str] | None, detail: float, made_for: str = "") -> Iterator[Any]:
        if not pictures:
            yield gr.skip()
            return
        with answering("batch", pictures):
            yield from batch(models, pictures, detail, made_for)

    run.__name__, run.__doc__ = batch.__name__, batch.__doc__
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
            made_for, detail = made_for_input(models), detail_input(models)
            start = gr.Button("Enlarge them all", variant="primary")
            download = gr.DownloadButton("Download all as ZIP", size="sm")
    # Not in the turn of single pictures, which would wait for all of it.
    start.click(
        run, [files, detail, *made_for], [download, gallery, done], api_name="batch", show_progress_on=gallery,
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
        panes = linked_panes(epoch_titles(epochs[0], epochs[-1]))
        notes = gr.Markdown()
        gr.on(
            [photo.change, first.input, second.input], show_epochs, [photo, first, second], [*panes, notes],
            api_visibility="private", **ON_MODEL,
        )  # fmt: skip


def epoch_titles(first: str, second: str) -> list[str]:
    return ["low resolution", tag(first), tag(second), "original"]


def show_epochs(picture: str | None, first: str, second: str) -> list[Any]:
    """Pictures and titles together, and what of the photo was not kept; without a photo, titles over empty panes."""
    *files, notes = spoken(compare_epochs)(picture, first, second) if picture else [None] * 4 + [""]
    shown = zip(files, epoch_titles(first, second), strict=True)
    return [*(gr.update(value=file, label=title, alt_text=title) for file, title in shown), notes]


def build_how(models: Models) -> None:
    """What the networks have learned, with the loaded models' own figures and curves where they have some."""
    several = len(models.upscalers) > 1
    with gr.Accordion("How it works, and how well", open=False):
        more = " ".join(LEARNED[title] for title in models.made_for if title in LEARNED) if several else ""
        gr.Markdown(f"{HOW}\n\n{more}")
        for title, upscaler in models.upscalers.items():
            if several:
                gr.Markdown(f"### Made for: {title}")
            show_learned(title, upscaler.model.metrics)


def show_learned(title: str, metrics: Mapping[str, Any]) -> None:
    if (figures := metrics.get("figures")) and "photos" in metrics:
        gr.Markdown(f"On {metrics['photos']} photos that this model has not learned from:\n\n{figures_table(figures)}")
    if history := metrics.get("history"):
        path = served(hashlib.sha256(title.encode()).hexdigest(), "curves.png")
        save_curves(history, path)
        gr.Image(
            str(path), label="Its training, epoch by epoch", alt_text="Losses and figures over the epochs",
            format="png", interactive=False, buttons=["fullscreen"],
        )  # fmt: skip
