"""From lmms-eval's log of a task to a figure: what each question got, the score of all, and how sure it is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from shutil import which
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visionflow.bootstrap import bounds, resampled_means
from visionflow.errors import VisionFlowError
from visionflow.evaluation.captions import cider
from visionflow.evaluation.intervals import Interval, wilson

Sample = Mapping[str, Any]
"""One line of lmms-eval's log."""


@dataclass(frozen=True)
class Marks:
    """What the questions of one task got in one run.

    Attributes:
        keys: which question each is, to pair runs by; of MME and MMBench, which count some together, which group.
        strata: the part of the score that each counts for; all the same where there are no parts.
        values: float64 ``[series, questions]``; one series, or two that are set in proportion.
    """

    keys: list[str]
    strata: list[str]
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; None where one question alone would be drawn."""

    value: float
    interval: Interval | None


Total = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From the means of each stratum and series, ``[strata, series, ...]``, to the score, ``[...]``."""


def percent(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """100 times the mean over strata."""
    return np.asarray(100 * means[:, 0].mean(axis=0))


def summed(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum over strata."""
    return np.asarray(means[:, 0].sum(axis=0))


def proportion(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """The second series in per cent of the first."""
    return np.asarray(100 * means[0, 1] / means[0, 0])


def estimate(marks: Marks, total: Total, seed: int = 0) -> Estimate:
    """The score, with Wilson's interval if it is a share, else the percentile bootstrap's: questions are drawn anew
    within each stratum."""
    value = float(total(_means(marks)))
    if total is percent and len(set(marks.strata)) == 1 and set(marks.values[0]) <= {0.0, 1.0}:
        share = wilson(int(marks.values[0].sum()), len(marks.keys))
        return Estimate(value, share and Interval(100 * share.low, 100 * share.high))
    return Estimate(value, _interval(total(_resampled(marks, seed)), marks))


def difference(ours: Marks, theirs: Marks, total: Total, seed: int = 0) -> Estimate:
    """The score of `ours` minus that of `theirs`, over the same questions drawn.

    Raises:
        VisionFlowError: they are not about the same questions.
    """
    order = {key: place for place, key in enumerate(theirs.keys)}
    if order.keys() != set(ours.keys):
        raise VisionFlowError("two runs answered different questions: run both again with the same --limit")
    paired = theirs.values[:, [order[key] for key in ours.keys]]
    both = Marks(ours.keys, ours.strata, np.concatenate([ours.values, paired]))
    series = len(ours.values)

    def gap(means: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(total(means[:, :series]) - total(means[:, series:]))

    return Estimate(float(gap(_means(both))), _interval(gap(_resampled(both, seed)), both))


def _parts(marks: Marks) -> list[NDArray[np.float64]]:
    strata = np.array(marks.strata)
    return [marks.values[:, strata == name] for name in dict.fromkeys(marks.strata)]


def _means(marks: Marks) -> NDArray[np.float64]:
    return np.stack([part.mean(axis=1) for part in _parts(marks)])


def _resampled(marks: Marks, seed: int) -> NDArray[np.float64]:
    return np.stack([resampled_means(part, seed + number) for number, part in enumerate(_parts(marks))])


def _interval(scores: NDArray[np.float64], marks: Marks) -> Interval | None:
    return Interval(*bounds(scores)) if len(marks.keys) > 1 else None


def exact_match(samples: Sequence[Sample]) -> Marks:
    """Tasks that give each answer a number under ``exact_match``."""
    return _simple(samples, [sample["exact_match"] for sample in samples])


def pope(samples: Sequence[Sample]) -> Marks:
    """Right or wrong, as lmms-eval marks POPE: nothing but yes or no counts as an answer."""
    return _simple(samples, [sample["pope_accuracy"]["score"] for sample in samples])


def captions(samples: Sequence[Sample]) -> Marks:
    """CIDEr of each caption, from 0 to 10; see `tokeniser`.

    Raises:
        VisionFlowError: there is one caption alone.
    """
    said = [sample["CIDEr"]["pred"] for sample in samples]
    references = [sample["CIDEr"]["answer"] for sample in samples]
    scores = _penn_cider(said, references) if has_java() else cider(said, references)
    if scores is None:
        raise VisionFlowError("CIDEr is undefined for one picture alone: raise --limit to 2 or more")
    return _simple(samples, scores)


def has_java() -> bool:
    """Whether captions can be cut by the Penn Treebank tokeniser, as those of published CIDEr scores are."""
    return which("java") is not None


def mm_vet(samples: Sequence[Sample]) -> Marks:
    """The judge's marks, from 0 to 1.

    Raises:
        VisionFlowError: the judge did not answer; lmms-eval marks that with 0.
    """
    _check_judged(samples)
    return _simple(samples, [sample["gpt_eval_score"]["score"] for sample in samples])


def unmarked(samples: Sequence[Sample]) -> int:
    """Answers that a judge was to mark and did not."""
    silent = [sample.get("gpt_eval_score", {}).get("eval_model") == "" for sample in samples]
    refused = [min(sample.get("gpt_eval_llava_all", {"scores": [0]})["scores"]) < 0 for sample in samples]
    return sum(map(int, silent + refused))


def llava_bench(samples: Sequence[Sample]) -> Marks:
    """The judge's marks of the reference answer and of ours.

    Raises:
        VisionFlowError: the judge did not answer; lmms-eval marks that with -1.
    """
    _check_judged(samples)
    pairs = [sample["gpt_eval_llava_all"]["scores"] for sample in samples]
    return Marks(_keys(samples), [""] * len(samples), np.array(pairs, dtype=np.float64).T)


def mme_perception(samples: Sequence[Sample]) -> Marks:
    """Of each picture the share of right answers and whether both are, in per cent, added; a stratum per category."""
    pictures: dict[tuple[str, str], list[float]] = {}
    for sample in samples:
        if "mme_perception_score" in sample:
            mark = sample["mme_perception_score"]
            pictures.setdefault((mark["category"], str(mark["question_id"])), []).append(mark["score"])
    scores = [100 * float(np.mean(both)) + 100 * (sum(both) == 2) for both in pictures.values()]
    return Marks([picture for _, picture in pictures], [category for category, _ in pictures], np.array([scores]))


def mmstar(samples: Sequence[Sample]) -> Marks:
    """Right or wrong; a stratum per ability."""
    marks = [sample["average"] for sample in samples]
    return Marks(
        _keys(samples), [mark["l2_category"] for mark in marks], np.array([[float(mark["score"]) for mark in marks]])
    )


def mmbench(samples: Sequence[Sample]) -> Marks:
    """Of each question, whether it is right in all the turns of its options: lmms-eval's own marking, no judge."""
    import pandas as pd
    from lmms_eval.tasks.mmbench.mmbench_evals import MMBench_Evaluator

    turns = pd.DataFrame([sample["gpt_eval_score"] for sample in samples])
    gold = dict(zip(turns["index"], turns["answer"], strict=True))
    marker = MMBench_Evaluator()
    questions = [index for index in turns["index"] if index < 1_000_000]
    hits = [
        float(marker.eval_sub_data(turns[turns["index"] % 1_000_000 == index], gold, static_only=True))
        for index in questions
    ]
    return Marks([str(index) for index in questions], [""] * len(questions), np.array([hits]))


def _penn_cider(said: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64] | None:
    """CIDEr as the harness computes it."""
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    if len(said) < 2:
        return None
    cut = PTBTokenizer().tokenize
    gold = cut({number: [{"caption": text} for text in texts] for number, texts in enumerate(references)})
    ours = cut({number: [{"caption": text}] for number, text in enumerate(said)})
    return np.asarray(Cider().compute_score(gold, ours)[1], dtype=np.float64)


def _simple(samples: Sequence[Sample], values: Sequence[float] | NDArray[np.float64]) -> Marks:
    return Marks(_keys(samples), [""] * len(samples), np.asarray([values], dtype=np.float64))


def _keys(samples: Sequence[Sample]) -> list[str]:
    return [str(sample["doc_id"]) for sample in samples]


def _check_judged(samples: Sequence[Sample]) -> None:
    if failed := unmarked(samples):
        raise VisionFlowError(
            f"the judge did not mark {failed} of {len(samples)} answers: check its key and quota, and run again"
        )
