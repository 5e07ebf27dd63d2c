"""The HiMAP paper's tables: its own figures untouched, ours in the right column, and certain where they are."""

import pytest

from visionflow.errors import VisionFlowError
from visionflow.evaluation.records import Record
from visionflow.evaluation.summary import summarise
from visionflow.papers import HIMAP_TABLES
from visionflow.report.paper_tables import METHODS, TASKS, paper_tables

FORMS = {"choice": "letter", "science": "letter", "existence": "yes_no", "caption": "caption", "open": "words"}
GOLD = {"letter": ["A"], "yes_no": ["yes"], "words": ["red"], "caption": ["a red star", "one red star"]}


def records(task: str, questions: int, wrong: dict[str, int]) -> list[Record]:
    """So many questions, of which each row gets the first few wrong."""
    gold = GOLD[FORMS[task]]
    made = []
    for number in range(questions):
        rows = {}
        for name in METHODS:
            right = number >= wrong.get(name, 0)
            spent = {"image_tokens": [4, 2], "kept": [[0, 1]], "paper": 6e6, "flops": 9e6}
            rows[name] = {"answer": gold[0] if right else "a blue circle", "right": right} | spent
        facts = {"id": f"{task}-{number}", "task": task, "kind": "random", "form": FORMS[task], "question": "?"}
        made.append(facts | {"gold": gold, "objects": ["red star"], "relevant": None, "rows": rows})
    return made


def everything(**wrong: int) -> list[Record]:
    return [record for task in FORMS for record in records(task, 40, wrong)]


def cells(markdown: str, start: str) -> list[str]:
    line = next(line for line in markdown.splitlines() if line.startswith(start))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_papers_figures_stand_as_printed() -> None:
    made = paper_tables(summarise(everything()))
    assert cells(made, "| LLaVA-v1.5-7B | HiMAP") == ["LLaVA-v1.5-7B", "HiMAP", "0.73", "24%", "68.3", "77.2", "86.2"]
    assert cells(made, "| LLaVA-v1.5-13B | FastV | 3.06")[2:] == ["3.06", "53%", "82.9", "53.8", "71.7", "35.5"]
    for table, tasks in zip(HIMAP_TABLES, TASKS, strict=True):
        assert {len(line.scores) for line in table.lines} == {len(table.columns)} == {len(tasks)}


def test_ours_stand_in_their_columns_and_a_certain_loss_is_marked() -> None:
    made = paper_tables(summarise(everything(fastv=1, **{"himap-paid": 20})))
    assert cells(made, "| Model | Method | MFLOPs")[4:] == [
        "science (accuracy, 40)",
        "choice (accuracy, 40)",
        "existence (accuracy, 40)",
    ]
    assert cells(made, "| embedded | Baseline") == ["embedded", "Baseline", "6", "100%", "100.0", "100.0", "100.0"]
    assert cells(made, "| embedded | FastV")[4:] == ["97.5", "97.5", "97.5"]
    assert cells(made, "| embedded | HiMAP (eq. 9 as printed)")[4:] == ["50.0\\*", "50.0\\*", "50.0\\*"]


def test_captions_stand_by_what_they_name_too() -> None:
    made = paper_tables(summarise(everything(fastv=10)))
    assert cells(made, "| Model | Method | MFLOPs | Ratio | caption")[4:] == [
        "caption (CIDEr, 40)",
        "caption (exact, 40)",
        "caption (F1, 40)",
        "open (accuracy, 40)",
    ]
    fastv = next(line for line in made.split("**Table 2 on")[1].splitlines() if line.startswith("| embedded | FastV"))
    assert [cell.strip() for cell in fastv.strip("|").split("|")][5:] == ["75.0\\*", "75.0\\*", "75.0\\*"]


def test_a_cost_that_is_not_modelled_is_no_number() -> None:
    made = everything()
    for record in made:
        record["rows"] = {name: row | {"paper": None, "flops": None} for name, row in record["rows"].items()}
    assert cells(paper_tables(summarise(made)), "| embedded | FastV")[2:4] == ["not modelled", "-"]


def test_the_models_name_stands_in_front() -> None:
    assert cells(paper_tables(summarise(everything()), "owner/name"), "| owner/name | oracle")[1] == "oracle"


def test_what_is_missing_is_named() -> None:
    made = everything()
    with pytest.raises(VisionFlowError, match="there is none of caption: raise --limit to 5 or more"):
        paper_tables(summarise([record for record in made if record["task"] != "caption"]))
    with pytest.raises(VisionFlowError, match="need the rows dense, fastv"):
        paper_tables(summarise([each | {"rows": {"dense": each["rows"]["dense"]}} for each in made]))
    blind = {"no-image": made[0]["rows"]["dense"]}
    with pytest.raises(VisionFlowError, match="the filter left no question of choice"):
        paper_tables(summarise([each | {"rows": each["rows"] | blind} for each in made], filtered=True))
