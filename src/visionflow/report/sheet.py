"""Tables and legends for people, in whatever width there is; nothing is cut off, and nothing is left out."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

GAP = 2  # blanks between two columns
LONGEST_LINE = 100  # of running text, which is not read well in longer ones
WHOLE = 10_000  # columns of a file or a pipe, which have no width


def screen(stderr: bool = False) -> Console:
    """Standard output for people, as wide as the terminal or COLUMNS; in a file or a pipe tables are in one piece."""
    console = Console(stderr=stderr, markup=False, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WHOLE
    return console


class Sheet:
    """A table.

    Its columns stand side by side where there is room. Where there is not, they go on in further tables below, each
    with the labels again; and where not even one of them fits beside the labels, each row becomes a list.
    """

    def __init__(
        self,
        *headings: str | tuple[str, ...],
        labels: int = 1,
        left: Collection[str] = (),
        grouped: bool = False,
    ) -> None:
        """
        Args:
            headings: of the columns, from left to right; those in a tuple stay together (a figure and its interval).
            labels: how many of the first say what a row is.
            left: headings of columns of words; figures stand at the right.
            grouped: the first label is said once for neighbouring rows that share it.
        """
        groups = [(each,) if isinstance(each, str) else each for each in headings]
        self._headings = [heading for group in groups for heading in group]
        self._labels, self._left, self._grouped = labels, left, grouped
        ends = [sum(map(len, groups[: place + 1])) for place in range(len(groups))]
        columns = [range(end - len(group), end) for group, end in zip(groups, ends, strict=True)]
        self._groups = [each for each in columns if each.start >= labels]
        self._rows: list[tuple[str, ...]] = []

    def add_row(self, *cells: str) -> None:
        """One cell for each column."""
        if len(cells) != len(self._headings):
            raise ValueError(f"{len(cells)} cells for {len(self._headings)} columns")
        self._rows.append(cells)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        blocks = self._blocks(options.max_width)
        if blocks is None:
            yield from self._list()
            return
        for number, columns in enumerate(blocks):
            if number:
                yield ""
            yield self._table(columns)

    def _blocks(self, room: int) -> list[list[int]] | None:
        """The columns of each table, labels first, none wider than `room`; None if one group is."""
        labels = list(range(self._labels))
        blocks = [labels]
        for group in self._groups:
            wider = [*blocks[-1], *group]
            if self._width(wider) <= room:
                blocks[-1] = wider
            elif self._width([*labels, *group]) <= room:
                blocks.append([*labels, *group])
            else:
                return None
        return blocks if self._width(labels) <= room else None

    def _width(self, columns: Sequence[int]) -> int:
        cells = ([*self._headings[column].split("\n"), *(row[column] for row in self._rows)] for column in columns)
        return sum(max(map(cell_len, each)) for each in cells) + GAP * (len(columns) - 1)

    def _table(self, columns: Sequence[int]) -> Table:
        table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False)
        for column in columns:
            words = column < self._labels or self._headings[column] in self._left
            table.add_column(self._headings[column], justify="left" if words else "right", no_wrap=True)
        for row, cells in zip(self._rows, self._said_once(), strict=True):
            table.add_row(*((*cells[: self._labels], *row[self._labels :])[column] for column in columns))
        return table

    def _said_once(self) -> Iterator[tuple[str, ...]]:
        before = None
        for row in self._rows:
            yield ("", *row[1:]) if self._grouped and row[0] == before else row
            before = row[0]

    def _list(self) -> Iterator[RenderableType]:
        for row in self._rows:
            yield Text(", ".join(self._named(column, row[column], "") for column in range(self._labels)))
            for group in self._groups:
                said = (self._named(column, row[column], ":") for column in group if row[column])
                if text := " ".join(said):
                    yield _indented(text)

    def _named(self, column: int, cell: str, colon: str) -> str:
        """The cell after its heading; a label that is a word says itself what it is."""
        heading = "" if column < self._labels and not cell[:1].isdigit() else " ".join(self._headings[column].split())
        return f"{heading}{colon} {cell}" if heading else cell


def _indented(text: str) -> Padding:
    return Padding(Text(text), (0, 0, 0, GAP), expand=False)


class Pairs:
    """Names beside what they stand for, which wraps within its own column; below them where that leaves no room."""

    def __init__(self, entries: Mapping[str, str]) -> None:
        """
        Args:
            entries: by name.
        """
        self._entries = entries

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = min(options.max_width, LONGEST_LINE)
        if max(map(cell_len, self._entries), default=0) > room // 2:
            for name, says in self._entries.items():
                yield Text(name)
                yield from console.render(_indented(says), options.update_width(room))
            return
        table = Table.grid(padding=(0, GAP, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")  # a long word is shown whole, too
        for name, says in self._entries.items():
            table.add_row(name, says)
        yield from console.render(table, options.update_width(room))
