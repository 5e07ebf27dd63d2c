"""What `visionflow bench` found out, for people."""

import math
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from visionflow.report.numbers import BYTES, SECONDS, amount, bracketed, percent, unit_for
from visionflow.report.sheet import Pairs, Sheet

_LEGEND = {
    "bound": "FLOPs of the dense prefill over those of the pruned one, probes included",
    "realised": "time of the dense prefill over that of the pruned one",
    "efficiency": "realised / bound",
    "in processor time": "the same of the seconds of processor time of the prefill",
    "products allow": "the efficiency of the decoder's linear layers by themselves, run on as many tokens",
    "processor": "of the prefill, seconds of processor time, all threads: what else the machine does is not in it",
    "prefill": "the decoder on given embeddings, to the logits of the last token",
    "answer": "vision encoder, prefill and all further tokens",
    "first token": "vision encoder and prefill",
    "probe": "time inside the probes, measured apart, and its share of the dense prefill",
    "peak": "memory of the prefill at its worst moment, above the weights, KV cache included",
    "host waits": "how often the host waited for the device, in the prefill / in the whole answer",
}


def show_bench(found: Mapping[str, Any], console: Console) -> None:
    """One block per model: the ratios first, then times and memory."""
    console.print(found["machine"]["words"], soft_wrap=True)
    for model in found["models"]:
        prompts = "one prompt" if model["batch"] == 1 else f"{model['batch']} prompts"
        console.print(
            f"\n{model['model']}, {model['layers']} layers, {model['dtype']}: {prompts} of {model['image_tokens']} "
            f"image and {model['text_tokens']} text tokens, answers of {model['new_tokens']}",
            soft_wrap=True,
        )
        for note in model["notes"]:
            console.print(note, soft_wrap=True)
        for table in (_settings(model), _ratios(model), _times(model), _rest(model)):
            console.print()
            console.print(table)
        console.print(f"\nvision encoder {_seconds(model['encoder_s'])}, weights {_bytes(model['weights_bytes'])}")
        for row in model["rows"]:
            if row["note"]:
                console.print(f"{row['name']}: {row['note']}")
    rounds = "/".join(str(len(model["order"])) for model in found["models"])
    console.print(f"\nRounds: {rounds}. Medians ± half of the interquartile range, [95 % bootstrap intervals].")
    console.print(Pairs(_LEGEND))


def _settings(model: Mapping[str, Any]) -> Pairs:
    return Pairs({row["name"]: row["method"] for row in model["rows"]})


def _ratios(model: Mapping[str, Any]) -> Sheet:
    table = Sheet("", "bound", "realised", "efficiency", "in processor time", "products allow", "decode speed")
    for row in model["rows"]:
        efficiencies = (row["efficiency"], row["efficiency_processor"], row["products_efficiency"])
        ratios = (row["realised"], *efficiencies, row["decode_speedup"])
        table.add_row(row["name"], f"{row['bound']:.2f}", *map(_ratio, ratios))
    return table


def _times(model: Mapping[str, Any]) -> Sheet:
    table = Sheet("", "prefill", "processor", "first token", "per further token", "answer")
    for row in model["rows"]:
        times = (row["prefill_s"], row["prefill_processor_s"], row["first_token_s"], row["decode_s"], row["answer_s"])
        table.add_row(row["name"], *map(_seconds, times))
    return table


def _rest(model: Mapping[str, Any]) -> Sheet:
    table = Sheet("", "probe", "share", "KV cache", "peak", "host waits")
    for row in model["rows"]:
        table.add_row(
            row["name"],
            _seconds(row["probe_s"]),
            percent(row["probe_share"], 2),
            _bytes(row["kv_bytes"]),
            _bytes(row["peak_bytes"]),
            f"{row['host_waits_prefill']} / {row['host_waits_answer']}"
            if row["host_waits_answer"] is not None
            else "-",
        )
    return table


def _ratio(of: Mapping[str, Any] | None) -> str:
    if of is None:
        return "-"
    return f"{of['value']:.2f}" + ("" if of["low"] is None else f" {bracketed(of['low'], of['high'], '.2f')}")


def _seconds(of: Mapping[str, Any] | None) -> str:
    """Three digits of the median, and as many decimals of the spread."""
    if of is None:
        return "-"
    size, unit = unit_for(of["median"], SECONDS)
    median, spread = of["median"] / size, (of["q3"] - of["q1"]) / 2 / size
    decimals = max(0, 2 - math.floor(math.log10(median))) if median > 0 else 2
    return f"{median:.{decimals}f}" + f" ± {spread:.{decimals}f}" * (len(of["values"]) > 1) + f" {unit}"


def _bytes(count: int | None) -> str:
    return "-" if count is None else amount(count, BYTES, ".1f")
