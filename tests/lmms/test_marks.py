"""Scores and intervals from logs: against the definitions, by hand."""

from typing import Any

import numpy as np
import pytest

from visionflow.errors import VisionFlowError
from visionflow.evaluation.intervals import bootstrap_difference, wilson
from visionflow.lmms import marks
from visionflow.lmms.marks import Marks, difference, estimate, percent, proportion, summed


def log(*values: float) -> list[dict[str, Any]]:
    return [{"doc_id": number, "exact_match": value} for number, value in enumerate(values)]


def test_a_share_has_wilsons_interval() -> None:
    found = estimate(marks.exact_match(log(1, 0, 1, 1)), percent)
    share = wilson(3, 4)
    assert share is not None
    assert found.value == 75
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((100 * share.low, 100 * share.high))
    sure = estimate(marks.exact_match(log(1, 1, 1)), percent).interval
    assert sure is not None
    assert sure.low < 50  # three right answers prove little


def test_a_change_is_paired_by_question_not_by_place() -> None:
    ours, theirs = marks.exact_match(log(1, 0, 1, 1)), marks.exact_match(log(0, 0, 1, 1)[::-1])
    found = difference(ours, theirs, percent)
    paired = bootstrap_difference([1, 0, 1, 1], [0, 0, 1, 1])
    assert found.value == 25
    assert paired is not None
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((100 * paired.low, 100 * paired.high))
    with pytest.raises(VisionFlowError, match="different questions"):
        difference(ours, marks.exact_match(log(1, 0)), percent)


def mme(category: str, picture: int, score: float, doc_id: int) -> dict[str, Any]:
    mark = {"category": category, "question_id": f"{category}/{picture}", "score": score}
    return {"doc_id": doc_id, "mme_perception_score": mark}


def test_mme_adds_both_right_and_sums_categories() -> None:
    samples = [mme("count", 0, 1, 0), mme("count", 0, 1, 1), mme("count", 1, 1, 2), mme("count", 1, 0, 3)]
    samples += [mme("color", 0, 0, 4), mme("color", 0, 1, 5), {"doc_id": 6, "mme_cognition_score": {}}]
    found = marks.mme_perception(samples)
    assert found.values.tolist() == [[200, 50, 50]]
    whole = estimate(found, summed)
    assert whole.value == (200 + 50) / 2 + 50
    assert whole.interval is not None
    assert (whole.interval.low, whole.interval.high) == (100, 250)  # color has one picture, count any two of 200 and 50


def test_mmstar_weighs_abilities_alike() -> None:
    graded = [("math", 1), ("math", 0), ("math", 0), ("recognition", 1)]
    samples = [
        {"doc_id": number, "average": {"l2_category": ability, "score": score}}
        for number, (ability, score) in enumerate(graded)
    ]
    assert estimate(marks.mmstar(samples), percent).value == pytest.approx(100 * (1 / 3 + 1) / 2)


def test_llava_bench_is_a_proportion() -> None:
    samples = [
        {"doc_id": number, "gpt_eval_llava_all": {"scores": scores}} for number, scores in enumerate(([8, 4], [6, 6]))
    ]
    assert estimate(marks.llava_bench(samples), proportion).value == pytest.approx(100 * 10 / 14)
    samples[0]["gpt_eval_llava_all"] = {"scores": [-1, -1]}
    with pytest.raises(VisionFlowError, match="did not mark 1 of 2 answers"):
        marks.llava_bench(samples)


def test_a_judge_that_was_silent_is_no_zero() -> None:
    samples = [{"doc_id": 0, "gpt_eval_score": {"score": 0.0, "eval_model": ""}}]
    with pytest.raises(VisionFlowError, match="did not mark 1 of 1 answers"):
        marks.mm_vet(samples)


def captioned(*said: str) -> list[dict[str, Any]]:
    references = [["a red circle on white", "a red circle"], ["two blue squares here", "two blue squares"]]
    return [
        {"doc_id": number, "CIDEr": {"pred": text, "answer": references[number % 2]}}
        for number, text in enumerate(said)
    ]


def test_captions_with_and_without_java(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = captioned("a red circle", "two blue squares", "A red circle on white.", "nothing")
    scores = []
    for java in {False, marks.has_java()}:
        monkeypatch.setattr(marks, "has_java", lambda java=java: java)
        scores.append(marks.captions(samples).values[0])
    for found in scores:
        assert found[3] == 0
        assert (found[:3] > 1).all()
    assert np.allclose(scores[0], scores[-1])  # in sentences as plain as these the tokenisers agree
    with pytest.raises(VisionFlowError, match="raise --limit to 2"):
        marks.captions(samples[:1])


def test_one_question_has_no_interval_of_the_bootstrap() -> None:
    assert estimate(Marks(["0"], [""], np.array([[50.0]])), percent).interval is None
