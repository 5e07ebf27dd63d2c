"""The flow analyses as rows for JSON and as tables for people."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from rich.console import Console

from visionflow.evaluation.intervals import Interval, bootstrap_mean
from visionflow.flow.disruption import layers_named
from visionflow.flow.saliency import Saliency
from visionflow.flow.saliency_measures import MEASURES, ConventionName
from visionflow.report.numbers import bracketed
from visionflow.report.sheet import Pairs, Sheet

SALIENCY_LEGENDS: dict[ConventionName, dict[str, str]] = {
    "paper": {
        "S_sys, S_img, S_ins": "how much the answer hangs on a token of that kind being read, mean per token "
        "(eq. 2 to 4)",
        "S_vv": "... on image tokens reading each other, per image token (eq. 5)",
        "S_vt": "... on instruction tokens reading the image, per image token (eq. 6)",
    },
    "released": {
        "S_sys, S_img, S_ins": "how much the answer hangs on what a token of that kind reads, mean per token "
        "(A^2 in place of A)",
        "S_vv": "... on image tokens reading each other, sum over all pairs",
        "S_vt": "... on instruction tokens reading the image, sum over all pairs",
    },
}
DISRUPTION_LEGEND = {
    "label": "questions whose likeliest first answer token stays what it was",
    "score": "mean overlap (Jaccard) of the five likeliest first tokens with what they were",
    "E": "what the score loses; D = ln(E_vv / E_vt), above 0 where the flow among image tokens matters more",
    "[low, high]": "95 % bootstrap intervals over questions; undefined where a disruption changes nothing",
}


def saliency_rows(profile: Saliency, seed: int = 0) -> list[dict[str, Any]]:
    """One row per layer: each measure, and under ``interval`` its bounds."""
    bounds = {
        name: [_bounds(bootstrap_mean(profile.per_sample[name][:, layer].numpy(), seed)) for layer in _layers(profile)]
        for name in MEASURES
    }
    return [
        row | {"interval": {name: bounds[name][layer] for name in MEASURES}} for layer, row in enumerate(profile.rows())
    ]


def show_saliency(found: Mapping[str, Any], console: Console) -> None:
    """A table with a line per layer."""
    console.print(f"{_questions(found)}, objective {found['objective']}, convention {found['convention']}")
    table = Sheet("layer", *((name.replace("s_", "S_"), "") for name in MEASURES))
    for row in found["layers"]:
        cells = (_with_bounds(row[name], row["interval"][name], ".3g") for name in MEASURES)
        table.add_row(str(row["layer"]), *chain.from_iterable(cells))
    console.print(table)
    intervals = {"[low, high]": "95 % bootstrap intervals of the mean over questions"}
    _legend(SALIENCY_LEGENDS[found["convention"]] | intervals, console)


def show_disruptions(found: Mapping[str, Any], console: Console) -> None:
    """A table with a line per disruption, and one with a line per window in which both visual flows were disrupted."""
    console.print(f"{_questions(found)}; blocked pairs: {found['mode']}")
    table = Sheet("from", "to", "layers", ("label %", ""), ("score %", ""), labels=3)
    for row in found["disruptions"]:
        shares = (_estimate(row[name], ".1%") for name in ("label_consistency", "score_consistency"))
        table.add_row(row["source"], row["target"], layers_named(row["layers"]), *chain.from_iterable(shares))
    console.print(table)
    if found["windows"]:
        shifts = Sheet("layers", ("E_vv", ""), ("E_vt", ""), ("D", ""), "undefined")
        for row in found["windows"]:
            estimates = (_estimate(row[name], form) for name, form in (("e_vv", ".3f"), ("e_vt", ".3f"), ("d", "+.2f")))
            share = f"{row['d']['undefined_share']:.0%} of resamples"
            shifts.add_row(layers_named(row["layers"]), *chain.from_iterable(estimates), share)
        console.print()
        console.print(shifts)
    _legend(DISRUPTION_LEGEND, console)


def _layers(profile: Saliency) -> range:
    return range(profile.s_img.shape[0])


def _bounds(interval: Interval | None) -> list[float]:
    assert interval is not None  # a profile has at least one sample
    return [interval.low, interval.high]


def _questions(found: Mapping[str, Any]) -> str:
    kept = f"{found['samples']} of {found['limit']} questions" + " that need the picture" * found["only_visual"]
    return f"{found['suite']}, {found['model']}: {kept}"


def _estimate(estimate: Mapping[str, Any], form: str) -> tuple[str, str]:
    if estimate["value"] is None:
        return "undefined", ""
    return _with_bounds(estimate["value"], [estimate["low"], estimate["high"]], form)


def _with_bounds(value: float, bounds: Sequence[float], form: str) -> tuple[str, str]:
    return f"{value:{form}}", bracketed(bounds[0], bounds[1], form)


def _legend(entries: Mapping[str, str], console: Console) -> None:
    console.print()
    console.print(Pairs(entries))
