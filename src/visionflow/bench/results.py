"""What a bench tells: one entry per row, one list of rows per model, as plain as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from visionflow.bench.products import products_efficiency
from visionflow.bench.rounds import Ratio, Summary, ratio_of_medians
from visionflow.bench.rows import DENSE, Variant
from visionflow.bench.unclocked import Unclocked

ENCODER = "vision encoder"
"""The name in `Laps` of the one lap that no method changes."""

WORTHWHILE = 1.05  # a bound below it saves less than what a clock can tell

Laps = Mapping[str, Sequence[Sequence[float]]]
"""By row, of each round: seconds of the prefill and of all decoding steps; of the vision encoder: seconds."""


@dataclass(frozen=True)
class VariantResult:
    """One row; times are of the whole batch.

    Attributes:
        name: of the row.
        method: the call that makes it.
        flops: of the prefill, all samples, probes included.
        bound: FLOPs of the dense prefill over `flops`.
        realised: time of the dense prefill over that of this row, medians.
        efficiency: realised over bound.
        efficiency_processor: `realised_processor` over bound.
        products_efficiency: of the decoder's linear layers by themselves, the ratio of their times over that of their
            FLOPs: what the machine's own products allow; None where there are no linear layers.
        prefill_s: the decoder on given embeddings, to the logits of the last token.
        prefill_processor_s: the same in processor time of this process, all threads: what others do on a shared machine
            is not in it, and what a GPU does is not, either.
        realised_processor: as `realised`, of that time.
        first_token_s: vision encoder and prefill of the same round.
        decode_s: one decoding step; None for an answer of one token.
        decode_speedup: decoding, dense over this row; None likewise.
        answer_s: vision encoder, prefill and all decoding steps of the same round.
        probe_s: time inside the probes of one prefill, measured apart; None without probes.
        probe_share: of the dense prefill.
        kv_bytes: the prompt's keys and values, measured.
        peak_bytes: of the prefill, above weights and encoded pictures, its KV cache included; None if not known.
        host_waits_prefill, host_waits_answer: how often the host waited for the device, on CUDA; None elsewhere.
        note: where pruning does not pay, one sentence; else empty.
    """

    name: str
    method: str
    flops: int
    bound: float
    realised: Ratio
    efficiency: Ratio
    efficiency_processor: Ratio
    products_efficiency: Ratio | None
    prefill_s: Summary
    prefill_processor_s: Summary
    realised_processor: Ratio
    first_token_s: Summary
    decode_s: Summary | None
    decode_speedup: Ratio | None
    answer_s: Summary
    probe_s: Summary | None
    probe_share: float | None
    kv_bytes: int
    peak_bytes: int | None
    host_waits_prefill: int | None
    host_waits_answer: int | None
    note: str


@dataclass(frozen=True)
class ModelResult:
    """All rows of one model.

    Attributes:
        model: its name.
        layers: decoder layers that were run.
        dtype: its number type.
        weights_bytes: of the whole model.
        batch: prompts at a time.
        image_tokens, text_tokens: of each prompt.
        new_tokens: length of the answers.
        notes: how the depth was chosen, what was left out.
        order: the order of each round.
        encoder_s: the vision encoder and projector, which no method changes.
        rows: the unpruned model first.
    """

    model: str
    layers: int
    dtype: str
    weights_bytes: int
    batch: int
    image_tokens: int
    text_tokens: int
    new_tokens: int
    notes: list[str]
    order: list[list[str]]
    encoder_s: Summary
    rows: list[VariantResult]

    def to_json(self) -> dict[str, Any]:
        """The same as plain objects."""
        return asdict(self)


def variant_result(
    row: Variant,
    unclocked: Mapping[str, Unclocked],
    products: Mapping[int, Sequence[float]],
    laps: Laps,
    processor: Laps,
    steps: int,
) -> VariantResult:
    """The figures of one row, beside those of the unpruned model.

    Args:
        unclocked: of each row.
        products: of `product_times`, or empty.
        processor: as `laps`, in processor time.
        steps: decoding steps of each answer.
    """
    own, bound = unclocked[row.name], unclocked[DENSE].flops / unclocked[row.name].flops
    encoder = [lap for [lap] in laps[ENCODER]]
    prefills, decodes = zip(*laps[row.name], strict=True)
    dense_prefills, dense_decodes = zip(*laps[DENSE], strict=True)
    own_processor, dense_processor = ([lap[0] for lap in processor[name]] for name in (row.name, DENSE))
    realised = ratio_of_medians(dense_prefills, prefills)
    realised_processor = ratio_of_medians(dense_processor, own_processor)
    probe = Summary.of(own.probe_s) if own.probe_s else None
    return VariantResult(
        name=row.name,
        method=row.settings,
        flops=own.flops,
        bound=bound,
        realised=realised,
        efficiency=realised.over(bound),
        efficiency_processor=realised_processor.over(bound),
        products_efficiency=products_efficiency(unclocked[DENSE].rows, own.rows, products) if products else None,
        prefill_s=Summary.of(prefills),
        prefill_processor_s=Summary.of(own_processor),
        realised_processor=realised_processor,
        first_token_s=_sum(encoder, prefills),
        decode_s=Summary.of([lap / steps for lap in decodes]) if steps else None,
        decode_speedup=ratio_of_medians(dense_decodes, decodes) if steps else None,
        answer_s=_sum(encoder, prefills, decodes),
        probe_s=probe,
        probe_share=probe.median / Summary.of(dense_prefills).median if probe else None,
        kv_bytes=own.kv_bytes,
        peak_bytes=own.peak_bytes,
        host_waits_prefill=own.host_waits_prefill,
        host_waits_answer=own.host_waits_answer,
        note=why_not(bound, realised.value) if row.method else "",
    )


def why_not(bound: float, realised: float) -> str:
    """One sentence where pruning does not pay on this prompt; empty where it does."""
    if bound < WORTHWHILE:
        return f"pruning cannot pay here: on so short a prompt the arithmetic allows no more than {bound:.2f} times"
    if realised <= 1:
        return (
            f"pruning does not pay here: the arithmetic allows {bound:.2f} times, measured were {realised:.2f}: on so "
            "small a prompt the pruning itself takes as long as it saves"
        )
    return ""


def _sum(*parts: Sequence[float]) -> Summary:
    """Of parts that follow each other in the same round."""
    return Summary.of([sum(of_round) for of_round in zip(*parts, strict=True)])
