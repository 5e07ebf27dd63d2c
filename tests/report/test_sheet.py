"""Tables and legends in any width: nothing is cut off, nothing is left out, labels stay with their figures."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

import visionflow
from visionflow.report.sheet import WHOLE, Pairs, Sheet, screen

ROWS = (
    ("random", "dense", "64.5", "[57.6, 70.8]", "", "", ""),
    ("random", "himap-paid", "61.2", "[54.3, 67.7]", "-3.3", "[-5.5, +1.0]", "0.031"),
    ("popular", "himap-paid", "41.2", "[34.3, 47.7]", "-9.3", "[-9.5, -9.0]", "0.004"),
)


def table() -> Sheet:
    sheet = Sheet("sampling", "row", ("accuracy", ""), ("difference", ""), "p", labels=2, grouped=True)
    for row in ROWS:
        sheet.add_row(*row)
    return sheet


def printed(what: RenderableType, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), markup=False, highlight=False)
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [*range(4, 90), 200, WHOLE])
def test_every_figure_is_there_in_every_width(width: int) -> None:
    lines = printed(table(), width)
    assert max(map(len, lines)) <= width
    together = "".join("".join(lines).split())
    for row in ROWS:
        for cell in row:
            assert "".join(cell.split()) in together


def test_one_table_where_there_is_room() -> None:
    assert [line.rstrip() for line in printed(table(), 77)] == [
        "sampling  row         accuracy                difference                    p",
        "random    dense           64.5  [57.6, 70.8]",
        "          himap-paid      61.2  [54.3, 67.7]        -3.3  [-5.5, +1.0]  0.031",
        "popular   himap-paid      41.2  [34.3, 47.7]        -9.3  [-9.5, -9.0]  0.004",
    ]


def test_columns_go_on_below_with_their_labels() -> None:
    assert [line.rstrip() for line in printed(table(), 60)] == [
        "sampling  row         accuracy",
        "random    dense           64.5  [57.6, 70.8]",
        "          himap-paid      61.2  [54.3, 67.7]",
        "popular   himap-paid      41.2  [34.3, 47.7]",
        "",
        "sampling  row         difference                    p",
        "random    dense",
        "          himap-paid        -3.3  [-5.5, +1.0]  0.031",
        "popular   himap-paid        -9.3  [-9.5, -9.0]  0.004",
    ]


def test_rows_become_lists_where_not_even_one_column_fits() -> None:
    lines = [line.rstrip() for line in printed(table(), 32)]
    assert lines[:6] == [
        "random, dense",
        "  accuracy: 64.5 [57.6, 70.8]",
        "random, himap-paid",
        "  accuracy: 61.2 [54.3, 67.7]",
        "  difference: -3.3 [-5.5, +1.0]",
        "  p: 0.031",
    ]


def test_a_number_as_a_label_says_of_what() -> None:
    sheet = Sheet("after\nlayer", ("dense", "pruned"))
    sheet.add_row("12", "1.25 G", "0.62 G")
    assert [line.rstrip() for line in printed(sheet, 16)] == ["after layer 12", "  dense: 1.25 G", "  pruned: 0.62 G"]


def test_cells_are_counted() -> None:
    with pytest.raises(ValueError, match="2 cells for 3 columns"):
        Sheet("row", ("value", "")).add_row("dense", "1")


@pytest.mark.parametrize("width", [12, 20, 40, 80, 300])
def test_a_legend_is_whole_in_every_width(width: int) -> None:
    entries = {"end, average": "image tokens in the last layer, and averaged over the layers", "p": "McNemar's " * 30}
    lines = printed(Pairs(entries), width)
    assert max(map(len, lines)) <= min(width, 100)
    together = "".join("".join(lines).split())
    assert all("".join(text.split()) in together for entry in entries.items() for text in entry)


def test_a_long_word_is_shown_whole() -> None:
    assert "".join(part.strip() for part in printed(Pairs({"dense": "a" * 300}), 80)).count("a") == 300


def test_a_pipe_has_no_width_unless_one_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert screen().width == WHOLE
    monkeypatch.setenv("COLUMNS", "40")
    assert screen().width == 40


def test_no_other_module_makes_tables() -> None:
    package = Path(visionflow.__file__).parent
    makers = [path.relative_to(package) for path in package.rglob("*.py") if re.search("rich.table", path.read_text())]
    assert makers == [Path("report/sheet.py")]
