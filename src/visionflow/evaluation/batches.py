"""Samples in batches, as the inputs of a model, with what is known about their image tokens."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from math import isqrt
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedModel

from visionflow.cost.shape import image_tokens_of
from visionflow.errors import VisionFlowError
from visionflow.evaluation.rows import Sight
from visionflow.evaluation.samples import Sample
from visionflow.loading.models import Loaded
from visionflow.loading.prompts import make_prompts

_GREY = (128, 128, 128)


def batches_of(samples: Sequence[Sample], batch: int) -> Iterator[list[Sample]]:
    """At most `batch` samples of one task at a time: their prompts and answers are about as long."""
    for _, group in groupby(samples, key=lambda sample: sample.task):
        several = list(group)
        for start in range(0, len(several), batch):
            yield several[start : start + batch]


def inputs_of(
    loaded: Loaded, samples: Sequence[Sample], sight: Sight = "picture", new_tokens: int = 0, scale: float = 1.0
) -> Any:
    """The inputs of the model, one batch padded on the left, on its device.

    Args:
        loaded: the model with its processor.
        samples: the questions.
        sight: what is shown in place of the picture: "picture", "grey" or "none".
        new_tokens: that the model has to have room for after the prompt.
        scale: by which pictures are made smaller.

    Raises:
        VisionFlowError: a picture cannot be decoded, or `make_prompts` refuses a question.
    """
    shown = [[_smaller(each, scale) for each in _shown(sample, sight)] for sample in samples]
    questions, before = [sample.prompt for sample in samples], [sample.before for sample in samples]
    return make_prompts(loaded.model, loaded.processor, shown, questions, new_tokens, before)


def check_prompts(loaded: Loaded, samples: Sequence[Sample]) -> None:
    """Refuse, before any work, tasks of several pictures or turns where the processor takes no such prompts.

    Raises:
        VisionFlowError: names the task.
    """
    first = {sample.task: sample for sample in reversed(samples)}
    for task, sample in first.items():
        if not sample.before and len(sample.images()) == 1:
            continue
        try:
            inputs_of(loaded, [sample])
        except VisionFlowError as error:
            raise VisionFlowError(f"task {task} is not for this model ({error}): leave it out with --tasks") from error


def relevant_tokens(model: PreTrainedModel, samples: Sequence[Sample]) -> Tensor | None:
    """Which image tokens the answers rest on, bool ``[batch, pictures * patches]``; None where one is not known."""
    patches = image_tokens_of(model.config) or 0
    side = isqrt(patches)
    if not patches or side**2 != patches:
        return None
    known = [sample.relevant(side).ravel() for sample in samples if sample.relevant is not None]
    return torch.from_numpy(np.stack(known)) if known and len(known) == len(samples) else None


def _shown(sample: Sample, sight: Sight) -> list[Image.Image]:
    if sight == "none":
        return []
    pictures = sample.images()
    return pictures if sight == "picture" else [Image.new("RGB", each.size, _GREY) for each in pictures]


def _smaller(picture: Image.Image, scale: float) -> Image.Image:
    """At least a pixel is left."""
    if scale == 1:
        return picture
    return picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
