"""Where Gradio alone would not do for calls by other programs: clear refusals, and limits on what is fetched."""

import asyncio
import inspect
import traceback
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr
import httpx
import safehttpx
from gradio import processing_utils
from gradio.blocks import BlockFunction
from gradio.components import Component
from gradio.exceptions import ComponentProcessingError
from gradio.route_utils import FnIndexInferError
from gradio.state_holder import SessionState
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse

from srgan.page.handlers import log

MOST_BYTES = 30 << 20
"""Of a file, uploaded or fetched."""
MOST_SECONDS = 30
"""For fetching a picture: it is done in the turn of the one who asked."""

ABOUT = "see Use via API at the foot of the page."
NO_FILE = (
    "A picture must be a file that was uploaded here (POST /gradio_api/upload), or a public address that gives at most "
    f"{MOST_BYTES >> 20} MB within {MOST_SECONDS} seconds."
)

FETCH_ERRORS = (ValueError, OSError, asyncio.TimeoutError, httpx.HTTPError, httpx.InvalidURL)
"""Raised for a path or an address that gives no file; so are plain Exceptions, by Gradio."""


def refuse_clearly(demo: gr.Blocks) -> None:
    """Arguments that do not fit end in one sentence, where Gradio would answer null and write a traceback to the log.
    It still does so where the program is at fault."""
    preprocess = demo.preprocess_data

    async def preprocess_data(
        block_fn: BlockFunction, inputs: list[Any], state: SessionState | None, explicit_call: bool = False
    ) -> list[Any]:
        call = block_fn
        names = list(inspect.signature(call.fn).parameters)[: len(call.inputs)] if call.fn else []
        sentence = f"/{call.api_name} takes {', '.join(names)}: {ABOUT}"
        # A setting that is left out, or that came later than the caller's program, is as the page has it first.
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
    ("get_fn", FnIndexInferError),  # the name of no call
    ("get_fn", KeyError),  # the number of no call
    ("_", KeyError),  # the name of no call, below /call/v2
    ("construct_args", TypeError),  # an argument that is missing, or of another name
    ("on_part_data", AttributeError),  # an upload that is no file
    ("upload_fn", TypeError),  # the same
    ("get_item_or_file", KeyError),  # a component's call that does not name the component
    ("component_server", KeyError),  # one that names no component
}
"""Functions of Gradio, and what they raise themselves where a request lacks something or names what is not there."""


async def not_known(request: Request, error: Exception) -> JSONResponse:
    """Answers 400 where the request is at fault. Any other error goes on, to be logged with its traceback as a 500."""
    if not is_clients_mistake(error):
        raise error
    log.info("a request refused: %s", type(error).__name__)
    return JSONResponse({"detail": f"The page does not know this request: {ABOUT}"}, 400)


def is_clients_mistake(error: Exception) -> bool:
    """Told by where it was raised: the same exception out of any other function is a fault of the program."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    of_gradio = frame.f_globals["__name__"].startswith("gradio")
    return of_gradio and (frame.f_code.co_name, type(error)) in CLIENTS_MISTAKES


CALL_ERRORS = dict.fromkeys({kind for _, kind in CLIENTS_MISTAKES}, not_known)
"""Exception handlers, as Starlette takes them."""


class Fetching(httpx.AsyncBaseTransport):
    """Fetches what visitors name by its address: from public ones alone, as Gradio does, and not more than a file's
    bytes, however packed."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["Accept-Encoding"] = "identity"
        response = await (await transport_to(request.url.host)).handle_async_request(request)
        headers = [(name, value) for name, value in response.headers.items() if name != "content-encoding"]
        assert isinstance(response.stream, httpx.AsyncByteStream)
        return httpx.Response(response.status_code, headers=headers, stream=Limited(response.stream))


async def transport_to(host: str) -> httpx.AsyncHTTPTransport:
    """Raises ValueError for a host that is not public. The Hub's own hosts are not, when seen from a Space."""
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
