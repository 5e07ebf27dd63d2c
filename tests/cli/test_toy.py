"""A new method is one file: a toy of 25 lines goes through every command and the oracles without any other edit."""

import json
import subprocess
import sys
from collections.abc import Callable
from importlib import invalidate_caches
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import Run
from tests.engine import test_oracles as oracles
from tests.matrix import model_of
from visionflow import Method, VisionFlowError, method
from visionflow.evaluation import runner
from visionflow.lmms.settings import method_of, settings_of
from visionflow.methods import METHODS, PlanFile
from visionflow.methods.registry import PlugInWarning

TOY = '''"""A toy."""

from dataclasses import dataclass
from typing import ClassVar

from visionflow.core import Attention, Cut, Ratio, Received
from visionflow.methods import Method


@dataclass(frozen=True)
class Toy(Method):
    """Keep the image tokens that the last prompt token reads most.

    Attributes:
        k: layers before the cut.
        zeal: fraction dropped.
    """

    name: ClassVar[str] = "toy"
    k: int
    zeal: float = 0.5

    def cuts(self) -> tuple[Cut, ...]:
        return (Cut(self.k, Ratio(self.zeal), Attention("last", Received())),)
'''
PLACE = "toys.reading:Toy"
BENCH = ("--image-tokens", 16, "--text-tokens", 8, "--new-tokens", 2, "--repeats", 1)
LIMIT = 25


@pytest.fixture(params=["by its place", "as a plug-in"])
def toy(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the toy is called: nobody but its own package knows of it."""
    package = tmp_path / "toys"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "reading.py").write_text(TOY)
    is_plug_in = request.param == "as a plug-in"
    if is_plug_in:
        plug_in(tmp_path, toy=PLACE, broken="toys.gone:Toy", alias=PLACE)
    forget_toys(monkeypatch)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return "toy" if is_plug_in else PLACE


def plug_in(folder: Path, **methods: str) -> None:
    """What pip would write of a package with entry points."""
    info = folder / "toys-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
    entries = "\n".join(f"{name} = {place}" for name, place in methods.items())
    (info / "entry_points.txt").write_text(f"[visionflow.methods]\n{entries}\n")


def forget_toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a toy of its own."""
    invalidate_caches()
    for module in ("toys", "toys.reading"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    for known in ("_registered", "_broken"):
        monkeypatch.setattr(METHODS, known, {})


def test_a_toy_is_small() -> None:
    assert len(TOY.splitlines()) <= LIMIT


def test_a_toy_goes_there_and_back(toy: str) -> None:
    chosen = method(f"{toy}:k=2,zeal=0.25")
    assert chosen.spec == f"{toy}:k=2,zeal=0.25"
    assert method(chosen.to_dict()) == method(chosen.spec) == chosen
    assert str(method(toy, 6)) == "Toy(k=1)"
    with pytest.raises(VisionFlowError, match="toy needs k: say toy:k="):
        method(toy)


def test_flops_and_ask_take_a_toy(toy: str, visionflow: Run, checkpoint: Path) -> None:
    code, out, err = visionflow("flops", "--method", f"{toy}:zeal=0.25", "--k", 4, "--json")
    told = json.loads(out)
    assert code == 0
    assert all("plug-in" in line for line in err.splitlines())  # the broken ones beside it are named, once a process
    assert (told["method"], told["options"]) == ("toy", {"k": 4, "zeal": 0.25})
    assert told["image_tokens"] == [576] * 4 + [432] * 28
    from PIL import Image

    Image.new("RGB", (40, 30)).save("scene.png")
    PlanFile.of(method(f"{toy}:k=2"), 6, "llava").write(Path("plan.json"))
    asked = ("ask", "scene.png", "What?", "--model", checkpoint, "--max-new-tokens", 2, "--json")
    code, out, err = visionflow(*asked, "--method", "plan.json")
    assert code == 0
    assert json.loads(out)["image_tokens"] == [25, 25, 13, 13, 13, 13]
    assert json.loads(visionflow(*asked, "--method", toy, "--k", 2)[1])["method"] == "Toy(k=2)"


def test_the_help_of_a_toy(toy: str, visionflow: Run) -> None:
    for command in ("ask", "flops"):
        told = " ".join(visionflow(command, "--help")[1].split())
        assert ("--zeal FLOAT toy: fraction dropped. [default: (0.5)]" in told) == (toy == "toy")
        assert ("toy: layers before the cut." in told) == (toy == "toy")
    for command in ("ask", "bench", "eval"):
        assert (", toy," in " ".join(visionflow(command, "--help")[1].split())) == (toy == "toy")


def test_bench_takes_a_toy(toy: str, visionflow: Run, checkpoint: Path) -> None:
    asked = ("bench", "--model", checkpoint, *BENCH, "--methods", f"fastv,{toy}:k=2,zeal=0.75")
    code, out, err = visionflow(*asked, "--json")
    assert code == 0, err
    assert {row["name"]: row["method"] for row in json.loads(out)["models"][0]["rows"]} == {
        "none": "no pruning", "fastv": "FastV(k=1, r=0.5)", "toy": "Toy(k=2, zeal=0.75)",
    }  # fmt: skip


def test_eval_takes_a_toy(toy: str, visionflow: Run, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "LONGEST", dict.fromkeys(runner.LONGEST, 2))
    asked = ("eval", "--model", checkpoint, "--limit", 2, "--tasks", "choice", "--methods", f"vtw,{toy}:k=2,zeal=0.25")
    code, out, err = visionflow(*asked, "--json")
    assert code == 0, err
    assert json.loads(out)["rows"] == {
        "dense": "no pruning", "vtw": "VTW(k=3)", f"{toy}:k=2,zeal=0.25": "Toy(k=2, zeal=0.25)",
    }  # fmt: skip


def test_lmms_takes_a_toy(toy: str) -> None:
    chosen = method_of(toy, {"zeal": 0.25}, 12)
    assert str(chosen) == "Toy(k=2, zeal=0.25)"
    assert method_of(toy, settings_of(chosen), 12) == chosen


ORACLES: dict[str, tuple[tuple[str, str], Callable[..., None], tuple[Any, ...]]] = {
    "mask": (("llava-grouped", "sdpa"), oracles.test_dropping_equals_masking, ("left",)),
    "cached": (("llava-grouped", "sdpa"), oracles.test_cached_tokens_equal_uncached_tokens, ()),
    "batch": (("llava-grouped", "sdpa"), oracles.test_a_sample_gets_in_a_batch_what_it_gets_alone, ("left",)),
    "definition": (("llava", "eager"), oracles.test_scores_equal_the_definition_on_eager_attention, ()),
    "restored": (("llava-grouped", "sdpa"), oracles.test_the_model_is_restored, ()),
    "counted": (("llava", "eager"), oracles.test_counted_flops_equal_modelled_flops, (1,)),
    "positions": (("llava-grouped", "sdpa"), oracles.test_kept_and_generated_tokens_have_their_unpruned_positions, ()),
}


@pytest.mark.parametrize("toy", ["by its place"], indirect=True)
@pytest.mark.parametrize("oracle", ORACLES)
def test_the_oracles_take_a_toy(toy: str, oracle: str) -> None:
    cell, statement, further = ORACLES[oracle]
    statement(model_of(*cell), method(f"{toy}:k=2"), *further)


@pytest.mark.parametrize("toy", ["by its place"], indirect=True)
def test_a_toy_that_drops_nothing_changes_nothing(toy: str) -> None:
    oracles.test_dropping_nothing_changes_no_bit(model_of("llava", "eager"), method(f"{toy}:k=2,zeal=0"))


@pytest.mark.parametrize("toy", ["as a plug-in"], indirect=True)
def test_a_broken_plug_in_is_named_and_takes_none_down(toy: str, visionflow: Run) -> None:
    with pytest.warns(PlugInWarning) as told:
        assert list(METHODS)[-1] == "toy"
    assert [str(each.message) for each in told] == [
        "the plug-in broken is left out: cannot load toys.gone:Toy: there is no module toys.gone",
        "the plug-in alias is left out: its method is called 'toy', its entry point 'alias'",
    ]
    assert issubclass(METHODS["toy"], Method)
    code, out, err = visionflow("flops", "--method", "broken")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "the plug-in broken is left out: cannot load toys.gone:Toy: there is no module toys.gone" in err


@pytest.mark.slow
@pytest.mark.parametrize("toy", ["as a plug-in"], indirect=True)
def test_the_process_of_the_command_finds_a_plug_in(toy: str, tmp_path: Path) -> None:
    """Beside the folder it is called from, without which not even the list of commands loads torch."""
    script = "import sys; sys.path.append(''); from visionflow.cli.app import app; app(sys.argv[1:])"
    run = [sys.executable, "-W", "ignore", "-c", script, "flops"]
    done = subprocess.run([*run, "--method", "toy", "--zeal", "0.25"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "method toy k=2 zeal=0.25" in done.stdout
