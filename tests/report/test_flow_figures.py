"""The figures of the flow analyses and of the benches: what they say is what they draw, and nothing covers anything."""

from collections.abc import Callable
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.text import Text

from visionflow.report.figures import bench as bench_figures
from visionflow.report.figures import flow as flow_figures

pytest.importorskip("matplotlib")

Drawn = Callable[[Callable[..., None], dict[str, Any]], Any]
CAPTION = {"samples": 2, "suite": "scenes", "model": "tiny", "objective": "loss", "convention": "paper"}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """The figure that a function would save, laid out."""

    def figure_of(draw: Callable[..., None], found: dict[str, Any]) -> Any:
        kept: list[Any] = []
        for module in (flow_figures, bench_figures):
            monkeypatch.setattr(module, "save", lambda figure, path: kept.append(figure))
        draw(found, Path("nowhere.png"))
        kept[0].draw_without_rendering()
        return kept[0]

    return figure_of


def estimate(value: float) -> dict[str, float]:
    return {"value": value, "low": 0.5 * value, "high": 1.5 * value}


def windows(count: int) -> dict[str, Any]:
    rows = [
        {"layers": [layer, layer + 1], "e_vv": estimate(0.3), "e_vt": estimate(0.32), "d": estimate(-0.1)}
        for layer in range(count)
    ]
    return CAPTION | {"windows": rows}


def saliencies() -> dict[str, Any]:
    names = ("s_ins", "s_sys", "s_img", "s_vv", "s_vt")
    rows = [
        {"layer": layer, "interval": dict.fromkeys(names, (0.1, 0.9))} | dict.fromkeys(names, 0.8) for layer in range(4)
    ]
    return CAPTION | {"layers": rows}


def growths(rounds: int, rows: int = 2) -> dict[str, Any]:
    """Three image tokens' sizes, the largest timed once, by `rows` rows; the others `rounds` times."""
    names = [f"row {place}" for place in range(rows)]
    timed = {16: rounds, 32: rounds, 64: 1}
    points = [
        {"image_tokens": size, "rows": [
            {"name": name, "flops": 1e12 * size, "prefill_s": {"median": float(size), "values": [1.0] * times}}
            for name in names
        ]}
        for size, times in timed.items()
    ]  # fmt: skip
    fitted = [
        {"axis": "image_tokens", "row": name, "flops": 1.0, "prefill_s": 0.9 if rounds > 1 else None} for name in names
    ]
    machine = {"device": "cpu", "processor": "any", "threads": 1}
    described = {"model": "tiny", "layers": 2, "dtype": "float32", "text_tokens": 8, "machine": machine}
    return described | {"rows": dict.fromkeys(names, ""), "axes": {"image_tokens": points}, "exponents": fitted}


@pytest.mark.parametrize(("counts", "said"), [([9, 22], "15.5"), ([9, 22, 30], "22"), ([9], "9")])
def test_the_median_is_that_of_the_line(drawn: Drawn, counts: list[int], said: str) -> None:
    lengths = [{"system": 12, "image": 144, "instruction": count} for count in counts]
    [axis] = drawn(flow_figures.draw_lengths, CAPTION | {"lengths": lengths}).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == [
        "system\nmedian 12",
        "image\nmedian 144",
        f"instruction\nmedian {said}",
    ]
    [line] = [
        line for line in axis.get_lines() if line.get_color() == flow_figures.VERMILION and max(line.get_ydata()) > 3
    ]
    assert set(line.get_xdata()) == {float(said)}


def test_intervals_of_two_series_do_not_hide_each_other(drawn: Drawn) -> None:
    above = drawn(flow_figures.draw_shift, windows(7)).axes[0]
    bars = [np.concatenate([segment[:, 0] for segment in part.get_segments()]) for part in above.collections]
    assert len(bars) == 2
    transform = above.transData.transform
    gap = transform((bars[1][0], 0))[0] - transform((bars[0][0], 0))[0]
    caps = 2 * 3 * above.figure.dpi / 72  # a cap reaches three points to each side
    assert gap > caps
    assert np.abs(bars[0] - bars[1]).max() < 0.2  # and yet at their window


@pytest.mark.parametrize(
    ("draw", "found"),
    [
        (flow_figures.draw_shift, windows(7)),
        (flow_figures.draw_saliency, saliencies()),
        (bench_figures.draw_scaling, growths(rounds=3)),
        (bench_figures.draw_scaling, growths(rounds=3, rows=6)),
    ],
    ids=["shift", "saliency", "scaling", "scaling of many"],
)
def test_legends_cover_nothing(drawn: Drawn, draw: Callable[..., None], found: dict[str, Any]) -> None:
    figure = drawn(draw, found)
    legends = [axis.get_legend().get_window_extent() for axis in figure.axes if axis.get_legend()]
    assert legends
    panels = [axis.get_window_extent() for axis in figure.axes]
    titles = [axis.title.get_window_extent() for axis in figure.axes if axis.get_title()]
    for legend in legends:
        assert not any(legend.padded(-1).overlaps(box) for box in panels + titles)
        assert figure.bbox.x0 <= legend.x0
        assert legend.x1 <= figure.bbox.x1
    assert not any(one.overlaps(other) for one, other in combinations(legends, 2))


def test_what_is_undefined_is_not_written_over(drawn: Drawn) -> None:
    found = windows(7)
    for row, value in zip(found["windows"], (-0.7, -0.6, -0.9, -1.5, None, None, None), strict=True):
        row["d"] = estimate(value) if value else {"value": None, "low": None, "high": None}
    axis = drawn(flow_figures.draw_shift, found).axes[1]
    words = [text for text in axis.findobj(Text) if "undefined" in text.get_text() or "above 0" in text.get_text()]
    assert len(words) == 4
    boxes = [text.get_window_extent() for text in words]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_the_windows_of_a_deep_model_have_their_names_apart(drawn: Drawn) -> None:
    axis = drawn(flow_figures.draw_shift, windows(39)).axes[1]
    boxes = [label.get_window_extent() for label in axis.get_xticklabels()]
    assert len(boxes) == 39
    assert not any(one.overlaps(other) for one, other in pairwise(boxes))


def test_a_time_of_one_round_is_hollow_and_has_no_exponent(drawn: Drawn) -> None:
    """FLOPs are counted, not timed."""
    times, flops = drawn(bench_figures.draw_scaling, growths(rounds=1)).axes
    assert [text.get_text() for text in times.get_legend().get_texts()] == ["row 0", "row 1"]
    assert [text.get_text() for text in flops.get_legend().get_texts()] == [f"row {n}, exponent 1.00" for n in (0, 1)]
    times, flops = drawn(bench_figures.draw_scaling, growths(rounds=3)).axes
    assert [text.get_text() for text in times.get_legend().get_texts()] == [f"row {n}, exponent 0.90" for n in (0, 1)]
    hollow = [line for line in times.get_lines() if line.get_markerfacecolor() == "white"]
    assert [list(line.get_xdata()) for line in hollow] == [[64], [64]]
    assert not any(len(line.get_xdata()) for line in flops.get_lines() if line.get_markerfacecolor() == "white")


@pytest.mark.parametrize("rounds", [1, 3])
def test_one_round_has_no_whiskers(drawn: Drawn, rounds: int) -> None:
    summary = {"median": 2.0, "q1": 1.5, "q3": 3.0, "values": [2.0] * rounds}
    rows = [{"name": name, "first_token_s": summary, "decode_s": summary} for name in ("none", "fastv")]
    counts = {"layers": 2, "image_tokens": 16, "text_tokens": 8, "batch": 1, "dtype": "float32", "weights_bytes": 1}
    model = {"model": "tiny", "encoder_s": summary | {"median": 0.5}, "rows": rows} | counts
    machine = {"device": "cpu", "processor": "any", "threads": 1}
    figure = drawn(bench_figures.draw_bench, {"machine": machine, "models": [model]})
    assert [len(axis.collections) for axis in figure.axes] == ([0, 0] if rounds == 1 else [1, 1])
    assert ("timed once" in figure.get_suptitle()) == (rounds == 1)
