"""What `visionflow scaling` found out, for people."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from visionflow.report.sheet import Sheet

AXES = {"image_tokens": "image tokens", "batch": "batch", "layers": "layers"}


def show_scaling(found: Mapping[str, Any], console: Console) -> None:
    """One table per axis, then the exponents, then what was left out."""
    console.print(found["machine"]["words"], soft_wrap=True)
    console.print(
        f"{found['model']}, {found['dtype']}, prefill with {found['text_tokens']} text tokens; base: "
        f"{_words(found['base'])}",
        soft_wrap=True,
    )
    if found["note"]:
        console.print(found["note"], soft_wrap=True)
    for name, settings in found["rows"].items():
        console.print(f"{name}: {settings}", soft_wrap=True)
    for axis in AXES:
        console.print()
        console.print(_along(found, axis))
    console.print("\nExponents fitted in double logarithms, value = c size^a; time to the points timed more than once:")
    console.print(_exponents(found))
    for point in found["skipped"]:
        console.print(f"left out: {_words(point)}: {point['why']}", soft_wrap=True)


def _along(found: Mapping[str, Any], axis: str) -> Sheet:
    table = Sheet(AXES[axis], *((f"{name} TFLOP", f"{name} s") for name in found["rows"]))
    for point in found["axes"][axis]:
        cells = []
        for name in found["rows"]:
            row = next((row for row in point["rows"] if row["name"] == name), None)
            cells += [f"{row['flops'] / 1e12:.4g}", f"{row['prefill_s']['median']:.3g}"] if row else ["-", "-"]
        table.add_row(str(point[axis]), *cells)
    return table


def _exponents(found: Mapping[str, Any]) -> Sheet:
    table = Sheet("axis", "row", "FLOPs", "time", "points", "timed again", labels=2, grouped=True)
    for each in found["exponents"]:
        time = "-" if each["prefill_s"] is None else f"{each['prefill_s']:.2f}"
        counts = str(each["points"]), str(each["repeated"])
        table.add_row(AXES[each["axis"]], each["row"], f"{each['flops']:.2f}", time, *counts)
    return table


def _words(point: Mapping[str, Any]) -> str:
    return f"{point['image_tokens']} image tokens, batch {point['batch']}, {point['layers']} layers"
