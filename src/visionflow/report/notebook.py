"""What a notebook shows of a trace and of a saliency profile: small tables with bars behind the numbers, escaped."""

from collections.abc import Iterable, Sequence
from html import escape

from visionflow.flow.saliency import Saliency
from visionflow.flow.saliency_measures import MEASURES
from visionflow.pruning import PruningTrace
from visionflow.report.numbers import BYTES, SI, amount, layer_runs, percent

_BAR = "rgba(0, 114, 178, 0.3)"  # seen on light paper and on dark

Cell = tuple[str, float]
"""A text, and how full the bar behind it is, from 0 to 1."""


def trace_html(trace: PruningTrace) -> str:
    """How many tokens each layer ran, how many stayed at each cut, and what that cost."""
    if not trace.lengths or not trace.lengths[0]:
        return _paragraphs("No prompt has gone through this scope yet: run the model inside it.")
    batch, given = len(trace.given_image_tokens), trace.given_image_tokens.tolist()
    layers = [
        (length, tuple(images)) for length, images in zip(trace.lengths, trace.image_tokens.tolist(), strict=True)
    ]
    rows = [
        (name, [(f"{length}", length / trace.work.given), (_span(images), max(images) / max(*given, 1))])
        for name, (length, images) in layer_runs(layers)
    ]
    of = f"{batch} prompts, padding included" if batch > 1 else "the prompt"
    return _table(f"Prefill of {of}", ("layers", "tokens", "image tokens"), rows) + _paragraphs(
        *(f"Cut before layer {each.layer}: {_span([len(kept) for kept in each.kept])} kept." for each in trace.stages),
        _cost(trace),
    )


def saliency_html(profile: Saliency) -> str:
    """The measures by layer, each with bars up to its own largest."""
    most = {name: max(float(values.mean(0).max()), 0.0) or 1.0 for name, values in profile.per_sample.items()}
    rows = [
        (f"{row['layer']}", [(f"{row[name]:.3g}", max(row[name], 0.0) / most[name]) for name in MEASURES])
        for row in profile.rows()
    ]
    of = f"Saliency, mean over {profile.num_samples} prompts" if profile.num_samples > 1 else "Saliency of one prompt"
    how = f"objective {profile.objective}, convention {profile.convention}" + ", normalised" * profile.normalised
    names = (name.replace("s_", "S_") for name in MEASURES)
    return _table(f"{of} ({how})", ("layer", *names), rows) + _paragraphs(
        "S_sys, S_img, S_ins: text before, picture, text after; S_vv, S_vt: picture to itself, picture to text after."
    )


def _cost(trace: PruningTrace) -> str:
    """FLOPs and KV cache, dense and pruned, in a sentence; or why they are not known."""
    if trace.shape is None:
        return trace.uncosted
    cost = trace.cost("flops")
    return "; ".join(
        f"{name} {amount(dense, units, '.2f')} dense, {amount(pruned, units, '.2f')} pruned ({percent(pruned / dense)})"
        for name, dense, pruned, units in (
            ("FLOPs", cost.dense, cost.pruned, SI),
            ("KV cache", cost.kv_bytes_dense, cost.kv_bytes_pruned, BYTES),
        )
    )


def _span(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low}" if low == high else f"{low} to {high}"


def _table(caption: str, headings: Iterable[str], rows: Iterable[tuple[str, Sequence[Cell]]]) -> str:
    head = "".join(f"<th>{escape(each)}</th>" for each in headings)
    body = "".join(
        f"<tr><th>{escape(label)}</th>{''.join(_cell(*cell) for cell in cells)}</tr>" for label, cells in rows
    )
    return f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(text: str, full: float) -> str:
    bar = f"linear-gradient(to right, {_BAR} {100 * full:.1f}%, transparent 0)"
    return f'<td style="background: {bar}">{escape(text)}</td>'


def _paragraphs(*texts: str) -> str:
    return "".join(f"<p>{escape(text)}</p>" for text in texts if text)
