"""What `visionflow reproduce` needs, and what it found out, for people and for programs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from visionflow.lmms.comparison import Beside, RowCost, Score
from visionflow.lmms.local_tasks import LOCAL
from visionflow.lmms.marks import Estimate, has_java
from visionflow.lmms.needs import Need
from visionflow.lmms.reproduction import Reproduction
from visionflow.report.numbers import SI, amount, bracketed, percent
from visionflow.report.sheet import Sheet

_COUNTED = {
    "paper": "multiply-adds of the image tokens, HiMAP eq. 10",
    "gated": "multiply-adds of the image tokens, all three matrices of the feed-forward network",
}


@dataclass(frozen=True)
class ReproduceReport:
    """One table of a paper, run again.

    Attributes:
        run: what was asked for.
        compared: what came out.
    """

    run: Reproduction
    compared: Beside

    def to_json(self) -> dict[str, Any]:
        """All of it as one object."""
        return {
            "table": self.run.table.name,
            "model": self.run.model,
            "prompts": self.run.prompts,
            "limit": self.run.limit,
            "out": str(self.run.out),
            "notes": self._notes(),
        } | self.compared.to_json()

    def show(self, console: Console) -> None:
        """Scores, costs, and what to know about them."""
        console.print(f"{self.run.table.title}; {self.run.model} beside {self.compared.beside}\n")
        console.print(_scores(self.compared.scores))
        console.print()
        convention = self.compared.spent[0].convention
        console.print(
            f"Cost per question: {_COUNTED.get(convention, convention)}; true FLOPs of the whole prefill; "
            "medians of times"
        )
        console.print(_costs(self.compared.spent))
        console.print()
        for note in self._notes():
            console.print(f"- {note}", soft_wrap=True)

    def _notes(self) -> list[str]:
        compared, run = self.compared, self.run
        notes = []
        if not compared.same:
            notes.append(
                f"{run.model} is none of the paper's models: its settings are at a like depth, and its differences "
                f"from {compared.beside} say nothing about the paper"
            )
        if run.generated:
            notes.append("the questions are of the generated world, in the columns of each data set")
        if run.limit:
            notes.append(f"the first {run.limit} questions of each data set, not all")
        notes += [f"{spent.row}: {spent.settings}" for spent in compared.spent]
        notes += [f"* {spent.row}: {spent.note}" for spent in compared.spent if spent.note]
        notes += [f"{column.title}: {column.note}" for column in run.columns if column.note]
        if any(score.task.removesuffix(LOCAL).endswith("_cider") for score in compared.scores):
            cut = "the Penn Treebank tokeniser" if has_java() else "our own rule, for there is no Java: not comparable"
            notes.append(f"CIDEr times 100, sentences cut by {cut}")
        if run.table.left_out:
            notes.append(run.table.left_out)
        notes.append("95 % intervals: Wilson's of shares, else the bootstrap's; of changes, over the same questions")
        notes.append(f"answers, logs and lmms-eval's own results are in {run.out}")
        return notes


def show_needs(needs: Sequence[Need], console: Console) -> None:
    """What has to be there, where it is, and how to point at local copies."""
    if not needs:
        console.print("Nothing has to be fetched: the model is embedded, and its questions are generated.")
        return
    table = Sheet("needed", "name", "size", "found", labels=2, left=("found",), grouped=True)
    for need in needs:
        table.add_row(need.what, need.name, need.size, need.found or "to be fetched")
    console.print(table)
    console.print(
        "Sizes are those of the Hub's listings (13B: counted from its parameters), not checked here. With no network,\n"
        "fetch on another machine and bring it here:\n"
        "  hf download NAME --local-dir MODEL                         then --model MODEL\n"
        "  hf download NAME --repo-type dataset --local-dir DIR/NAME  then --data-dir DIR\n"
        "or do it there with HF_HOME=CACHE, bring CACHE here and set HF_HOME to it.",
        soft_wrap=True,
    )


def _scores(scores: Sequence[Score]) -> Sheet:
    table = Sheet(
        "data set",
        "method",
        "paper",
        ("ours", "95 %"),
        "difference",
        "change: paper",
        ("change: ours", "95 %"),
        "questions",
        labels=2,
        grouped=True,
    )
    for score in scores:
        table.add_row(
            score.column,
            score.row,
            f"{score.printed:g}",
            f"{score.ours.value:.1f}",
            _interval(score.ours),
            f"{score.difference:+.1f}",
            "" if score.printed_change is None else f"{score.printed_change:+.1f}",
            "" if score.change is None else f"{score.change.value:+.1f}",
            "" if score.change is None else _interval(score.change),
            str(score.questions),
        )
    return table


def _costs(costs: Sequence[RowCost]) -> Sheet:
    table = Sheet(
        "method",
        ("paper", "ratio"),
        ("ours", "ratio"),
        ("true FLOPs", "ratio"),
        ("tokens", "at end"),
        "first token",
        "tokens/s",
    )
    for spent in costs:
        marked = "*" if spent.note else ""
        speed = spent.tokens_per_second
        table.add_row(
            spent.row,
            f"{spent.printed_tera} T{marked}",
            f"{spent.printed_percent} %{marked}" if spent.printed_percent else "",
            amount(spent.papers[0], SI, ".3f"),
            percent(spent.papers[1]),
            amount(spent.flops[0], SI, ".3f"),
            percent(spent.flops[1]),
            f"{spent.image_tokens[0]:.1f}",
            f"{spent.image_tokens[1]:.1f}",
            f"{1000 * spent.seconds_to_first_token:.0f} ms",
            "" if speed is None else f"{speed:.1f}",
        )
    return table


def _interval(estimate: Estimate) -> str:
    interval = estimate.interval
    return "" if interval is None else bracketed(interval.low, interval.high, ".1f")
