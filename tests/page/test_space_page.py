"""The page as a Space runs it, but without a fresh virtual environment, which `make space-proof` adds."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from space_page import check_answers, check_out, running_space


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yields a temporary folder that other users can read, unlike pytest's."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_the_uploaded_files_alone_answer_read_only_without_rights_and_without_a_network(folder: Path) -> None:
    page = check_out(folder)
    with running_space(page, folder) as server:
        assert check_answers(server, folder).startswith("photos on ")
    assert not list((folder / "home").iterdir())
