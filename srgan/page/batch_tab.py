"""The tab that enlarges many files."""

from collections.abc import Iterator
from functools import partial, wraps
from typing import Any

import gradio as gr

from srgan.page.address import Remembered, model_setting, remember
from srgan.page.components import detail_input, made_for_input, size_input
from srgan.page.events import for_programs
from srgan.page.gradio_changes import stop_events
from srgan.page.handlers import Stopped, answering, batch, batch_by_one, batch_pairs
from srgan.page.offered_models import Models
from srgan.page.served_files import save_zip
from srgan.page.views import NO_FILE, NO_PROBLEM, download_button, file_offered, problem_shown, refusal


def build_batch(models: Models) -> Remembered:
    with gr.Tab("Many at once", id="many") as tab, gr.Row(elem_classes="tool"):
        with gr.Column(scale=2, min_width=320):
            problem = problem_shown()
            gallery = gr.Gallery(
                label="Before and after", show_label=False, format="png", columns=2, object_fit="contain",
                height="auto", elem_classes=["results", "later"], buttons=["fullscreen"], interactive=False,
            )  # fmt: skip
            done = gr.Markdown(
                "The results appear here, and in one ZIP.", label="what was done", elem_classes="later"
            )  # fmt: skip
        with gr.Column(scale=1, min_width=280):
            files = gr.File(label="Your small pictures", file_count="multiple", file_types=["image"], height=240)
            size = size_input("batch-size")
            made_for, detail = made_for_input(models), detail_input(models)
            start = gr.Button("Enlarge them all", variant="primary")
            stop = gr.Button("Stop, and keep what is done", visible=False)
            download = download_button("Download all as ZIP", interactive=False)

    # As other programs know it.
    function = partial(batch if made_for else batch_by_one, models)

    @wraps(function)  # for the names of its arguments
    def run(pictures: list[str] | None, *settings: Any) -> Iterator[Any]:
        if not pictures:
            yield gr.skip()
            return
        with answering("batch", pictures):
            yield from function(pictures, *settings)

    run.__name__, run.__doc__ = batch.__name__, batch.__doc__
    settings = [detail, *made_for, size]
    with tab, gr.Column(visible=False):
        results = gr.Gallery(label="results", format="png")
    run_settings = [files, *settings]
    for_programs(tab, run, run_settings, [download, results, done], "batch")

    # As visitors see it.
    outputs = [gallery, download, done, stop, problem]

    def show(pictures: list[str] | None, detail: float, *rest: str) -> Iterator[list[Any]]:
        if not pictures:
            yield [*[gr.skip()] * 4, refusal("Choose some pictures first.")]
            return
        *chosen, size = rest
        made_for = chosen[0] if chosen else ""
        yield [[], NO_FILE, f"0 of {len(pictures)}", gr.update(visible=True), NO_PROBLEM]
        pairs, said = [], ""
        try:
            with answering("batch", pictures):
                for pairs, archive, said in batch_pairs(models, pictures, detail, made_for, size):
                    offered = file_offered(archive) if archive else gr.skip()
                    yield [pairs, offered, said, gr.update(visible=not archive), gr.skip()]
        except Stopped:
            kept = [file for file, _ in pairs[1::2]]
            _, *refused = said.split("\n\n")
            said = "\n\n".join([f"Stopped after {len(kept)} of {len(pictures)} pictures.", *refused])
            yield [pairs, file_offered(save_zip(kept)) if kept else NO_FILE, said, gr.update(visible=False), NO_PROBLEM]
        except gr.Error as error:
            yield [[], NO_FILE, "", gr.update(visible=False), refusal(error.message)]

    start.click(
        show, run_settings, outputs, api_visibility="private", show_progress_on=gallery, show_progress="minimal",
        concurrency_id="batch", concurrency_limit=None, trigger_mode="once",
    )  # fmt: skip

    def stop_batch(request: gr.Request) -> None:
        stop_events(request, "batch")

    stop.click(stop_batch, None, None, api_visibility="private", queue=False)
    return remember(tab, "many", {"size": size, "detail": detail, **model_setting(made_for)})
