"""The summary of a run and how it is shown, on records made by hand."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from tests.questions import sample
from tests.scenes.strategies import SPARSE
from visionflow.evaluation import Confusion, Interval, McNemar, bootstrap_difference, bootstrap_mean, cider, wilson
from visionflow.evaluation.answers import Naming, naming
from visionflow.evaluation.records import Record
from visionflow.evaluation.rows import Configuration, sweep_rows
from visionflow.evaluation.runner import marked
from visionflow.evaluation.summary import Lost, TaskSummary, summarise, to_json
from visionflow.report import eval as tables_for_people
from visionflow.report.figures.curve import draw_curve, points
from visionflow.scenes import Scene
from visionflow.scenes.captions import joined, names_in_reading_order, references

COSTS = {"dense": ([10, 10], 200, 1000), "half": ([10, 5], 150, 800), "no-image": ([0, 0], 0, 100)}
KEPT = {"dense": list(range(10)), "half": [1, 3, 5, 7, 9], "no-image": []}
RELEVANT = ([0, 1, 2, 3], [], [9])  # of every third question


def record(
    place: int, form: str, gold: list[str], answers: dict[str, tuple[str, bool]], kind: str = "colour"
) -> Record:
    rows = {}
    for row, (answer, right) in answers.items():
        tokens, paper, flops = COSTS[row]
        spent = {"image_tokens": tokens, "paper": paper, "flops": flops}
        rows[row] = {"answer": answer, "right": right, "kept": KEPT[row]} | spent
    return {
        "id": f"{form}-{place}",
        "task": form,
        "kind": kind,
        "form": form,
        "question": "",
        "gold": gold,
        "relevant": RELEVANT[place % 3],
        "rows": rows,
    }


def letters(dense: str, half: str, blind: str) -> list[Record]:
    """Right ("1") and wrong ("0") answers of three rows."""
    return [
        record(place, "letter", ["A"], {row: ("", mark == "1") for row, mark in zip(COSTS, marks, strict=True)})
        for place, marks in enumerate(zip(dense, half, blind, strict=True))
    ]


def test_accuracy_beside_cost() -> None:
    (table,) = summarise(letters("111110", "100011", "000000"))
    dense, half, blind = table.lines
    assert (table.task, table.questions, table.filtered) == ("letter", 6, 0)
    assert dense.figures["accuracy"].value == pytest.approx(5 / 6)
    assert dense.figures["accuracy"].interval == wilson(5, 6)
    assert dense.figures["accuracy"].difference is None
    figure = half.figures["accuracy"]
    assert (figure.value, figure.difference) == (0.5, pytest.approx(-2 / 6))
    assert figure.test == McNemar(lost=3, gained=1, p_value=0.625)
    assert figure.difference_interval == bootstrap_difference([1, 0, 0, 0, 1, 1], [1, 1, 1, 1, 1, 0])
    assert (half.spent.paper, half.spent.paper_ratio, half.spent.flops_ratio) == (150, 0.75, 0.8)
    assert (half.spent.image_tokens_at_end, half.spent.image_tokens_on_average) == (5, 7.5)
    assert (dense.spent.flops_ratio, blind.spent.paper_ratio) == (1, 0)


def test_the_share_of_relevant_tokens_that_is_kept() -> None:
    (table,) = summarise(letters("111", "111", "111"))
    assert [line.spent.relevant_kept for line in table.lines] == [1, (0.5 + 1) / 2, 0]
    unknown = [each | {"relevant": None} for each in letters("1", "1", "1")]
    assert [line.spent.relevant_kept for line in summarise(unknown)[0].lines] == [None] * 3


def test_what_is_lost_and_whether_it_could_be_seen() -> None:
    """Of three lost questions, the first lost a relevant token, the second rests on none, the third's was kept."""
    (table,) = summarise(letters("1111", "0001", "0000"))
    assert [line.lost for line in table.lines] == [Lost(0, 0), Lost(3, 1), Lost(4, 3)]
    unknown = [each | {"relevant": None} for each in letters("11", "01", "00")]
    assert summarise(unknown)[0].lines[1].lost == Lost(1, None)


def test_shares_by_kind() -> None:
    records = [
        each | {"kind": kind}
        for each, kind in zip(letters("110", "100", "000"), ("count", "colour", "count"), strict=True)
    ]
    dense, half, _ = summarise(records)[0].lines
    assert dense.kinds == {"colour": 1.0, "count": 0.5}
    assert half.kinds == {"colour": 0.0, "count": 0.5}


def test_the_seed_decides_the_bootstrap() -> None:
    gold = [[" ".join(f"w{place * other % 23}" for other in range(1, 8))] for place in range(1, 20)]
    said = [each[0][: 5 + place] for place, each in enumerate(gold)]
    records = [
        record(i, "caption", gold[i], {"dense": (said[i], False)}) | {"objects": ["red star"]} for i in range(len(gold))
    ]
    assert summarise(records, 1) == summarise(records, 1)
    assert summarise(records, 1) != summarise(records, 2)


def test_what_is_answered_without_the_image_is_left_out() -> None:
    records = letters("111110", "100011", "100100")
    (table,) = summarise(records, filtered=True)
    assert (table.questions, table.filtered) == (4, 2)
    assert [line.figures["accuracy"].value for line in table.lines] == [0.75, 0.5, 0]
    (nothing,) = summarise(letters("11", "11", "11"), filtered=True)
    assert (nothing.questions, nothing.filtered, nothing.lines) == (0, 2, [])


def test_popes_metrics_per_sampling_in_both_conventions() -> None:
    said = [("yes", "yes", "random"), ("no", "no", "random"), ("yes", "no", "popular"), ("no", "maybe", "popular")]
    records = [
        record(i, "yes_no", [gold], {"dense": (answer, gold == answer)}, kind)
        for i, (gold, answer, kind) in enumerate(said)
    ]
    (table,) = summarise(records)
    pope = table.lines[0].pope
    assert list(pope) == ["all", "random", "popular"]
    assert pope["random"]["strict"] == pope["random"]["pope"] == Confusion(1, 0, 1, 0)
    assert pope["popular"]["strict"] == Confusion(0, 0, 0, 1, neither_no=1)
    assert pope["popular"]["pope"] == Confusion(0, 1, 0, 1)
    told = to_json([table])["yes_no"]["rows"]["dense"]["pope"]["all"]
    assert told["pope"]["yes_ratio"] == 0.5
    assert told["strict"] == {
        "accuracy": 0.5,
        "precision": 1,
        "recall": 0.5,
        "f1": pytest.approx(2 / 3),
        "yes_ratio": 0.25,
    }


def test_a_kind_called_all_counts_once() -> None:
    (table,) = summarise([record(i, "yes_no", ["yes"], {"dense": ("yes", True)}, "all") for i in range(2)])
    assert {kind: each["strict"].total for kind, each in table.lines[0].pope.items()} == {"all": 2}


def captions() -> list[Record]:
    gold = [["a red circle and a blue star"] * 2, ["a green square and a pink cross"] * 2, ["one white star"] * 2]
    objects = [["red circle", "blue star"], ["green square", "pink cross"], ["white star"]]
    half = ["a red circle", "a pink cross", "one white star and a white star"]
    return [
        record(i, "caption", each, {"dense": (each[0], True), "half": (said, False)}) | {"objects": there}
        for i, (each, there, said) in enumerate(zip(gold, objects, half, strict=True))
    ]


def test_captions_have_cider_and_what_they_name() -> None:
    """Half names too little twice, and one star two times: that is every object, and not exactly what is there."""
    (table,) = summarise(captions())
    dense, half = table.lines
    scores = cider([each["rows"]["half"]["answer"] for each in captions()], [each["gold"] for each in captions()])
    assert scores is not None
    figure = half.figures["cider"]
    assert figure.value == pytest.approx(scores.mean())
    assert figure.interval == bootstrap_mean(scores)
    assert figure.difference == pytest.approx(scores.mean() - dense.figures["cider"].value)
    assert figure.difference < 0
    assert figure.test is None
    assert half.figures["names_every"].value == pytest.approx(1 / 3)
    assert half.figures["names_every"].test == McNemar(2, 0, 0.5)
    assert (half.figures["exact"].value, half.figures["exact"].test) == (0, McNemar(3, 0, 0.25))
    f1 = half.figures["f1"]
    assert f1.value == pytest.approx(2 / 3)  # of each: one of one or two named, of two or one that are there
    assert (f1.test, dense.figures["f1"].value, dense.figures["exact"].value) == (None, 1, 1)
    assert f1.difference_interval == bootstrap_difference([2 / 3] * 3, [1, 1, 1])
    assert (half.kinds["colour"], half.lost.questions) == (0, 3)
    assert list(half.figures) == ["cider", "exact", "f1", "names_every"]


def test_one_caption_has_no_cider() -> None:
    (table,) = summarise(captions()[:1])
    assert list(table.lines[0].figures) == ["exact", "f1", "names_every"]


def test_json_has_no_nan() -> None:
    told = to_json(summarise(letters("10", "01", "00") + captions()))
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["letter"]["rows"]["half"]["accuracy"]["test"] == {"lost": 1, "gained": 1, "p_value": 1}


def uncosted(records: list[Record]) -> list[Record]:
    """The same of a decoder whose cost is not modelled."""
    return [
        each | {"rows": {name: row | {"paper": None, "flops": None} for name, row in each["rows"].items()}}
        for each in records
    ]


def test_a_cost_that_is_not_modelled_is_said_to_be_so() -> None:
    tables = summarise(uncosted(letters("111110", "100011", "000000")))
    told = to_json(tables)["letter"]["rows"]["half"]
    assert [told[name] for name in ("paper", "paper_ratio", "flops", "flops_ratio")] == [None] * 4
    assert (told["image_tokens_on_average"], told["accuracy"]["value"]) == (7.5, 0.5)
    output = io.StringIO()
    tables_for_people.show(tables, {}, Console(file=output, width=200))
    assert output.getvalue().count("not modelled") == 2 * 3
    assert "…" not in output.getvalue()


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_the_tables_fit_and_say_the_figures(width: int) -> None:
    output = io.StringIO()
    console = Console(file=output, width=width, markup=False, highlight=False)
    yes_no = [record(0, "yes_no", ["no"], dict.fromkeys(COSTS, ("maybe", False)), "random")]
    tables = summarise(letters("111110" * 20, "100011" * 20, "000000" * 20) + captions() + yes_no)
    tables_for_people.show(tables, {"half": "half of it"}, console)
    assert max(map(len, output.getvalue().splitlines())) <= width
    said = " ".join(output.getvalue().split())
    assert "…" not in said
    for text in (
        "letter: 120 questions",
        "50.0",
        "-33.3",
        "75.0%",
        "names all",
        "exact %",
        "F1 %",
        "CIDEr",
        "half of it",
        "POPE's reading",
    ):
        assert text in said


def swept(changed: Callable[[list[Record]], list[Record]] = list) -> tuple[list[TaskSummary], list[Configuration]]:
    """Eight lettered questions, each answered by chance in every row of a sweep."""
    rows = sweep_rows(6)
    rng = np.random.default_rng(0)
    records = []
    for place in range(8):
        answers = {}
        for row in rows:
            tokens = (
                row.method.plan().image_tokens(25, 6) if row.series not in ("", "oracle") and row.method else [25] * 6
            )
            cost = int(sum(tokens))
            answers[row.name] = {
                "answer": "",
                "right": bool(rng.random() < 0.5),
                "image_tokens": tokens,
                "paper": cost,
                "flops": cost + 50,
                "kept": [],
            }
        records.append(record(place, "letter", ["A"], {}) | {"rows": answers})
    return summarise(changed(records)), rows


def test_a_curve_has_its_points_in_order_of_cost_and_becomes_a_picture(tmp_path: Path) -> None:
    tables, rows = swept()
    curves = points(tables, rows)["letter"]["accuracy"]
    assert set(curves) == {row.series for row in rows} - {""}
    for curve in curves.values():
        costs = [point["flops_ratio"] for point in curve]
        assert costs == sorted(costs)
    assert [point["row"] for point in curves["fastv"]] == ["fastv-0.9", "fastv-0.75", "fastv-0.5", "fastv-0.25"]
    draw_curve(tables, rows, tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as picture:
        colours = picture.convert("RGB").getcolors(2**24)
        assert colours is not None
        found = {colour for _, colour in colours}
    assert {(0xD5, 0x5E, 0), (0, 0x72, 0xB2), (0, 0x9E, 0x73)} <= found


def test_a_curve_without_a_cost_model_is_drawn_over_image_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    tables, rows = swept(uncosted)
    drawn: list[Any] = []
    monkeypatch.setattr("visionflow.report.figures.curve.save", lambda figure, path: drawn.append(figure))
    draw_curve(tables, rows, Path("curve.png"))
    axis = drawn[0].axes[0]
    assert axis.get_xlabel() == "image tokens, averaged over the layers, share of dense"
    [fastv] = [line for line in axis.lines if line.get_label() == "fastv"]
    curve = points(tables, rows)["letter"]["accuracy"]["fastv"]
    assert [point["flops"] for point in curve] == [None] * 4
    assert list(fastv.get_xdata()) == [point["image_tokens"] / 25 for point in curve]
    assert list(fastv.get_xdata()) == sorted(fastv.get_xdata())


def test_the_legend_of_a_curve_with_one_panel_is_all_there(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr("visionflow.report.figures.curve.save", lambda figure, path: drawn.append(figure))
    draw_curve(*swept(), Path("curve.png"))
    [figure] = drawn
    figure.savefig(io.BytesIO())
    [legend] = figure.legends
    left, bottom, right, top = legend.get_window_extent().extents
    assert 0 <= left < right <= figure.bbox.width
    assert 0 <= bottom < top <= figure.bbox.height
    assert len(legend.get_texts()) == 9


@pytest.mark.parametrize(
    ("caption", "objects", "common", "named"),
    [
        ("There is a red circle and a blue cross.", ("blue cross", "red circle"), 2, 2),
        ("There is a red circle.", ("blue cross", "red circle"), 1, 1),
        ("Two red circles and three blue crosses.", ("red circle",) * 2 + ("blue cross",) * 3, 5, 5),
        ("Two red circles.", ("red circle",) * 3, 2, 2),
        ("2 red circles and 12 blue crosses.", ("red circle",) * 2 + ("blue cross",) * 12, 14, 14),
        ("2 red circles.", ("red circle",) * 3, 2, 2),
        ("0 red circles.", ("red circle",), 0, 0),
        ("Zero red circles and twelve blue crosses.", ("red circle",) + ("blue cross",) * 12, 12, 12),
        ("1. A blue cross 2. red circle", ("blue cross", "red circle"), 2, 2),
        ("1. A blue cross 2. red circle", ("red circle",) * 2, 1, 2),
        ("A red circle, a red circle and a green star", ("red circle",) * 2, 2, 3),
        ("A red circle, a red circle and a red circle", ("red circle",) * 2, 2, 3),
        ("A red circle", ("red circle",) * 2, 1, 1),
        ("A pink moon and a pink moon", ("pink moon",), 1, 2),  # not of the generated world
        ("A circle, red", ("red circle",), 0, 0),
        ("", ("red circle",), 0, 0),
    ],
)
def test_what_a_caption_names(caption: str, objects: tuple[str, ...], common: int, named: int) -> None:
    found = naming(caption, objects)
    assert found == Naming(common, named, len(objects))
    assert found.every is (common == len(objects))
    assert found.exact is (common == len(objects) == named)
    assert found.f1 == pytest.approx(2 * common / (named + len(objects)))


@given(SPARSE, st.data())
@settings(max_examples=20, deadline=None)
def test_every_way_to_name_a_scene_is_exact_and_no_other_number_of_objects_is(
    scene: Scene, data: st.DataObject
) -> None:
    there = [item.name for item in scene.objects]
    for text in references(scene):
        assert naming(text, there).exact
    listed = data.draw(st.permutations(names_in_reading_order(scene)))
    more = [*listed, data.draw(st.sampled_from(listed))]
    assert naming(joined(listed), there).exact
    assert (naming(joined(more), there).every, naming(joined(more), there).exact) == (True, False)
    assert not naming(joined(listed[1:]), there).every


def test_captions_are_marked_anew_whatever_their_record_says() -> None:
    """Older records took a caption for right that names every object and more."""
    asked = replace(sample("open", 0), form="caption", objects=("red circle",))
    old = record(0, "caption", ["a red circle"], {"dense": ("two red circles", True), "half": ("a red circle", False)})
    new = marked(old, asked)
    assert new["objects"] == ["red circle"]
    assert {name: row["right"] for name, row in new["rows"].items()} == {"dense": False, "half": True}
    assert old["rows"]["dense"]["right"]
    other = record(0, "letter", ["A"], {"dense": ("B", True)})
    assert marked(other, sample("choice", 0)) == other


def test_an_answer_is_read_as_its_task_wants_it() -> None:
    assert sample("choice", 0).is_right("The answer is A.")
    assert sample("choice", 0).is_right("w7")
    assert not sample("choice", 0).is_right("B")
    assert sample("existence", 0).is_right("Yes, there is.")
    assert not sample("existence", 0).is_right("maybe")
    assert sample("open", 0).is_right("W5.")
    assert not sample("open", 0).is_right("w5 w6")


def test_an_interval_of_shares_stays_within_them() -> None:
    (table,) = summarise(letters("11", "00", "00"))
    for line in table.lines:
        interval = line.figures["accuracy"].interval
        assert isinstance(interval, Interval)
        assert 0 <= interval.low <= interval.high <= 1
