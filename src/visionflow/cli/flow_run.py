"""What `visionflow saliency` and `visionflow disrupt` have in common: questions of a suite, and an analysis of each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visionflow.cli.options import TASKS, option, use_threads
from visionflow.cli.output import quiet_libraries, working
from visionflow.cli.progress import questions
from visionflow.cli.values import some_of

if TYPE_CHECKING:
    from rich.console import Console

    from visionflow.evaluation.flow_runs import Analysis
    from visionflow.evaluation.records import Record
    from visionflow.evaluation.samples import Sample
    from visionflow.loading.models import Loaded

FOLLOWED = tuple(task for task in TASKS if task != "caption")

Followed = Annotated[
    Sequence[str] | None,
    option(some_of("task", *FOLLOWED), "A,B", f"Some of {', '.join(FOLLOWED)}.", "--tasks", shown="all of them"),
]
All = Annotated[
    bool,
    typer.Option(
        "--all",
        help="Follow every question, also those that the model answers wrongly, or rightly without the picture "
        "(left out otherwise, as in appendix B of the HiMAP paper).",
    ),
]


@dataclass(frozen=True)
class Asked:
    """A loaded model and the questions that it is to be followed on."""

    suite: str
    samples: "list[Sample]"
    loaded: "Loaded"
    everything: bool
    batch: int
    out: Path | None

    @property
    def num_layers(self) -> int:
        """Decoder layers of the model."""
        from visionflow.engines.hf.layer_kinds import depth_of

        return depth_of(self.loaded.model.config)

    def describe(self) -> dict[str, Any]:
        """The model and the questions, for JSON."""
        from visionflow.evaluation.run import fingerprint

        return {
            "suite": self.suite,
            "limit": len(self.samples),
            "tasks": list(dict.fromkeys(sample.task for sample in self.samples)),
            "model": self.loaded.name,
            "weights": fingerprint(self.loaded.model),
            "only_visual": not self.everything,
        }

    def run(self, what: str, analysis: "Analysis", settings: str) -> "list[Record]":
        """The records of all questions, gone on with where the folder has some already.

        Args:
            what: is being done, for the progress bar.
            analysis: of each batch.
            settings: all that the analysis depends on; with others it is another run.
        """
        from visionflow.evaluation.flow_runs import analyse
        from visionflow.evaluation.records import FLOW, Records
        from visionflow.evaluation.rows import DENSE, WITHOUT_PICTURE

        rows = {} if self.everything else {row.name: row.settings for row in (DENSE, WITHOUT_PICTURE)}
        described = self.describe() | {"rows": rows | {FLOW: settings}}
        records = Records(self.out, described, self.samples)
        with questions(what, len(self.samples), records) as on_batch:
            return analyse(self.loaded, self.samples, analysis, records, not self.everything, self.batch, on_batch)

    def say_where(self, console: "Console", figures: Iterable[str]) -> None:
        """Where the records and figures are, or how to get them."""
        drawn = ", ".join(str(self.out / name) for name in figures) if self.out else ""
        where = f"The records are in {self.out}" + f", the figures in {drawn}" * bool(drawn)
        console.print(
            f"\n{where}" if self.out else "\nFor records and figures give a folder with --out", soft_wrap=True
        )


def ask(
    suite: str,
    model: str,
    limit: int,
    tasks: Sequence[str] | None,
    everything: bool,
    batch: int,
    out: Path | None,
    device: str | None,
    dtype: str | None,
    threads: int | None,
) -> Asked:
    """Find the questions, and load the model.

    Raises:
        VisionFlowError: one of them is not to be had, or the figures cannot be drawn.
    """
    from visionflow.evaluation.suites import suite_called
    from visionflow.report.figures.plotting import check_matplotlib

    check_matplotlib()

    asked = suite_called(suite)
    following = [task for task, form in asked.tasks.items() if form != "caption"]
    samples = asked.samples(limit, tasks or following)
    with working(f"loading the {model} model"):
        quiet_libraries(model)
        from visionflow.loading.models import load_model

        use_threads(threads)
        return Asked(asked.name, samples, load_model(model, dtype, device), everything, batch, out)
