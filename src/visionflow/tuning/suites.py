"""The prompts of a suite as the inputs of a model, and what a run on them is known by."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from visionflow import __version__
from visionflow.evaluation.batches import batches_of, inputs_of
from visionflow.evaluation.run import fingerprint
from visionflow.evaluation.samples import Sample, Suite
from visionflow.loading.models import Loaded
from visionflow.tuning.answered import Prompts


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
        "kl": "of whole answers",
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
