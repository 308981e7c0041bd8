"""The tab in which the upload is the original: reduced, enlarged again, and compared with itself."""

from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image, UnidentifiedImageError

from srgan import shipped
from srgan.page.address import Remembered, again, model_setting, remember
from srgan.page.components import (
    carry_on_select,
    detail_input,
    hide_old_reason,
    made_for_input,
    picture_input,
    remember_upload,
    stop_button,
)
from srgan.page.events import ON_MODEL, first_values, for_programs, on_page, stopped
from srgan.page.gradio_changes import show_first, take_numbers
from srgan.page.handlers import DEFAULT_COPY, DEFAULT_SIZE, SIZES, compare, compare_by_one, spoken
from srgan.page.offered_models import Models
from srgan.page.views import (
    AFTER,
    BEFORE,
    NO_FILE,
    ORIGINAL,
    PAGE,
    PAIRS,
    download_button,
    file_offered,
    problem_shown,
    view,
    viewer,
)
from srgan.pictures.formats import COMMON_FORMATS

EXAMPLES = [shipped.EXAMPLES / name for name in ("obama.jpg", "collins.png", "biden.jpg", "cat.png", "coffee.png")]
FIRST_PHOTO = "This example is the official portrait of Barack Obama (White House, public domain)."

COPIES = [("Clean", "clean"), ("Web", "web"), ("Old", "old")]

SMALL_SIDE = min(SIZES)
"""A picture whose sides are all shorter than this is small already: a quarter of it would show nothing."""

FIGURES_NOTE = """<small>PSNR-Y and SSIM-Y against the original, 4 pixels cut from each border: higher is closer.
A sharp picture can score lower than a blurred one: guessed detail that is a pixel off costs more than missing
detail.</small>"""

LPIPS_NOTE = """<small>LPIPS measures how different the two pictures look to a network that recognises things: lower is
closer. It penalises blur more than detail that is a pixel off.</small>"""

SHOW = "(picture) => { if (picture) bring_into_view('ID'); }"
"""On a phone the result lies above the examples, so choosing a picture scrolls to the result."""

SHOW_WORDS = "() => bring_words_into_view('ID')"

OTHER_PAIR = "(pair, shown) => ({ ...shown, pair: pair.split(' | ') })"


def build_compare(models: Models) -> tuple[gr.Button, gr.Image, Remembered]:
    """Builds the tab. Returns the button that takes a small picture to the tab Enlarge, the input for the photo, and
    the settings that the address holds."""
    first_copy = "web" if models.automatic else DEFAULT_COPY  # like people's pictures, if there is a model for them
    with gr.Tab("Compare", id="compare") as tab, gr.Row(elem_classes="tool"):
        with gr.Column(scale=2, min_width=320):
            problem = problem_shown()
            to_enlarge = gr.Button("Enlarge it", variant="primary", visible=False, elem_id="to-enlarge")
            shown = viewer("wipe")
            stop = stop_button()
            pair = gr.Radio(
                PAIRS, value=PAIRS[0], label="Left and right of the line", elem_id="pair", elem_classes="choice"
            )
            with gr.Row():
                made_for, detail = made_for_input(models), detail_input(models)
        with gr.Column(scale=1, min_width=280):
            photo = picture_input("Your photo", "compare")
            gr.Examples([[str(path)] for path in EXAMPLES], photo, label="Or try one of these")
            with gr.Column(elem_classes="later"):
                size = gr.Radio(
                    SIZES, value=DEFAULT_SIZE, label="Compare at", info="Pixels on the long side", elem_classes="sizes",
                )  # fmt: skip
                copy = gr.Radio(
                    COPIES, value=first_copy, label="Small copy", elem_classes="sizes",
                    info="What happens to it before it is enlarged: nothing, or the wear of web pictures or old photos",
                )  # fmt: skip
                take_numbers(size)  # compare() checks that it is one of SIZES
                done = gr.Markdown(label="what was done", elem_classes="of-result")
                with gr.Row(equal_height=True):
                    download = download_button("Download the result", variant="primary")
                    low = download_button("Download the small copy")
                with gr.Accordion("Details", open=False):
                    figures = gr.HTML(
                        {}, html_template=(PAGE / "figures.html").read_text(encoding="utf-8"), label="figures",
                        apply_default_css=False, elem_classes=["figures", "of-result"],
                    )  # fmt: skip
                    gr.Markdown(FIGURES_NOTE)
                    if models.lpips:
                        gr.Markdown(LPIPS_NOTE)

    function = compare if made_for else compare_by_one
    settings = [detail, size, *made_for, copy]
    start = compare(models.unlent, str(EXAMPLES[0]), small_copy=first_copy)
    # A page that is just starting is slower than the page is for a visitor.
    untimed = {name: figure for name, figure in start[4].items() if name != "milliseconds"}
    example = (*start[:4], untimed, start[5])
    # As other programs know it.
    with tab:
        anew = again("compare")
    with tab, gr.Column(visible=False):
        panes = [gr.Image(label=name, format="png", type="filepath") for name in ("restored", "bicubic", "original")]
        files = [gr.DownloadButton(label="small copy")]
    for_programs(
        tab, spoken(partial(function, models), str(EXAMPLES[0]), first_values(settings), start),
        [photo, *settings], [*panes, *files, figures, done], "compare",
    )  # fmt: skip

    # As visitors see it.
    def shows(found: tuple[Any, ...], picture: str, pair: str) -> list[Any]:
        restored, bicubic, original, small, numbers, said = found
        pictures = {BEFORE: bicubic, AFTER: restored, ORIGINAL: original}
        return [
            view(pictures, picture, pair), file_offered(restored), file_offered(small), numbers, said,
            gr.update(visible=False),
        ]  # fmt: skip

    def answer(picture: str | None, pair: str, *chosen: Any) -> list[Any]:
        if picture and (small := small_size(picture)):
            said = f"This picture is small already ({small[0]}x{small[1]} pixels): enlarge it."
            return [*nothing, gr.update(visible=True, value=said)]
        if not picture:
            found = example if chosen == first else function(models, str(EXAMPLES[0]), *chosen)
            return shows((*found[:5], f"{FIRST_PHOTO} {found[5]}"), str(EXAMPLES[0]), pair)
        return shows(function(models, picture, *chosen), picture, pair)

    first = first_values(settings)
    nothing = [{}, NO_FILE, NO_FILE, {}, ""]
    without = [*nothing, gr.update(visible=False)]
    results = [shown, download, low, figures, done, to_enlarge, problem]
    show_first(
        [shown, download, low, figures, done],
        [view({BEFORE: start[1], AFTER: start[0], ORIGINAL: start[2]}, str(EXAMPLES[0])), start[0], start[3], untimed,
         f"{FIRST_PHOTO} {start[5]}"],
    )  # fmt: skip
    asked = [anew.click, *(setting.input for setting in settings)]
    hide_old_reason(problem, photo, asked)
    answered = gr.on(
        [photo.change, *asked], on_page("compare", answer, without),
        [photo, pair, *settings], results, api_visibility="private", show_progress_on=shown, show_progress="full",
        **ON_MODEL,
    )  # fmt: skip
    answered.then(None, None, None, js=SHOW_WORDS.replace("ID", "wipe"))
    stop.click(stopped(without), None, results, api_visibility="private", queue=False)
    pair.change(None, [pair, shown], shown, js=OTHER_PAIR)
    photo.change(None, photo, None, js=SHOW.replace("ID", "wipe"))
    remember_upload(photo, "compare")
    carry_on_select(tab, photo, "compare")
    kept = {"pair": pair, "detail": detail, "at": size, "copy": copy, **model_setting(made_for)}
    return to_enlarge, photo, remember(tab, "compare", kept)


def small_size(picture: str) -> tuple[int, int] | None:
    """Returns width and height of a picture that is small already; None for any other."""
    Image.init()
    try:
        with Image.open(Path(picture), formats=[name for name in COMMON_FORMATS if name in Image.OPEN]) as file:
            return file.size if max(file.size) < SMALL_SIDE else None
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError):
        return None
