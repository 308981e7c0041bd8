"""The check of the internals of Gradio that the page relies on, and what happens if they differ."""

import subprocess
import sys
from types import SimpleNamespace

import gradio as gr
import pytest
from helpers import ROOT, is_one_sentence

from srgan.errors import UserError
from srgan.page import gradio_changes


def test_the_installed_gradio_fits() -> None:
    gradio_changes.check()


@pytest.mark.parametrize(
    ("place", "parameters", "difference"),
    [
        ("gradio.nowhere:Blocks", (), "is missing"),
        ("gradio.blocks:Blocks.prepare", (), "is missing"),
        ("gradio.components:Radio.preprocess", ("self", "value"), "takes self, payload, not self, value"),
    ],
)
def test_another_gradio_is_refused_with_the_release_to_install(
    place: str, parameters: tuple[str, ...], difference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gradio_changes.difference(place, parameters) == difference
    monkeypatch.setitem(gradio_changes.RELIED_ON, place, parameters)
    with pytest.raises(UserError) as refused:
        gradio_changes.check()
    assert f"pip install gradio=={gradio_changes.WRITTEN_FOR}" in str(refused.value)


def test_the_page_does_not_start_with_another_gradio() -> None:
    """The program says so in one sentence, although it finds out while it imports its modules."""
    code = (
        "from srgan.commands.console import prepare; prepare('app.py'); import gradio.blocks; "
        "del gradio.blocks.Blocks.preprocess_data; import srgan.commands.demo"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("app.py: gradio ") and "Blocks.preprocess_data is missing" in done.stderr
    assert is_one_sentence(done.stderr)


def test_the_release_that_is_named_is_one_that_may_be_installed() -> None:
    requirements = (ROOT / "requirements.txt").read_text().splitlines()
    (gradio,) = (line for line in requirements if line.startswith("gradio"))
    least = gradio.removeprefix("gradio>=").split(",")[0]
    written_for, installed = (
        [int(part) for part in version.split(".")[:2]] for version in (gradio_changes.WRITTEN_FOR, gr.__version__)
    )
    assert [int(part) for part in least.split(".")] == written_for <= installed


def test_without_gradios_private_lists_the_page_goes_on() -> None:
    elsewhere = SimpleNamespace()
    gradio_changes.forget_files(elsewhere)
    with gr.Blocks() as demo:
        pass
    demo.temp_file_sets.append({"a file"})
    gradio_changes.forget_files(demo)
    assert not any(demo.temp_file_sets)


def test_choices_that_are_numbers_may_come_as_text() -> None:
    radio = gr.Radio([128, 512])
    gradio_changes.take_numbers(radio)
    assert radio.preprocess("512") == 512
    with pytest.raises(ValueError, match="no choice"):
        radio.preprocess(None)
