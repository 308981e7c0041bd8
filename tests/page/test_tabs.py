"""What the parts below the tabs say."""

import re
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from srgan.measure.metrics import FIGURES
from srgan.page.tabs import build_how


def said(metrics: dict[str, Any]) -> list[str]:
    """Returns the texts of "How it works" for one model with these metrics."""
    models: Any = SimpleNamespace(
        upscalers={"": SimpleNamespace(model=SimpleNamespace(metrics=metrics))}, made_for=[""]
    )
    with gr.Blocks() as page:
        build_how(models)
    return [block.value for block in page.blocks.values() if isinstance(block, gr.Markdown)]


def test_every_figure_of_the_table_is_explained_below_it() -> None:
    row = dict.fromkeys(FIGURES, 0.5)
    _, table, explained = said({"figures": {"bicubic": row, "detail 1": row}, "photos": 9})
    assert not re.search(r"\w-\w", table)  # where a phone would break a name
    table = table.replace("\N{NON-BREAKING HYPHEN}", "-")
    for figure in FIGURES.values():
        assert figure.title in table
        for word in figure.title.split("-"):
            assert re.search(rf"\b{word}\b", explained), word


@pytest.mark.parametrize("metrics", [{}, {"figures": {}, "photos": 9}])
def test_without_figures_nothing_is_explained(metrics: dict[str, Any]) -> None:
    assert len(said(metrics)) == 1
