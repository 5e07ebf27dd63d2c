"""Links between the documents lead somewhere, without a site being built: `make docs` asks the same of the site."""

import importlib.util
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote

import pytest

import visionflow.methods

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("src/**/*.md"), *ROOT.glob("tests/**/*.md")])


def prose(page: Path) -> str:
    """The page without code, in which brackets are brackets."""
    return re.sub(r"`[^`\n]+`", "", re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S))


def anchors(page: Path) -> set[str]:
    """Of its headings, as forges and the site make them: of the text without marks, in small letters."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", line) for line in re.findall(r"^#+ +(.*?) *$", text, re.M))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead(page: Path) -> Iterator[str]:
    """The links of a page to files or headings that are not there."""
    text = prose(page)
    for link in re.findall(r"\]\(([^)\s]+)", text) + re.findall(r"^\[[^]]+\]: *(\S+)", text, re.M):
        if re.match(r"[a-z]+:", link):
            continue  # elsewhere in the world
        path, _, anchor = unquote(link).partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    assert list(dead(page)) == []


def test_the_site_shows_every_page_of_docs() -> None:
    shown = set(re.findall(r"^ +- (?:\w+: )?(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.M))
    pages = {page.relative_to(ROOT).as_posix() for page in PAGES}
    assert shown == {page for page in pages if not page.startswith(("src/", "tests/"))}


def test_dead_links_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    (tmp_path / "other.md").write_text("# What the 99 % counts\n```\n# no heading\n```\n")
    page.write_text(
        "# A page\n[a](other.md) [b](#a-page) [c](other.md#what-the-99--counts) `[d](none.md)` [e](https://x.org/none)\n"
        "[f](gone.md) ![g](gone.png) [h](#gone) [i](other.md#no-heading) [j]\n\n[j]: gone.txt\n"
    )
    assert list(dead(page)) == ["gone.md", "gone.png", "#gone", "other.md#no-heading", "gone.txt"]


@pytest.mark.parametrize("room", ["methods", "core", "flow", "cost"])
def test_the_reference_has_what_a_package_gives(room: str) -> None:
    """The site takes the names in ``__all__``; but where a module is called as its function is, it takes the module."""
    package = import_module(f"visionflow.{room}")
    shown = re.findall(r"^::: (\S+)$", (ROOT / "docs" / "api" / f"{room}.md").read_text(encoding="utf-8"), re.M)
    hidden = {name for name in package.__all__ if importlib.util.find_spec(f"visionflow.{room}.{name}")}
    assert shown[0] == f"visionflow.{room}"
    assert set(shown[1:]) == {f"visionflow.{room}.{name}.{name}" for name in hidden}


def test_the_reference_has_what_visionflow_gives() -> None:
    text = (ROOT / "docs" / "api" / "README.md").read_text(encoding="utf-8")
    members = re.search(r"members: \[(.*?)\]", text, re.S)
    assert members is not None
    assert set(members[1].split(", ")) == set(visionflow.__all__) - set(visionflow.methods.__all__)


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "README.md", "docs/design.md"])
def test_the_files_and_targets_that_a_page_names_are_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:src|tests|docs|examples|locks)/[\w/.]+)`", text))
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
    targets = re.findall(r"(?:^|`)make ([a-z-]+)", text, re.M)
    known = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert set(targets) <= set(known)
