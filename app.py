"""The Gradio page, as a Hugging Face Space runs it: python app.py [--model MODEL]

GRADIO_SERVER_NAME and GRADIO_SERVER_PORT say where it listens. Other programs can call its /compare, /enlarge and
/batch, and ask /health whether it is up.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence

import gradio as gr
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from page.handlers import log
from page.models import Models, load_models
from page.parts import PAGE
from page.tabs import build_batch, build_compare, build_enlarge, build_epochs, build_how
from srgan import zero
from srgan.config import OneLineParser
from srgan.errors import UserError
from srgan.hub import epoch_models

INTRO = """# Faces from a few pixels
Enlarge a tiny photo and it turns to blur. Here a neural network that has studied faces draws the missing detail.
Drag the line to see the difference. What it adds is a likely guess, not evidence: **never identify anyone by it.**"""

PRIVACY = "<small>Pictures stay on the machine that runs this page, and are deleted within two hours.</small>"
KEPT_SECONDS = 3600


def build_demo(models: Models, notice: str = "", epochs: Sequence[str] = ()) -> gr.Blocks:
    """The page. `notice`: what its visitors should know of the model; `epochs`: those that they may compare."""
    with gr.Blocks(
        title="Faces from a few pixels", analytics_enabled=False, delete_cache=(KEPT_SECONDS, KEPT_SECONDS)
    ) as demo:
        gr.Markdown(INTRO)
        if notice:
            gr.Markdown(f"**{notice}**")
        build_compare(models)
        build_enlarge(models)
        build_batch(models)
        if epochs:
            build_epochs(epochs)
        build_how(models)
        gr.Markdown(PRIVACY)
    return demo.queue(max_size=32)


def health(demo: gr.Blocks, models: list[str]) -> Route:
    """GET /health, for a load balancer: answered beside the queue, however long that is."""

    def answer(_: Request) -> JSONResponse:
        return JSONResponse({"status": "ok", "models": models, "waiting": len(demo._queue)})

    return Route("/health", answer)


def main(argv: Sequence[str] | None = None) -> int:
    parser = OneLineParser(prog="app.py", description=__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--model", default=os.environ.get("SRGAN_MODEL", ""),
        help="model folder, or USER/NAME[@REVISION] on the Hugging Face Hub "
        "(default: the environment's SRGAN_MODEL, else what ships)",
    )  # fmt: skip
    parser.add_argument(
        "--lpips", metavar="FILE", default=os.environ.get("SRGAN_LPIPS", ""),
        help="LPIPS v0.1 Alex weights, .safetensors: adds that figure (default: the environment's SRGAN_LPIPS)",
    )  # fmt: skip
    arguments = parser.parse_args(argv)
    try:
        models, notice = load_models(arguments.model, arguments.lpips)
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
    for upscaler in models.upscalers.values():
        zero.lend(upscaler)
    demo = build_demo(models, notice, epoch_models(arguments.model))
    demo.launch(
        theme=theme, css_paths=PAGE / "style.css", head_paths=[PAGE / "head.html", PAGE / "zoom.html"],
        max_file_size="30mb", ssr_mode=False, run_history=False, footer_links=["api", "settings"],
        app_kwargs={"routes": [health(demo, [upscaler.name for upscaler in models.upscalers.values()])]},
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
