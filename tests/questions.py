"""Samples in the words of the tiny model, and that model as it is loaded."""

import numpy as np
import torch
from PIL import Image

from tests.tiny import IMAGE_SIZE, tiny_llava
from tests.tiny_processor import tiny_processor
from visionflow.evaluation.samples import AnswerForm, Sample
from visionflow.loading.models import Loaded

FORMS: dict[str, AnswerForm] = {"choice": "letter", "existence": "yes_no", "open": "words"}


def tiny_loaded() -> Loaded:
    """The tiny LLaVA with its processor, in fp64: what random weights say next is often a tie in fp32."""
    return Loaded(tiny_llava(dtype=torch.float64), tiny_processor(), "tiny")


def sample(task: str, number: int) -> Sample:
    """Question `number` of a task: another picture, another length and other patches each time."""
    rng = np.random.default_rng(number)
    pixels = rng.integers(0, 256, (IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    wanted = rng.random((5, 5)) < (0.0, 0.2, 0.6)[number % 3]  # nothing is relevant now and then
    prompt = " ".join(f"w{5 + number + place}" for place in range(1 + number % 4))
    return Sample(
        id=f"{task}-{number}",
        task=task,
        kind=("random", "popular")[number % 2],
        form=FORMS[task],
        question=prompt,
        prompt=prompt,
        gold={"letter": ("A",), "yes_no": ("yes",), "words": ("w5",), "caption": ()}[FORMS[task]],
        options=("w7", "w8") if task == "choice" else (),
        objects=(),
        images=lambda: [Image.fromarray(pixels)],
        relevant=lambda grid: wanted,
    )


def samples(number: int, *tasks: str) -> list[Sample]:
    """So many of each task."""
    return [sample(task, place) for task in tasks for place in range(number)]
