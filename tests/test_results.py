"""The tables of the results come from the runs, each stands on its page, and what is wanted is read off rightly."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from visionflow.methods import method

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(DOCS / "results"))
    import pages

    return pages


def test_every_table_has_its_place_on_a_page(pages: ModuleType) -> None:
    text = "".join((DOCS / page).read_text(encoding="utf-8") for page in pages.PAGES)
    for name in pages.BLOCKS:
        assert text.count(f"<!-- {name} -->\n") == text.count(f"<!-- /{name} -->") == 1, name


def test_only_what_is_between_the_marks_is_replaced(pages: ModuleType) -> None:
    page = "before\n<!-- aims -->\nold\n<!-- /aims -->\nafter <!-- aims-by-kind -->\n"
    once = pages.filled(page, "aims", "new \\1")
    assert once == "before\n<!-- aims -->\n\nnew \\1\n\n<!-- /aims -->\nafter <!-- aims-by-kind -->\n"
    assert pages.filled(once, "aims", "new \\1") == once


def test_losses_are_counted_by_task_and_by_kind(pages: ModuleType, tmp_path: Path) -> None:
    """Each control loses a fifth of the colours, the oracle nothing; shapes lose nothing."""
    rows = ["dense", *pages.CONTROLS]

    def record(number: int, kind: str) -> dict[str, Any]:
        lost = kind == "colour" and number % 5 == 0
        told = {row: {"right": not lost or row == "dense" or "Oracle" in row} for row in rows}
        return {"task": "open", "kind": kind, "rows": told}

    records = [record(number, kind) for kind in ("colour", "shape") for number in range(100)]
    for run in ("controls", "controls-open"):
        (tmp_path / run).mkdir()
        (tmp_path / f"{run}.json").write_text("{}")
        (tmp_path / run / "records.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    told = pages.told_apart(tmp_path)
    for control in ("grid", "unlike-mean", "random"):
        assert f"{control} loses 10 points or more on 1 of 1 tasks (open -10.0)" in told
        assert f"{control} loses 10 points or more on 1 of 2 kinds (colour -20.0); on 1 the whole" in told
    assert "oracle with a margin loses more than 2 points on 0 of 2 kinds." in told
    assert "| shape | 100 | 100.0 | +0.0 [+0.0, +0.0] |" in told


def test_second_cuts_differ_in_the_choice_alone(pages: ModuleType) -> None:
    for name, (layer, _) in pages.second_cuts().items():
        *before, cut = method(name, 12).plan().cuts
        assert (cut.layer, cut.keep.r) == (layer, 0.75)  # type: ignore[attr-defined]
        assert all(each.keep.r == 0 for each in before)  # type: ignore[attr-defined]
