"""What the browser sent, read and checked: pictures, a question, a method with settings or a plan file, a budget."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from visionflow.errors import VisionFlowError
from visionflow.loading.pictures import decoded
from visionflow.loading.prompts import check_question
from visionflow.methods import METHODS, PlanFile, Spec, parse

MOST_BYTES = 64 * 2**20
"""Of all that one request brings."""
MOST_PICTURES = 8
MOST_PIXELS = 40 * 10**6
"""Of each picture."""
MOST_NEW_TOKENS = 512
MOST_BLOCKS = 16

DENSE, PLAN = "dense", "plan"
"""What stands in place of a method's name: none at all, and the plan file that comes with it."""

SETTING = "set."
"""Before the name of a setting."""

Files = Sequence[tuple[str, bytes]]
"""Names and contents."""


@dataclass(frozen=True)
class Asked:
    """One question.

    Attributes:
        pictures: RGB.
        question: about them.
        method: with what was said of its settings; None for the dense model alone.
        budget: the share of the dense prefill's FLOPs that the method's ratios are to meet; None to take them as said.
        max_new_tokens: length of the answers, at most.
        blocks: of layers, at whose bounds flows are knocked out; 0 for none.
    """

    pictures: Sequence[Image.Image]
    question: str
    method: Spec | None
    budget: float | None
    max_new_tokens: int
    blocks: int


def read(fields: Mapping[str, str], pictures: Files, plans: Files) -> Asked:
    """The question in a form.

    Args:
        fields: ``question``, ``method``, ``budget`` (empty for none), ``max_new_tokens``, ``blocks``, and the settings
            of the method as ``set.NAME``.
        pictures: as they were dropped.
        plans: the plan file, where that is the method.

    Raises:
        VisionFlowError: something is missing, too large, or no such thing.
    """
    check_question(fields.get("question", ""))
    budget = fields.get("budget")
    return Asked(
        _pictures(pictures),
        fields["question"].strip(),
        _method(fields, plans),
        _number("the budget", budget) if budget else None,
        _whole("the length of the answer", fields.get("max_new_tokens", "64"), 1, MOST_NEW_TOKENS),
        _whole("the number of blocks", fields.get("blocks", "0"), 0, MOST_BLOCKS),
    )


def _pictures(files: Files) -> list[Image.Image]:
    if not files:
        raise VisionFlowError("there is no picture: drop one, or choose a file")
    if len(files) > MOST_PICTURES:
        raise VisionFlowError(f"{len(files)} pictures are too many: drop {MOST_PICTURES} at most")
    return [decoded(content, name or "the picture", MOST_PIXELS) for name, content in files]


def _method(fields: Mapping[str, str], plans: Files) -> Spec | None:
    name = fields.get("method", DENSE)
    if name == DENSE:
        return None
    if name == PLAN:
        return _planned(plans)
    if name not in METHODS:
        raise VisionFlowError(f"unknown method {name[:60]!r}: choose one of {', '.join(METHODS)}")
    said = {key.removeprefix(SETTING): value for key, value in fields.items() if key.startswith(SETTING) and value}
    return Spec(METHODS[name]).having_typed(said)


def _planned(plans: Files) -> Spec:
    if not plans:
        raise VisionFlowError("there is no plan file: choose one that visionflow tune wrote, or another method")
    name, content = plans[0]
    try:
        found = json.loads(content)
    except ValueError as error:
        raise VisionFlowError(f"{name} is no plan: it is not valid JSON ({error})") from error
    return parse(PlanFile.from_dict(found, name).to_dict())


def _number(what: str, typed: str) -> float:
    try:
        return float(typed)
    except ValueError:
        raise VisionFlowError(f"{what} must be a number, not {typed[:20]!r}") from None


def _whole(what: str, typed: str, least: int, most: int) -> int:
    if not typed.isascii() or not typed.isdigit() or not least <= int(typed[:9]) <= most:
        raise VisionFlowError(f"{what} must be a whole number from {least} to {most}, not {typed[:20]!r}")
    return int(typed)
