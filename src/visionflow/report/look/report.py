"""What `look` found: plain data, a page, and what a notebook shows.

``report.data`` is a dict of JSON's types and, under ``reads``, numpy arrays; ``report.to_json()`` has lists there. Its
layout, of which `SCHEMA` is the name and version (a field that goes or changes its meaning makes a new one):

- ``model``: ``name``, ``class``, ``layers`` (decoder layers), ``attending`` (those with attention), ``dtype``,
  ``device``, ``attention``; ``question``.
- ``prompt``: for each column ``ids``, ``words`` ("" for image tokens) and ``groups`` ("system", "image",
  "instruction"); ``image_columns``, whose places in this list are the *numbers* of the image tokens below.
- ``pictures``: ``width`` and ``height`` in pixels. ``views``: grids of image tokens, row by row: ``picture`` (its
  number, or None), ``name``, ``rows``, ``columns``, ``box`` (left, top, right, bottom in pixels of the picture, or
  None), ``tokens`` (numbers) and ``frame`` (of a video, its number from 0, else None). ``unplaced``: why the views do
  not lie over the pictures, or "".
- ``runs``: the dense one, then one for each method:

  - ``method`` and ``spec`` (None of the dense one), ``decided`` (what an adaptive method told);
  - ``answer``, its ``tokens`` (``id``, ``text``) and ``parts``, the first place where they part from the dense ones;
  - ``stages``: for each cut ``layer`` (the first that sees fewer), ``kept`` (numbers), and of what was there before:
    ``present`` (numbers), ``scores`` and ``ranks`` (from 1) or None where nothing was scored; ``merged``, columns;
  - per decoder layer of the prefill: ``image_tokens``, ``lengths`` (all tokens), ``flops`` (2 per multiply-add,
    probes and head left out; None where not modelled, see ``uncosted``) and ``kv_bytes`` (measured, states too);
    ``flops_total`` with probes and head;
  - ``reads``: fp32 ``[answer tokens, layers, columns of the prompt + answer tokens - 1]``, attention of the row that
    chose each answer token, mean over heads; NaN (null in JSON) where the layer does not hold that token, and all over
    layers without attention;
  - ``lens``: ``ids``, ``words`` and ``probabilities``, ``[answer tokens, layers + 1, top]``, depth 0 the embedding;
    or None, and ``no_lens`` says why;
  - ``times``: ``first_token_s`` (median of 3) and ``answer_s`` with nobody looking, ``look_s`` with all rows taken;
    ``memory``: ``rows_bytes`` and ``states_bytes``, what was held meanwhile.

- ``saliency``: `visionflow.flow.Saliency.to_dict` with ``target``, the first dense answer token; or None, and
  ``no_saliency`` says why.
- ``knock_outs``: ``first_token``, ``blocks`` and ``cells``: ``source``, ``target``, ``first``, ``last``, ``of_clean``
  (the probability of that token), and the likeliest ``ids``, ``words``, ``probabilities``; or None, and
  ``no_knock_outs`` says why.
- ``against``: all of this for each further model on the page; there, an empty list.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console

from visionflow.errors import VisionFlowError
from visionflow.report.look.page import page_of
from visionflow.report.numbers import NOT_MODELLED, SECONDS, SI, amount
from visionflow.report.sheet import Pairs, Sheet

SCHEMA = "visionflow.look/1"


@dataclass(frozen=True)
class LookReport:
    """What one prompt showed: see the module for the layout of `data`.

    Attributes:
        data: all numbers, as plain data.
        pictures: the originals, for the page.
    """

    data: dict[str, Any]
    pictures: Sequence[Image.Image] = field(default=(), repr=False)

    def against(self, other: "LookReport") -> "LookReport":
        """The two on one page, side by side: what two models do with the same pictures and question.

        ::

            look(one, processor=..., pictures=picture, question=text).against(look(other, ...)).save("page.html")

        The data are this one's, with the other's in ``against``; a third comes by a further call.

        Raises:
            VisionFlowError: the questions or the pictures are not the same.
        """
        asked, other_asked = self.data["question"], other.data["question"]
        if asked != other_asked:
            raise VisionFlowError(f"one page has one question, not {asked!r} and {other_asked!r}: ask the same twice")
        if list(self.pictures) != list(other.pictures):
            raise VisionFlowError("one page has the same pictures for all models: give both looks the same, in order")
        others = [*self.data["against"], {**other.data, "against": []}, *other.data["against"]]
        return LookReport({**self.data, "against": others}, self.pictures)

    def to_json(self) -> dict[str, Any]:
        """`data` of JSON's types alone."""
        found: dict[str, Any] = plain(self.data)
        return found

    def html(self) -> str:
        """The page: one self-contained document."""
        return page_of(self.data, self.pictures)

    def save(self, path: str | Path) -> Path:
        """Write the page, or for a name that ends in .json the data.

        Raises:
            VisionFlowError: it cannot be written.
        """
        path = Path(path)
        text = json.dumps(self.to_json()) if path.suffix == ".json" else self.html()
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise VisionFlowError(f"cannot write {path} ({error.strerror or error}): choose another name") from error
        return path

    def show(self, console: Console) -> None:
        """The answers and what they took, a line each; the rest is on the page."""
        console.print(Pairs({"question": self.data["question"]}))
        for look in (self.data, *self.data["against"]):
            if self.data["against"]:
                console.print(f"\n{look['model']['name']}", markup=False, highlight=False)
            console.print(_answers(look["runs"]))

    def _repr_html_(self) -> str:
        """The page in a frame of its own, as a notebook shows it."""
        return (
            f'<iframe title="visionflow look" srcdoc="{escape(self.html())}" '
            'style="width: 100%; height: 900px; border: 1px solid #8888"></iframe>'
        )


def _answers(runs: Sequence[dict[str, Any]]) -> Sheet:
    """A line for each run of one model."""
    table = Sheet("", "answer", "image tokens", "FLOPs", "first token", left=("answer",))
    for run in runs:
        first, last = run["image_tokens"][0], run["image_tokens"][-1]
        flops = NOT_MODELLED if run["flops_total"] is None else amount(run["flops_total"], SI, ".2f")
        table.add_row(
            run["method"] or "dense",
            run["answer"] or "(no text)",
            f"{first}" if first == last else f"{first} to {last}",
            flops,
            amount(run["times"]["first_token_s"], SECONDS, ".3g"),
        )
    return table


def plain(value: Any, digits: int | None = None) -> Any:
    """The same of JSON's types: lists for arrays and tuples, None for NaN; floats of so many `digits`, or whole."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, dict):
        return {name: plain(each, digits) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each, digits) for each in value]
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            return None
        return value if digits is None else float(f"{value:.{digits}g}")
    return value
