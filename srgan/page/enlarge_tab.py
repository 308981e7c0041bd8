"""The tab in which the upload is enlarged, with no original to compare with."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from srgan.errors import UserError
from srgan.models import SCALE
from srgan.page import zero
from srgan.page.address import Remembered, again, model_setting, remember
from srgan.page.compare_tab import EXAMPLES, SHOW, SHOW_WORDS
from srgan.page.components import (
    carry_on_select,
    detail_input,
    faces_shown,
    hide_old_reason,
    made_for_input,
    picture_input,
    remember_upload,
    size_input,
    stop_button,
)
from srgan.page.events import ON_MODEL, first_values, for_programs, on_page, stopped
from srgan.page.gradio_changes import show_first
from srgan.page.handlers import (
    DEFAULT_DETAIL,
    SECONDS_A_MEGAPIXEL,
    TooLarge,
    enlarge,
    enlarge_by_one,
    most_result,
    pixels_of,
    present,
    restore,
    restore_faces,
    spoken,
    time_for,
)
from srgan.page.offered_models import Models
from srgan.page.served_files import FORMATS, save_as, save_png
from srgan.page.uploads import READING, read, seen
from srgan.page.views import AFTER, BEFORE, NO_FILE, download_button, file_offered, problem_shown, view, viewer

EXAMPLE_SMALL_SIDE = 128
FIRST_PHOTO = "This example is the official portrait of Barack Obama (White House, public domain), made small."

FACES_ALONE, CLEAN, REDUCE = "faces", "clean", "reduce"
"""The ways to treat a photo that is too large to be enlarged."""

CHOOSE_AGAIN = "(way, problem) => problem === 'Stopped.' ? null : update()"
"""A choice whose work was stopped can be made again. Gradio selects it once more when the stopped work ends."""

NO_WAY: Any = gr.update(value=None, visible=False)


def small_copies(photos: Sequence[Path]) -> list[str]:
    """Makes copies as small as the pictures that people want enlarged."""
    copies = []
    for path in photos:
        photo, _ = read(str(path))
        photo.thumbnail((EXAMPLE_SMALL_SIDE, EXAMPLE_SMALL_SIDE), Image.Resampling.BICUBIC, reducing_gap=None)
        copies.append(save_png(photo, f"{path.stem}-small"))
    return copies


def build_enlarge(models: Models, to_enlarge: gr.Button, photo: gr.Image, tabs: gr.Tabs) -> Remembered:
    """Builds the tab. to_enlarge, photo: button and input of the tab Compare, whose picture comes here. tabs: all
    tabs."""
    examples = small_copies(EXAMPLES)
    with gr.Tab("Enlarge", id="enlarge") as tab, gr.Row(elem_classes="tool"):
        with gr.Column(scale=2, min_width=320):
            problem = problem_shown()
            way = gr.Radio([], label="What should be done with it?", visible=False, elem_id="way")
            shown = viewer("enlarged")
            stop = stop_button()
            with gr.Row():
                size = size_input("enlarge-size")
                made_for, detail = made_for_input(models), detail_input(models)
            found, faces = faces_shown()
        with gr.Column(scale=1, min_width=280):
            small = picture_input("Your small picture", "enlarge")
            gr.Examples([[path] for path in examples], small, label="Or try one of these")
            done = gr.Markdown(label="what was done", elem_classes="of-result")
            saved = gr.Radio(list(FORMATS), value="PNG", label="Save as", elem_classes="sizes", elem_id="save-as")
            download = download_button("Download the result", variant="primary")

    function = enlarge if made_for else enlarge_by_one
    settings = [detail, *made_for, size]
    example = restore(models.unlent, examples[0], DEFAULT_DETAIL, "")
    if not zero.HERE:  # where visitors get another chip
        SECONDS_A_MEGAPIXEL[0] = 1000 * example.milliseconds / (example.small.width * example.small.height)
    start = present(models.unlent, examples[0], example, f"x{SCALE}", timed=False)  # a page that starts is slow
    with tab:
        anew_button = again("enlarge")
    with tab, gr.Column(visible=False):
        pair = gr.ImageSlider(label="bicubic | restored", format="png")
    for_programs(
        tab, spoken(partial(function, models), examples[0], first_values(settings), start),
        [small, *settings], [download, pair, done, found, faces], "enlarge",
    )  # fmt: skip

    def captioned(found: tuple[Any, ...]) -> tuple[Any, ...]:
        return (*found[:2], f"{FIRST_PHOTO} {found[2]}", *found[3:])

    def shows(found: tuple[Any, ...], picture: str, saved: str) -> list[Any]:
        file, (before, after), said, said_of_faces, close = found
        pictures = {BEFORE: before, AFTER: after}
        return [view(pictures, picture), file_offered(save_as(file, saved)), said, said_of_faces, close]

    def answer(picture: str | None, saved: str, way: str | None, *chosen: Any) -> list[Any]:
        if not picture:
            found = start if chosen == first else function(models, examples[0], *chosen)
            return [*shows(captioned(found), examples[0], saved), NO_WAY]
        try:
            found = by_way(models, picture, way, *chosen) if way else function(models, picture, *chosen)
        except TooLarge:
            return [*nothing, ways(picture)]
        return [*shows(found, picture, saved), gr.skip() if way else NO_WAY]

    def anew(picture: str | None, saved: str, *chosen: Any) -> list[Any]:
        return answer(picture, saved, None, *chosen)

    first = first_values(settings)
    nothing = [{}, NO_FILE, "", "", []]
    without = [*nothing, NO_WAY]
    results = [shown, download, done, found, faces, way, problem]
    show_first(
        [shown, download, done, found, faces],
        [view({BEFORE: start[1][0], AFTER: start[0]}, examples[0]), start[0], *captioned(start)[2:]],
    )
    options = {"api_visibility": "private", "show_progress_on": shown, "show_progress": "full", **ON_MODEL}
    answered = small.change(on_page("enlarge", anew, without), [small, saved, *settings], results, **options)
    answered.then(None, None, None, js=SHOW_WORDS.replace("ID", "enlarged"))
    asked = [way.input, anew_button.click, *(setting.input for setting in settings)]
    hide_old_reason(problem, small, asked)
    treated = gr.on(
        asked, on_page("enlarge", answer, without), [small, saved, way, *settings], results, **options,
    )  # fmt: skip
    treated.then(None, [way, problem], way, js=CHOOSE_AGAIN)
    stop.click(stopped([*nothing, gr.update(value=None)]), None, results, api_visibility="private", queue=False)

    def another_format(file: str | None, saved: str) -> list[Any]:
        return [file_offered(save_as(file, saved)) if file else gr.skip()]

    saved.input(
        on_page("save as", another_format, [NO_FILE]),
        [download, saved], [download, problem], api_visibility="private", queue=False,
    )  # fmt: skip
    small.change(None, None, way, js="() => null")  # at once: an answer may arrive when the visitor chooses already
    small.input(None, None, way, js="() => update({ visible: false })")  # the choices for the former picture
    small.change(None, small, js=SHOW.replace("ID", "enlarged"))
    remember_upload(small, "enlarge")
    carry_on_select(tab, small, "enlarge")
    to_enlarge.click(
        None, photo, tabs,
        js="(picture) => (carried.keep('compare', picture), update({ selected: 'enlarge' }))",  # which carries it
    )  # fmt: skip
    return remember(tab, "enlarge", {"size": size, "detail": detail, **model_setting(made_for)})


def ways(picture: str) -> Any:
    """Returns the choices for a large photo, with the time that each takes. A choice that a visitor has made just then
    stays."""
    size, faces, _, besides = seen(picture)  # it is read again, judged and saved, which takes at least as long
    width, height = size
    choices = []
    if faces:
        seconds = time_for(pixels_of(faces, size), besides)
        which = "the face" if len(faces) == 1 else f"the {len(faces)} faces"
        choices.append((f"Restore {which} in it, and keep the rest as it is ({seconds})", FACES_ALONE))
    kept = min(width * height, most_result())
    at = "at this size" if kept == width * height else f"at {kept / 1e6:g} megapixels"
    choices.append((f"Clean it up {at} ({time_for(kept, besides)})", CLEAN))
    reduced = most_result() // SCALE**2
    choices.append(
        (
            f"Reduce it to {reduced / 1e6:g} megapixel, then enlarge it 4 times ({time_for(reduced, besides)})",
            REDUCE,
        )
    )
    label = (
        f"This photo is large already ({width}x{height}, {width * height / 1e6:.1f} megapixels). What should be done?"
    )
    return gr.update(choices=choices, visible=True, label=label)


def by_way(models: Models, picture: str, way: str, detail: float, *rest: str) -> tuple[Any, ...]:
    """Returns the outputs of `enlarge` for a large photo, treated in one of the ways above."""
    made_for = rest[0] if len(rest) > 1 else ""
    if way == FACES_ALONE:
        return present(models, picture, restore_faces(models, picture, detail, made_for), "faces")
    if way == CLEAN:
        width, height = seen(picture).size
        size = "x1" if width * height <= most_result() else f"{most_result() / 1e6:g} MP"
        return present(models, picture, restore(models, picture, detail, made_for, size), "clean")
    if way != REDUCE:
        raise UserError(f"{way} is none of the ways to restore a large photo.")
    reduced = reduced_to(most_result() // SCALE**2, picture)
    return present(models, reduced, restore(models, reduced, detail, made_for), "x4")


def reduced_to(pixels: int, picture: str) -> str:
    """Reduces a picture to at most so many pixels. Returns its PNG file."""
    with READING:
        photo, _ = read(picture)
        ratio = (pixels / (photo.width * photo.height)) ** 0.5
        photo = photo.resize([max(1, int(ratio * side)) for side in photo.size], Image.Resampling.BICUBIC)
        return save_png(photo, Path(picture).stem)
