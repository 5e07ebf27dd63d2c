"""The flow analyses as tables: every estimate with its interval, and a legend of what was computed."""

import io
from typing import Any

import pytest
from rich.console import Console

from visionflow.flow.saliency_measures import MEASURES
from visionflow.report.flow import show_disruptions, show_saliency

RUN = {"suite": "scenes", "model": "tiny", "samples": 4, "limit": 8, "only_visual": True}


def shown(show: Any, found: dict[str, Any], width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width, markup=False, highlight=False)
    show(found, console)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= width
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("convention", "flow", "role"),
    [
        ("paper", "per image token (eq. 5)", "being read"),
        ("released", "sum over all pairs", "token of that kind reads"),
    ],
)
def test_the_legend_of_saliency_is_that_of_its_convention(convention: str, flow: str, role: str) -> None:
    values: dict[str, Any] = dict.fromkeys(MEASURES, 0.25)
    row = {"layer": 0, "interval": dict.fromkeys(MEASURES, (0.125, 0.5))} | values
    found = RUN | {"objective": "loss", "convention": convention, "layers": [row]}
    text = shown(show_saliency, found)
    assert text.startswith("scenes, tiny: 4 of 8 questions that need the picture, objective loss")
    assert text.count("0.25 [0.125, 0.5]") == len(MEASURES)
    assert "[low, high] 95 % bootstrap" in text
    for width in (80, 40, 20):
        assert shown(show_saliency, found, width).count("[0.125, 0.5]") == len(MEASURES)
    assert flow in text
    assert role in text


def test_windows_of_layers_and_an_undefined_shift() -> None:
    half = {"value": 0.5, "low": 0.25, "high": 0.75}
    none = {"value": 0.0, "low": 0.0, "high": 0.0}
    known = {"value": -0.5, "low": -0.75, "high": 0.25, "undefined_share": 0.02}
    unknown = {"value": None, "low": None, "high": None, "undefined_share": 1.0}
    flow: dict[str, Any] = {"source": "image", "target": "random", "layers": [0, 1]}
    found = RUN | {
        "mode": "zero",
        "disruptions": [flow | {"label_consistency": half, "score_consistency": none}],
        "windows": [
            {"layers": [0, 1], "e_vv": half, "e_vt": half, "d": known},
            {"layers": [1, 2], "e_vv": half, "e_vt": none, "d": unknown},
        ],
    }
    text = shown(show_disruptions, found)
    assert "image random 0-1 50.0% [25.0%, 75.0%] 0.0% [0.0%, 0.0%]" in text
    assert "0-1 0.500 [0.250, 0.750] 0.500 [0.250, 0.750] -0.50 [-0.75, +0.25] 2% of resamples" in text
    assert "1-2 0.500 [0.250, 0.750] 0.000 [0.000, 0.000] undefined 100% of resamples" in text
    for width in (80, 40, 20):
        assert "image, random, layers 0-1" in shown(show_disruptions, found, width) or width > 40
