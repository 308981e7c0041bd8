"""Serve the page on this computer. At a desktop it opens in the browser.

The environment variables GRADIO_SERVER_NAME and GRADIO_SERVER_PORT set its address. Other programs can call /compare,
/enlarge and /batch, and GET /health tells whether the page is up. With --mcp, language models can use the three calls
as tools.
"""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from srgan.page import proxies  # before Gradio

# isort: split
import gradio as gr
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from srgan.commands.arguments import OneLineParser
from srgan.commands.console import short_name
from srgan.device import share_memory
from srgan.errors import UserError
from srgan.hub import epoch_models
from srgan.page import zero
from srgan.page.address import copy_link, restore_from_address
from srgan.page.batch_tab import build_batch
from srgan.page.compare_tab import build_compare
from srgan.page.enlarge_tab import build_enlarge
from srgan.page.gradio_changes import CALL_ERRORS, MOST_BYTES, mend_tools, refuse_clearly
from srgan.page.handlers import MOST_FILES, log
from srgan.page.offered_models import Models, load_models
from srgan.page.served_files import keep_swept, own_folder
from srgan.page.tabs import build_epochs, build_how
from srgan.page.turns import MOST_AT_ONCE, waiting
from srgan.page.views import PAGE

INTRO = """# Faces from a few pixels
Enlarge a tiny photo and it turns to blur. Here a neural network that was trained on photos draws the missing detail.
Drag the line to see the difference. The added detail is a likely guess, not evidence: **never identify anyone by
it.**"""

PRIVACY = """<small>Pictures stay on the machine that runs this page. Their files are deleted within two hours; the last
few may stay in its memory until newer ones replace them.</small>"""

MOST_THREADS = 2 * MOST_AT_ONCE
"""Threads of Gradio: enough to read and refuse pictures while the largest allowed number of requests waits. Further
requests wait in Gradio's queue, whose length is limited."""
KEPT_SESSIONS = 256
"""Sessions whose state Gradio keeps, a tenth of a megabyte each. Every call over HTTP is a session of its own."""


def build_demo(models: Models, notice: str = "", epochs: Sequence[str] = ()) -> gr.Blocks:
    """Builds the page. notice: a sentence about the model for visitors; epochs: models of single epochs that visitors
    can compare."""
    with gr.Blocks(title="Faces from a few pixels", analytics_enabled=False) as demo:
        gr.Markdown(INTRO)
        if notice:
            gr.Markdown(f"**{notice}**")
        with gr.Tabs(elem_id="tabs") as tabs:
            to_enlarge, photo, compared = build_compare(models)
            enlarged = build_enlarge(models, to_enlarge, photo, tabs)
            many = build_batch(models)
            if epochs:
                build_epochs(epochs)
        build_how(models)
        gr.Markdown(PRIVACY)
        copy_link()
        restore_from_address(demo, tabs, [compared, enlarged, many])
    # Those who wait are told how long once a second; "auto" would tell all of them at every request. With the API open,
    # /run/enlarge would bypass the queue.
    return demo.queue(max_size=MOST_AT_ONCE, status_update_rate=1, api_open=False)


def health(models: list[str]) -> Route:
    """Returns the route GET /health for load balancers. It answers at once, however long the queue is."""

    def answer(_: Request) -> JSONResponse:
        return JSONResponse({"status": "ok", "models": models, "waiting": waiting()})

    return Route("/health", answer)


def has_browser() -> bool:
    """Returns whether somebody sits in front of this machine, at a terminal of its desktop."""
    if not sys.stdout.isatty() or os.environ.get("SSH_CONNECTION"):
        return False
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def build_parser(program: str) -> OneLineParser:
    parser = OneLineParser(prog=program, description=__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--model", default=os.environ.get("SRGAN_MODEL", ""),
        help="model folder, or USER/NAME[@REVISION] on the Hugging Face Hub "
        "(default: $SRGAN_MODEL, else the models that ship)",
    )  # fmt: skip
    parser.add_argument(
        "--lpips", metavar="FILE", default=os.environ.get("SRGAN_LPIPS", ""),
        help="LPIPS v0.1 AlexNet weights, .safetensors: also show LPIPS (default: $SRGAN_LPIPS)",
    )  # fmt: skip
    parser.add_argument(
        "--mcp", action="store_true", default=os.environ.get("GRADIO_MCP_SERVER", "").lower() == "true",
        help="also offer the calls to language models as tools (default: $GRADIO_MCP_SERVER)",
    )  # fmt: skip
    return parser


def theme() -> gr.themes.Base:
    return gr.themes.Default(
        primary_hue="indigo", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    ).set(  # more contrast than Gradio's own
        body_text_color_subdued="*neutral_600", body_text_color_subdued_dark="*neutral_300",
        color_accent="*primary_600", button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
    )  # fmt: skip


def main(argv: Sequence[str] | None = None, program: str = "srgan demo") -> int:
    """Serves the page until it is stopped. Returns 0 when stopped, 2 for wrong usage.

    program: the words that started it.
    """
    arguments = build_parser(program).parse_args(argv)
    program = short_name(program)
    for note in proxies.NOTES:
        print(f"{program}: {note}", file=sys.stderr)
    share_memory()  # the network runs in whichever of Gradio's threads is free
    if arguments.mcp and not find_spec("mcp"):
        print(f"{program}: --mcp needs the package mcp: pip install 'gradio[mcp]'.", file=sys.stderr)
        return 2
    try:
        models, notice = load_models(arguments.model, arguments.lpips)
    except UserError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    if notice:
        print(f"{program}: {notice}", file=sys.stderr)
    logging.basicConfig(format="%(asctime)s %(message)s")
    log.setLevel(logging.INFO)
    for upscaler in models.upscalers.values():
        zero.lend(upscaler)
    names = [upscaler.name for upscaler in models.upscalers.values()]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that what visitors have sent is deleted then too
    with own_folder() as folder:
        demo = build_demo(models, notice, epoch_models(arguments.model))
        refuse_clearly(demo)
        mend_tools(MOST_FILES)
        keep_swept(folder, demo)
        demo.launch(
            theme=theme(), css_paths=PAGE / "style.css", head_paths=[PAGE / "head.html", PAGE / "viewer_script.html"],
            max_file_size=MOST_BYTES, ssr_mode=False, run_history=False, footer_links=["api", "settings"],
            state_session_capacity=KEPT_SESSIONS, mcp_server=arguments.mcp,
            app_kwargs={"routes": [health(names)], "exception_handlers": CALL_ERRORS},
            max_threads=MOST_THREADS, quiet=True, inbrowser=has_browser(), prevent_thread_lock=True,
        )  # fmt: skip
        if demo.is_running:
            print(f"Running on {demo.local_url}", flush=True)
            demo.block_thread()
    return 0
