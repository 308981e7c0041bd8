"""The Gradio page, as a Hugging Face Space runs it: python app.py [--model MODEL]

GRADIO_SERVER_NAME and GRADIO_SERVER_PORT say where it listens. Other programs can call its /compare, /enlarge and
/batch, and ask /health whether it is up.
"""

import argparse
import hashlib
import logging
import os
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from functools import lru_cache, partial, wraps
from itertools import chain, count
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from gradio.data_classes import GradioModel, GradioRootModel
from gradio.processing_utils import move_files_to_cache
from PIL import Image
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from srgan import comparison, images, zero
from srgan.card import figures_table
from srgan.config import OneLineParser
from srgan.errors import UserError
from srgan.files import write_whole
from srgan.hub import epoch_models
from srgan.models import SCALE
from srgan.report import save_curves
from srgan.upscaler import SHIPPED_MODEL, Upscaler, load_or_shipped

ROOT = Path(__file__).resolve().parent
PAGE = ROOT / "page"
EXAMPLES = [ROOT / "examples" / name for name in ("obama.jpg", "collins.png", "biden.jpg", "cat.png", "coffee.png")]
EXAMPLE_SMALL_SIDE = 128
SIZES = (128, 256, 512, 1024)
DEFAULT_SIZE = 512
"""At which a portrait's face is about as large as the faces that the shipped model was trained on."""
FIRST = (1.0, DEFAULT_SIZE)
"""Detail and size as the page has them at the start."""
MOST_PIXELS = 1_000_000
MOST_FILES = 32
"""Pictures in a batch."""
PAIRS = ("bicubic | restored", "restored | original", "bicubic | original")

INTRO = """# Faces from a few pixels
Enlarge a tiny photo and it turns to blur. Here a neural network that has studied faces draws the missing detail.
Drag the line to see the difference. What it adds is a likely guess, not evidence: **never identify anyone by it.**"""

HOW = """The network was shown many small copies of face photos and learned to draw the large ones: first to come as
close as it can on average (Detail 0), then so that a second network, the discriminator, cannot tell its drawings from
photos (Detail 1; this is a GAN, a generative adversarial network). *Bicubic* is the enlargement that any program makes.
It works on everything in a picture, and is best on faces about as large as those it has learned from."""

FIGURES_NOTE = """<small>PSNR-Y and SSIM-Y against the original, 4 pixels cut from each border: higher is closer.
A sharp picture can score lower than a blurred one: guessed detail a pixel off costs more than none.</small>"""

BATCH_PROGRESS = gr.Progress()

PRIVACY = "<small>Pictures stay on the machine that runs this page, and are deleted within two hours.</small>"
KEPT_SECONDS = 3600

SHOW = "(picture) => picture && document.getElementById('ID').scrollIntoView({block: 'nearest', behavior: 'smooth'})"
"""On a phone the result lies above the examples: it is brought into view when a picture is chosen."""

ON_MODEL = {
    "concurrency_id": "model", "concurrency_limit": 4 if zero.HERE else 1, "trigger_mode": "always_last",
    "show_progress": "minimal",
}  # fmt: skip
"""Events that run the network: one at a time, but where they may wait for a GPU; of a slider's many only the last."""

log = logging.getLogger("srgan.page")

Figures = dict[str, Any]


def compare(
    upscaler: Upscaler, picture: str, detail: float = 1.0, size: int = DEFAULT_SIZE
) -> tuple[str, str, str, str, Figures, str]:
    """PNG files of the restored, the bicubic, the original and the low-resolution picture; figures; what was done."""
    if size not in SIZES:
        raise UserError(f"size is {size}; it must be one of {', '.join(map(str, SIZES))}.")
    photo = images.open_rgb(picture)
    found = comparison.compare(upscaler, photo, detail, size)
    about = {"milliseconds": found.milliseconds, "device": device_name(upscaler.device), "model": upscaler.name}
    name = Path(picture).stem
    return (
        save_png(found.restored, f"{name}-restored"),
        save_png(found.bicubic, f"{name}-bicubic"),
        save_png(found.original, f"{name}-original"),
        save_png(found.low, f"{name}-{found.low.width}x{found.low.height}"),
        {**found.figures, **about},
        what_was_done(photo, found.original, found.low, size),
    )


def enlarge(upscaler: Upscaler, picture: str, detail: float = 1.0) -> tuple[str, tuple[str, str], str]:
    """PNG files of the restored picture, and of the pair bicubic and restored, all 4 times as large; what was done."""
    small = images.open_rgb(picture)
    if small.width * small.height > MOST_PIXELS:
        raise UserError(
            f"The picture is {small.width}x{small.height}, more than the 1 megapixel that is enlarged here: "
            "see it in the Compare tab, or enlarge it on your own computer with python -m srgan upscale."
        )
    restored, milliseconds = upscaler.enlarge_timed(small, detail)
    low = images.to_unit(images.to_tensor(small)).unsqueeze(0)
    name = Path(picture).stem
    file = save_png(restored, f"{name}-x{SCALE}")
    bicubic = save_png(images.to_picture(images.to_pixels(images.enlarge(low))[0]), f"{name}-bicubic")
    sentence = (
        f"{small.width}x{small.height} became {small.width * SCALE}x{small.height * SCALE}: "
        f"{milliseconds} ms on {device_name(upscaler.device)}."
    )
    return file, (bicubic, file), sentence


def batch(
    upscaler: Upscaler,
    pictures: Sequence[str],
    detail: float = 1.0,
    progress: Callable[..., Any] = lambda *_, **__: None,
) -> tuple[str, list[str], str]:
    """A ZIP of the restored pictures, their PNG files, and what was done; names in it what could not be enlarged."""
    if len(pictures) > MOST_FILES:
        raise UserError(f"These are {len(pictures)} pictures; at most {MOST_FILES} are enlarged at once.")
    done, refused = [], []
    for number, picture in enumerate(pictures):
        progress((number, len(pictures)), desc="Enlarging", unit="pictures")
        try:
            done.append(enlarge(upscaler, picture, detail)[0])
        except UserError as error:
            refused.append(without_folder(str(error), picture))
    if not done:
        raise UserError(" ".join(refused))
    sentence = f"{len(done)} of {len(pictures)} pictures are {SCALE} times as wide and high."
    return save_zip(done), done, "\n\n".join([sentence, *refused])


def compare_epochs(picture: str, first: str, second: str) -> tuple[str, str, str, str]:
    """PNG files of the low-resolution picture, of what two epochs of a model restore from it, and of the original."""
    photo = images.open_rgb(picture)
    found = [comparison.compare(load_epoch(epoch), photo, 1.0, DEFAULT_SIZE) for epoch in (first, second)]
    low, original = found[0].low, found[0].original
    name = Path(picture).stem
    names = ("low", first.split("@")[-1], second.split("@")[-1], "original")
    pictures = (low, found[0].restored, found[1].restored, original)
    return tuple(save_png(shown, f"{name}-{title}") for title, shown in zip(names, pictures, strict=True))


@lru_cache(maxsize=4)
def load_epoch(model: str) -> Upscaler:
    """On ZeroGPU for the CPU: once the page is there, no more weights can be sent along with a lent GPU."""
    return Upscaler.load(model, "cpu" if zero.HERE else "auto")


def wipe(pair: str, restored: str, bicubic: str, original: str) -> dict[str, Any]:
    """The slider with the two files of a pair, left and right, and its name."""
    files = {"restored": restored, "bicubic": bicubic, "original": original}
    left, right = pair.split(" | ")
    return gr.update(value=(files[left], files[right]), label=pair)


def what_was_done(photo: Image.Image, original: Image.Image, small: Image.Image, size: int) -> str:
    how = "reduced" if max(photo.size) > size else "trimmed"
    first = f"It was {how} to {original.width}x{original.height} to be the original, and that"
    if original.size == photo.size:
        first = "It is the original as it is, and was reduced"
    return (
        f"Your photo is {photo.width}x{photo.height}. {first} to **{small.width}x{small.height}**, "
        "which is all that the two enlargements have seen."
    )


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


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


def without_folder(sentence: str, picture: str) -> str:
    """The upload folder means nothing to a visitor."""
    return sentence.replace(f"{Path(picture).parent}{os.sep}", "")


def spoken(function: Callable[..., Any], example: str | None = None, start: Any = None) -> Callable[..., Any]:
    """A handler that shows UserErrors on the page as they are.

    Without a picture it takes the example, whose result at the page's first settings is `start`, or does nothing.
    """
    name = getattr(function, "func", function).__name__

    @wraps(function)
    def handler(picture: str | None, *settings: Any) -> Any:
        if not picture and example is None:
            return gr.skip()
        if picture is None and settings == FIRST[: len(settings)]:
            return start
        picture = picture or example
        outcome, began = "failed", time.perf_counter()
        try:
            result = function(picture, *settings)
            outcome = "done"
            return result
        except UserError as error:
            outcome = "refused"
            sentence = str(error) if isinstance(picture, list) else without_folder(str(error), picture)
            raise gr.Error(sentence, print_exception=False) from None
        finally:  # neither the picture nor its name
            log.info("%s %s in %.0f ms", name, outcome, 1000 * (time.perf_counter() - began))

    return handler


opened_by_gradio = gr.Image.preprocess


def left_unopened(self: gr.Image, payload: Any) -> str | None:
    """The uploaded file as it is, for open_rgb: Gradio would open it first, and refuse it in its own words."""
    return payload.path if payload and payload.path else opened_by_gradio(self, payload)


# On the class, since sessions copy components; a subclass would make Gradio write a stub file beside this one.
gr.Image.preprocess = left_unopened


def picture_input(label: str) -> gr.Image:
    return gr.Image(
        label=label, type="filepath", sources=["upload", "clipboard", "webcam"], height=240, format="png",
        image_mode=None, buttons=[],
    )  # fmt: skip


def wipe_slider(elem_id: str) -> gr.ImageSlider:
    return gr.ImageSlider(
        label=PAIRS[0], elem_id=elem_id, format="png", interactive=False, buttons=["fullscreen"], max_height=512
    )


def detail_input(upscaler: Upscaler) -> gr.Slider:
    info = "0: faithful. 1: sharp, partly imagined."
    if not upscaler.can_blend:
        info = "This model holds one weight set, so there is nothing to choose."
    return gr.Slider(
        0, 1, FIRST[0], step=0.05, label="Detail", info=info, interactive=upscaler.can_blend,
        buttons=[], scale=2, min_width=240,
    )  # fmt: skip


def small_copies(photos: Sequence[Path]) -> list[str]:
    """Pictures as small as those that people want enlarged."""
    copies = []
    for path in photos:
        photo = images.open_rgb(path)
        photo.thumbnail((EXAMPLE_SMALL_SIDE, EXAMPLE_SMALL_SIDE), Image.Resampling.BICUBIC, reducing_gap=None)
        copies.append(save_png(photo, f"{path.stem}-small"))
    return copies


def linked_panes(names: Sequence[str]) -> list[gr.Image]:
    """Pictures side by side with one zoom for all (page/zoom.html)."""
    with gr.Column(elem_classes=["linked", "later"]):
        gr.HTML((PAGE / "zoom_buttons.html").read_text())
        with gr.Row(elem_classes="panes"):
            return [pane(name) for name in names]


def pane(name: str) -> gr.Image:
    return gr.Image(
        label=name, alt_text=name, format="png", type="filepath", interactive=False, buttons=["fullscreen"],
        min_width=96,
    )  # fmt: skip


def show_first(components: Sequence[gr.components.Component], values: Sequence[Any]) -> None:
    """What they show before anything is asked of the page. Its files are never deleted."""
    for component, value in zip(components, values, strict=True):
        shown = component.postprocess(value)
        shown = shown.model_dump() if isinstance(shown, GradioModel | GradioRootModel) else shown
        component.value = move_files_to_cache(shown, component, postprocess=True, keep_in_cache=True)


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


def build_demo(upscaler: Upscaler, notice: str = "", epochs: Sequence[str] = ()) -> gr.Blocks:
    """The page. `notice`: what its visitors should know of the model; `epochs`: those that they may compare."""
    # A lent GPU is for what visitors ask.
    first = Upscaler(upscaler.model, upscaler.name, "cpu") if zero.HERE else upscaler
    with gr.Blocks(
        title="Faces from a few pixels", analytics_enabled=False, delete_cache=(KEPT_SECONDS, KEPT_SECONDS)
    ) as demo:
        gr.Markdown(INTRO)
        if notice:
            gr.Markdown(f"**{notice}**")
        build_compare(upscaler, first)
        build_enlarge(upscaler, first)
        build_batch(upscaler)
        if epochs:
            build_epochs(epochs)
        build_how(upscaler.model.metrics)
        gr.Markdown(PRIVACY)
    return demo.queue(max_size=32)


def health(demo: gr.Blocks, model: str) -> Route:
    """GET /health, for a load balancer: answered beside the queue, however long that is."""

    def answer(_: Request) -> JSONResponse:
        return JSONResponse({"status": "ok", "model": model, "waiting": len(demo._queue)})

    return Route("/health", answer)


def main(argv: Sequence[str] | None = None) -> int:
    parser = OneLineParser(prog="app.py", description=__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--model", default=os.environ.get("SRGAN_MODEL") or str(SHIPPED_MODEL),
        help="model folder, or USER/NAME[@REVISION] on the Hugging Face Hub "
        "(default: the environment's SRGAN_MODEL, else the model that ships)",
    )  # fmt: skip
    arguments = parser.parse_args(argv)
    try:
        upscaler, notice = load_or_shipped(arguments.model)
    except UserError as error:
        print(f"app.py: {error}", file=sys.stderr)
        return 2
    if notice:
        print(f"app.py: {notice}", file=sys.stderr)
    theme = gr.themes.Default(
        primary_hue="indigo", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    ).set(block_info_text_color="*neutral_600", block_info_text_color_dark="*neutral_300")
    logging.basicConfig(format="%(asctime)s %(message)s")
    log.setLevel(logging.INFO)
    zero.lend(upscaler)
    demo = build_demo(upscaler, notice, epoch_models(arguments.model))
    demo.launch(
        theme=theme, css_paths=PAGE / "style.css", head_paths=[PAGE / "head.html", PAGE / "zoom.html"],
        max_file_size="30mb", ssr_mode=False, run_history=False, footer_links=["api", "settings"],
        app_kwargs={"routes": [health(demo, upscaler.name)]},
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
