"""What a cut decides on is what the formulas say of eager attention, of hidden states and of keys, in every pass."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from tests.exact import EXACTLY, ROUNDED
from tests.reference import image_columns, instruction_columns, max_min
from tests.tiny import batch_of, prompt
from visionflow.core import (
    Attention,
    AttentionRows,
    AwayFromMean,
    Block,
    Cut,
    Evidence,
    Features,
    FeatureScore,
    MaxMin,
    Paid,
    Plan,
    Ratio,
    Received,
    ReceivedAfter,
    Reduction,
    Select,
    Tokens,
    Top,
)  # fmt: skip
from visionflow.engines.hf.scope import Scope
from visionflow.errors import UnsupportedUsageError

WEIGHTS = (0.5, -0.25, 0.0, 2.0)
eager = pytest.mark.parametrize("model", [("llava-grouped", "eager")], indirect=True)


@dataclass(frozen=True)
class Noted(Reduction):
    """Notes what a reduction makes of the rows."""

    reduce: Reduction
    into: list[Tensor]

    def __call__(self, rows: AttentionRows) -> Tensor:
        """The same."""
        self.into.append(self.reduce(rows))
        return self.into[-1]


@dataclass(frozen=True)
class NotedFeatures(FeatureScore):
    """Notes the features."""

    into: list[Tensor]

    def __call__(self, features: Tensor, tokens: Tokens) -> Tensor:
        """All alike."""
        self.into.append(features)
        return features[:, :, 0] * 0


@contextmanager
def eager_weights(model: PreTrainedModel) -> Iterator[dict[int, Tensor]]:
    """Notes the attention weights ``[batch, heads, rows, keys]`` of every layer of the latest pass."""
    weights: dict[int, Tensor] = {}
    layers = model.model.language_model.layers

    def note(layer: int) -> Callable[..., None]:
        return lambda module, args, output: weights.update({layer: output[1]})

    handles = [each.self_attn.register_forward_hook(note(layer)) for layer, each in enumerate(layers)]
    try:
        yield weights
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def run(model: PreTrainedModel, turns: list[dict[str, Any]], first: Plan, last: Plan) -> tuple[Any, Any]:
    """The turns on one cache, the last under a plan of its own; the trace and the output of that."""
    cache = DynamicCache()
    for number, inputs in enumerate(turns):
        columns = torch.cat([turn["attention_mask"] for turn in turns[: number + 1]], 1)
        places = (columns.cumsum(1) - 1).clamp(min=0)[:, -inputs["input_ids"].shape[1] :]
        more = {**inputs, "attention_mask": columns, "position_ids": places}
        with Scope(model, last if number == len(turns) - 1 else first) as trace:
            output = model(**more, past_key_values=cache, output_hidden_states=True)
    return trace, output


def turns_of(case: str) -> list[dict[str, Any]]:
    """A prompt, a padded batch, or either on a cache that holds another prompt with a picture."""
    one, other = prompt(3, "image", 6, seed=1), prompt(2, "image", 4, "image", 9, seed=3)
    if case == "alone":
        return [one.inputs]
    if case == "left" or case == "right":
        return [batch_of([one, other, prompt(5, seed=4)], case)]
    return [batch_of([one, other]), batch_of([prompt(4, "image", 5, seed=6), prompt(3, "image", 9, seed=7)])]


cases = pytest.mark.parametrize("case", ["alone", "left", "right", "later"])
BEFORE = Plan((Cut(0, Ratio(0.5), Features("image", AwayFromMean())), Cut(2, Ratio(0.5), Attention("last"))))
"""What earlier turns are pruned with."""


def joined(weights: Tensor, heads: Any) -> Tensor:
    """``[rows, keys]`` of ``[heads, rows, keys]``."""
    if heads == "mean":
        return weights.mean(0)
    return weights.amax(0) if heads == "max" else torch.einsum("hrk,h->rk", weights, torch.tensor(heads).to(weights))


def formula(reduce: Reduction, attention: Tensor, rows: list[int], image: list[int]) -> Tensor:
    """The score of each image token, from the joined attention among the tokens of a turn."""
    if isinstance(reduce, Paid):
        return attention[image][:, image].sum(1)
    read = attention[rows][:, image]
    if isinstance(reduce, ReceivedAfter):
        read = read * torch.tensor([[row > v for v in image] for row in rows])
    return read.sum(0)


@eager
@cases
@pytest.mark.parametrize("heads", ["mean", "max", WEIGHTS], ids=str)
@pytest.mark.parametrize("layer", [0, 3])
@pytest.mark.parametrize("when", ["entry", "ran"])
def test_attention_is_that_of_the_layer(
    model: PreTrainedModel, case: str, heads: Any, layer: int, when: Literal["entry", "ran"]
) -> None:
    """Of the layer that is about to run, on the tokens that enter it, or of the one that has run; earlier keys too."""
    layer += when == "ran"
    turns = turns_of(case)
    with eager_weights(model) as weights:
        run(model, turns, BEFORE, Plan())
    whole = weights[layer - (when == "ran")]
    for rows, reduce in (("instruction", ReceivedAfter()), ("last", Received()), ("image", Paid("image"))):
        noted: list[Tensor] = []
        cut = Cut(layer, Ratio(0.5), Attention(rows, Noted(reduce, noted), heads, when))  # type: ignore[arg-type]
        trace, _ = run(model, turns, BEFORE, Plan((cut,)))
        inputs, length = turns[-1], turns[-1]["input_ids"].shape[1]
        for sample, kept in enumerate(trace.stages[-1].kept):
            image, text = image_columns(inputs, sample), instruction_columns(inputs, sample)
            attention = joined(whole[sample, :, :, -length:], heads)
            expected = formula(reduce, attention, text[-1:] if rows == "last" else text, image)
            torch.testing.assert_close(noted[0][sample, image], expected.float(), **ROUNDED)
            best = expected.topk(cut.keep(len(image)) or 0).indices.tolist() if image else []
            past = trace.stages[-1].given.columns[0, 0].item()
            assert (kept - past).tolist() == sorted(image[each] for each in best)


def test_head_weights_that_do_not_fit_are_refused(model: PreTrainedModel) -> None:
    for heads in (WEIGHTS[:3], WEIGHTS * 2):
        plan = Plan((Cut(1, Ratio(0.5), Attention("last", heads=heads)),))
        with pytest.raises(UnsupportedUsageError, match=f"{len(heads)} head weights do not fit a layer of 4 heads"):
            run(model, turns_of("alone"), plan, plan)


@eager
def test_entry_sees_what_is_blocked_in_its_layer(model: PreTrainedModel) -> None:
    inputs, noted = turns_of("alone"), []  # type: ignore[var-annotated]
    blocks = (Block((2,), "image", "instruction"),)
    cut = Cut(2, Ratio(0.5), Attention("instruction", Noted(Received(), noted), when="entry"))
    run(model, inputs, Plan(), Plan((cut,), blocks))
    assert noted[0][0, image_columns(inputs[0], 0)].abs().max() == 0


@cases
@pytest.mark.parametrize(("of", "layer"), [("image", 0), ("image", 3), ("hidden", 0), ("hidden", 3), ("key", 3)])
def test_features_are_those_at_the_cut(model: PreTrainedModel, case: str, of: Any, layer: int) -> None:
    """What enters the first layer, what enters the layer, or what the layer before wrote to its cache."""
    turns, noted = turns_of(case), []  # type: ignore[var-annotated]
    _, output = run(model, turns, BEFORE, Plan())
    length = turns[-1]["input_ids"].shape[1]
    expected = output.hidden_states[0 if of == "image" else layer]
    if of == "key":
        expected = output.past_key_values.layers[layer - 1].keys[:, :, -length:].transpose(1, 2).flatten(2)
    run(model, turns, BEFORE, Plan((Cut(layer, Ratio(0.5), Features(of, NotedFeatures(noted))),)))
    assert noted[0].dtype == torch.float64
    valid = turns[-1]["attention_mask"].bool()
    torch.testing.assert_close(noted[0][valid], expected[valid], **EXACTLY)


def unlike_mean(features: Tensor, count: int) -> list[int]:
    cosine = torch.nn.functional.cosine_similarity(features, features.mean(0, keepdim=True), dim=1)
    return sorted(cosine.topk(count, largest=False).indices.tolist())


CHOICES: list[tuple[Cut, Callable[[Tensor, int], list[int]]]] = [
    (Cut(layer, Ratio(0.6), evidence, select), definition)
    for layer, of in ((0, "image"), (3, "hidden"), (3, "image"), (3, "key"))
    for evidence, select, definition in (
        (Features(of), MaxMin(), max_min),
        (Features(of, AwayFromMean()), Top(), unlike_mean),
    )
]  # type: ignore[arg-type]


@cases
@pytest.mark.parametrize(
    ("cut", "definition"), CHOICES, ids=lambda each: str(each) if isinstance(each, Cut) else each.__name__
)
def test_choices_on_features_are_those_of_the_definition(
    model: PreTrainedModel, case: str, cut: Cut, definition: Callable[[Tensor, int], list[int]]
) -> None:
    """After a cut before: what was dropped is compared with nothing."""
    evidence: Evidence = cut.evidence
    select: Select = cut.select
    assert isinstance(evidence, Features)
    earlier = Plan((Cut(1, Ratio(0.3), Features("image", AwayFromMean())),) if cut.layer else ())
    turns, noted = turns_of(case), []  # type: ignore[var-annotated]
    at = Cut(cut.layer, Ratio(0.6), Features(evidence.of, NotedFeatures(noted)), Top())
    before, _ = run(model, turns, BEFORE, Plan((*earlier.cuts, at)))
    trace, _ = run(model, turns, BEFORE, Plan((*earlier.cuts, Cut(cut.layer, Ratio(0.6), evidence, select))))
    _, whole = run(model, turns, BEFORE, Plan())
    present = before.stages[-2].tokens if cut.layer else before.stages[-1].given
    for sample, kept in enumerate(trace.stages[-1].kept):
        image = present.image.mask[sample]
        columns = present.columns[sample][image]
        features = noted[0][sample][image]
        if evidence.of == "image":
            features = whole.hidden_states[0][sample, columns - before.stages[-1].given.columns[0, 0]]
        expected = definition(features, len(kept)) if len(columns) else []
        assert kept.tolist() == columns[expected].tolist()
