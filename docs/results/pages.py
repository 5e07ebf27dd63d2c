"""The tables of docs/results and docs/study, from what `docs/results/runs.py` measured.

``python docs/results/pages.py --runs FOLDER`` puts each between its two marks, ``<!-- NAME -->`` and
``<!-- /NAME -->``, on the page that has them, and copies or draws the figures. The words around them are written by
hand.
"""

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from runs import BUDGETS, CONTROLS, EARLY, Budget, second_cuts

from visionflow.evaluation.answers import naming
from visionflow.evaluation.intervals import (
    Interval,
    bootstrap_difference,
    holm,
    mcnemar,
    sign_flips,
    wilson,
)
from visionflow.evaluation.summary import TaskSummary, summarise
from visionflow.report.figures.frontier import COLOURS, MARKERS
from visionflow.report.figures.plotting import BLACK, new_figure, save, tidy
from visionflow.report.paper_tables import paper_tables

DOCS = Path(__file__).parent.parent
PAGES = ("results/scenes.md", "results/fair.md", "results/visipruner.md", "study/README.md")
FIGURES = {
    "frontier/frontier.png": "results/frontier.png",
    "saliency/saliency.png": "study/saliency.png",
    "saliency-released/saliency.png": "study/saliency-released.png",
    "disrupt/disruption.png": "study/disruption.png",
    "disrupt/shift.png": "study/shift.png",
    "lenses/lenses.png": "study/lenses.png",
}
"""Figures that runs have drawn, and where they are shown."""

AIMS = {"choice": 95, "science": 95, "existence": 97, "caption": 85, "open": 95}
OPEN_KIND = 90
LOSS, KEPT = -10.0, -2.0
CERTAIN = 0.05

Record = dict[str, Any]
Scores = NDArray[np.float64]


def records_of(runs: Path, name: str) -> list[Record]:
    """The records of a run that has come to its end, task by task."""
    told(runs, name)
    with (runs / name / "records.jsonl").open(encoding="utf-8") as lines:
        return list(map(json.loads, lines))


def told(runs: Path, name: str) -> Any:
    """What a run printed."""
    return json.loads((runs / f"{name}.json").read_text(encoding="utf-8"))


def right(records: Iterable[Record], row: str) -> Scores:
    """1 for each question that a row answers rightly, else 0."""
    return np.array([record["rows"][row]["right"] for record in records], dtype=np.float64)


def f1(records: Iterable[Record], row: str) -> Scores:
    """F1 of the objects that each caption names."""
    return np.array([naming(record["rows"][row]["answer"], record["objects"]).f1 for record in records])


def grouped(records: Iterable[Record], by: Callable[[Record], str]) -> dict[str, list[Record]]:
    """The records by task or kind, in their order."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(by(record), []).append(record)
    return found


def task_of(record: Record) -> str:
    """The table it belongs to."""
    return str(record["task"])


def kind_of(record: Record) -> str:
    """What is asked, in whatever task."""
    return "existence" if record["task"] == "existence" else str(record["kind"])


# -- how good the model is ---------------------------------------------------------------------------------------------


def by_task_of(runs: Path, name: str, of_open: str) -> dict[str, list[Record]]:
    """The records of a run by task; of open questions, which have many kinds, those of their own run, if any."""
    found = grouped(records_of(runs, name), task_of)
    return found | ({"open": records_of(runs, of_open)} if (runs / f"{of_open}.json").exists() else {})


def aims(runs: Path) -> str:
    """By task the share of right answers against its aim, without the picture, and with a grey one."""
    lines, grey = [], grouped(records_of(runs, "grey"), task_of)
    for task, several in by_task_of(runs, "dense", "open").items():
        share, aim = right(several, "dense"), AIMS.get(task)
        met = "" if aim is None else "yes" if 100 * share.mean() >= aim else f"short by {aim - 100 * share.mean():.1f}"
        blind = [right(several, "no-image"), right(grey[task], "dense")]
        name = "caption, exact" if task == "caption" else task
        lines.append(
            [name, len(several), *share_cells(share), aim or "", met, *(f"{100 * each.mean():.1f}" for each in blind)]
        )
    header = ("task", "questions", "right %", "95 % interval", "aim", "met", "no picture", "grey picture")
    return table(header, lines, left=1)


def aims_by_kind(runs: Path) -> str:
    """By task and kind the share of right answers."""
    lines = []
    for task, several in by_task_of(runs, "dense", "open").items():
        for kind, alike in sorted(grouped(several, lambda record: record["kind"]).items()):
            share = right(alike, "dense")
            short = "below" if task == "open" and 100 * share.mean() < OPEN_KIND else ""
            blind = f"{100 * right(alike, 'no-image').mean():.1f}"
            lines.append([task, kind, len(alike), *share_cells(share), short, blind])
    header = ("task", "kind", "questions", "right %", "95 % interval", f"below {OPEN_KIND}", "no picture")
    return table(header, lines, left=2)


# -- what the world tells apart ----------------------------------------------------------------------------------------


def told_apart(runs: Path) -> str:
    """By task, and by kind across tasks, what a quarter of the tokens costs each control; and what was required."""
    records = list(chain(*by_task_of(runs, "controls", "controls-open").values()))
    by_task, by_kind = (lost_by(records, by) for by in (task_of, kind_of))
    header = ("", "questions", "dense %", *map(short, CONTROLS))
    return "\n\n".join(
        (
            verdicts(by_task, by_kind),
            "By task:",
            table(header, [cells for cells, _ in by_task.values()], left=1),
            "By kind, in whatever task:",
            table(header, [cells for cells, _ in by_kind.values()], left=1),
        )
    )


def lost_by(
    records: list[Record], by: Callable[[Record], str]
) -> dict[str, tuple[list[Any], list[tuple[float, Interval]]]]:
    """By group the cells of its line, and of each control the difference to dense in points with its interval."""
    found = {}
    for name, several in sorted(grouped(records, by).items()):
        lost = [difference(right(several, row), right(several, "dense")) for row in CONTROLS]
        cells = [name, len(several), f"{100 * right(several, 'dense').mean():.1f}", *(signed(*each) for each in lost)]
        found[name] = (cells, lost)
    return found


def verdicts(*groups: Mapping[str, tuple[list[Any], list[tuple[float, Interval]]]]) -> str:
    """What each control loses much on, and whether the oracle loses little."""
    lines = []
    for place, row in enumerate(CONTROLS):
        for what, group in zip(("tasks", "kinds"), groups, strict=True):
            lost = {name: each[place] for name, (_, each) in group.items()}
            if "Oracle" in row:
                worse = [f"{name} {value:+.1f}" for name, (value, _) in lost.items() if value < KEPT]
                lines.append(
                    f"- {short(row)} loses more than 2 points on {len(worse)} of {len(lost)} {what}{listed(worse)}."
                )
            else:
                much = [f"{name} {value:+.1f}" for name, (value, _) in lost.items() if value <= LOSS]
                sure = sum(interval.high <= LOSS for _, interval in lost.values())
                lines.append(
                    f"- {short(row)} loses 10 points or more on {len(much)} of {len(lost)} {what}{listed(much)}; "
                    f"on {sure} the whole interval is beyond 10."
                )
    return "\n".join(lines)


# -- equal budgets -----------------------------------------------------------------------------------------------------


def fair(runs: Path, budget: Budget) -> str:
    """All rows at one budget: cost, and how often right by task."""
    run, records = told(runs, f"fair-{budget.name}"), records_of(runs, f"fair-{budget.name}")
    plan = plan_of(runs, budget)
    found = summarise(records, against=(plan, "dense", "random"))
    rows = sorted(run["rows"], key=lambda row: (row == "no-image", -right(records, row).mean()))
    header = ("row", "FLOPs", "image work", "all", *(head(table) for table in found), "captions, F1")
    lines = [[called(row, plan), *cost_cells(run, row), *scores(records, found, row)] for row in rows]
    missing = [f"`{name.partition(':')[0]}` ({why})" for name, why in run.get("missing", {}).items()]
    asked = ", ".join(f"{table.task} {table.questions}" for table in found)
    settings = [[called(row, plan), f"`{run['rows'][row]}`"] for row in rows if row != "no-image"]
    return "\n\n".join(
        (
            table(header, lines, left=1),
            f"Questions: {asked}. \\*: differs from dense, corrected for all pairs of that task (Holm, p < 0.05).",
            "Not in the table: " + "; ".join(missing) + "." if missing else "",
            "Tuned against every other row: difference in points, with the interval for as many pairs; **bold** "
            "where p is below 0.05 after Holm's correction:",
            against_tuned(found, rows, plan),
            "<details><summary>Settings</summary>\n\n"
            + table(("row", "settings"), settings, left=2)
            + "\n\n</details>",
        )
    )


def tuned(runs: Path) -> str:
    """What was required of the tuned schedule at the first budget: against dense by kind, against all other rows."""
    name = f"fair-{BUDGETS[0].name}"
    records, plan = records_of(runs, name), plan_of(runs, BUDGETS[0])
    found = summarise(records, against=(plan, "dense", "random"))
    kinds = {
        kind: (len(several), *difference(right(several, plan), right(several, "dense")))
        for kind, several in sorted(grouped(records, kind_of).items())
    }
    lost = [f"{kind} {value:+.1f}" for kind, (_, value, _) in kinds.items() if value < KEPT]
    sure = [kind for kind, (_, _, interval) in kinds.items() if interval.high < 0]
    times = Counter(called(row, plan) for row, _ in certain_pairs(found, plan, better=True))
    beaten = [f"{row} on {count}" for row, count in times.most_common()]
    below = [f"{called(row, plan)} on {what}" for row, what in certain_pairs(found, plan, better=False)]
    lines = [[kind, many, signed(value, interval)] for kind, (many, value, interval) in kinds.items()]
    return "\n\n".join(
        (
            f"- Against dense it loses more than 2 points on {len(lost)} of {len(kinds)} kinds{listed(lost)}; the "
            f"interval, not corrected, leaves out 0 on {len(sure)}{listed(sure)}.\n"
            f"- Better, after Holm's correction, of {len(found) + 1} columns: than {', '.join(beaten) or 'none'}.\n"
            f"- Worse, after the correction, than: {', '.join(below) or 'none'}.",
            table(("kind", "questions", "tuned less dense"), lines, left=1),
        )
    )


def certain_pairs(found: Sequence[TaskSummary], plan: str, better: bool) -> list[tuple[str, str]]:
    """The rows, with task and metric, than which tuned is better, or worse, after Holm's correction."""
    pairs = []
    for each in found:
        for pair in each.pairs:
            other = pair.against if pair.row == plan else pair.row
            if plan in (pair.row, pair.against) and pair.p_holm < CERTAIN and other != "no-image":
                above = (pair.difference > 0) == (pair.row == plan)
                what = f"captions, {pair.metric}" if each.task == "caption" else each.task
                pairs += [(other, what)] if above == better else []
    return pairs


def plan_of(runs: Path, budget: Budget) -> str:
    """The name of the tuned row."""
    rows = told(runs, f"fair-{budget.name}")["rows"]
    return next(row for row in rows if row.endswith(f"plan-{budget.name}.json"))


def called(row: str, plan: str) -> str:
    """A row's short name; there are two of random."""
    return "**tuned**" if row == plan else row if row.startswith("random") else row.partition(":")[0]


def cost_cells(run: Any, row: str) -> list[str]:
    """The shares of the dense FLOPs and of the image tokens' own work, the mean over tasks."""
    spent = [each["rows"][row] for each in run["tables"].values()]
    return [f"{100 * np.mean([each[name] or 0.0 for each in spent]):.1f} %" for name in ("flops_ratio", "paper_ratio")]


def scores(records: list[Record], found: Sequence[TaskSummary], row: str) -> list[str]:
    """Of all questions, and task by task, the share of right answers; of captions F1 as well."""
    cells = [f"{100 * right(records, row).mean():.1f}"]
    captions = ""
    for each in found:
        line = next(line for line in each.lines if line.row == row)
        cells.append(mark(each, row, "exact" if each.task == "caption" else "accuracy", line))
        captions = mark(each, row, "f1", line) if each.task == "caption" else captions
    return [*cells, captions]


def mark(found: TaskSummary, row: str, metric: Any, line: Any) -> str:
    """A score in per cent, with a star where it differs from dense."""
    certain = any(
        {pair.row, pair.against} == {row, "dense"} and pair.metric == metric and pair.p_holm < CERTAIN
        for pair in found.pairs
    )
    return f"{100 * line.figures[metric].value:.1f}" + "\\*" * certain


def against_tuned(found: Sequence[TaskSummary], rows: Sequence[str], plan: str) -> str:
    """Tuned less each other row, by task and metric."""
    lines = []
    for row in rows:
        if row not in (plan, "no-image"):
            cells = [
                pair_cell(each, plan, row, metric)
                for each in found
                for metric in (("exact", "f1") if each.task == "caption" else ("accuracy",))
            ]
            lines.append([called(row, plan), *cells])
    heads = chain(
        *((("captions, exact", "captions, F1") if each.task == "caption" else (each.task,)) for each in found)
    )
    return table(("tuned less", *heads), lines, left=1)


def pair_cell(found: TaskSummary, row: str, other: str, metric: str) -> str:
    """One pair, as `row` less `other`."""
    for pair in found.pairs:
        if {pair.row, pair.against} == {row, other} and pair.metric == metric and pair.interval is not None:
            sign = 1 if pair.row == row else -1
            low, high = sorted((sign * 100 * pair.interval.low + 0.0, sign * 100 * pair.interval.high + 0.0))
            cell = f"{sign * 100 * pair.difference + 0.0:+.1f} [{low:+.1f}, {high:+.1f}]"
            return f"**{cell}**" if pair.p_holm < CERTAIN else cell
    return ""


def draw_fair(runs: Path, budgets: Sequence[Budget], path: Path) -> None:
    """How much less often right than dense on the same questions against cost, all budgets together."""
    points: dict[str, list[tuple[float, float]]] = {}
    for budget in budgets:
        name, plan = f"fair-{budget.name}", plan_of(runs, budget)
        run, records = told(runs, name), records_of(runs, name)
        dense = right(records, "dense").mean()
        for row in run["rows"]:
            if row not in ("dense", "no-image"):
                place = float(cost_cells(run, row)[0].split()[0]) / 100, 100 * float(right(records, row).mean() - dense)
                points.setdefault(called(row, plan).strip("*"), []).append(place)
    figure = new_figure(8.4, 5.6)
    axis = figure.subplots()
    for number, (name, several) in enumerate(points.items()):
        across, up = zip(*sorted(several), strict=True)
        control, tuned = name in ("random", EARLY, "grid", "unlike-mean", "oracle-margin"), name == "tuned"
        axis.plot(
            across,
            up,
            color=BLACK if tuned else "0.45" if control else COLOURS[number % len(COLOURS)],
            marker="*" if tuned else MARKERS[number % len(MARKERS)],
            markersize=13 if tuned else 5,
            linewidth=1.8 if tuned else 1.2,
            linestyle="--" if control else "-",
            label=name,
        )
    axis.axhline(0, color="0.25", linestyle=":", linewidth=1.2, label="dense")
    axis.set_xlabel("FLOPs of the prefill, share of dense")
    axis.set_ylabel("right answers less those of dense, points, all tasks")
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    tidy(axis)
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    save(figure, path)


# -- HiMAP's second criterion ------------------------------------------------------------------------------------------


def second_cut(runs: Path) -> str:
    """Both forms of eq. 9 less each other choice at the same layers and cost, by task, corrected for all of them."""
    tasks = grouped(records_of(runs, "second-cut"), task_of)
    names = {at: name for name, at in second_cuts().items()}
    depths = sorted({depth for depth, _ in names})
    asked = list(product(depths, ("paid", "received"), ("text", "last", "random")))
    metrics = [(task, right) for task in tasks] + [("caption", f1)]
    tests, cells = [], []
    for (depth, form, other), (task, score) in product(asked, metrics):
        ours, theirs = (score(tasks[task], names[depth, each]) for each in (form, other))
        tests.append(sign_flips(ours, theirs) if score is f1 else mcnemar(ours, theirs).p_value)
        cells.append(signed(*difference(ours, theirs)))
    corrected = holm(tests)
    shown = [f"**{cell}**" if p < CERTAIN else cell for cell, p in zip(cells, corrected, strict=True)]
    lines = [
        [depth, form, other, *shown[place * len(metrics) : (place + 1) * len(metrics)]]
        for place, (depth, form, other) in enumerate(asked)
    ]
    heads = [f"{task}, exact" if task == "caption" else task for task in tasks]
    counted = {
        (form, other): [
            sum(
                p < CERTAIN and sign * float(cell.split()[0]) > 0
                for at, cell, p in zip(product(asked, metrics), cells, corrected, strict=True)
                if at[0][1:] == (form, other)
            )
            for sign in (1, -1)
        ]
        for form, other in product(("paid", "received"), ("text", "last", "random"))
    }
    of = len(depths) * len(metrics)
    verdict = "\n".join(
        f"- {form} against {other}: better in {better}, worse in {worse} of {of} comparisons "
        f"(Holm, p < 0.05 over all {len(tests)})."
        for (form, other), (better, worse) in counted.items()
    )
    levels = [
        [depth, each, *(f"{100 * right(several, names[depth, each]).mean():.1f}" for several in tasks.values())]
        for depth, each in product(depths, ("paid", "received", "text", "last", "random"))
    ]
    dense = ["", "dense", *(f"{100 * right(several, 'dense').mean():.1f}" for several in tasks.values())]
    return "\n\n".join(
        (
            verdict,
            table(("before layer", "form", "less", *heads, "captions, F1"), lines, left=3),
            "How often right, by what the cut is made on:",
            table(("before layer", "cut on", *heads), [dense, *levels], left=2),
        )
    )


def papers(runs: Path) -> str:
    """Tables 1 and 2 of the HiMAP paper, as printed and rebuilt."""
    return paper_tables(summarise(records_of(runs, "paper")))


# -- the study ---------------------------------------------------------------------------------------------------------

GROUPS = {
    "places": ("where", "half", "quarter", "at", "empty", "relation"),
    "counts": ("count", "counted", "more-in", "strewn"),
    "words and digits": ("word", "sign", "digit"),
    "looks": ("colour", "shape", "mark", "ground", "under", "about-one"),
    "odd one out, comparison": ("odd-one-out", "comparison"),
    "existence": ("existence",),
    "captions": ("caption",),
    "two pictures": ("in-picture", "which-picture"),
}


def group_of(record: Record) -> str:
    """Letters, whatever is asked with them, or what kind of thing."""
    if record["form"] == "letter":
        return "letters"
    return next((name for name, kinds in GROUPS.items() if kind_of(record) in kinds), "other")


def depth(runs: Path) -> str:
    """How often right where the picture is withdrawn before a layer, by what is asked."""
    groups = grouped(records_of(runs, "depth"), group_of)
    rows = list(told(runs, "depth")["rows"])
    lines = [
        [
            row.replace("vtw:k=", "before layer "),
            *(f"{100 * right(several, row).mean():.1f}" for several in groups.values()),
        ]
        for row in rows
    ]
    return table(
        ("picture withdrawn", *(f"{name} ({len(several)})" for name, several in groups.items())), lines, left=1
    )


def saliency(runs: Path) -> str:
    """Layer by layer how much an image token and an instruction token are read, in both conventions' ratio."""
    printed, released = told(runs, "saliency"), told(runs, "saliency-released")
    lines = [
        [
            row["layer"],
            *(f"{row[name]:.2g}" for name in ("s_img", "s_ins")),
            f"{100 * row['s_img'] / row['s_ins']:.1f} %",
            *(f"{row[name]:.2g}" for name in ("s_vv", "s_vt")),
            f"{100 * other['s_img'] / other['s_ins']:.1f} %",
        ]
        for row, other in zip(printed["layers"], released["layers"], strict=True)
    ]
    header = ("layer", "S_img", "S_ins", "S_img / S_ins", "S_vv", "S_vt", "ratio, released convention")
    return f"{printed['samples']} of {printed['limit']} questions need the picture.\n\n" + table(header, lines, left=1)


def disrupted(runs: Path) -> str:
    """What the answer loses where flows are blocked, and D in each window."""
    found = told(runs, "disrupt")
    first = [
        [
            row["source"],
            row["target"],
            layers_in(row["layers"]),
            *(estimate(row[name], 100) for name in ("label_consistency", "score_consistency")),
        ]
        for row in found["disruptions"]
        if len(row["layers"]) > 2
    ]
    windows = [
        [layers_in(row["layers"]), *(estimate(row[name]) for name in ("e_vv", "e_vt", "d"))] for row in found["windows"]
    ]
    return "\n\n".join(
        (
            f"{found['samples']} of {found['limit']} questions need the picture.",
            table(("not read", "by", "layers", "answer stays %", "score stays %"), first, left=3),
            table(("layers", "E_vv", "E_vt", "D"), windows, left=1),
        )
    )


def lenses(runs: Path) -> str:
    """Layer by layer what the lenses show."""
    found = json.loads((runs / "lenses" / "lenses.json").read_text(encoding="utf-8"))
    names = [name for name in found["layers"][0] if name != "layer"]
    lines = [[row["layer"], *(estimate(row[name]) for name in names)] for row in found["layers"]]
    captions = found["captions"]
    held = [
        f"{where}: {exact} of {captions['pictures']}, F1 {100 * captions['f1_with_keys_withheld_in'][where]:.1f}"
        for where, exact in captions["naming_exactly_what_is_there_with_keys_withheld_in"].items()
    ]
    return "\n\n".join(
        (
            f"{found['samples']} questions that need the picture.",
            table(("layer", *(name.replace("_", " ") for name in names)), lines, left=1),
            "Captions exactly right with the image's keys withheld from their words, in no layer, the first half, the "
            "last half, all: " + "; ".join(held) + ".",
        )
    )


def entering(runs: Path) -> str:
    """Layer by layer, in how many questions the right answer is the likeliest, by what is asked."""
    found = json.loads((runs / "lenses" / "lenses.json").read_text(encoding="utf-8"))
    groups = grouped(found["asked"], group_of)
    shares = [np.mean([each["answer_on_top"] for each in several], axis=0) for several in groups.values()]
    lines = [[layer, *(f"{100 * share[layer]:.0f}" for share in shares)] for layer in range(len(shares[0]))]
    return table(("after layer", *(f"{name} ({len(several)})" for name, several in groups.items())), lines, left=1)


def phases(runs: Path) -> str:
    """VisiPruner phase by phase, by task, against dense."""
    run, records = told(runs, "phases"), records_of(runs, "phases")
    tasks = grouped(records, task_of)
    lines = []
    for row in run["rows"]:
        spent = [each["rows"][row] for each in run["tables"].values()]
        cost = f"{100 * np.mean([each['flops_ratio'] for each in spent]):.1f} %"
        mean = f"{np.mean([each['image_tokens_on_average'] for each in spent]):.1f}"
        shares = [
            signed(*difference(right(each, row), right(each, "dense")))
            if row != "dense"
            else f"{100 * right(each, row).mean():.1f}"
            for each in tasks.values()
        ]
        lines.append([row.removeprefix("visipruner-"), cost, mean, *shares])
    heads = [f"{name} ({len(several)})" for name, several in tasks.items()]
    return table(("row", "FLOPs", "image tokens", *heads), lines, left=1)


def decisions(runs: Path) -> str:
    """What all phases of VisiPruner decided, by task."""
    lines = []
    for task, several in grouped(records_of(runs, "phases"), task_of).items():
        decided = [record["rows"]["visipruner"]["decided"] for record in several]
        fired = [each for each in decided if each["firing_layer"] is not None]
        layers = [int(np.median([each["firing_layer"] for each in fired]))] if fired else [""]
        kept = [f"{np.mean([len(each['kept']) for each in fired]):.1f}"] if fired else [""]
        gone = np.mean([each["exit_layer"] is not None for each in decided])
        lines.append([task, len(decided), f"{len(fired) / len(decided):.0%}", *layers, *kept, f"{gone:.0%}"])
    header = ("task", "prompts", "a layer fires", "which, median", "tokens kept, mean", "all go before the end")
    return table(header, lines, left=1)


def took(runs: Path) -> str:
    """How long each run took."""
    lines = [line.partition(": ")[::2] for line in (runs / "took.txt").read_text(encoding="utf-8").splitlines()]
    return table(("run", "took"), lines, left=2)


# -- cells and pages ---------------------------------------------------------------------------------------------------


def share_cells(share: Scores) -> list[str]:
    """A share in per cent, and Wilson's interval."""
    interval = wilson(int(share.sum()), len(share))
    assert interval is not None
    return [f"{100 * share.mean():.1f}", f"[{100 * interval.low:.1f}, {100 * interval.high:.1f}]"]


def difference(ours: Scores, theirs: Scores) -> tuple[float, Interval]:
    """In points, with the interval of the paired bootstrap."""
    interval = bootstrap_difference(ours, theirs)
    assert interval is not None
    return 100 * float((ours - theirs).mean()), Interval(100 * interval.low, 100 * interval.high)


def signed(value: float, interval: Interval) -> str:
    """``+1.0 [-2.0, +4.0]``."""
    return f"{value:+.1f} [{interval.low:+.1f}, {interval.high:+.1f}]"


def estimate(found: Mapping[str, Any], scale: float = 1.0) -> str:
    """A value with its interval, or that there is none."""
    if found["value"] is None:
        return "undefined"
    value, low, high = (scale * found[name] for name in ("value", "low", "high"))
    return f"{value:.3g} [{low:.3g}, {high:.3g}]"


def short(row: str) -> str:
    """A control's name."""
    return "oracle with a margin" if "Oracle" in row else row.partition(":")[0]


def head(found: TaskSummary) -> str:
    """A column's title."""
    return "captions, exact" if found.task == "caption" else found.task


def listed(names: Sequence[str]) -> str:
    """In brackets, where there are any."""
    return f" ({', '.join(names)})" if names else ""


def layers_in(layers: Sequence[int]) -> str:
    """``0-3``."""
    return str(layers[0]) if len(layers) == 1 else f"{layers[0]}-{layers[-1]}"


def table(header: Sequence[str], lines: Sequence[Sequence[Any]], left: int) -> str:
    """A Markdown table whose first columns are texts."""
    rule = ["---"] * left + ["---:"] * (len(header) - left)
    return "\n".join("| " + " | ".join(map(str, cells)) + " |" for cells in (header, rule, *lines))


BLOCKS: dict[str, Callable[[Path], str]] = {
    "aims": aims,
    "aims-by-kind": aims_by_kind,
    "told-apart": told_apart,
    **{f"fair-{budget.name}": lambda runs, budget=budget: fair(runs, budget) for budget in BUDGETS},
    "tuned": tuned,
    "second-cut": second_cut,
    "papers": papers,
    "depth": depth,
    "saliency": saliency,
    "disrupt": disrupted,
    "lenses": lenses,
    "entering": entering,
    "phases": phases,
    "decisions": decisions,
    "took": took,
}


def filled(page: str, name: str, text: str) -> str:
    """The page with `text` between the marks of that name, where it has them."""
    return re.sub(
        rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)",
        lambda found: f"{found[1]}\n{text}\n\n{found[2]}",
        page,
        flags=re.S,
    )


def main(runs: Annotated[Path, typer.Option(help="The --out of docs/results/runs.py.")]) -> None:
    """Fill every block whose runs are there, and say which are not."""
    texts = {}
    for name, make in BLOCKS.items():
        try:
            texts[name] = make(runs)
        except FileNotFoundError as error:
            print(f"{name} stays as it is: there is no {error.filename}")
    for page in PAGES:
        content = (DOCS / page).read_text(encoding="utf-8")
        for name, text in texts.items():
            content = filled(content, name, text)
        (DOCS / page).write_text(content, encoding="utf-8")
    for drawn, shown in FIGURES.items():
        if (runs / drawn).exists():
            shutil.copy(runs / drawn, DOCS / shown)
    if budgets := [each for each in BUDGETS if (runs / f"fair-{each.name}.json").exists()]:
        draw_fair(runs, budgets, DOCS / "results" / "fair.png")


if __name__ == "__main__":
    typer.run(main)
