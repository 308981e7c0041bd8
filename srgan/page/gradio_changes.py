"""Everything that the page changes in Gradio or takes from its undocumented parts, with the reason for each.

Gradio may change these parts in any release. `check` compares them with those of the release that this module was
written for. If they differ, the page does not start, and one sentence names the release to install.
"""

import asyncio
import importlib
import inspect
import logging
import os
import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any
from weakref import WeakSet

import gradio as gr
import httpx
import safehttpx
from anyio.to_thread import run_sync
from gradio.components import Component
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse

from srgan.errors import UserError

# The version check

WRITTEN_FOR = "6.31.0"

RELIED_ON: dict[str, Sequence[str]] = {
    "gradio.blocks:BlockFunction": (),
    "gradio.blocks:Blocks.preprocess_data": ("self", "block_fn", "inputs", "state", "explicit_call"),
    "gradio.components:Image.preprocess": ("self", "payload"),
    "gradio.components:Radio.preprocess": ("self", "payload"),
    "gradio.data_classes:GradioModel": (),
    "gradio.data_classes:GradioRootModel": (),
    "gradio.data_classes:ImageData": (),
    "gradio.context:LocalContext.blocks": (),
    "gradio.context:LocalContext.event_id": (),
    "gradio.exceptions:ComponentProcessingError": (),
    "gradio.mcp:DEFAULT_TEMP_DIR": (),
    "gradio.mcp:GradioMCPServer._execute_tool_without_progress": ("self", "job"),
    "gradio.mcp:GradioMCPServer.convert_strings_to_filedata": ("self", "value", "filedata_positions"),
    "gradio.mcp:GradioMCPServer.simplify_filedata_schema": ("self", "schema"),
    "gradio.processing_utils:PUBLIC_HOSTNAME_WHITELIST": (),
    "gradio.processing_utils:async_transport": (),
    "gradio.processing_utils:move_files_to_cache": (
        "data", "block", "postprocess", "check_in_upload_folder", "keep_in_cache",
    ),
    "gradio.processing_utils:save_base64_to_cache": ("base64_encoding", "cache_dir", "file_name"),
    "gradio.queueing:Event": (),
    "gradio.route_utils:FnIndexInferError": (),
    "gradio.state_holder:SessionState": (),
    "gradio.utils:get_upload_folder": (),
}  # fmt: skip
"""Names in Gradio, as module:name, and the parameters of those functions whose parameters matter."""


def check() -> None:
    """Raises UserError if the installed Gradio lacks one of RELIED_ON, or gives it other parameters."""
    for place, parameters in RELIED_ON.items():
        if problem := difference(place, parameters):
            raise UserError(
                f"gradio {gr.__version__} does not fit this page ({place.replace(':', '.')} {problem}): "
                f"pip install gradio=={WRITTEN_FOR}."
            )


def difference(place: str, parameters: Sequence[str]) -> str:
    """Returns how a name in Gradio differs from what the page relies on; "" if it does not."""
    module, _, name = place.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return "is missing"
    if parameters and list(inspect.signature(found).parameters) != list(parameters):
        return f"takes {', '.join(inspect.signature(found).parameters)}, not {', '.join(parameters)}"
    return ""


check()  # before the names are imported

from gradio import mcp, processing_utils  # noqa: E402
from gradio.blocks import BlockFunction  # noqa: E402
from gradio.context import LocalContext  # noqa: E402
from gradio.data_classes import GradioModel, GradioRootModel, ImageData  # noqa: E402
from gradio.exceptions import ComponentProcessingError  # noqa: E402
from gradio.mcp import GradioMCPServer  # noqa: E402
from gradio.processing_utils import move_files_to_cache, save_base64_to_cache  # noqa: E402
from gradio.queueing import Event  # noqa: E402
from gradio.route_utils import FnIndexInferError  # noqa: E402
from gradio.state_holder import SessionState  # noqa: E402
from gradio.utils import get_upload_folder  # noqa: E402

log = logging.getLogger("srgan.page")

# Pictures and choices that arrive


def left_unopened(self: gr.Image, payload: ImageData | None) -> str | None:
    """Gives the path of the uploaded file, which `srgan.pictures.formats` opens.

    Gradio would open it in any format that Pillow knows, and refuse it in words of its own. A picture that comes as a
    `data:` address becomes a file.
    """
    if payload is None:
        return None
    if payload.path:
        return payload.path
    if payload.url and payload.url.startswith("data:"):
        return save_base64_to_cache(payload.url, self.GRADIO_CACHE)
    raise ValueError("neither a file nor a picture in base64")


# On the class, because sessions copy components; a subclass would make Gradio write a stub file beside this one.
gr.Image.preprocess = left_unopened


def whole_number(payload: str | int | float | None) -> int:
    """Converts a Radio's choice to a number. Gradio would refuse the text "512" from a program, because the page itself
    sends the number 512.

    Raises ValueError if there is no choice.
    """
    if payload is None:
        raise ValueError("no choice")
    return int(payload)


def take_numbers(radio: gr.Radio) -> None:
    """Makes a Radio of whole numbers accept them as text too. Its handler must check that the number is a choice."""
    radio.preprocess = whole_number


# Files


def upload_folder() -> str:
    """Returns the folder in which Gradio keeps and serves files: $GRADIO_TEMP_DIR, or one in the system's temporary
    folder."""
    return get_upload_folder()


def use_folder(folder: str) -> None:
    """Makes Gradio keep all files in this folder. Its MCP server reads the environment only when it is imported."""
    os.environ["GRADIO_TEMP_DIR"] = mcp.DEFAULT_TEMP_DIR = folder


def forget_files(demo: gr.Blocks) -> None:
    """Empties Gradio's lists of files, which grow for ever: the page deletes files by itself (`served_files.sweep`).

    A Gradio without these lists has nothing to forget.
    """
    for files in getattr(demo, "temp_file_sets", ()):
        files.clear()


def show_first(components: Sequence[Component], values: Sequence[Any]) -> None:
    """Sets what the components show before a visitor has asked for anything. The files of these values are never
    deleted.

    Gradio copies the files of a component's first value only when the component is made, before the values are known.
    """
    for component, value in zip(components, values, strict=True):
        shown = component.postprocess(value)
        shown = shown.model_dump() if isinstance(shown, GradioModel | GradioRootModel) else shown
        component.value = move_files_to_cache(shown, component, postprocess=True, keep_in_cache=True)


# Calls by other programs

MOST_BYTES = 30 << 20
"""Size limit of a file that is uploaded or fetched."""
MOST_SECONDS = 30
"""Time limit for fetching a picture, which occupies the place in the queue of the visitor who asked."""

ABOUT = "see Use via API at the foot of the page."
NO_FILE = (
    "A picture must be a file that was uploaded here (POST /gradio_api/upload), or a public address that gives at most "
    f"{MOST_BYTES >> 20} MB within {MOST_SECONDS} seconds."
)

FETCH_ERRORS = (ValueError, OSError, asyncio.TimeoutError, httpx.HTTPError, httpx.InvalidURL)
"""Raised for a path or an address that gives no file. Gradio raises plain Exceptions for it too."""


def refuse_clearly(demo: gr.Blocks) -> None:
    """Answers invalid arguments with one sentence. Gradio would answer null and write a traceback to the log; it still
    does so for errors of the program. Also limits the size of fetched files: see `Fetching`."""
    preprocess = demo.preprocess_data

    async def preprocess_data(
        block_fn: BlockFunction, inputs: list[Any], state: SessionState | None, explicit_call: bool = False
    ) -> list[Any]:
        call = block_fn
        names = list(inspect.signature(call.fn).parameters)[: len(call.inputs)] if call.fn else []
        sentence = f"/{call.api_name} takes {', '.join(names)}: {ABOUT}"
        # A setting that is left out, or that is newer than the caller's program, takes its initial value on the page.
        if inputs:
            left_out = call.inputs[len(inputs) :]
            inputs = [*inputs, *(component.value for component in left_out if isinstance(component, Component))]
        try:
            if len(inputs) == len(call.inputs):
                return await asyncio.wait_for(preprocess(call, inputs, state, explicit_call), MOST_SECONDS)
        except gr.Error as error:
            sentence = error.message
        except ValidationError:
            pass
        except ComponentProcessingError as error:
            if not isinstance(error.__cause__, (TypeError, ValueError)):
                raise
        except Exception as error:
            if not isinstance(error, FETCH_ERRORS) and type(error) is not Exception:
                raise
            sentence = NO_FILE
        log.info("%s refused", call.api_name)
        raise gr.Error(sentence, print_exception=False)

    demo.preprocess_data = preprocess_data
    processing_utils.async_transport = Fetching()


CLIENTS_MISTAKES = {
    ("get_fn", FnIndexInferError),  # a call of unknown name
    ("get_fn", KeyError),  # a call of unknown number
    ("_", KeyError),  # a call of unknown name, below /call/v2
    ("construct_args", TypeError),  # an argument that is missing, or of another name
    ("on_part_data", AttributeError),  # an upload without a file
    ("upload_fn", TypeError),  # the same
    ("get_item_or_file", KeyError),  # a component's call that does not name the component
    ("component_server", KeyError),  # the same
}
"""Functions of Gradio, and what they raise if a request lacks something or names something unknown. If another release
of Gradio raises something else, the client gets a 500 instead of a 400, and a traceback is logged."""


async def not_known(request: Request, error: Exception) -> JSONResponse:
    """Answers 400 if the request is at fault. Raises any other error again, which becomes a 500 with a traceback in the
    log."""
    if not is_clients_mistake(error):
        raise error
    log.info("a request refused: %s", type(error).__name__)
    return JSONResponse({"detail": f"The page does not know this request: {ABOUT}"}, 400)


def is_clients_mistake(error: Exception) -> bool:
    """Decides by the function that raised the error. An error from any other function is a fault of the program."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    of_gradio = frame.f_globals["__name__"].startswith("gradio")
    return of_gradio and (frame.f_code.co_name, type(error)) in CLIENTS_MISTAKES


CALL_ERRORS = dict.fromkeys({kind for _, kind in CLIENTS_MISTAKES}, not_known)
"""Exception handlers in the form that Starlette takes."""


class Fetching(httpx.AsyncBaseTransport):
    """Fetches files that visitors name by address. Like Gradio's own transport, it connects to public hosts only. It
    also stops after MOST_BYTES, counted without decompression."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["Accept-Encoding"] = "identity"
        response = await (await transport_to(request.url.host)).handle_async_request(request)
        headers = [(name, value) for name, value in response.headers.items() if name != "content-encoding"]
        assert isinstance(response.stream, httpx.AsyncByteStream)
        return httpx.Response(response.status_code, headers=headers, stream=Limited(response.stream))


async def transport_to(host: str) -> httpx.AsyncHTTPTransport:
    """Raises ValueError for a host that is not public. From inside a Space, the Hub's own hosts do not look public, so
    they are exempt."""
    if safehttpx.matches_domain_whitelist(host, processing_utils.PUBLIC_HOSTNAME_WHITELIST):
        return httpx.AsyncHTTPTransport()
    return safehttpx.AsyncSecureTransport(await safehttpx.async_validate_url(host))


class Limited(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self.stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        seen = 0
        async for part in self.stream:
            seen += len(part)
            if seen > MOST_BYTES:
                raise ValueError("too much")
            yield part

    async def aclose(self) -> None:
        await self.stream.aclose()


# Tools for language models (--mcp)

FilePlaces = list[list[str | int]]
"""The positions of files among a tool's arguments: ["picture"], or ["pictures", "items"] for the files in a list."""

plain_schema = GradioMCPServer.simplify_filedata_schema
plain_files = GradioMCPServer.convert_strings_to_filedata


def mend_tools(most_files: int) -> None:
    """Corrects three mistakes of Gradio's MCP server. most_files: the most pictures that a call may list."""

    def valid_schema(self: GradioMCPServer, schema: dict[str, Any]) -> tuple[dict[str, Any], FilePlaces]:
        """Returns the schema of a tool's arguments. Gradio's own schema refers to missing definitions and declares all
        choices to be strings, even numbers, so clients refuse every argument."""
        simplified, places = plain_schema(self, schema)
        for argument in simplified["properties"].values():
            if "enum" in argument:
                argument.pop("type")
            if argument.pop("$defs", None):
                argument["items"].pop("$ref")
        return simplified, places

    def files_of_lists(self: GradioMCPServer, value: Any, filedata_positions: FilePlaces) -> Any:
        """Converts the addresses in a list to files too. Gradio looks for them under "items", but no argument has that
        name."""
        lists = [place[:-1] for place in filedata_positions if place[-1] == "items"]
        numbered = [[*place, number] for place in lists for number in range(most_files + 1)]
        return plain_files(self, value, [*filedata_positions, *numbered])

    async def all_outputs(self: GradioMCPServer, job: Any) -> list[Any]:
        """Returns the outputs of a call one by one, so that pictures are shown. Gradio would treat them as one output
        and print them."""
        return list(await run_sync(job.result))

    GradioMCPServer.simplify_filedata_schema = valid_schema
    GradioMCPServer.convert_strings_to_filedata = files_of_lists
    GradioMCPServer._execute_tool_without_progress = all_outputs


# Visitors who wait

STOPPED: WeakSet[Event] = WeakSet()
"""Events that their visitors have stopped. They end by themselves and give an answer. If Gradio cancelled them, there
would be no answer, and the page would show an error."""


def somebody_waits() -> Callable[[], bool]:
    """Returns a function that tells whether the visitor, or the program, still waits for the current event, that is,
    has neither left nor cancelled. Outside of events it always returns True."""
    blocks, event_id = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    if blocks is None or event_id is None:
        return lambda: True
    queue = blocks._queue

    def waits() -> bool:
        running = (event for job in queue.active_jobs if job for event in job)
        event = next((event for event in running if event._id == event_id), None)
        if event is None:  # it did not come through the queue
            return True
        if not event.alive or event in STOPPED:
            return False
        return event_id in queue.pending_event_ids_session.get(event.session_hash, ())

    return waits


def stop_events(request: gr.Request, concurrency_id: str) -> None:
    """Marks the events that this visitor of the page has started as stopped, so that nobody waits for them any more."""
    blocks = LocalContext.blocks.get(None)
    for job in blocks._queue.active_jobs if blocks else ():
        for event in job or ():
            if (event.session_hash, event.concurrency_id) == (request.session_hash, concurrency_id):
                STOPPED.add(event)
