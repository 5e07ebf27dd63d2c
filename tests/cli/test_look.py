"""`visionflow look`: a page, or one line that says why not."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.running import Run


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.linear_gradient("L").convert("RGB").resize((60, 40)).save("wide.png")


OPTIONS = ("--max-new-tokens", 2, "--blocks", 1)


def test_it_writes_a_page_and_nothing_over_what_is_there(visionflow: Run, checkpoint: Path) -> None:
    for name in ("wide.look.html", "wide.look-2.html"):
        code, out, err = visionflow("look", "wide.png", "w12 w13", "--model", checkpoint, *OPTIONS)
        assert (code, err) == (0, "")
        assert f"The page is in {name}" in out
        assert Path(name).read_text().startswith("<!doctype html>")


def test_json_is_one_object_with_all_runs(visionflow: Run, checkpoint: Path) -> None:
    more = ("--method", "fastv:k=2,r=0.5", "--beside", "vtw:k=3", "-o", "p.html", "--json")
    code, out, _ = visionflow("look", "wide.png", "w12 w13", "--model", checkpoint, *OPTIONS, *more)
    found = json.loads(out)
    assert (code, found["page"], found["schema"]) == (0, "p.html", "visionflow.look/1")
    assert [run["spec"] for run in found["runs"]] == [None, "fastv:k=2,r=0.5", "vtw:k=3"]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("-o", "page.png"), "must end in .html"),
        (("-o", "no/page.html"), "there is no directory no"),
        (("--beside", "nonesuch"), "nonesuch"),
    ],
    ids=["suffix", "folder", "method"],
)
def test_wrong_input_is_refused_before_any_work(more: tuple[str, ...], says: str, visionflow: Run) -> None:
    code, out, err = visionflow("look", "wide.png", "w12 w13", *more)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err
