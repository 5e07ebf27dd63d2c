"""The prompts of a suite in two parts: those that are searched on, and others that the best are validated on."""

import hashlib
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from visionflow import __version__
from visionflow.errors import VisionFlowError
from visionflow.evaluation.batches import batches_of, inputs_of
from visionflow.evaluation.run import fingerprint
from visionflow.evaluation.samples import Sample, Suite
from visionflow.loading.models import Loaded
from visionflow.tuning.answered import Prompts


def two_parts(
    suite: Suite, searched: int, validated: int, tasks: Sequence[str] = ()
) -> tuple[list[Sample], list[Sample]]:
    """So many prompts to search on, and so many others, both spread over the tasks; of fewer, in the same proportion.

    Raises:
        VisionFlowError: there is no such task, or too few prompts for two parts.
    """
    first: list[Sample] = []
    second: list[Sample] = []
    for _, group in groupby(suite.samples(searched + validated, tasks), key=lambda sample: sample.task):
        several = list(group)
        place = round(len(several) * searched / (searched + validated))
        first, second = [*first, *several[:place]], [*second, *several[place:]]
    if not first or not second:
        raise VisionFlowError(
            f"{len(first) + len(second)} prompts are too few to be searched on and validated on others: give more"
        )
    return first, second


def prompts_of(loaded: Loaded, samples: Sequence[Sample], batch: int, new_tokens: int) -> list[Prompts]:
    """The inputs of the model, batch by batch.

    Raises:
        VisionFlowError: a picture cannot be decoded, or a prompt is too long.
    """
    return [inputs_of(loaded, several, new_tokens=new_tokens) for several in batches_of(samples, batch)]


def described(
    loaded: Loaded, suite: Suite, parts: Mapping[str, Sequence[Sample]], batch: int, new_tokens: int
) -> dict[str, Any]:
    """All that decides what is measured, by which a run is known again."""
    return {
        "model": loaded.name,
        "dtype": str(loaded.model.dtype).removeprefix("torch."),
        "weights": fingerprint(loaded.model),
        "suite": suite.name,
        **{name: f"{len(samples)} prompts, {_digest(samples)}" for name, samples in parts.items()},
        "batch": batch,
        "new_tokens": new_tokens,
        "visionflow": __version__,
    }


def _digest(samples: Sequence[Sample]) -> str:
    """A short name for what is asked, pictures included."""
    found: Any = hashlib.sha256()
    for sample in samples:
        found.update("\n".join((sample.id, *sample.before, sample.prompt, "")).encode())
        for picture in sample.images():
            found.update(picture.tobytes())
    return str(found.hexdigest()[:16])
