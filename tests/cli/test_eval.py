"""`visionflow eval`, as a user types it, on a tiny LLaVA with random weights."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import Run
from tests.parquet import edited
from visionflow.evaluation import runner
from visionflow.evaluation.rows import sweep_rows, table_rows
from visionflow.scenes.export import export, rows_of

QUICK = ("--limit", 6, "--tasks", "choice,open", "--methods", "oracle,vtw", "--batch", 2)


@pytest.fixture
def evaluate(checkpoint: Path, visionflow: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(runner, "LONGEST", dict.fromkeys(runner.LONGEST, 4))  # random weights never end a sentence
    return partial(visionflow, "eval", "--model", checkpoint)


def test_json_is_one_object_and_all_there_is(evaluate: Run, checkpoint: Path) -> None:
    code, out, err = evaluate(*QUICK, "--json")
    told = json.loads(out)
    assert (code, err) == (0, "")
    assert (told["suite"], told["model"], told["limit"], told["filter"]) == ("scenes", str(checkpoint), 6, False)
    assert told["rows"] == {"dense": "no pruning", "oracle": "Oracle(k=1)", "vtw": "VTW(k=3)"}
    assert {task: table["questions"] for task, table in told["tables"].items()} == {"choice": 3, "open": 3}
    row = told["tables"]["open"]["rows"]["vtw"]
    assert (row["image_tokens_at_end"], row["image_tokens_on_average"]) == (0, 12.5)
    assert row["flops_ratio"] < 1


def test_tables_for_people(evaluate: Run) -> None:
    code, out, err = evaluate(*QUICK)
    assert (code, err) == (0, "")
    for text in ("choice: 3 questions", "open: 3 questions", "oracle", "VTW(k=3)", "accuracy", "McNemar"):
        assert text in out


def test_a_stopped_run_says_how_to_go_on_and_ends_the_same(
    evaluate: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = evaluate(*QUICK, "--json")
    run_batch, batches = runner.run_batch, []

    def stopped(*args: Any) -> Any:
        if batches:
            raise KeyboardInterrupt
        batches.append(args)
        return run_batch(*args)

    with monkeypatch.context() as patch:
        patch.setattr(runner, "run_batch", stopped)
        code, out, err = evaluate(*QUICK, "--json", "--out", tmp_path / "run")
    assert (code, out) == (130, "")
    assert err == (f"visionflow: stopped after 2 of 6 questions; the same command goes on from {tmp_path / 'run'}\n")
    assert evaluate(*QUICK, "--json", "--out", tmp_path / "run") == whole
    lines = (tmp_path / "run" / "records.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [
        f"{task}-{n}" for task in ("choice", "open") for n in range(3)
    ]

    monkeypatch.setattr(runner, "run_batch", stopped)  # nothing is run again, or this would stop
    assert evaluate(*QUICK, "--json", "--out", tmp_path / "run") == whole


def test_the_fair_table(evaluate: Run) -> None:
    options = ("--limit", 4, "--tasks", "open", "--budget", 0.6, "--methods", "fastv,text-rows")
    code, out, err = evaluate(*options, "--json")
    told = json.loads(out)
    assert (code, err) == (0, "")
    rows = told["tables"]["open"]["rows"]
    equal = ("random", "grid", "unlike-mean", "fastv", "text-rows", "oracle-margin")
    assert list(rows) == ["dense", *equal, "no-image"]
    assert all(0.5 < rows[name]["flops_ratio"] <= 0.61 for name in equal)
    assert "of any size" in told["missing"]["resize"]
    pairs = told["tables"]["open"]["pairs"]
    assert {pair["against"] for pair in pairs} == {"dense", "random"}
    assert len(pairs) == 7 + 6
    code, out, err = evaluate(*options, "--against", "fastv")
    assert (code, err) == (0, "")
    assert "accuracy %, each row against others, corrected for 7 pairs" in out
    assert "Not in the table" in out
    assert evaluate(*options, "--against", "oracle")[0] == 2
    assert evaluate("--budget", 0.5, "--sweep")[0] == 2
    assert "give one, or leave it out" in evaluate("--cost", "paper")[2]


def test_the_sweep_is_drawn(evaluate: Run, tmp_path: Path) -> None:
    options = ("--limit", 2, "--tasks", "open", "--sweep", "--methods", "vtw,fastv", "--out", tmp_path)
    code, out, err = evaluate(*options, "--json")
    assert (code, err) == (0, "")
    assert set(json.loads(out)["curve"]["open"]["accuracy"]) == {"vtw", "fastv"}
    assert (tmp_path / "curve.png").stat().st_size > 10_000
    assert evaluate(*options)[1].endswith(f"the curve in {tmp_path / 'curve.png'}\n")
    assert evaluate(*options[:-2])[1].endswith("The curve was not drawn: give it a folder with --out\n")


def test_the_filter_adds_the_row_it_needs(evaluate: Run) -> None:
    told = json.loads(evaluate(*QUICK, "--filter", "--json")[1])
    assert told["filter"] is True
    assert list(told["rows"]) == ["dense", "oracle", "vtw", "no-image"]
    assert all(table["questions"] + table["filtered"] == 3 for table in told["tables"].values())


def test_the_help_names_every_row(evaluate: Run) -> None:
    said = "".join(evaluate("--help")[1].split())  # lines break at hyphens, too
    names = {row.name for row in table_rows(8)} | {row.series for row in sweep_rows(8)}
    assert [name for name in names if name not in said] == []


def test_without_the_picture(evaluate: Run) -> None:
    told = json.loads(evaluate(*QUICK, "--sight", "none", "--json")[1])
    assert told["rows"]["dense"] == "no pruning, without the picture"
    assert told["tables"]["open"]["rows"]["dense"]["image_tokens_at_end"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--suite", "pope"), "unknown suite 'pope': choose one of scenes"),
        (("--tasks", "choice,count"), "unknown task 'count': choose one of choice, science, existence, caption, open"),
        (("--methods", "hymap"), "there is no row 'hymap': choose of dense, oracle, random-end"),
        (("--sight", "blurred"), "unknown sight 'blurred': choose one of picture, grey, none"),
        (("--limit", 0), "--limit"),
        (("--batch", 0), "--batch"),
        (("--suite", "gone.parquet"), "no such file: gone.parquet"),
        (("--paper", "--suite", "own.parquet"), "--paper compares with the generated world: leave out --suite"),
        (("--paper", "--sweep"), "leave out --tasks, --methods, --sweep, --phases, --budget and --json"),
        (("--paper", "--limit", 4), "and there is none of open: raise --limit to 5 or more"),
        (("--threads", 0), "'--threads': it must be a whole number from 1 to 1024, not '0'"),
        (("--device", "abacus"), "unknown device 'abacus'"),
        (("--model", "nowhere"), "nowhere"),
    ],
)
def test_bad_input_is_one_sentence(evaluate: Run, options: tuple[object, ...], message: str) -> None:
    code, out, err = evaluate(*options)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_the_records_of_another_run_are_left_alone(evaluate: Run, tmp_path: Path) -> None:
    assert evaluate(*QUICK, "--out", tmp_path / "run")[0] == 0
    before = (tmp_path / "run" / "records.jsonl").read_bytes()
    for options, message in (
        (("--limit", 8), "whose limit is 6, not 8"),
        (("--methods", "vtw"), "whose row oracle is Oracle(k=1), not absent"),
        (("--seed", 3), "whose seed is 0, not 3"),
        (("--dtype", "bfloat16"), "whose dtype is float32, not bfloat16"),
    ):
        code, out, err = evaluate(*QUICK, *options, "--out", tmp_path / "run")
        assert (code, out) == (2, "")
        assert message in err
    assert (tmp_path / "run" / "records.jsonl").read_bytes() == before
    (tmp_path / "file").write_text("mine")
    code, _, err = evaluate(*QUICK, "--out", tmp_path / "file")
    assert (code, (tmp_path / "file").read_text()) == (2, "mine")
    assert "choose another --out" in err


@pytest.mark.slow
def test_the_papers_tables_as_markdown(evaluate: Run, checkpoint: Path) -> None:
    code, out, _ = evaluate("--limit", 5, "--paper")
    assert code == 0
    assert out.count("**Table") == 4
    assert out.count(f"| {checkpoint} |") == 12


def records_in(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "records.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "id"} for line in lines]


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    pytest.importorskip("datasets")
    path = tmp_path / "exported.parquet"
    export((row for task in ("choice", "open") for row in rows_of(task, "test", 3)), path)
    return path


def test_an_exported_file_is_the_suite_it_was_made_of(evaluate: Run, exported: Path, tmp_path: Path) -> None:
    assert evaluate(*QUICK, "--out", tmp_path / "named")[0] == 0
    told = json.loads(evaluate(*QUICK, "--suite", exported, "--limit", 50, "--json", "--out", tmp_path / "read")[1])
    assert records_in(tmp_path / "read") == records_in(tmp_path / "named")
    assert (told["limit"], told["tasks"]) == (6, ["choice", "open"])

    moved = exported.rename(tmp_path / "moved.parquet")  # the same questions
    assert evaluate(*QUICK, "--suite", moved, "--out", tmp_path / "read")[0] == 0
    edited(moved, tmp_path, kind=["count"] * 6)
    code, _, err = evaluate(*QUICK, "--suite", moved, "--out", tmp_path / "read")
    assert (code, err.count("\n")) == (2, 1)
    assert f"whose suite is {told['suite']}, not parquet:" in err


def test_an_image_that_cannot_be_decoded_loses_nothing(evaluate: Run, exported: Path, tmp_path: Path) -> None:
    images = [row["image"] for task in ("choice", "open") for row in rows_of(task, "test", 3)]
    edited(exported, tmp_path, image=[*images[:4], {"bytes": b"no picture", "path": None}, images[5]])
    code, out, err = evaluate(*QUICK, "--suite", exported, "--out", tmp_path / "run")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "the image of question 'open-test-1' of" in err
    assert len(records_in(tmp_path / "run")) == 3


def test_a_file_cut_off_in_the_middle(evaluate: Run, exported: Path, tmp_path: Path) -> None:
    exported.write_bytes(exported.read_bytes()[: exported.stat().st_size // 2])
    code, out, err = evaluate(*QUICK, "--suite", exported, "--out", tmp_path / "run")
    assert (code, out, (tmp_path / "run").exists()) == (2, "", False)
    assert err == f"visionflow: {exported} is no parquet file, cut off or damaged: write or download it again\n"


def test_a_file_that_does_not_say_what_is_relevant(evaluate: Run, exported: Path, tmp_path: Path) -> None:
    edited(exported, tmp_path, relevant=[[0], *[None] * 5])
    code, _, err = evaluate(*QUICK, "--suite", exported)
    assert (code, err.count("\n")) == (2, 1)
    assert "leave the row oracle out with --methods" in err
    assert evaluate("--suite", exported, "--methods", "vtw")[0] == 0
