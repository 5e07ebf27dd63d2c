"""`look`: one prompt under all the instruments, dense and with methods."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from PIL import Image
from transformers import PreTrainedModel

from visionflow import __version__
from visionflow.engines.hf.families import check_head
from visionflow.engines.hf.layer_kinds import depth_of
from visionflow.errors import VisionFlowError
from visionflow.flow.disruption_sweep import first_tokens
from visionflow.flow.knock_out import FLOWS, knock_outs
from visionflow.flow.lengths import tokens_of
from visionflow.flow.saliency import saliency
from visionflow.loading.prompts import make_prompt
from visionflow.methods.base import Method
from visionflow.methods.spec import What, method
from visionflow.report.look.report import SCHEMA, LookReport
from visionflow.report.look.runs import run_of
from visionflow.report.look.views import image_columns_of, views_of

Methods = What | Sequence[What]
BLOCKS = 4


def look(
    model: PreTrainedModel,
    inputs: Mapping[str, Any] | None = None,
    method: Methods = "himap",
    *,
    processor: Any = None,
    pictures: Image.Image | Sequence[Image.Image] = (),
    question: str = "",
    max_new_tokens: int = 64,
    top: int = 5,
    blocks: int = BLOCKS,
    name: str = "",
    step: Callable[[str], None] = lambda what: None,
) -> LookReport:
    """Look inside one answer: what stays of the picture, what is read, where the answer appears, what it costs.

    ::

        report = visionflow.look(model, processor=processor, pictures=picture, question="How many red objects?")
        report.save("page.html"), report.data["runs"][1]["stages"][0]["kept"]

    The prompt is answered greedily, dense and with each method. For every answer token the row of attention that chose
    it is taken as generation goes by, in every layer, beside sdpa: ``answer tokens x layers x (prompt + answer)``
    numbers, never a map of n x n. The dense model is then run once backward (the saliency of its own first answer
    token) and some times forward (flows knocked out). The model is left as it was. Two models stand on one page by
    `LookReport.against`.

    Args:
        model: a model of `visionflow.engines.hf.families.FAMILIES` with its head, in eval mode, with sdpa or eager
            attention.
        inputs: a batch of one, as its processor gives it, without padding; None to have it made.
        method: as `visionflow.method` takes it, or several, each a run beside the dense one; () for that one alone.
        processor: gives words to tokens and places to image tokens; needed where `inputs` are to be made.
        pictures: those in the prompt, RGB; needed where `inputs` are to be made. Or the frames of its only video, as
            many as its processor took.
        question: about them; needed where `inputs` are to be made.
        max_new_tokens: length of the answers, at most.
        top: likeliest tokens told for each depth and flow.
        blocks: of layers, at whose bounds flows are knocked out; 0 to leave that out. At 4 that takes 40
            prefills, see `visionflow.flow.knock_out`.
        name: what the model is called on the page.
        step: told what comes next.

    Raises:
        VisionFlowError: neither `inputs` nor all it takes to make them; a method that is none or does not fit.
        UnsupportedModelError: the model is not supported.
        UnsupportedUsageError: several prompts or padding, training mode, or a scope is open on the model.
    """
    check_head(model)
    shown = [pictures] if isinstance(pictures, Image.Image) else list(pictures)
    if inputs is None:
        if processor is None or not question:
            raise VisionFlowError("give inputs, or a processor with pictures and a question to make them of")
        inputs = make_prompt(model, processor, shown, question, max_new_tokens)
    methods = [_method(model, each, name) for each in _listed(method)]
    words = _words(processor)
    columns = image_columns_of(model, inputs)
    views, unplaced = views_of(model, processor, shown, inputs, columns)
    runs = []
    for each in (None, *methods):
        step(f"answering, {each or 'dense'}")
        runs.append(run_of(model, inputs, columns, each, words, max_new_tokens, top))
    for run in runs:
        run["answer"] = _answer(processor, run["tokens"])
        run["parts"] = _parts(runs[0]["tokens"], run["tokens"])
    step("measuring the flows")
    profile, no_saliency = _saliency(model, inputs, runs[0]["tokens"][0]["id"])
    step("knocking flows out")
    knocked, no_knock_outs = _knocked_out(model, inputs, words, blocks if len(columns) else 0, top)
    data = {
        "schema": SCHEMA,
        "visionflow": __version__,
        "question": question,
        "model": _described(model, name),
        "prompt": _prompt(model, inputs, words, columns.tolist()),
        "pictures": [{"width": picture.width, "height": picture.height} for picture in shown],
        "views": [vars(view) for view in views],
        "unplaced": unplaced,
        "runs": runs,
        "saliency": profile,
        "no_saliency": no_saliency,
        "knock_outs": knocked,
        "no_knock_outs": no_knock_outs,
        "against": [],
    }
    return LookReport(data, shown)


def _listed(methods: Methods) -> list[What]:
    return list(methods) if isinstance(methods, list | tuple) else [methods]  # type: ignore[list-item]


def _method(model: PreTrainedModel, what: What, name: str) -> Method:
    if isinstance(what, Method):
        return what
    return method(what, depth_of(model.config), name, model.config.model_type)


def _words(processor: Any) -> Callable[[int], str]:
    """The text of a token id, or its number where there is no tokenizer."""
    if processor is None:
        return lambda token: f"[{token}]"
    tokenizer = processor.tokenizer
    return lambda token: str(tokenizer.decode([token]))


def _answer(processor: Any, tokens: list[dict[str, Any]]) -> str:
    """The answer as text, without its special tokens where there is a tokenizer that knows them."""
    if processor is None:
        return "".join(token["text"] for token in tokens)
    return str(processor.tokenizer.decode([token["id"] for token in tokens], skip_special_tokens=True)).strip()


def _described(model: PreTrainedModel, name: str) -> dict[str, Any]:
    depth = depth_of(model.config)
    return {
        "name": name or model.config.model_type,
        "class": type(model).__name__,
        "layers": int(depth),
        "attending": list(depth.attending),
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
        "attention": model.config.get_text_config()._attn_implementation,
    }


def _prompt(model: PreTrainedModel, inputs: Any, words: Callable[[int], str], columns: list[int]) -> dict[str, Any]:
    tokens = tokens_of(model, inputs)
    groups = ["system"] * tokens.valid.shape[1]
    for group in ("image", "instruction"):
        for place in tokens.group(group).mask[0].nonzero().flatten().tolist():
            groups[place] = group
    ids = inputs["input_ids"][0].tolist()
    texts = ["" if group == "image" else words(token) for token, group in zip(ids, groups, strict=True)]
    return {"ids": ids, "words": texts, "groups": groups, "image_columns": columns}


def _parts(dense: list[dict[str, Any]], other: list[dict[str, Any]]) -> int | None:
    """The first place where two answers part; None where they are the same."""
    pairs = zip(dense, other, strict=False)
    same = next((place for place, (a, b) in enumerate(pairs) if a["id"] != b["id"]), min(len(dense), len(other)))
    return None if same == len(dense) == len(other) else same


def _saliency(model: PreTrainedModel, inputs: Any, target: int) -> tuple[dict[str, Any] | None, str]:
    try:
        return {"target": target, **saliency(model, inputs, [target]).to_dict()}, ""
    except VisionFlowError as error:
        return None, str(error)


def _knocked_out(
    model: PreTrainedModel, inputs: Any, words: Callable[[int], str], blocks: int, top: int
) -> tuple[dict[str, Any] | None, str]:
    """What was found, or why nothing was."""
    if not blocks:
        return None, "it was left out"
    try:
        found = knock_outs(model, inputs, FLOWS, blocks, top)
    except VisionFlowError as error:
        return None, str(error)
    clean = int(first_tokens(model, inputs, 1)[0, 0])
    told = {
        "first_token": {"id": clean, "text": words(clean)},
        "blocks": blocks,
        "cells": [
            {
                "source": each.source,
                "target": each.target,
                "first": each.first,
                "last": each.last,
                "of_clean": each.of_clean,
                "ids": each.ids.tolist(),
                "words": [words(token) for token in each.ids.tolist()],
                "probabilities": each.probabilities.tolist(),
            }
            for each in found
        ],
    }
    return (told, "") if found else (None, "each of these flows is all that some token reads")
