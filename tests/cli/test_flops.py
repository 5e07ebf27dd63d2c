"""`visionflow flops` as a user runs it."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.cli.running import Run
from tests.matrix import quick_or_slow
from visionflow.cli.app import app
from visionflow.cli.options import flag
from visionflow.cost.visipruner import Profile
from visionflow.errors import VisionFlowError
from visionflow.methods import METHODS, PlanFile, VisiPruner, method
from visionflow.methods.fields import written
from visionflow.methods.spec import said_of

COUNTED = [name for name in METHODS if name != "autoprune"]
"""How many tokens the other keeps depends on the prompt."""


def show(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["flops", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def as_json(*arguments: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(show("--json", *arguments))
    return content


@pytest.fixture
def refused(visionflow: Run) -> Callable[..., str]:
    """Run the command with wrong input; gives standard error."""

    def run(*arguments: str) -> str:
        code, out, err = visionflow("flops", *arguments)
        assert (code, out) == (2, "")
        return err

    return run


def test_json_with_nothing_said_is_the_papers_first_row() -> None:
    content = as_json()
    assert content["dense_tflops"] == pytest.approx(2.986, abs=5e-4)
    assert content["pruned_tflops"] == pytest.approx(0.735, abs=5e-4)
    assert content["ratio"] == pytest.approx(0.246, abs=5e-4)
    assert content["image_tokens"] == [576] * 2 + [288] * 6 + [72] * 24
    assert content["average_image_tokens"] == 144
    assert (content["model"], content["method"]) == ("llava-1.5-7b", "himap")
    assert content["options"] == {"k1": 2, "r1": 0.5, "k2": 8, "r2": 0.75}
    assert (content["convention"], content["unit"], content["text_tokens"]) == ("paper", "multiply-adds", 60)
    assert content["kv_bytes_dense"] == 32 * 636 * 2 * 4096 * 2
    assert content["kv_bytes_pruned"] < content["kv_bytes_dense"]


@pytest.mark.parametrize(
    ("line", "tera"),
    [
        ("--method fastv", 1.566),
        ("--method fastv --k 3 --model llava-1.5-13b", 3.093),
        ("--k1 3 --model llava-1.5-13b", 1.364),
        ("--k2 15", 0.978),
        ("--method none --convention gated", 3.817),
        ("--method none --convention flops", 8.450),
        ("--method none --convention flops --logits all", 8.617),
    ],
)
def test_the_figures(line: str, tera: float) -> None:
    assert as_json(*line.split())["pruned_tflops"] == pytest.approx(tera, abs=6e-4)


@pytest.mark.parametrize(
    ("line", "stages"),
    [
        ("--method none", [(32, 576)]),
        ("--method random --k 4 --r 0.25", [(4, 576), (28, 432)]),
        ("--method vtw", [(16, 576), (16, 0)]),
        ("--method visipruner", [(15, 576), (9, 10), (8, 0)]),
        ("--method visipruner --fire-layer 2 --kept 999 --exit-layer 30", [(30, 576), (2, 0)]),
        ("--method fastv --image-tokens 9", [(2, 9), (30, 5)]),
        ("--method fastv --image-tokens 0", [(32, 0)]),
    ],
)
def test_image_tokens_in_each_layer(line: str, stages: list[tuple[int, int]]) -> None:
    assert as_json(*line.split())["image_tokens"] == [count for layers, count in stages for _ in range(layers)]


def test_visipruners_own_accounting_stands_beside_what_is_executed() -> None:
    """The paper prints 3.82 T dense and 1.76 T, and charges no attention up to the layer that fires."""
    content = as_json("--method", "visipruner", "--text-tokens", "74", "--convention", "gated")
    own = content["papers_accounting"]
    assert own["multiply_adds_dense"] / 1e12 == content["dense_tflops"] == pytest.approx(3.817, abs=5e-4)
    assert own["multiply_adds"] / 1e12 == pytest.approx(1.767, abs=5e-4)
    assert own["multiply_adds_executed"] / 1e12 == content["pruned_tflops"] == pytest.approx(1.791, abs=5e-4)
    assert own["attention_saved"] > 0.99
    assert own["attention_saved_executed"] == pytest.approx(1 - 9 / 32, abs=1e-3)
    assert "charges none to the layers up to the one that fires" in " ".join(show("--method", "visipruner").split())
    assert as_json("--method", "fastv")["papers_accounting"] is None


def test_instruction_tokens_text_tokens_and_bytes_count() -> None:
    flops = ("--convention", "flops")
    assert as_json(*flops, "--instruction-tokens", "10")["pruned_tflops"] < as_json(*flops)["pruned_tflops"]
    assert as_json(*flops, "--text-tokens", "200")["dense_tflops"] > as_json(*flops)["dense_tflops"]
    assert as_json("--dtype-bytes", "4")["kv_bytes_dense"] == 2 * as_json()["kv_bytes_dense"]


def test_a_model_of_ones_own(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model_type": "qwen2", "num_hidden_layers": 20}))
    content = as_json("--model", str(config), "--image-tokens", "100")
    assert content["model"] == str(config)
    assert len(content["image_tokens"]) == 20


def test_the_table_names_every_convention_and_what_it_counts() -> None:
    text = show()
    for words in ("2.986 T", "0.735 T", "24.6%", "8.450 T", "image tokens only", "output head", "8-31", "318.0 MiB"):
        assert words in text
    assert "gated" not in show("--convention", "paper")


def test_the_papers_tables() -> None:
    text = show("--table", "himap")
    assert "HiMAP, Table 1" in text
    assert "k2=16 would fit" in text
    content = as_json("--table", "himap")
    assert len(content["rows"]) == 15
    row = next(row for row in content["rows"] if row["method"] == "HiMAP 2 0.5 15 0.75")
    assert (row["printed_tflops"], row["tflops_follows"]) == (1.01, False)
    assert row["tflops"] == pytest.approx(0.978, abs=5e-4)
    assert "1.012 T, 33.9%" in row["reason"]


def test_help_gives_the_defaults_that_are_used() -> None:
    text = " ".join(show("--help").split())
    used = {name: value for method in ("himap", "visipruner") for name, value in defaults_of(method).items()}
    for name, value in used.items():
        assert re.search(rf"--{name.replace('_', '-')} [A-Z]+ [^\[]*\[default: \({value}\b", text), name
    assert "[default: (fastv, dart, random: 2 of 32 layers; " in text
    assert "vtw, deft: 16 of 32 layers; " in text
    assert (defaults_of("fastv")["k"], defaults_of("vtw")["k"]) == (2, 16)


def test_what_depends_on_the_prompt_is_refused() -> None:
    with pytest.raises(VisionFlowError, match="how many tokens stay at layer 2 depends on the prompt"):
        show("--method", "autoprune")


@pytest.mark.parametrize("name", quick_or_slow(COUNTED, ["himap", "vtw", "visipruner", "sparsevlm", "scope"]))
def test_a_method_is_the_same_as_name_text_options_and_file(name: str, tmp_path: Path) -> None:
    chosen = method(name, 32)
    PlanFile.of(chosen, 32, "llava").write(tmp_path / "plan.json")
    told = said_of(chosen)
    if isinstance(chosen, VisiPruner):
        told = {"shallow_layers": 6}
    options = [word for field, value in told.items() for word in (flag(field), written(value))]
    found = as_json("--method", name)
    assert found == as_json("--method", name, *options) == as_json("--method", chosen.spec)
    assert found == as_json("--method", str(tmp_path / "plan.json"))
    wanted = vars(Profile()) if isinstance(chosen, VisiPruner) else said_of(chosen)
    assert found["options"] == json.loads(json.dumps(wanted))


def defaults_of(name: str) -> dict[str, Any]:
    options: dict[str, Any] = as_json("--method", name)["options"]
    return options


@pytest.mark.parametrize("layers", quick_or_slow([3, 6, 8, 22, 28, 40], [3, 28]))
@pytest.mark.parametrize("method", [*COUNTED, "none"])
def test_the_defaults_fit_any_depth(method: str, layers: int, tmp_path: Path) -> None:
    if (method, layers) == ("sparsevlm", 3):
        pytest.skip("it makes three cuts")
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model_type": "qwen2", "num_hidden_layers": layers}))
    counts = as_json("--model", str(tmp_path), "--image-tokens", "100", "--method", method)["image_tokens"]
    assert len(counts) == layers
    assert counts[0] <= 100
    assert method == "none" or counts[-1] < 100


def test_the_embedded_model() -> None:
    content = as_json("--model", "embedded")
    assert (content["model"], content["image_tokens"]) == ("embedded", [144] * 2 + [72] * 6 + [18] * 4)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--method flashv", "unknown method 'flashv': choose one of himap, fastv, vtw"),
        ("--method fastv --k1 2", "--k1 is not an option of method fastv, whose options are: --k, --r"),
        ("--method vtw --r 0.5", "--r is not an option of method vtw, whose options are: --k"),
        ("--k 2", "--k is not an option of method himap, whose options are: --k1, --r1, --k2, --r2, --deep-criterion"),
        ("--method none --kept 2", "--kept is not an option of method none, whose options are: none"),
        ("--convention macs", "unknown convention 'macs': choose one of paper, gated, flops"),
        ("--logits some", "unknown logits 'some': choose one of last, all"),
        ("--r1 1", "r1 is the fraction of image tokens dropped: 0 <= r1 < 1, not 1.0"),
        ("--r1 nan", "'--r1': r1 must be a finite number, not 'nan'"),
        ("--method fastv --r -0.1", "r is the fraction of image tokens dropped: 0 <= r < 1, not -0.1"),
        ("--k1 8", "k1 must be smaller than k2, not k1=8 and k2=8"),
        ("--k1 0", "k1 must be a whole number of layers, at least 1, not 0"),
        ("--k2 32", "the cut before layer 32 is beyond the model's 32 decoder layers: use a k between 1 and 31"),
        ("--image-tokens -1", "'--image-tokens': it must be a whole number from 0 to 10000000, not '-1'"),
        ("--text-tokens -1", "'--text-tokens': it must be a whole number from 0 to 10000000, not '-1'"),
        ("--instruction-tokens 61", "instruction_tokens must be at least 0 and at most 60, not 61"),
        ("--dtype-bytes 0", "'--dtype-bytes': it must be a whole number from 1 to 16, not '0'"),
        ("--method visipruner --exit-layer 15", "exit_layer must be at least fire_layer + 2, not 15 after 14"),
        ("--method visipruner --kept 0", "'--kept': it must be a whole number from 1 to 10000000, not '0'"),
        ("--method visipruner --exit-layer 32", "exit_layer 32 is beyond the model's 32 decoder layers: give"),
        (
            "--method fastv --k 1 --r 0.5 --kept 3",
            "--kept is not an option of method fastv, whose options are: --k",
        ),
        ("--method visipruner --exit-patience 3", "whose options are: --shallow-layers, --fire-layer, --kept"),
        (
            "--method visipruner:phases=middle",
            "is known without a prompt for its default phases",
        ),
        ("--method fastv:k=3 --k 2", "k of fastv is given twice: leave one out"),
        ("--table fastv", "unknown table 'fastv': choose one of himap"),
        ("--table himap --k1 3 --model llava-1.5-13b", "--table has the paper's own settings: leave out --k1, --model"),
        ("--model llava-1.5-70b", "no such model: 'llava-1.5-70b' is not a preset (llava-1b, llava-1.5-7b"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(refused: Callable[..., str], line: str, message: str) -> None:
    error = refused(*line.split())
    assert error.startswith("visionflow: ")
    assert message in error
    assert error.count("\n") == 1


def test_a_config_without_image_tokens(refused: Callable[..., str], tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model_type": "llama"}))
    error = refused("--model", str(config))
    assert "depend on the picture: say how many with --image-tokens" in error


@pytest.mark.parametrize("line", ["--k1 two", "--no-such-option", "surplus"])
def test_what_typer_refuses_is_one_line_and_exit_code_2(refused: Callable[..., str], line: str) -> None:
    error = refused(*line.split())
    assert error.startswith("visionflow: ")
    assert error.endswith("see visionflow flops --help\n")
    assert error.count("\n") == 1


def installed() -> str:
    command = shutil.which("visionflow", path=str(Path(sys.executable).parent))
    assert command is not None
    return command


def test_the_installed_command() -> None:
    good = subprocess.run([installed(), "flops", "--json"], capture_output=True, text=True, check=True)
    assert json.loads(good.stdout)["pruned_tflops"] == pytest.approx(0.735, abs=5e-4)
    assert good.stderr == ""


@pytest.mark.slow
def test_the_installed_command_refuses_in_one_line() -> None:
    bad = subprocess.run([installed(), "flops", "--method", "flashv"], capture_output=True, text=True, check=False)
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr.startswith("visionflow: Invalid value for '--method': unknown method 'flashv'")
    assert bad.stderr.count("\n") == 1
