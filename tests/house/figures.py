"""How large the house is inside: files, lines, circles and forbidden imports of core, methods and the first engine.

``make house`` counts the working tree; ``python -m tests.house.figures 805db82 here`` counts a revision beside it,
``--without 'pyramiddrop.py'`` leaves files out that one of the two does not have.
"""

import ast
import io
import tokenize
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from tests.house.checkouts import HERE, source
from tests.house.imports import PACKAGE, Import, circles, crossing, imports, room

ROOMS = ("core", "methods", "engines", "runtime")
"""What a method and the engine of transformers are made of, today and before they had rooms of their own."""

ENGINES = {"engines", "runtime", "transformers"}
"""What neither core nor a method may import; the runtime was core and engine in one."""

LONG = 300  # lines: beyond it a file is usually two ideas

_NO_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER,
}  # fmt: skip


@dataclass(frozen=True)
class Size:
    """Of one file, or of several.

    Attributes:
        files: how many.
        lines: all of them.
        code: lines without blanks, comments and docstrings.
        packed: lines of statements joined by semicolons, and marks that keep the formatter off.
        widest: characters of the longest line.
    """

    files: int = 0
    lines: int = 0
    code: int = 0
    packed: int = 0
    widest: int = 0

    def __add__(self, other: "Size") -> "Size":
        return Size(
            self.files + other.files,
            self.lines + other.lines,
            self.code + other.code,
            self.packed + other.packed,
            max(self.widest, other.widest),
        )


def size_of(text: str) -> Size:
    """The size of one file."""
    lines = text.splitlines()
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    code = {line for token in tokens if token.type not in _NO_CODE for line in range(token.start[0], token.end[0] + 1)}
    joined = {token.start[0] for token in tokens if token.type == tokenize.OP and token.string == ";"}
    unformatted = {token.start[0] for token in tokens if token.type == tokenize.COMMENT and "fmt:" in token.string}
    return Size(
        1, len(lines), len(code - _docstrings(text)), len(joined) + len(unformatted), max(map(len, lines), default=0)
    )


def _docstrings(text: str) -> set[int]:
    """The lines of strings that stand by themselves: docstrings, and those of attributes."""
    found: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return found


def sizes(folder: Path, without: list[str]) -> dict[str, Size]:
    """The size of every file in `ROOMS`, by its path under the package."""
    files = (file for name in ROOMS for file in sorted((folder / PACKAGE / name).rglob("*.py")))
    return {
        file.relative_to(folder / PACKAGE).as_posix(): size_of(file.read_text(encoding="utf-8"))
        for file in files
        if not any(fnmatch(file.name, pattern) for pattern in without)
    }


def report(of: str, without: list[str]) -> Iterator[str]:
    """What is said of one checkout, line by line."""
    with source(of) as folder:
        found, each = imports(folder), sizes(folder, without)
    yield f"{of}{', without ' + ', '.join(without) if without else ''}"
    yield f"  {'':10} {'files':>6} {'lines':>6} {'code':>6} {'packed':>7} {'widest':>7}"
    for name in (*ROOMS, "all"):
        parts = [size for file, size in each.items() if name in (room_of(file), "all")]
        if parts:
            total = sum(parts, Size())
            yield f"  {name:10} {total.files:6,} {total.lines:6,} {total.code:6,} {total.packed:7} {total.widest:7}"
    long = {file: size.lines for file, size in each.items() if size.lines > LONG}
    yield f"  files of more than {LONG} lines: {_listed([f'{file} ({lines})' for file, lines in long.items()])}"
    methods = {file: size.code for file, size in each.items() if room_of(file) == "methods"}
    yield f"  lines of code: {_listed([f'{Path(file).stem} {code}' for file, code in methods.items()])}"
    yield f"  circles: {_listed([' <-> '.join(circle) for circle in circles(found) if _inside(circle)])}"
    forbidden = crossing(found, {"core", "methods"}, ENGINES)
    yield f"  core and methods that import an engine: {_listed(_modules(forbidden))}"


def room_of(file: str) -> str:
    """The room of a path under the package."""
    return file.partition("/")[0]


def _inside(circle: list[str]) -> bool:
    return any(room(module) in ROOMS for module in circle)


def _modules(those: list[Import]) -> list[str]:
    return sorted({each.by.removeprefix(f"{PACKAGE}.") for each in those})


def _listed(what: list[str]) -> str:
    return ", ".join(what) or "none"


def main() -> None:
    """Say it of each checkout that is named."""
    parser = ArgumentParser(prog="python -m tests.house.figures", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkouts", nargs="*", default=[HERE], help="a folder, a git revision, or here (the default)")
    parser.add_argument("--without", action="append", default=[], help="leave files of this name out, * for any text")
    given = parser.parse_args()
    for of in given.checkouts:
        print("\n".join(report(of, given.without)))


if __name__ == "__main__":
    main()
