"""Every link between the pages leads to a file of the repository and to an existing heading."""

import re
import subprocess
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest
from doc_pages import PAGES, links, without_blocks
from helpers import ROOT

LINKING = [*PAGES, *sorted((ROOT / "benchmarks").glob("*.md")), *sorted(ROOT.glob("weights/*/README.md"))]


@cache
def anchors(page: Path) -> set[str]:
    """Returns the anchors of a page's headings as GitHub and the Hub make them: lower case, no punctuation, hyphens for
    spaces, repetitions numbered."""
    made: list[str] = []
    for heading in re.findall(r"^#{1,6} +(.+?)\s*$", without_blocks(page.read_text(encoding="utf-8")), re.MULTILINE):
        text = re.sub(r"\[([^]]*)]\([^)]*\)", r"\1", heading)  # a link's own text
        made.append(re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-"))
    before = [made[:place].count(name) for place, name in enumerate(made)]
    return {f"{name}-{count}" if count else name for name, count in zip(made, before, strict=True)}


@cache
def tracked() -> set[Path] | None:
    """Returns the files that git tracks; None outside a clone."""
    found = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return {ROOT / name for name in found.stdout.split("\0")} if found.returncode == 0 else None


def broken(page: Path) -> list[str]:
    wrong = []
    for link in links(page):
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        known = not path or target.is_dir() or tracked() is None or target in tracked()
        if not target.exists() or not known:
            wrong.append(f"{link}: no such file in the repository")
        elif anchor and anchor not in anchors(target):
            wrong.append(f"{link}: no such heading")
    return wrong


@pytest.mark.parametrize("page", LINKING, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    headings, good = "# One *two*: `x-y`\n## Same\n## Same\n", "[a](#one-two-x-y) [s](#same-1) [w](https://x/y#z)"
    (tmp_path / "a.md").write_text(f"{headings}[b](b.md) {good} [s](#same-2)")
    assert broken(tmp_path / "a.md") == ["b.md: no such file in the repository", "#same-2: no such heading"]


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page.suffix == ".md" and page not in reached and page.exists():
            reached.add(page)
            waiting += [(page.parent / unquote(link).partition("#")[0]).resolve() for link in links(page)]
    assert set(LINKING) - reached == set()
