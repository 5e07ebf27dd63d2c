"""The plug-in and the tasks through lmms-eval's real command line."""

import json
import sys
from typing import Any

import numpy as np
import pytest

from tests.lmms.conftest import QUESTIONS, TASKS, Bench, Ended
from visionflow.lmms import marks
from visionflow.lmms.harness import Cell
from visionflow.lmms.marks import estimate
from visionflow.lmms.tables import PAPER_TABLES
from visionflow.scenes.export import rows_of

HIMAP = "pretrained=embedded,method=himap,k1=2,r1=0.5,k2=4,r2=0.75"
FEW = ("pope_himap", "aokvqa_himap", "nocaps_val_cider", "gqa")
TIMES = ("seconds_to_first_token", "tokens_per_second")


@pytest.fixture(scope="module")
def all_tasks(bench: Bench, judge: dict[str, str]) -> Ended:
    """HiMAP on every task that is answered in text, four questions at a time."""
    tasks = [task for task in TASKS if task != "seedbench_ppl"]
    return bench.run(*tasks, name="all", arguments=HIMAP, options="--batch_size 4", **judge)


def answers(ended: Ended, task: str) -> list[tuple[Any, ...]]:
    """Of each question its answer and its facts but the times."""
    return [
        (sample["doc_id"], sample["filtered_resps"], without_times(sample["token_counts"][0]))
        for sample in ended.cell(task).samples
    ]


def without_times(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name not in TIMES}


def test_every_task_is_answered_and_scored(all_tasks: Ended) -> None:
    assert all_tasks.code == 0
    for task in TASKS:
        if task != "seedbench_ppl":
            cell = all_tasks.cell(task)
            assert [sample["doc_id"] for sample in cell.samples] == list(range(QUESTIONS))


def test_the_log_says_what_was_kept_what_it_cost_and_how_long_it_took(all_tasks: Ended) -> None:
    facts = all_tasks.cell("pope_himap").samples[0]["token_counts"][0]
    assert facts["image_tokens"] == [144, 144, 72, 72, 18, 18, 18, 18]
    assert len(facts["kept"]) == 18
    assert set(facts["kept"]) < set(range(144))
    assert facts["paper"][1] > facts["paper"][0] > 0
    assert facts["flops"][1] > facts["flops"][0] > facts["gated"][0]
    assert facts["seconds_to_first_token"] > 0
    assert facts["output_tokens"] >= 1


def prompt(ended: Ended, task: str) -> str:
    return str(ended.cell(task).samples[0]["input"])


def test_both_prompts(all_tasks: Ended) -> None:
    """lmms-eval's own, and those of the HiMAP paper's appendix E, of the same question."""
    assert prompt(all_tasks, "pope") == (
        "Is there a blue circle in the image?\nAnswer the question using a single word or phrase."
    )
    assert prompt(all_tasks, "pope_himap") == (
        "question: Is there a blue circle in the image? Please just answer yes or no."
    )
    science = prompt(all_tasks, "scienceqa_img")
    assert science.startswith("Context: Look at the shapes.\n")
    assert science.endswith("\nAnswer with the option's letter from the given choices directly.")
    science = prompt(all_tasks, "scienceqa_img_himap")
    assert "Look at the shapes" not in science
    assert " Options: A. " in science
    assert science.endswith(". Answer with the option's letter from the given choices directly.")
    choice = prompt(all_tasks, "aokvqa_himap")
    assert choice.startswith("Analyse the image and choose the best answer for the following question: ")
    assert choice.endswith(". Output the letter of the correct answer.")
    assert "\nA. " in prompt(all_tasks, "aokvqa")
    assert prompt(all_tasks, "nocaps_val_cider") == "Provide a one-sentence caption for the provided image."
    assert "think step by step" in prompt(all_tasks, "mmvet")
    assert "think" not in prompt(all_tasks, "mmvet_question")


def harness_score(cell: Cell) -> float:
    """lmms-eval's own figure, in per cent where ours is."""
    first = {
        "pope": ("pope_accuracy", 100),
        "nocaps": ("CIDEr", 100),
        "flickr30k": ("CIDEr", 100),
        "llava": ("gpt_eval_llava_all", 1),
        "mmvet": ("gpt_eval_score", 1),
        "mmbench": ("gpt_eval_score", 1),
        "mme": ("mme_perception_score", 1),
        "mmstar": ("average", 100),
    }
    metric, scale = first.get(cell.task.split("_")[0], ("exact_match", 100))
    return float(cell.scores[f"{metric},none"]) * scale


@pytest.mark.parametrize("table", PAPER_TABLES)
def test_our_scores_are_lmms_evals(all_tasks: Ended, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "has_java", lambda: False)  # as in the runs
    scores = []
    for column in PAPER_TABLES[table].columns:
        for task in {column.task, column.asked} - {""}:
            cell = all_tasks.cell(task)
            scores.append(estimate(column.marks(cell.samples), column.total).value)
            assert scores[-1] == pytest.approx(harness_score(cell), abs=0.05), task  # LLaVA-Bench is rounded
    assert len(set(scores)) > 2  # or this would show nothing


def test_the_judges_marks(all_tasks: Ended) -> None:
    assert harness_score(all_tasks.cell("mmvet")) == 50
    assert harness_score(all_tasks.cell("llava_in_the_wild")) == 75


def test_captions_start_no_java(all_tasks: Ended, bench: Bench) -> None:
    assert all_tasks.cell("nocaps_val_cider").scores["CIDEr,none"] > 0
    assert not (bench.folder / "java-was-started").exists()


def test_one_at_a_time_is_four_at_a_time(bench: Bench, all_tasks: Ended) -> None:
    single = bench.run(*FEW, name="single", arguments=HIMAP, options="--batch_size 1")
    assert single.code == 0
    for task in FEW:
        assert answers(single, task) == answers(all_tasks, task)


def test_two_processes_are_one(bench: Bench, all_tasks: Ended) -> None:
    kept = bench.folder / "answers"
    launcher = f"{sys.executable} -m torch.distributed.run --nproc_per_node 2 --master_port 29511"
    two = bench.run(*FEW, name="two", arguments=f"{HIMAP},answers={kept}", launcher=launcher, options="--batch_size 2")
    assert two.code == 0, two.said[-3000:]
    for task in FEW:
        assert answers(two, task) == answers(all_tasks, task)
    shares = [len((kept / f"answers-{process}.jsonl").read_text().splitlines()) for process in (0, 1)]
    assert shares == [len(FEW) * QUESTIONS // 2] * 2  # the second process did its half

    # Some answers are lost; one process goes on, with answers that could not come from anywhere else.
    lines = (kept / "answers-0.jsonl").read_text().splitlines()
    marked = [json.dumps(json.loads(line) | {"answer": "kept"}) for line in lines[:-5]]
    (kept / "answers-0.jsonl").write_text("\n".join([*marked, lines[-5][:20]]))
    again = bench.run(*FEW, name="again", arguments=f"{HIMAP},answers={kept}")
    said = [sample["filtered_resps"] for task in FEW for sample in again.cell(task).samples]
    assert said.count("kept") == len(marked)
    assert [text for text in said if text != "kept"] == [
        whole
        for ours, whole in zip(said, [each[1] for task in FEW for each in answers(two, task)], strict=True)
        if ours != "kept"
    ]
    other = bench.run("pope_himap", name="other", arguments=f"pretrained=embedded,method=fastv,answers={kept}")
    assert other.code != 0
    assert "belongs to another run, whose method is HiMAP(k1=2, r1=0.5, k2=4, r2=0.75), not FastV" in other.said


def test_multiple_choice_by_likelihood(bench: Bench) -> None:
    """The simple class; the smallest loss is what lmms-eval picks."""
    ended = bench.run("seedbench_ppl", name="ppl", arguments=HIMAP, options="--force_simple")
    assert ended.code == 0, ended.said[-3000:]
    by_smallest, by_largest = 0, 0
    for sample, row in zip(ended.cell("seedbench_ppl").samples, rows_of("choice", "test", QUESTIONS), strict=True):
        losses = [float(loss) for loss, _ in sample["filtered_resps"]]
        assert len(losses) == 4
        assert all(loss > 0 for loss in losses)
        assert sample["acc"] == (row["options"][int(np.argmin(losses))] == sample["target"])
        by_smallest += sample["acc"]
        by_largest += row["options"][int(np.argmax(losses))] == sample["target"]
    assert by_smallest > by_largest


def test_a_failure_is_told_by_the_exit_code(bench: Bench) -> None:
    ended = bench.run("pope_himap", name="wrong", arguments="pretrained=embedded,method=himap,k3=2")
    assert ended.code == 1
    assert "visionflow: 'k3' is no setting of himap: choose of k1, r1, k2, r2," in ended.said


def test_a_judged_task_without_a_key_is_refused_before_anything_is_asked(bench: Bench) -> None:
    ended = bench.run("llava_in_the_wild", name="unjudged", arguments="pretrained=embedded")
    assert ended.code == 1
    assert "visionflow: llava_in_the_wild" in ended.said
    assert "set OPENAI_API_KEY" in ended.said
