"""Connects the events of the page and of the API with the handlers."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
from gradio.components import Component

from srgan.page.gradio_changes import stop_events
from srgan.page.handlers import Stopped, answering
from srgan.page.views import NO_PROBLEM, refusal

ON_MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": None, "trigger_mode": "always_last"}
"""Options of events that run the network. Of the many events of a moving slider, only the last runs. The events wait in
srgan/page/turns.py, not in Gradio's queue, so that requests that will be refused do not wait."""

FAILED = "The program failed on this picture. Please report it, with the error in its log."

log = logging.getLogger("srgan.page")

Handler = Callable[..., Any]


def for_programs(
    tab: gr.Tab, handler: Handler, inputs: Sequence[Component], outputs: Sequence[Component], name: str
) -> None:
    """Adds a call of the API, which no click starts. The page uses other events, which return more and show what goes
    wrong."""
    with tab:
        gr.Button(visible=False).click(handler, list(inputs), list(outputs), api_name=name, **ON_MODEL)


def on_page(name: str, answer: Handler, without: Sequence[Any]) -> Handler:
    """Makes a handler for the page's own events, which never fails. It returns the answer's values, or those of
    `without`, so that no old result stays; and then what to show of a problem."""

    def handler(picture: Any, *settings: Any) -> list[Any]:
        try:
            with answering(name, picture or ""):
                return [*answer(picture, *settings), NO_PROBLEM]
        except Stopped:  # the button that has stopped it shows so
            return [gr.skip()] * (len(without) + 1)
        except gr.Error as error:
            return [*without, refusal(error.message)]
        except Exception:
            log.exception(name)
            return [*without, refusal(FAILED)]

    return handler


def stopped(without: Sequence[Any]) -> Handler:
    """Makes the handler of the button that cancels: it ends the visitor's work and shows the values of `without`."""

    def handler(request: gr.Request) -> list[Any]:
        stop_events(request, ON_MODEL["concurrency_id"])
        return [*without, refusal("Stopped.")]

    return handler


def first_values(settings: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(setting.value for setting in settings)
