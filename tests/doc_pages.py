"""The documentation pages and their code blocks."""

import re
from pathlib import Path
from typing import NamedTuple

from helpers import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
"""The pages with everything that a user types."""

SERVER = "http://127.0.0.1:7860"
"""Code with this address calls a running page; tests/page/test_api.py runs it."""

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


LINK = re.compile(r"\]\(<?([^)>\s]+)>?(?:\s+\"[^\"]*\")?\)")


class Block(NamedTuple):
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    return [Block(*found.groups()) for found in FENCE.finditer(page.read_text(encoding="utf-8"))]


def without_blocks(text: str) -> str:
    return FENCE.sub("", text)


def links(page: Path) -> list[str]:
    """Returns the targets of links and pictures inside the repository."""
    targets = LINK.findall(without_blocks(page.read_text(encoding="utf-8")))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]
