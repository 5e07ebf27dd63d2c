"""Who imports whom, read off the sources: nothing is loaded, so a checkout of any age can be asked."""

import ast
from dataclasses import dataclass
from pathlib import Path

import networkx  # torch brings it

PACKAGE = "visionflow"


@dataclass(frozen=True, order=True)
class Import:
    """One module that another imports.

    Attributes:
        by: the module that has the statement, by its dotted name.
        of: the module imported: of ``from package import name`` the one so named, or else the package.
        at_start: `by` cannot be imported without it: the statement is in no function and not for type checkers alone.
    """

    by: str
    of: str
    at_start: bool


def modules(source: Path) -> dict[str, Path]:
    """The files of the package under `source` by dotted name; the ``__init__.py`` of a package has the package's."""
    files = sorted((source / PACKAGE).rglob("*.py"))
    return {".".join(file.relative_to(source).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def imports(source: Path) -> set[Import]:
    """All imports of the modules under `source`, of this package and of others."""
    known = modules(source)
    readers = [_Reader(name, file, known) for name, file in known.items()]
    return set().union(*(reader.found for reader in readers))


def circles(found: set[Import]) -> list[list[str]]:
    """Sets of modules of which each needs all others to be imported, sorted."""
    graph = networkx.DiGraph([(each.by, each.of) for each in found if each.at_start])
    parts = (sorted(part) for part in networkx.strongly_connected_components(graph))
    return sorted(part for part in parts if len(part) > 1 or graph.has_edge(part[0], part[0]))


def room(module: str) -> str:
    """What a module is in: the first name below the package; of other packages their own name."""
    first, *inside = module.split(".")
    return inside[0] if first == PACKAGE and inside else first


def crossing(found: set[Import], rooms: set[str], forbidden: set[str]) -> list[Import]:
    """What modules in `rooms` import of `forbidden`, be it in a function or for type checkers alone."""
    return sorted(each for each in found if room(each.by) in rooms and room(each.of) in forbidden)


class _Reader(ast.NodeVisitor):
    """Collects the imports of one module."""

    def __init__(self, name: str, file: Path, known: dict[str, Path]) -> None:
        self.found: set[Import] = set()
        self._name, self._known, self._at_start = name, known, True
        self._package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        self.visit(ast.parse(file.read_text(encoding="utf-8")))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._note(alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        above = self._package.split(".")[: len(self._package.split(".")) + 1 - node.level] if node.level else []
        module = ".".join([*above, *filter(None, [node.module])])
        for alias in node.names:
            inner = f"{module}.{alias.name}"
            self._note(inner if inner in self._known else module)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._later(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_If(self, node: ast.If) -> None:
        if "TYPE_CHECKING" in ast.unparse(node.test):
            self._later(node)
        else:
            self.generic_visit(node)

    def _later(self, node: ast.AST) -> None:
        before, self._at_start = self._at_start, False
        self.generic_visit(node)
        self._at_start = before

    def _note(self, of: str) -> None:
        self.found.add(Import(self._name, of, self._at_start))
