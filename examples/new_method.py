"""A method of your own, in one file: python examples/new_method.py"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from PIL import Image

from visionflow import Method, prune
from visionflow.checkpoint import load_embedded
from visionflow.core import AttentionRows, Cut, Probe, paid
from visionflow.methods.base import check_layer, check_ratio, keep_ratio


@dataclass(frozen=True)
class Talkative(Method):
    """Drop the fraction `r` of the image tokens before layer `k`: those that read the system prompt most."""

    name: ClassVar[str] = "talkative"

    k: int
    r: float

    def __post_init__(self) -> None:
        check_layer("k", self.k)
        check_ratio("r", self.r)

    def cuts(self) -> tuple[Cut, ...]:
        """One cut, on the evidence of what image tokens read in layer k-1."""
        return (Cut(self.k, keep_ratio(self.r), Probe("image", reads_little_of_the_system)),)


def reads_little_of_the_system(rows: AttentionRows) -> torch.Tensor:
    """One score per token, ``[batch, tokens]`` in fp32; the highest stay."""
    return -paid(rows, to="system")


if __name__ == "__main__":
    model, processor = load_embedded()
    picture = Image.open(Path(__file__).with_name("scene.png"))
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Describe the image."}]}]
    text = processor.apply_chat_template(chat, add_generation_prompt=True)
    inputs = processor(images=picture, text=text, return_tensors="pt")
    with prune(model, Talkative(k=2, r=0.75)) as trace, torch.inference_mode():
        model(**inputs)
    print("rows and columns kept:", [divmod(int(patch), 12) for patch in trace.patches()[0][0]])
