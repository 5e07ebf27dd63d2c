"""The eight oracles of the design on one family of the zoo and one method; each raises where it does not hold."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from tests import formulas
from tests.matrix import Merging
from tests.reference import HIDDEN, Keep, fingerprint, max_min, merged_in_place
from tests.zoo.entry import LAYERS, Entry, Prompt
from tests.zoo.shorter import shorter
from visionflow import VTW, FastV, HiMAP, Method, VisiPruner, prune
from visionflow.core.cutting import asked_of
from visionflow.cost import DecoderShape
from visionflow.cost.conventions import head_flops
from visionflow.engines.hf.families import FAMILIES, Family
from visionflow.engines.hf.layer_kinds import LayerKind, attending, depth_of, layer_kinds
from visionflow.engines.hf.tower_table import tower_rows
from visionflow.methods import (
    DART,
    SCOPE,
    AutoPrune,
    CDPruner,
    Cover,
    DeFT,
    DivPrune,
    FlowCut,
    MMTok,
    PyramidDrop,
    SparseVLM,
    TextRows,
    VisionZip,
)
from visionflow.methods.fields import settings_of
from visionflow.methods.snapping import snapped

MIXERS = ("linear_attn", "mixer")
"""What the modules with recurrences are called inside a decoder layer."""
TOLERANCE = 2e-4  # fp32, sharpened attention


@lru_cache(maxsize=2)
def model_of(entry: Entry, attention: str | None = None) -> PreTrainedModel:
    """One shared model per entry; oracle 6 is what makes sharing safe."""
    return entry.build(attention).requires_grad_(False)


@cache
def is_closed(entry: Entry) -> bool:
    """Whether late layers read the keys of earlier ones, so that no cut comes before these but at given layers."""
    return bool(FAMILIES[entry.model_type].closed_to_cuts(model_of(entry)))


def methods_of(entry: Entry) -> list[Method]:
    """The methods that every family has to pass, at layers where it may be cut; VisiPruner where it applies."""
    model, family = model_of(entry), FAMILIES[entry.model_type]
    last = family.last_cut(model)
    closed = is_closed(entry)
    anywhere = [DivPrune(0.6), Merging((0, last - 1 if closed else 3), 0.4)]
    if closed:
        given = [HiMAP(last - 1, 0.5, last, 0.5), FastV(last, 0.5), VTW(last)]
        return [*given, PyramidDrop((0, last - 1, last)), *anywhere]
    attend, ran = attending(kinds_of(entry)), places_after_attention(entry)
    if len(attend) < LAYERS:
        given = [HiMAP(ran[0], 0.5, ran[1], 0.75), FastV(ran[0], 0.5), VTW(3)]
        return [*given, PyramidDrop(tuple(attend)), *anywhere]
    read = image_to_image(entry)
    phases = ("middle", "deep") if never_left_out(entry) else ("shallow", "middle", "deep")
    visipruner = VisiPruner(1, 0.9, 0.3, 0.97, 1, fallback_layer=3, shallow_image_to_image=read, phases=phases)
    rows = tower_rows(model.config)
    anywhere += [VisionZip(0.5, 0.3, rows[0])] if rows else []
    given = [HiMAP(2, 0.5, 4, 0.75), FastV(2, 0.5), VTW(3), visipruner]
    return [*given, PyramidDrop((0, 2, 4)), *anywhere]


def newer_methods_of(entry: Entry) -> list[Method]:
    """More methods, each as far as its evidence is there."""
    model, family = model_of(entry), FAMILIES[entry.model_type]
    k = min(3, family.last_cut(model))
    given: list[Method] = [
        CDPruner(0.6), MMTok(0.6), Cover(0.6), DART(0, 0.6, 2, 2), DART(k, 0.5, 2, 2),
        SparseVLM((k - 1, k), (0.5, 0.4)), TextRows((k - 1, k), (0.4, 0.5)),
    ]  # fmt: skip
    rows = tower_rows(model.config)
    if not is_closed(entry) and all(kind.attends for kind in kinds_of(entry)):
        layers = len(family.layers_of(model))
        given.append(AutoPrune(0.4, layers, 0, steepness=1.0, sensitivity=0.1))
    given += [SCOPE(0.6, rows=rows[0]), DeFT(0.6, k, rows=rows[0])] if rows else []
    given += [FlowCut(0.6)] if "cls" in rows else []
    return [snapped(each, settings_of(type(each)), depth_of(model.config)) for each in given]


def kinds_of(entry: Entry) -> tuple[LayerKind, ...]:
    """What its decoder layers do with tokens."""
    return layer_kinds(entry.config().get_text_config())


def never_left_out(entry: Entry) -> bool:
    """Whether no flow can be left out: an indexer has picked before, or convolutions run beside attention."""
    return any(kind.picks or (kind.attends and kind.mixes) for kind in kinds_of(entry))


def places_after_attention(entry: Entry) -> list[int]:
    """The layers before which a cut can look at the attention of the layer that has run."""
    return [layer + 1 for layer in attending(kinds_of(entry)) if layer + 1 < LAYERS]


def image_to_image(entry: Entry) -> bool:
    """Whether image tokens read each other in VisiPruner's shallow phase.

    A picture longer than a window leaves its last tokens nothing else to read.
    """
    traits = entry.traits
    return traits.both_ways or "sliding_window" in traits.attention_inputs or traits.masks != "one"


def prompts_of(entry: Entry, method: Method | None = None) -> list[Prompt]:
    """One picture, two with text between, none, one in a long prompt; where class and method take them, a video."""
    wide = "wide" if "wide" in entry.pictures else "image"
    prompts = [
        entry.prompt(3, "image", 6),
        entry.prompt(2, "image", 4, wide, 9, seed=3),
        entry.prompt(9, seed=4),
        entry.prompt(20, wide, 12, seed=5),
    ]
    if "video" in entry.pictures and entry.mixes and not (method and "tower" in asked_of(method.plan())):
        prompts.append(entry.prompt(3, "image", 4, "video", 6, seed=8))
    return prompts


@torch.no_grad()
def logits_of(model: PreTrainedModel, inputs: dict[str, Any], **options: Any) -> Tensor:
    logits: Tensor = model(**inputs, **options).logits
    return logits


@torch.no_grad()
def answer(model: PreTrainedModel, inputs: dict[str, Any], **options: Any) -> Tensor:
    tokens: Tensor = model.generate(**inputs, max_new_tokens=4, do_sample=False, **options)
    return tokens[:, inputs["input_ids"].shape[1] :]


def image_columns(family: Family, model: PreTrainedModel, inputs: dict[str, Any], sample: int) -> list[int]:
    ids = torch.tensor(family.image_token_ids(model))
    return torch.isin(inputs["input_ids"][sample], ids).nonzero()[:, 0].tolist()


def text_columns(family: Family, model: PreTrainedModel, inputs: dict[str, Any], sample: int) -> list[int]:
    """Columns of real tokens that are not of a picture."""
    real = inputs["attention_mask"][sample].nonzero()[:, 0].tolist()
    return sorted(set(real) - set(image_columns(family, model, inputs, sample)))


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=TOLERANCE, atol=TOLERANCE)


# 1 -------------------------------------------------------------------------------------------------------------------


def identity(entry: Entry, method: Method) -> None:
    """A method that drops nothing changes no bit; text alone passes through every method untouched."""
    model = model_of(entry)
    first, second = places_after_attention(entry)[:2]
    idle = HiMAP(first, 0.0, second, 0.0)
    text = entry.batch([entry.prompt(9), entry.prompt(4)])
    for inputs, each in ((entry.batch(prompts_of(entry)), idle), (text, method)):
        expected, tokens = logits_of(model, inputs), answer(model, inputs)
        with prune(model, each):
            assert torch.equal(logits_of(model, inputs), expected)
            assert torch.equal(answer(model, inputs), tokens)


# 2 -------------------------------------------------------------------------------------------------------------------


def drop_equals_mask(entry: Entry, method: Method) -> None:
    """The text's logits are those of all tokens run with the dropped keys masked, and merged tokens put in place.

    A mask means nothing to a state: layers with states are run by hand on the shorter sequence.
    """
    model, family = model_of(entry), FAMILIES[entry.model_type]
    if any(kind.mixes for kind in kinds_of(entry)):
        drop_equals_shorter(entry, method)
        return
    for side in ("left", "right"):
        prompts = prompts_of(entry, method)
        inputs = entry.batch(prompts if entry.batches else prompts[:1], side)
        with prune(model, method) as trace:
            pruned = logits_of(model, inputs)
        assert trace.image_tokens[-1].sum() < trace.given_image_tokens.sum()
        dropped = {
            stage.layer: [
                sorted(set(image_columns(family, model, inputs, sample)) - set(kept.tolist()))
                for sample, kept in enumerate(stage.kept)
            ]
            for stage in trace.stages
        }
        layers = family.layers_of(model)
        with merged_in_place(layers, trace, family.token_axis), masked_from(model, family, dropped, inputs, method):
            masked = logits_of(model, inputs)
        for sample in range(len(pruned)):
            text = text_columns(family, model, inputs, sample)
            close(pruned[sample, text], masked[sample, text])


def drop_equals_shorter(entry: Entry, method: Method) -> None:
    """The text's logits are those of the layers run one by one on the tokens that are left."""
    model, family = model_of(entry), FAMILIES[entry.model_type]
    for prompt in prompts_of(entry, method):
        if not prompt.pictures:
            continue
        inputs = entry.batch([prompt])
        with prune(model, method) as trace:
            pruned = logits_of(model, inputs)[0]
        assert trace.image_tokens[-1].sum() < trace.given_image_tokens.sum()
        logits, left = shorter(model, family, inputs, trace)
        text = text_columns(family, model, inputs, 0)
        close(pruned[text], logits[[left.index(column) for column in text]])


@contextmanager
def masked_from(
    model: PreTrainedModel, family: Family, dropped: dict[int, list[list[int]]], inputs: dict[str, Any], method: Method
) -> Iterator[None]:
    """Run all tokens of `inputs`, but from layer l on nobody reads the columns ``dropped[l][sample]``."""

    def forbidden(layer: int) -> Tensor:
        batch, length = inputs["input_ids"].shape
        pairs = torch.zeros(batch, 1, length, length, dtype=torch.bool)
        for at, samples in dropped.items():
            for sample, columns in enumerate(samples):
                if at <= layer:
                    pairs[sample, :, :, columns] = True
        for block in method.blocks():
            if layer in block.layers:
                for sample in range(batch):
                    image = image_columns(family, model, inputs, sample)
                    first = image[0] if image else length
                    text = text_columns(family, model, inputs, sample)
                    target = {
                        "image": image,
                        "system": [column for column in text if column < first],
                        "instruction": [column for column in text if column > first],
                    }
                    rows = torch.tensor(target[str(block.target)], dtype=torch.long)
                    pairs[sample, 0, rows[:, None], torch.tensor(image, dtype=torch.long)] = True
        return pairs

    def hide(layer: int) -> Callable[..., Any]:
        def hook(module: Any, args: Any, kwargs: Any) -> Any:
            mask = kwargs["attention_mask"]
            length = inputs["input_ids"].shape[1]
            if mask is None:
                mask = torch.ones(1, 1, length, length, dtype=torch.bool).tril()
            allowed = (mask if mask.dtype == torch.bool else mask > HIDDEN) & ~forbidden(layer)
            additive = torch.zeros(allowed.shape).masked_fill(~allowed, HIDDEN)
            return args, {**kwargs, "attention_mask": additive}

        return hook

    handles = [
        layer.register_forward_pre_hook(hide(place), with_kwargs=True)
        for place, layer in enumerate(family.layers_of(model))
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


# 3 -------------------------------------------------------------------------------------------------------------------


def cached_equals_uncached(entry: Entry, method: Method) -> None:
    """Generated tokens are those of runs that begin again for every token, with the same tokens kept."""
    model = model_of(entry)
    for prompt in (entry.prompt(3, "image", 6), entry.prompt(12, "image", 9, seed=5)):
        inputs = entry.batch([prompt])
        with prune(model, method) as trace:
            cached = answer(model, inputs)[0].tolist()
        again: list[int] = []
        with prune(model, Keep.of(trace, method)):
            for _ in cached:
                more = entry.batch([prompt.then(again)])
                again.append(int(logits_of(model, more, use_cache=False)[0, -1].argmax()))
        assert again == cached


# 4 -------------------------------------------------------------------------------------------------------------------


def batch_equals_single(entry: Entry, method: Method) -> None:
    """Each sample of a padded batch gets what it gets alone.

    Without position ids padding on the left turns keys further round, of which DART sums absolute values.
    """
    if not entry.batches:  # transformers itself does not hold it: see `tests.zoo.survey`
        return
    model = model_of(entry)
    prompts = prompts_of(entry, method)
    with prune(model, method):
        alone = [logits_of(model, entry.batch([prompt]))[0] for prompt in prompts]
        made = [answer(model, entry.batch([prompt]))[0] for prompt in prompts]
        for side in ("right",) if "keys" in asked_of(method.plan()) else ("left", "right"):
            together = logits_of(model, entry.batch(prompts, side))
            for row, single in zip(together, alone, strict=True):
                close(row[-len(single) :] if side == "left" else row[: len(single)], single)
        for row, single in zip(answer(model, entry.batch(prompts)), made, strict=True):
            assert torch.equal(row, single)


# 5 -------------------------------------------------------------------------------------------------------------------


def score_equals_definition(entry: Entry, method: Method) -> None:
    """The tokens kept are those that the formulas choose from the weights of eager attention, or from features."""
    model, family = model_of(entry, "eager"), FAMILIES[entry.model_type]
    if isinstance(method, DivPrune | CDPruner | MMTok | Cover) or (isinstance(method, DART) and method.k == 0):
        set_equals_definition(entry, method, model, family)
    if not isinstance(method, HiMAP | FastV | PyramidDrop):
        return
    inputs = entry.batch([entry.prompt(5, "image", 3, "image", 8, seed=7)])
    weights: dict[int, Tensor] = {}
    with prune(model, method) as trace, _eager_weights(model, family, weights):
        logits_of(model, inputs)
    present = list(range(inputs["input_ids"].shape[1]))
    images, text = image_columns(family, model, inputs, 0), text_columns(family, model, inputs, 0)
    for number, stage in enumerate(trace.stages):
        attention = _attention(model, family, inputs, method, trace, stage, weights)[0].float().mean(0)
        image = [row for row, column in enumerate(present) if column in images]
        after = [row for row, column in enumerate(present) if column in text and column > images[0]]
        if isinstance(method, FastV | PyramidDrop):
            score = attention[-1, image]
        elif number == 0:
            later = torch.tensor([[row > v for v in image] for row in after])  # text counts for the pictures before it
            score = (attention[after][:, image] * later).sum(0)
        else:
            score = attention[image][:, image].sum(1)
        count = method.cuts()[number].keep(len(image))
        kept = set(stage.kept[0].tolist())
        stays = torch.tensor([present[row] in kept for row in image])
        assert len(kept) == count == int(stays.sum())
        assert score[stays].min() >= score[~stays].max() - 1e-6  # short windows make ties
        present = [column for column in present if column not in images or column in kept]


def _attention(
    model: PreTrainedModel, family: Family, inputs: dict[str, Any], method: Method, trace: Any, stage: Any,
    weights: dict[int, Tensor],
) -> Tensor:  # fmt: skip
    """Of the layer that ran before the cut, or of the layer after it, where this cut and later ones are not made."""
    if isinstance(method, PyramidDrop):
        kept, weights = {each.layer: each.kept for each in trace.stages if each.layer < stage.layer}, {}
        with prune(model, Keep(kept, method.plan())), _eager_weights(model, family, weights):
            logits_of(model, inputs)
    return weights[stage.layer - (not isinstance(method, PyramidDrop))]


def set_equals_definition(entry: Entry, method: Method, model: PreTrainedModel, family: Family) -> None:
    """The tokens kept are those that the method's formula chooses, one by one, of what enters the first layer."""
    inputs, entering = entry.batch([entry.prompt(5, "image", 3, "image", 8, seed=7)]), []
    first = family.layers_of(model)[0]
    handle = first.register_forward_pre_hook(lambda module, args: entering.append(args[0]))
    logits_of(model, inputs)
    handle.remove()
    with prune(model, method) as trace:
        logits_of(model, inputs)
    features = entering[0] if family.token_axis == 1 else entering[0][0]
    image, count = image_columns(family, model, inputs, 0), len(trace.stages[0].kept[0])
    own = features[0, image].double()
    said = features[0, [each for each in text_columns(family, model, inputs, 0) if each > image[0]]].double()
    if isinstance(method, CDPruner):
        chosen = formulas.dpp(own, formulas.relevance(own, said), count)
    elif isinstance(method, MMTok):
        chosen = formulas.mmtok(own, said, count)
    elif isinstance(method, Cover):
        unlike = -formulas.cosines(own, own.mean(0, keepdim=True))[:, 0]
        chosen = formulas.cover(own, unlike, method.top, count)
    elif isinstance(method, DART):
        lengths = own.abs().sum(1), said.abs().sum(1)
        chosen = formulas.dart(own, said, lengths, (method.image_pivots, method.text_pivots), count)
    else:
        chosen = max_min(own, count)
    assert trace.stages[0].kept[0].tolist() == [image[each] for each in chosen]


@contextmanager
def _eager_weights(model: PreTrainedModel, family: Family, into: dict[int, Tensor]) -> Iterator[None]:
    """Note the attention weights of every decoder layer."""
    handles = []
    layers = family.layers_of(model)
    for place in attending(layer_kinds(model.config.get_text_config())):

        def note(module: Any, args: Any, output: Any, place: int = place) -> None:
            into[place] = output[1]

        handles.append(family.attention_of(layers[place]).register_forward_hook(note))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


# 6 -------------------------------------------------------------------------------------------------------------------


def restored(entry: Entry, method: Method) -> None:
    """After the scope, also after an exception in it, outputs are the same bits and nothing is left behind."""
    model = model_of(entry)
    inputs = entry.batch(prompts_of(entry, method))
    expected, before = logits_of(model, inputs), fingerprint(model)
    with prune(model, method):
        logits_of(model, inputs)
        assert fingerprint(model) != before
    assert fingerprint(model) == before
    try:
        with prune(model, method):
            logits_of(model, {**inputs, "input_ids": inputs["input_ids"][:, :-1]})
            raise RuntimeError
    except Exception:  # any: the ids do not fit the mask
        pass
    assert fingerprint(model) == before
    assert torch.equal(logits_of(model, inputs), expected)


# 7 -------------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def counted_equals_modelled(entry: Entry, method: Method) -> None:
    """What torch counts in the decoder and the head is the cost model's."""
    model, family = model_of(entry, "eager"), FAMILIES[entry.model_type]
    inputs = entry.batch([entry.prompt(3, "image", 6)])
    with prune(model, method) as trace:
        logits_of(model, inputs)
    cost = trace.cost("flops")
    shape = DecoderShape.from_config(model.config)
    head = head_flops(shape, 1)  # not every class heeds logits_to_keep
    counted = []
    for scope in (prune(model, method), nullcontext()):
        with scope, looped_experts(model), FlopCounterMode(display=False) as counter:
            logits_of(model, inputs)
        counts = counter.get_flop_counts()
        name = f"{type(model).__name__}.{family.decoder}"
        counted.append(sum(counts[name].values()) - of_codes(counts, name) - scanned(counts, name, kinds_of(entry)))
    lengths = [trace.lengths, [trace.work.given] * len(trace.lengths)]
    scans = [sum(layer.scan * n for layer, n in zip(shape.layers or (), each, strict=False)) for each in lengths]
    assert counted == [cost.pruned - head - scans[0], cost.dense - head - scans[1]]


@contextmanager
def looped_experts(model: PreTrainedModel) -> Iterator[None]:
    """Experts one after the other, on the tokens that they get: torch counts no grouped products."""
    text: Any = model.config.get_text_config()
    usual = getattr(text, "_experts_implementation_internal", None)
    text._experts_implementation_internal = "eager"
    try:
        yield
    finally:
        text._experts_implementation_internal = usual


def of_codes(counts: Any, name: str) -> int:
    """What torch counts in a tower of picture codes that stands in the decoder, as Chameleon's does."""
    return sum(sum(each.values()) for module, each in counts.items() if module.rpartition(".")[0] == f"{name}.vqmodel")


def scanned(counts: Any, name: str, kinds: Sequence[LayerKind]) -> int:
    """What torch counts of recurrences, which it computes by chunks: the batched products of layers that only mix."""
    layers = [f"{name}.layers.{place}.{part}" for place, kind in enumerate(kinds) if kind.mixes for part in MIXERS]
    return sum(flops for layer in layers for op, flops in counts.get(layer, {}).items() if "bmm" in str(op))


# 8 -------------------------------------------------------------------------------------------------------------------


def positions_are_kept(entry: Entry, method: Method) -> None:
    """The rotary positions of what the last layer sees, in the prompt and in the answer, are those of the dense run."""
    model, family = model_of(entry), FAMILIES[entry.model_type]
    inputs = entry.batch([entry.prompt(3, "image", 6)])
    layer = family.layers_of(model)[family.last_cut(model)]
    seen: list[Any] = []

    def note(module: Any, args: Any, kwargs: Any) -> None:
        named = [arg for arg in args[1:] if isinstance(arg, tuple)]
        seen.append(kwargs.get("position_embeddings", named[0] if named else None))

    handle = layer.register_forward_pre_hook(note, with_kwargs=True)
    answer(model, inputs)
    handle.remove()
    dense, seen = seen, []
    with prune(model, method) as trace:
        handle = layer.register_forward_pre_hook(note, with_kwargs=True)  # after the scope's own
        answer(model, inputs)
        handle.remove()
    present = trace.stages[-1].tokens
    columns = present.columns[0][present.valid[0]]
    for step, (pruned, whole) in enumerate(zip(seen, dense, strict=True)):
        for one, other in zip(_parts(pruned), _parts(whole), strict=True):
            expected = other if step else other.index_select(other.dim() - 2, columns)
            assert torch.equal(one.expand_as(expected), expected)


def _parts(embeddings: Any) -> list[Tensor]:
    if embeddings is None:
        return []
    return list(embeddings) if isinstance(embeddings, tuple) else [embeddings]


ORACLES: dict[str, Callable[[Entry, Method], None]] = {
    "identity": identity,
    "drop equals mask": drop_equals_mask,
    "cached equals uncached": cached_equals_uncached,
    "batch equals single": batch_equals_single,
    "score equals definition": score_equals_definition,
    "restored": restored,
    "counted equals modelled": counted_equals_modelled,
    "positions": positions_are_kept,
}
