"""What all plots have in common."""

import sys
from pathlib import Path

import pytest

from visionflow.errors import VisionFlowError
from visionflow.report.figures.plotting import line_with_band, new_figure, save

pytest.importorskip("matplotlib")


def test_a_line_runs_within_its_band() -> None:
    axis = new_figure(3, 2).subplots()
    line_with_band(axis, [0, 1, 2], [0.5, 0.6, 0.4], [(0.4, 0.7), (0.5, 0.8), (0.1, 0.5)], "#0072B2", "o", "it")
    [line], [band] = axis.get_lines(), axis.collections
    assert (line.get_label(), line.get_ydata().tolist()) == ("it", [0.5, 0.6, 0.4])
    corners = {(float(x), float(y)) for x, y in band.get_paths()[0].vertices}
    assert {(0, 0.4), (0, 0.7), (1, 0.5), (1, 0.8), (2, 0.1), (2, 0.5)} <= corners


def test_without_matplotlib_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(VisionFlowError, match=r"matplotlib: pip install 'visionflow\[eval\]'"):
        new_figure(3, 2)


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(VisionFlowError, match=r"cannot write .*choose another --out"):
        save(new_figure(3, 2), tmp_path / "none" / "figure.png")
