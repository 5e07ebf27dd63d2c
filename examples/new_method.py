"""A method of your own, in one file: python examples/new_method.py

Every command takes it as well, from the folder it is in: visionflow flops --method new_method:Popular:k=3,r=0.75
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from PIL import Image

from visionflow import Method, prune
from visionflow.checkpoint import load_embedded
from visionflow.core import Attention, Cut, Ratio, Received


@dataclass(frozen=True)
class Popular(Method):
    """Drop the fraction `r` of the image tokens before layer `k`: those that the picture's own tokens read least.

    Attributes:
        k: layers that run before the cut; at least 1.
        r: fraction dropped, 0 <= r < 1.
    """

    name: ClassVar[str] = "popular"

    k: int
    r: float

    def cuts(self) -> tuple[Cut, ...]:
        """One cut, on what the image tokens read of each other in layer k-1."""
        return (Cut(self.k, Ratio(self.r), Attention("image", Received())),)


if __name__ == "__main__":
    model, processor = load_embedded()
    picture = Image.open(Path(__file__).with_name("scene.png"))
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Describe the image."}]}]
    text = processor.apply_chat_template(chat, add_generation_prompt=True)
    inputs = processor(images=picture, text=text, return_tensors="pt")
    with prune(model, Popular(k=2, r=0.75)) as trace, torch.inference_mode():
        model(**inputs)
    print("rows and columns kept:", [divmod(int(patch), 12) for patch in trace.patches()[0][0]])
