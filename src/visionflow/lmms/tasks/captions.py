"""CIDEr alone, without Java: lmms-eval's caption tasks start it seven times, for METEOR and for the tokeniser."""

from collections.abc import Mapping, Sequence
from typing import Any

from visionflow.evaluation.captions import cider

Document = Mapping[str, Any]


def nocaps(document: Document, results: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The caption of a NoCaps picture beside its references."""
    return _beside(document["image_id"], document["annotations_captions"], results)


def flickr30k(document: Document, results: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The caption of a Flickr30k picture beside its references."""
    return _beside(document["img_id"], document["caption"], results)


def mean_cider(results: Sequence[Mapping[str, Any]]) -> float:
    """The set's CIDEr, from 0 to 10, in the tokens of `visionflow.evaluation.cider`; nan of fewer than two pictures."""
    scores = cider([each["pred"] for each in results], [each["answer"] for each in results])
    return float("nan") if scores is None else float(scores.mean())


def _beside(picture: int | str, references: Sequence[str], results: Sequence[str]) -> dict[str, dict[str, Any]]:
    return {"CIDEr": {"image_id": int(picture), "answer": list(references), "pred": results[0]}}
