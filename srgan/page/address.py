"""Keeps the state of the page in its address: the tab, and those of its settings that differ from the initial ones."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import gradio as gr
from gradio.components import Component


@dataclass(frozen=True)
class Remembered:
    """The settings of a tab that the address holds."""

    tab: str
    settings: Mapping[str, Component]
    """by their names in the address"""


def remember(tab: gr.Tab, name: str, settings: Mapping[str, Component]) -> Remembered:
    """Writes a tab's settings into the address when they change, by srgan/page/head.html."""
    js = f"(...values) => {{ address.write('{name}', values); }}"
    inputs = list(settings.values())
    for trigger in (tab.select, *(component.change for component in inputs)):  # pyright: ignore[reportAttributeAccessIssue] - Gradio adds it
        trigger(None, inputs, None, js=js)
    return Remembered(name, settings)


def model_setting(made_for: Sequence[Component]) -> dict[str, Component]:
    """Returns the choice of a model, if there is one."""
    return {"model": made_for[0]} if made_for else {}


def restore_from_address(demo: gr.Blocks, tabs: gr.Tabs, remembered: Sequence[Remembered]) -> None:
    """Sets what the address says, when the page is loaded. Whatever depends on it follows by itself."""
    first = {one.tab: {name: component.value for name, component in one.settings.items()} for one in remembered}
    outputs = [tabs, *(component for one in remembered for component in one.settings.values())]
    demo.load(None, None, outputs, js=f"() => address.read({json.dumps(first)})")


def again(tab: str) -> gr.Button:
    """A hidden button. The address presses it to get a result for the settings that it has set."""
    return gr.Button(visible="hidden", elem_id=f"again-{tab}")


def copy_link() -> None:
    button = gr.Button("Copy a link to these settings", size="sm", elem_id="copy-link")
    button.click(None, None, button, js="() => address.copy()")
