"""`visionflow reproduce`, as a user types it, with lmms-eval's runs written by hand; tests/lmms has real ones."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import Run
from visionflow.lmms import harness, needs
from visionflow.lmms.harness import collect, last_words
from visionflow.lmms.tables import PAPER_TABLES

TASKS = ("scienceqa_img_himap", "aokvqa_himap", "pope_himap")
ROWS = {"dense": 144, "fastv": 72, "himap-paid": 18, "himap-received": 18}


def samples(task: str, kept: int, right: int) -> list[dict[str, Any]]:
    """Four questions, the first `right` of them answered rightly."""
    facts = {
        "image_tokens": [144, kept],
        "paper": [kept * 10**6, 144 * 10**6],
        "gated": [1, 1],
        "flops": [2 * kept * 10**6, 288 * 10**6],
        "seconds_to_first_token": 0.25,
        "tokens_per_second": None,
    }
    marks = [float(number < right) for number in range(4)]
    metric = "pope_accuracy" if task.startswith("pope") else "exact_match"
    return [
        {"doc_id": number, "token_counts": [facts], metric: {"score": mark} if metric == "pope_accuracy" else mark}
        for number, mark in enumerate(marks)
    ]


def leave_behind(folder: Path, task: str, said: list[dict[str, Any]], asked: int = 4) -> None:
    """What a run of lmms-eval writes."""
    folder.mkdir(parents=True, exist_ok=True)
    told = {"results": {task: {"exact_match,none": 0.5}}, "n-samples": {task: {"original": asked}}}
    (folder / "20261121_010203_results.json").write_text(json.dumps(told))
    lines = "".join(json.dumps(sample) + "\n" for sample in said)
    (folder / f"20261121_010203_samples_{task}.jsonl").write_text(lines)


@pytest.fixture
def reproduce(visionflow: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setattr(harness, "check_installed", lambda: None)
    monkeypatch.chdir(tmp_path)
    return partial(visionflow, "reproduce")


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """All of Table 1 for the embedded model, four questions each."""
    for place, (row, kept) in enumerate(ROWS.items()):
        for task in TASKS:
            name = f"{task}_local"
            leave_behind(tmp_path / "out" / row / "lmms-eval" / name, name, samples(task, kept, 4 - place))
    return tmp_path / "out"


def test_the_papers_table_beside_ours(reproduce: Run, finished: Path) -> None:
    code, out, err = reproduce("himap-table1", "--model", "embedded", "--limit", 4, "--out", finished, "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert (told["beside"], told["same"]) == ("LLaVA-v1.5-7B", False)
    scores = {(score["column"], score["row"]): score for score in told["scores"]}
    assert len(scores) == 12
    fastv = scores["A-OKVQA", "FastV"]
    assert (fastv["printed"], fastv["ours"]["value"], fastv["questions"]) == (77, 75, 4)
    assert fastv["difference"] == pytest.approx(-2)
    assert (fastv["printed_change"], fastv["change"]["value"]) == (pytest.approx(0.4), -25)
    assert fastv["ours"]["interval"]["low"] < 75 < fastv["ours"]["interval"]["high"]
    spent = told["spent"][1]
    assert (spent["printed_tera"], spent["papers"], spent["flops"]) == ("1.56", [72e6, 0.5], [144e6, 0.5])
    assert "k=3" in spent["note"]
    assert spent["tokens_per_second"] is None


def test_tables_for_people(reproduce: Run, finished: Path) -> None:
    code, out, err = reproduce("himap-table1", "--model", "embedded", "--limit", 4, "--out", finished)
    assert (code, err) == (0, "")
    for text in ("76.6", "1.56 T*", "54 %*", "HiMAP (as released)", "-25.0", "QwenVL-Chat-7B is left out", "250 ms"):
        assert text in out
    assert "none of the paper's models" in out


def test_a_run_that_lmms_eval_did_not_finish_fails(
    reproduce: Run, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its exit code is 0 even so."""
    gone = finished / "fastv" / "lmms-eval" / "pope_himap_local" / "20261121_010203_samples_pope_himap_local.jsonl"
    gone.write_text(gone.read_text().splitlines()[0] + "\n")  # it stopped while writing its log
    started: list[list[str]] = []

    def run(line: list[str], log: Path, environment: dict[str, str]) -> None:
        started.append(line)
        log.write_text("x\n2026 | ERROR | lmms_eval:cli:1 - Error during evaluation: the disk is full\n")

    monkeypatch.setattr("visionflow.lmms.reproduction.run", run)
    code, out, err = reproduce("himap-table1", "--model", "embedded", "--limit", 4, "--out", finished)
    assert (code, out) == (2, "")
    assert "did not finish pope_himap: Error during evaluation: the disk is full" in err
    assert len(started) == 1  # the other rows are done
    line = started[0]
    assert line[line.index("--tasks") + 1] == "pope_himap_local"
    assert "pretrained=embedded,method=fastv,k=2,r=0.5," in line[line.index("--model_args") + 1]


def test_a_judge_that_was_silent_is_asked_again(
    reproduce: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    name, started = "mmvet_question_local", []

    def run(line: list[str], log: Path, environment: dict[str, str], judge: str = "gpt") -> None:
        started.append(log.parent.name)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("done")
        marked = samples("mmvet", 18, 2)
        for sample in marked:
            sample["gpt_eval_score"] = {"score": sample["exact_match"], "eval_model": judge}
        leave_behind(log.parent / "lmms-eval", name, marked)

    command = ("himap-table2", "--model", "embedded", "--columns", "MM-Vet", "--limit", 4, "--out", tmp_path / "out")
    monkeypatch.setattr("visionflow.lmms.reproduction.run", partial(run, judge=""))
    code, out, err = reproduce(*command)
    assert (code, out) == (2, "")
    assert "the judge did not mark 4 of 4 answers" in err
    monkeypatch.setattr("visionflow.lmms.reproduction.run", run)
    code, out, _ = reproduce(*command, "--json")
    assert code == 0
    assert started == [*ROWS, *ROWS]
    assert {score["ours"]["value"] for score in json.loads(out)["scores"]} == {50}


def test_another_run_is_left_alone(reproduce: Run, finished: Path) -> None:
    options = ("--model", "embedded", "--limit", 4, "--out", finished)
    assert reproduce("himap-table1", *options)[0] == 0
    code, _, err = reproduce("himap-table1", *options, "--prompts", "harness")
    assert (code, err.count("\n")) == (2, 1)
    assert "belongs to another run, whose prompts is paper, not harness" in err


def test_the_commands(reproduce: Run, tmp_path: Path) -> None:
    code, out, err = reproduce(
        *("himap-table1", "--model", "embedded", "--limit", 2, "--dry-run", "--out", tmp_path / "dry", "--batch", 8),
        *("--launcher", "torchrun --nproc_per_node 8", "--columns", "POPE,A-OKVQA", "--dtype", "bfloat16"),
    )
    assert code == 0
    assert "Nothing has to be fetched" in err
    lines = out.splitlines()
    assert len(lines) == 4
    start = "env HF_HUB_OFFLINE=1 torchrun --nproc_per_node 8 -m lmms_eval --model visionflow --model_args pretrained="
    assert lines[0].startswith(start)
    assert "--tasks aokvqa_himap_local,pope_himap_local" in lines[0]
    assert "--batch_size 8" in lines[0]
    assert "deep_criterion=received" in lines[3]
    assert "dtype=bfloat16" in lines[3]


def test_without_a_network_it_says_what_is_needed(reproduce: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "hub_problem", lambda: "the Hub cannot be reached")
    monkeypatch.setattr(needs, "model_in_cache", lambda name: False)
    monkeypatch.setattr("visionflow.lmms.data_sets._in_cache", lambda kind, repo: False)
    code, out, err = reproduce("himap-table1")
    assert (code, out) == (2, "")
    for text in ("llava-hf/llava-1.5-7b-hf", "14.1 GB", "lmms-lab-encoder/POPE", "255 MB", "--data-dir", "HF_HOME"):
        assert text in err
    assert err.splitlines()[-1].endswith("would have to be fetched, and the Hub cannot be reached: see the list above")


def test_judged_columns_take_a_key(reproduce: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    code, _, err = reproduce("himap-table2", "--model", "embedded")
    assert (code, err.count("\n")) == (2, 1)
    assert "llava_in_the_wild, mmvet_question are judged by a language model: set OPENAI_API_KEY" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("himap-table3",),
            "unknown table 'himap-table3': choose one of himap-table1, himap-table2, visipruner-table5",
        ),
        (
            ("himap-table1", "--columns", "VQAv2"),
            "himap-table1 has no column 'VQAv2': choose of Sci-VQA, A-OKVQA, POPE",
        ),
        (("himap-table1", "--prompts", "mine"), "unknown prompts 'mine': choose one of paper, harness"),
        (("himap-table1", "--data-dir", "gone"), "there is no folder gone"),
        (("himap-table1", "--limit", 0), "--limit"),
        (("visipruner-table5", "--model", "embedded", "--limit", 3), "--limit must be even, not 3"),
        (("himap-table1", "--model", "embedded", "--limit", 2, "--out", "a,b"), "takes no value with a comma"),
    ],
)
def test_bad_input_is_one_sentence(reproduce: Run, arguments: tuple[object, ...], message: str) -> None:
    code, out, err = reproduce(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_without_lmms_eval(visionflow: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "find_spec", lambda name: None)
    code, _, err = visionflow("reproduce", "himap-table1", "--model", "embedded")
    assert code == 2
    assert "this needs lmms-eval 0.7.3: pip install 'visionflow[lmms]'" in err


def test_a_log_counts_only_when_it_is_whole(tmp_path: Path) -> None:
    assert collect(tmp_path, "pope", None) is None
    leave_behind(tmp_path, "pope", samples("pope", 1, 1), asked=4)
    assert collect(tmp_path, "pope", None) is not None
    assert collect(tmp_path, "pope", 9) is not None  # there are no more than four
    assert collect(tmp_path, "pope", 2) is None  # another limit
    (tmp_path / "20261121_010203_results.json").unlink()
    assert collect(tmp_path, "pope", None) is None


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("a\nvisionflow: k3 is not a setting\nb", "k3 is not a setting"),
        (
            "\x1b[31m2026 | ERROR    | lmms_eval.__main__:cli:1 - Tasks not found: pop\x1b[0m\nmore",
            "Tasks not found: pop",
        ),
        ("Traceback\n  line\nValueError: no such thing\n", "ValueError: no such thing"),
        ("", "it said nothing"),
    ],
)
def test_last_words(tmp_path: Path, log: str, words: str) -> None:
    (tmp_path / "log.txt").write_text(log)
    assert last_words(tmp_path / "log.txt") == words


def test_the_printed_tables_are_whole() -> None:
    for table in PAPER_TABLES.values():
        for model in ("LLaVA-v1.5-7B", "LLaVA-v1.5-13B"):
            for row in table.rows:
                assert table.paper.columns == tuple(column.title for column in table.columns)
                assert len(table.printed(model, row).scores) == len(table.columns)
