"""Who may import whom, and who shows things to people; read from the sources, imports inside functions included."""

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import visionflow

SOURCES = Path(visionflow.__file__).parent
SHOWN_WITH = ("rich", "matplotlib")
OLD_ADDRESSES = {"viz.plotting": "report.figures.plotting", "viz.flow_figures": "report.figures.flow"}


def imports() -> Iterator[tuple[str, str]]:
    """Each module, as its path under the sources, and a module that it imports."""
    for path in sorted(SOURCES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                yield path.relative_to(SOURCES).as_posix(), name


def importers_of(*modules: str) -> set[str]:
    """The rooms (or files beside them) that import one of `modules` or what is in them."""
    found = {who for who, what in imports() if any(f"{what}.".startswith(f"{each}.") for each in modules)}
    return {who.partition("/")[0] for who in found}


def test_nothing_imports_the_commands() -> None:
    assert importers_of("visionflow.cli") == {"cli", "__main__.py"}


def test_tables_and_figures_have_one_home() -> None:
    assert importers_of(*SHOWN_WITH) == {"cli", "report"}
    assert importers_of("visionflow.report") == {"cli", "report", "viz"}


def test_old_addresses_lead_to_the_same_modules() -> None:
    for old, new in OLD_ADDRESSES.items():
        assert import_module(f"visionflow.{old}") is import_module(f"visionflow.{new}")
