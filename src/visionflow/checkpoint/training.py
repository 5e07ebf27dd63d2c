"""The training run: a budget, a log, checkpoints to resume from, and an export at the end."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from visionflow.checkpoint.learner import Learner
from visionflow.checkpoint.recipe import Recipe
from visionflow.checkpoint.sources import Drawn, Filed, Source
from visionflow.errors import VisionFlowError
from visionflow.journal import sole_writer

STATE = "state.pt"
INTERIM = "interim.safetensors"
"""Weights in bf16 with the vocabulary and the progress: what a run can go on from elsewhere."""
_CURVE = "curve.jsonl"
_MODEL = "model"


@dataclass(frozen=True)
class Budget:
    """How long to train: a number of steps, or minutes of training time; exactly one of the two is set."""

    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise VisionFlowError("give the training either a number of steps or a number of minutes, and not both")
        if (self.steps is not None and self.steps < 1) or (self.minutes is not None and self.minutes <= 0):
            raise VisionFlowError("the training needs at least one step, or more than zero minutes")

    def spent(self, step: int, seconds: float) -> float:
        """The share of the budget that is gone, 1 or more at the end."""
        if self.steps is not None:
            return step / self.steps
        assert self.minutes is not None
        return seconds / (60 * self.minutes)


@dataclass(frozen=True)
class Report:
    """One line of the curve: time so far, share of the budget gone, and shares right by kind where measured.

    `seconds` are those of the clock, `processor` those of all cores together.
    """

    step: int
    phase: str
    loss: float
    right: dict[str, float] | None
    seconds: float
    processor: float
    spent: float


@dataclass(frozen=True)
class Progress:
    """How far a run is: steps, and seconds of the clock and of the processor."""

    step: int = 0
    seconds: float = 0.0
    processor: float = 0.0


@dataclass(frozen=True)
class Rhythm:
    """Every how many steps the accuracy is measured and a checkpoint is written."""

    validate: int = 250
    save: int = 250


def train(
    out: Path,
    recipe: Recipe,
    budget: Budget,
    *,
    device: str = "cpu",
    resume: bool = False,
    start: Path | None = None,
    interim: Path | None = None,
    data: Path | None = None,
    compiled: bool = False,
    rhythm: Rhythm | None = None,
    on_step: Callable[[Report], None] = lambda report: None,
) -> Path:
    """Train into the folder `out` and return the folder of the exported model.

    With `start`, the folder of a finished model, its weights are the first ones and the tower is left as it is. With
    `interim`, a file INTERIM of a run that did not end, that run goes on from its step, with fresh optimisers.
    With `data`, a parquet file as `visionflow scenes` writes it, the language phase learns from its questions, and
    the tower with it. `compiled` layers need a C++ compiler and take a third less time.
    Interrupted (also by Ctrl-C) it leaves `state.pt`, from which `resume=True` goes on; with a budget of steps the
    result is then the same as without the interruption. A run that is refused leaves no folder.

    Raises:
        VisionFlowError: `out` holds a run and `resume` is not set, or it is set and there is none, or one of another
            recipe, or a damaged one; another process trains into `out`, or nothing can be written there; `start` holds
            no model, or one of other sizes; `interim` is no such file; `data` cannot be read, or is none to learn from.
    """
    state_file = out / STATE
    if start and interim:
        raise VisionFlowError("start either from a finished model or from a run that did not end, not from both")
    _check_state(state_file, resume)
    learner = _learner(recipe, torch.device(device), start, compiled, Filed(data) if data else Drawn())
    with _written(state_file), sole_writer(state_file):
        _check_state(state_file, resume)  # again, now that nobody else can change it
        so_far = _load(state_file, learner) if resume else _go_on(interim, learner) if interim else Progress()
        _run(learner, so_far, state_file, budget, rhythm or Rhythm(), on_step)
        return export(learner, out / _MODEL)


def _run(
    learner: Learner,
    so_far: Progress,
    state_file: Path,
    budget: Budget,
    rhythm: Rhythm,
    on_step: Callable[[Report], None],
) -> None:
    """All steps that are left; the curve goes beside the state."""
    recipe = learner.recipe
    began, used = time.monotonic() - so_far.seconds, time.process_time() - so_far.processor
    curve_file = state_file.with_name(_CURVE)
    _cut_curve(curve_file, so_far.step)
    with curve_file.open("a", encoding="utf-8") as curve:
        try:
            while (spent := budget.spent(so_far.step, so_far.seconds)) < 1:
                if learner.phase == "tower" and spent >= recipe.tower_share:
                    learner.enter("language")
                loss = learner.step(so_far.step, _within(spent, learner, recipe))
                step = so_far.step + 1
                right = learner.validate() if step % rhythm.validate == 0 else None
                so_far = Progress(step, time.monotonic() - began, time.process_time() - used)
                spent = budget.spent(step, so_far.seconds)
                report = Report(step, learner.phase, loss, right, so_far.seconds, so_far.processor, spent)
                print(json.dumps(asdict(report)), file=curve, flush=True)
                on_step(report)
                if step % rhythm.save == 0:
                    _save(state_file, learner, so_far)
        finally:
            _save(state_file, learner, so_far)


def export(learner: Learner, folder: Path) -> Path:
    """Write the model (bf16) and its processor as any Hugging Face checkpoint; returns the folder.

    Raises:
        OSError: they cannot be written.
    """
    half = learner.model.to(torch.bfloat16)
    try:
        half.save_pretrained(folder)
        learner.processor.save_pretrained(folder)
    except Exception as error:  # of a full disk safetensors and tokenizers have errors of their own
        raise OSError(f"the model: {error}") from error
    return folder


def _check_state(state_file: Path, resume: bool) -> None:
    if state_file.exists() and not resume:
        raise VisionFlowError(f"{state_file.parent} already holds a training run: resume it, or name another folder")
    if resume and not state_file.exists():
        raise VisionFlowError(f"there is nothing to resume in {state_file.parent}: it has no {STATE}")


def _learner(recipe: Recipe, device: torch.device, start: Path | None, compiled: bool, source: Source) -> Learner:
    """What learns, with its first weights."""
    if start is None:
        return Learner(recipe, device, compiled, source)
    learner = Learner(replace(recipe, tower_share=0.0, easy_share=0.0), device, compiled, source)
    learner.adopt(start)  # also before a state is loaded: the vocabulary is in no state
    return learner


@contextmanager
def _written(state_file: Path) -> Iterator[None]:
    """What cannot be written, because the disk is full or another's, is said with the way on."""
    try:
        yield
    except OSError as error:
        way_on = f"resume from {state_file}" if state_file.exists() else "train again"
        raise VisionFlowError(
            f"cannot write in {state_file.parent} ({getattr(error, 'strerror', None) or error}): make room and {way_on}"
        ) from error


def _cut_curve(file: Path, step: int) -> None:
    """Leave only the lines up to `step`: a run that was killed logged more steps than its last checkpoint knows."""
    if file.is_file():
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = (line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step)
        file.write_text("".join(kept), encoding="utf-8")


def _within(spent: float, learner: Learner, recipe: Recipe) -> float:
    """How far through the present phase the run is, 0 to 1."""
    if learner.phase == "tower":
        return spent / recipe.tower_share
    return (spent - recipe.tower_share) / (1 - recipe.tower_share)


def _save(file: Path, learner: Learner, so_far: Progress) -> None:
    """Write the state and, beside it, INTERIM, each in one go, so that a half-written one never counts."""
    state = {**asdict(so_far), "recipe": asdict(learner.recipe), **learner.state()}
    content = BytesIO()
    torch.save(state, content)  # given a file, torch would not say that the disk is full
    _write(file, content.getbuffer())
    said = {**asdict(so_far), "phase": learner.phase, "geometry": asdict(learner.recipe.geometry)}
    metadata = {"progress": json.dumps(said), "tokenizer": learner.vocabulary()}
    halves = {name: weight.to(torch.bfloat16).contiguous() for name, weight in learner.model.state_dict().items()}
    _write(file.with_name(INTERIM), safetensors.torch.save(halves, metadata))


def _write(file: Path, content: bytes | memoryview) -> None:
    partial = file.with_suffix(".partial")
    try:
        partial.write_bytes(content)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def _load(file: Path, learner: Learner) -> Progress:
    try:
        state: dict[str, Any] = dict(torch.load(file, map_location=learner.device, weights_only=True))
        recipe = state["recipe"]
        so_far = Progress(int(state["step"]), float(state["seconds"]), float(state["processor"]))
    except OSError:
        raise
    except Exception as error:  # no zip file, cut off, pickled code, other things in it, ...
        raise VisionFlowError(f"{file} is damaged, or no training state: delete it and train again") from error
    if recipe != asdict(learner.recipe):
        raise VisionFlowError(f"{file} comes from a run with another recipe or seed: resume it with the same options")
    learner.load(state)
    return so_far


def _go_on(file: Path, learner: Learner) -> Progress:
    """Take the weights, the vocabulary and the progress of a run that did not end."""
    try:
        with safetensors.safe_open(file, framework="pt") as content:
            metadata = content.metadata()
            said = json.loads(metadata["progress"])
            weights = {name: content.get_tensor(name).float() for name in content.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise VisionFlowError(f"no such file: {file}") from error
    except Exception as error:
        raise VisionFlowError(f"{file} is no interim checkpoint of a training run: give its {INTERIM}") from error
    if said["geometry"] != asdict(learner.recipe.geometry):
        raise VisionFlowError(f"{file} is of a model of other sizes than the recipe's")
    learner.go_on(said["phase"], weights, metadata["tokenizer"])
    return Progress(said["step"], said["seconds"], said["processor"])
