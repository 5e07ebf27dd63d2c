"""Which samples and rows a run has, and the description by which it is known again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from visionflow import __version__
from visionflow.evaluation.rows import BLIND, REFERENCE, Row, chosen_rows, seeing, sweep_rows, table_rows
from visionflow.evaluation.runner import fingerprint
from visionflow.evaluation.suites import Sample, suite_called
from visionflow.loading.models import Loaded


@dataclass(frozen=True)
class Run:
    """All that decides a run's answers.

    Attributes:
        samples: the questions.
        rows: the configurations.
        described: the same as one JSON object; a run with another description is another run.
    """

    samples: list[Sample]
    rows: list[Row]
    described: dict[str, Any]


def plan_run(
    loaded: Loaded,
    *,
    suite: str,
    limit: int,
    tasks: Sequence[str] = (),
    methods: Sequence[str] = (),
    sweep: bool = False,
    sight: str = "picture",
    filtered: bool = False,
    seed: int = 0,
) -> Run:
    """A run of `suite` with the rows that suit the model's depth.

    Args:
        loaded: the model.
        suite: its name.
        limit: number of questions in all.
        tasks: some of the suite's; all if none is named.
        methods: names of rows; all if none is named.
        sweep: the rows of the curve instead of those of the table.
        sight: what stands in place of the picture: "picture", "grey" or "none".
        filtered: the row without the image is needed, too.
        seed: of the random rows.

    Raises:
        VisionFlowError: an unknown suite, task, row or sight, no question, or a model with too few layers.
    """
    samples = suite_called(suite).samples(limit, tasks)
    num_layers = loaded.model.config.get_text_config().num_hidden_layers
    rows = sweep_rows(num_layers, seed) if sweep else table_rows(num_layers, seed)
    rows = seeing(chosen_rows(rows, methods, (REFERENCE, BLIND) if filtered else (REFERENCE,)), sight)
    described = {
        "suite": suite,
        "limit": limit,
        "tasks": list(dict.fromkeys(sample.task for sample in samples)),
        "model": loaded.name,
        "weights": fingerprint(loaded.model),
        "dtype": str(loaded.model.dtype).removeprefix("torch."),
        "sight": sight,
        "seed": seed,
        "rows": {row.name: row.settings for row in rows},
        "visionflow": __version__,
    }
    return Run(samples, rows, described)
