"""The rooms of the house are those of the map in docs/design.md, and doors open one way only."""

import re
from pathlib import Path

import pytest

from tests.house.figures import ENGINES, Size, report, size_of
from tests.house.imports import PACKAGE, Import, circles, crossing, imports, room
from tests.house.operations import counts, more
from tests.house.probes import share
from tests.house.seconds import ratio
from tests.tiny import LAYERS

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "src"


def rooms_of_the_map() -> set[str]:
    """What the map names: packages with a slash at the end, files with their suffix."""
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    rooms = re.search(rf"## Rooms\n\n```\nsrc/{PACKAGE}/\n(.*?)```", text, re.S)
    assert rooms is not None
    return set(re.findall(r"^  ([\w/.]+)", rooms[1], re.M))


@pytest.fixture(scope="module")
def found() -> set[Import]:
    return imports(SOURCE)


def test_every_room_of_the_map_exists() -> None:
    named = rooms_of_the_map()
    assert len(named) > 10
    missing = {each for each in named if not (SOURCE / PACKAGE / each).exists()}
    assert not missing


def test_the_map_names_every_room() -> None:
    here = {path for path in (SOURCE / PACKAGE).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    named = {each.partition("/")[0] for each in rooms_of_the_map()}
    assert {path.name for path in here} - named == {"__init__.py", "__main__.py"}


def test_no_module_needs_itself_to_be_imported(found: set[Import]) -> None:
    assert circles(found) == []


def test_core_and_methods_know_no_engine(found: set[Import]) -> None:
    assert not crossing(found, {"core", "methods"}, ENGINES)


def test_core_is_torch_and_nothing_of_the_package_above_it(found: set[Import]) -> None:
    above = {each.of for each in found if each.by.startswith(f"{PACKAGE}.core.") and each.of.startswith(PACKAGE)}
    assert {module.split(".")[1] for module in above} == {"core", "errors"}
    assert not crossing(found, {"core"}, {"numpy", "scipy", "rich", "typer", "PIL"})


def importers(found: set[Import], *packages: str) -> set[str]:
    """The rooms that import one of `packages` or what is in them."""
    return {room(each.by) for each in found if any(f"{each.of}.".startswith(f"{name}.") for name in packages)}


def test_nothing_imports_the_commands(found: set[Import]) -> None:
    assert importers(found, f"{PACKAGE}.cli") == {"cli", "__main__"}


def test_tables_and_figures_have_one_home(found: set[Import]) -> None:
    assert importers(found, "rich", "matplotlib") == {"cli", "report"}
    notebook = f"{PACKAGE}.report.notebook"  # in which a trace and a profile show themselves, once asked to
    assert not [each for each in found if each.of == notebook and each.at_start]
    assert importers(found, notebook) == {"flow", "pruning"}
    others = {each for each in found if each.of != notebook}
    assert importers(others, f"{PACKAGE}.report") == {"app", "cli", "report", "viz", PACKAGE}  # visionflow.look


# -- that the reader of imports sees what there is --------------------------------------------------------------------


def written(folder: Path, **files: str) -> set[Import]:
    """The imports of a package of such files; ``a__b`` is the module b in the package a."""
    for name, text in {"__init__": "", **files}.items():
        file = folder.joinpath(PACKAGE, *name.split("__")) if "__" in name.strip("_") else folder / PACKAGE / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.with_suffix(".py").write_text(text)
    return imports(folder)


def test_a_circle_is_found_and_imports_inside_functions_or_for_types_make_none(tmp_path: Path) -> None:
    one = "from visionflow import two"
    assert circles(written(tmp_path, one=one, two="from .one import x")) == [["visionflow.one", "visionflow.two"]]
    assert circles(written(tmp_path, one=one, two="def f():\n    from visionflow.one import x")) == []
    assert circles(written(tmp_path, one=one, two="if TYPE_CHECKING:\n    from visionflow.one import x")) == []
    assert circles(written(tmp_path, one=one, two="try:\n    import visionflow.one\nfinally:\n    pass"))


def test_a_forbidden_import_is_found_wherever_it_stands(tmp_path: Path) -> None:
    text = "class C:\n    def f(self):\n        if True:\n            from ..engines.hf import scope as s"
    found = written(tmp_path, core__plan=text, engines__hf="", core__other="import transformers.utils")
    assert [(each.by, each.of) for each in crossing(found, {"core"}, ENGINES)] == [
        ("visionflow.core.other", "transformers.utils"),
        ("visionflow.core.plan", "visionflow.engines.hf"),
    ]


# -- that the figures count what they say -----------------------------------------------------------------------------

TEXT = '''"""A file.

Of two paragraphs.
"""

import os; import sys  # two in one


class C:
    """One."""

    x = 1  # fmt: skip
    """Which is x."""

    def f(self):
        return """not
        a docstring"""
'''


def test_lines_of_code_are_those_without_blanks_comments_and_docstrings() -> None:
    assert size_of(TEXT) == Size(files=1, lines=17, code=6, packed=2, widest=35)


def test_the_report_of_this_checkout_names_its_rooms() -> None:
    said = "\n".join(report("here", without=["vtw.py"]))
    assert said.startswith("here, without vtw.py\n")
    assert all(re.search(rf"^  {each} +\d", said, re.M) for each in ("core", "methods", "engines", "all"))
    assert "fastv" in said
    assert "vtw " not in said
    assert "circles: none" in said


def test_operations_are_counted_part_by_part_and_what_grew_is_named() -> None:
    found = counts()
    dense, pruned = found["dense"]["one, prefill"], found["fastv"]["one, prefill"]
    assert len(dense) == len(pruned) == 1 + LAYERS + 1
    assert dense[1 : 1 + LAYERS] == [dense[1]] * LAYERS
    assert [place for place in range(1, 1 + LAYERS) if pruned[place] > dense[place]] == [2, 3]  # the look, the cut
    assert found["fastv"]["one, token"] == found["dense"]["one, token"]
    assert more([("then", found), ("now", found)]) == []
    grown = {**found, "vtw": {**found["vtw"], "one, token": [count + 1 for count in found["vtw"]["one, token"]]}}
    assert [line.partition(":")[0] for line in more([("then", found), ("now", grown)])] == ["vtw, one, token"]


def test_a_ratio_of_seconds_has_an_interval_around_it() -> None:
    value, low, high = ratio([1.0, 2.0, 4.0], [1.1, 2.2, 4.4])
    assert [value, low, high] == pytest.approx([1.1] * 3)
    value, low, high = ratio([1.0] * 5, [0.9, 1.0, 1.1, 1.2, 1.3])
    assert value == pytest.approx(1.1)
    assert low < 1 < value < high


@pytest.mark.parametrize("criterion", ["paid", "received"])
@pytest.mark.parametrize(("image_tokens", "most"), [(576, 0.01), (16384, 0.03)])
def test_looks_are_a_small_part_of_a_pruned_prefill_on_a_gpu(criterion: str, image_tokens: int, most: float) -> None:
    """By count and arithmetic alone."""
    assert share(1, image_tokens, criterion).share <= most
