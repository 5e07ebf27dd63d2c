"""A paper's table run again: which runs it takes, and going on with those that are not done."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from visionflow import __version__
from visionflow.cost import DecoderShape, load_shape
from visionflow.errors import VisionFlowError
from visionflow.journal import sole_writer
from visionflow.lmms import data_sets, generated
from visionflow.lmms.harness import Cell, collect, command, last_words, run
from visionflow.lmms.judges import check_judge
from visionflow.lmms.local_tasks import local_name, write_tasks
from visionflow.lmms.marks import unmarked
from visionflow.lmms.needs import Need, needs_of
from visionflow.lmms.settings import settings_of
from visionflow.lmms.tables import Column, PaperTable, TableRow
from visionflow.lmms.tasks.gqa import PICTURES
from visionflow.store import RUN, claim

EMBEDDED = "embedded"
GENERATED_QUESTIONS = 200
"""Of each data set, where no limit is given."""

_SHAPES = {"llava-hf/llava-1.5-7b-hf": "llava-1.5-7b", "llava-hf/llava-1.5-13b-hf": "llava-1.5-13b"}


@dataclass(frozen=True)
class Reproduction:
    """One table for one model.

    Attributes:
        table: of the paper.
        columns: those that are asked.
        model: a directory, ``owner/name`` on the Hub, or ``embedded``.
        out: the folder of everything.
        prompts: "paper" or "harness".
        limit: questions of each data set, the first ones; None for all.
        data_dir: local copies of data sets.
        batch: questions at a time.
        launcher: what starts the harness; see `visionflow.lmms.harness.command`.
        device, dtype: of the model; see `visionflow.loading.models.load_model`.
    """

    table: PaperTable
    columns: tuple[Column, ...]
    model: str
    out: Path
    prompts: str = "paper"
    limit: int | None = None
    data_dir: Path | None = None
    batch: int = 1
    launcher: str = ""
    device: str | None = None
    dtype: str | None = None

    @property
    def generated(self) -> bool:
        """Whether the questions are of the generated world: the embedded model knows no other."""
        return self.model == EMBEDDED and self.data_dir is None

    def shape(self) -> DecoderShape:
        """The decoder of the model.

        Raises:
            VisionFlowError: its configuration cannot be read.
        """
        if self.model == EMBEDDED:
            from visionflow.checkpoint import EMBEDDED as folder

            return load_shape(str(folder))
        return load_shape(_SHAPES.get(self.model, self.model))

    def task(self, column: Column) -> str:
        """The task that a column is answered by."""
        return column.asked if column.asked and self.prompts == "paper" else column.task

    def needs(self) -> list[Need]:
        """What has to be there, or has to be fetched.

        Raises:
            VisionFlowError: a local copy is not whole.
        """
        if self.generated:
            return []
        wanted = list(dict.fromkeys(column.data_set for column in self.columns))
        if self.model == EMBEDDED:
            return needs_of(self.model, wanted, self.data_dir)[1:]
        return needs_of(self.model, wanted, self.data_dir)

    def check(self) -> None:
        """Refuse, before any work, what cannot come out right.

        Raises:
            VisionFlowError: there is no key to a judge, or the limit splits what counts together.
        """
        check_judge(self.task(column) for column in self.columns)
        if self.limit and self.limit % 2 and data_sets.MME in {column.data_set for column in self.columns}:
            raise VisionFlowError(f"MME's questions count in pairs: --limit must be even, not {self.limit}")

    def prepare(self) -> AbstractContextManager[object]:
        """Write what the runs read: run.json, generated questions, tasks for local copies.

        Returns:
            What keeps other processes from doing so, as long as it is kept; also a context manager.

        Raises:
            VisionFlowError: the folder belongs to another run, one is going on there, or it cannot be written.
        """
        shape = self.shape()
        methods = {row.name: str(self.table.method(row, shape, self.model) or "no pruning") for row in self.table.rows}
        described = {
            "table": self.table.name,
            "model": self.model,
            "prompts": self.prompts,
            "questions": self._questions(),
            "dtype": self.dtype,
            "rows": methods,
            "visionflow": __version__,
        }
        try:
            alone = sole_writer(self.out / RUN)
            claim(self.out, described)
        except OSError as error:
            raise VisionFlowError(
                f"cannot write in {self.out} ({error.strerror or error}): choose another --out"
            ) from error
        if self.generated:
            wanted = dict.fromkeys(column.data_set for column in self.columns)
            generated.write(self._data(), wanted, self.limit or GENERATED_QUESTIONS)
        copies = self._copies()
        write_tasks(
            self._tasks(), {self.task(column): (column.data_set, copies.get(column)) for column in self.columns}
        )
        return alone

    def commands(self) -> dict[str, list[str]]:
        """For each row that is not done the command that runs what is missing."""
        copied = {self.task(column) for column in self._copies()}
        lines = {}
        for row in self.table.rows:
            missing = [self.task(column) for column in self.columns if not self._done(row, column)]
            if missing:
                lines[row.name] = command(
                    self.launcher,
                    self._arguments(row),
                    [local_name(task) if task in copied else task for task in missing],
                    self._tasks(),
                    self.out / row.name / "lmms-eval",
                    self.limit,
                    self.batch,
                )
        return lines

    def run(self, on_row: Callable[[str, Path], None] = lambda row, log: None) -> None:
        """Run what is missing; `on_row` is called with each row's name and log before it starts.

        Raises:
            VisionFlowError: a run failed, whatever lmms-eval's exit code.
        """
        rows = {row.name: row for row in self.table.rows}
        for name, line in self.commands().items():
            log = self.out / name / "log.txt"
            on_row(name, log)
            run(line, log, self.environment())
            for column in self.columns:
                if self.cell(rows[name], column) is None:
                    raise VisionFlowError(
                        f"lmms-eval did not finish {self.task(column)}: {last_words(log)} (all of it is in {log})"
                    )

    def cell(self, row: TableRow, column: Column) -> Cell | None:
        """What one method answered to one data set; None where it has not been run to its end."""
        out = self.out / row.name / "lmms-eval"
        task = self.task(column)
        return collect(out, local_name(task), self.limit) or collect(out, task, self.limit)

    def environment(self) -> dict[str, str]:
        """Variables that the commands need."""
        copies = {column.data_set: copy for column, copy in self._copies().items()}
        environment = {}
        if data_sets.GQA in copies:
            environment[PICTURES] = str(copies[data_sets.GQA].resolve() / str(data_sets.GQA.pictures))
        if len(copies) == len({column.data_set for column in self.columns}) and (
            self.model == EMBEDDED or Path(self.model).is_dir()
        ):
            environment["HF_HUB_OFFLINE"] = "1"  # nothing is fetched: do not wait for a network
        return environment

    def _done(self, row: TableRow, column: Column) -> bool:
        cell = self.cell(row, column)
        return cell is not None and not unmarked(cell.samples)

    def _arguments(self, row: TableRow) -> dict[str, object]:
        method = settings_of(self.table.method(row, self.shape(), self.model))
        chosen = {"device": self.device, "dtype": self.dtype, "answers": self.out / row.name / "answers"}
        given = {name: value for name, value in chosen.items() if value is not None}
        return {"pretrained": self.model, "method": row.method} | method | given

    def _copies(self) -> dict[Column, Path]:
        """The columns whose questions are read from local files."""
        folder = self._data() if self.generated else self.data_dir
        found = {column: column.data_set.local(folder) for column in self.columns} if folder else {}
        return {column: copy for column, copy in found.items() if copy}

    def _questions(self) -> str:
        if self.generated:
            return "generated"
        return f"from {self.data_dir.resolve()}" if self.data_dir else "from the Hub"

    def _data(self) -> Path:
        return self.out / f"generated-{self.limit or GENERATED_QUESTIONS}"

    def _tasks(self) -> Path:
        return self.out / "tasks"
