"""`visionflow tune`: a schedule for a model under a budget, as a plan file."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visionflow.cli.folders import check_out
from visionflow.cli.options import (
    MOST_AT_A_TIME,
    MOST_MINUTES,
    MOST_QUESTIONS,
    MOST_TOKENS,
    Device,
    Dtype,
    Json,
    Model,
    Tasks,
    Threads,
    option,
    use_threads,
)
from visionflow.cli.values import names, number, one_of, place, whole, word
from visionflow.errors import VisionFlowError

if TYPE_CHECKING:
    from visionflow.evaluation.samples import Suite
    from visionflow.loading.models import Loaded

SUITE = "scenes"


def tune(
    budget: Annotated[
        float, option(number(0, 1, below=True), "X", "Share of the dense run that may be used, above 0: 0.33.")
    ],
    model: Model = "embedded",
    suite: Annotated[
        str | None,
        option(
            word,
            "SUITE",
            "What is asked: scenes (the generated world, scenes that eval does not ask about), or FILE.parquet.",
            shown=SUITE,
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        option(place, "FILE", 'Your own prompts instead, .jsonl: {"image": "a.png", "question": "..."} on each line.'),
    ] = None,
    tasks: Tasks = None,
    limit: Annotated[int, option(whole(1, MOST_QUESTIONS), "N", "Prompts that are searched on.")] = 48,
    validation: Annotated[
        int, option(whole(1, MOST_QUESTIONS), "N", "Other prompts, on which the best are measured again.")
    ] = 48,
    minutes: Annotated[float, option(number(0, MOST_MINUTES), "MINUTES", "Then the best so far is taken.")] = 10.0,
    cost: Annotated[
        str | None,
        option(
            one_of("cost", "flops", "paper", "gated", "kv", "time"),
            "NAME",
            "What the budget is a share of: flops of the prefill (all prompt tokens and probes, without vision tower "
            "and answer), paper or gated (multiply-adds of the image tokens alone), kv (bytes of the prompt's cache), "
            "time (measured).",
            shown="flops, or time where they are not modelled",
        ),
    ] = None,
    choices: Annotated[
        Sequence[str] | None,
        option(
            names,
            "A,B",
            "On what cuts are tried: text, last, image, or methods with settings k and r.",
            shown="text,last,cover,unlike-mean,divprune",
        ),
    ] = None,
    new_tokens: Annotated[int, option(whole(1, MOST_TOKENS), "N", "Length of the dense answers, at most.")] = 32,
    batch: Annotated[int, option(whole(1, MOST_AT_A_TIME), "N", "Prompts at a time.")] = 8,
    out: Annotated[
        Path, option(place, "FOLDER", "Folder for the plan file and what was measured; the same command goes on there.")
    ] = Path("tuned"),
    device: Device = None,
    dtype: Dtype = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Find the cuts that leave a model's answers nearest to its dense ones within a budget, and write a plan file.

    No labels are needed: measured is how far the pruned model is from the dense one on the dense one's own answers. The
    plan file goes to --method of every command, to visionflow.method and to the server. Ctrl-C keeps the best so far.
    """
    if not budget or not minutes:
        raise VisionFlowError(f"--{'minutes' if budget else 'budget'} must be more than 0")
    if suite and prompts:
        raise VisionFlowError("--suite and --prompts both say what is asked: leave out one of them")
    check_out(out)

    from visionflow.cli.output import print_json, quiet_libraries, working
    from visionflow.cli.progress import timed_steps
    from visionflow.report.sheet import screen

    asked = _asked(suite, prompts)
    with working(f"loading the {model} model"):
        quiet_libraries(model)
        from visionflow.loading.models import load_model
        from visionflow.report.tune import TuneReport
        from visionflow.tuning import tune as search
        from visionflow.tuning.measurements import Measurements
        from visionflow.tuning.parts import two_parts
        from visionflow.tuning.space import TRIED
        from visionflow.tuning.suites import described, prompts_of

        use_threads(threads)
        searched, validated = two_parts(asked, limit, validation, tasks or ())
        loaded = load_model(model, dtype, device)
        parts = [prompts_of(loaded, part, batch, new_tokens) for part in (searched, validated)]
        run = described(loaded, asked, {"tuning": searched, "validation": validated}, batch, new_tokens)
        known = Measurements(out, run)
    with _enough_memory(loaded), timed_steps(f"tuning to {budget:g}", 60 * minutes) as on_step:
        found = search(
            loaded.model,
            parts[0],
            budget,
            validation=parts[1],
            cost=cost,  # type: ignore[arg-type]  # read by one_of
            minutes=minutes,
            choices=choices or TRIED,
            new_tokens=new_tokens,
            known=known,
            on_step=on_step,
        )
    file = out / f"plan-{'' if found.cost_name == 'flops' else f'{found.cost_name}-'}{budget:g}.json"
    found.save(file)
    report = TuneReport(loaded.name, found, file)
    if as_json:
        print_json(report.to_json())
    else:
        report.show(screen())
    if found.stopped == "interrupted":
        print(f"visionflow: stopped; the same command goes on from {out}", file=sys.stderr)
        raise typer.Exit(130)


def _asked(suite: str | None, prompts: Path | None) -> "Suite":
    from visionflow.evaluation.prompt_file import prompts_in
    from visionflow.evaluation.suites import suite_to_tune_on

    return prompts_in(prompts) if prompts else suite_to_tune_on(suite or SUITE)


@contextmanager
def _enough_memory(loaded: "Loaded") -> Iterator[None]:
    from visionflow.answering import enough_memory

    with enough_memory(loaded.model.device, "lower --batch, or try --dtype bfloat16 or --device cpu"):
        yield
