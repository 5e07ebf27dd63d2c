"""What needs no picture (HiMAP, appendix B): questions that say nothing about how a model uses its image tokens."""

from collections.abc import Callable, Sequence

from visionflow.evaluation.records import Records
from visionflow.evaluation.rows import WITHOUT_PICTURE
from visionflow.evaluation.runner import evaluate
from visionflow.evaluation.samples import Sample
from visionflow.loading.models import Loaded


def answerable_without_picture(
    loaded: Loaded,
    samples: Sequence[Sample],
    batch: int = 16,
    on_batch: Callable[[str, int], None] = lambda task, done: None,
) -> set[str]:
    """The ids of the samples that the model answers rightly without the picture, as ``eval --filter`` finds them.

    Args:
        loaded: the model with its processor.
        samples: the questions.
        batch: samples of one task that are run at a time.
        on_batch: called after each batch with its task and the number of samples done so far.

    Raises:
        VisionFlowError: a prompt is too long, or there is not enough memory.
    """
    row = WITHOUT_PICTURE
    records = evaluate(loaded, samples, [row], Records(), batch, on_batch)
    return {record["id"] for record in records if record["rows"][row.name]["right"]}
