"""Prompts of all kinds: no picture, one, two; short and long questions; pictures of two sizes."""

from dataclasses import dataclass, field

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Prompt:
    """Text with `{picture}` where each picture stands, and the pictures."""

    text: str
    pictures: list[Image.Image] = field(default_factory=list)


def prompts(shown: str, count: int = 16) -> list[Prompt]:
    """So many prompts; `shown` is what stands for a picture in the text."""
    made = []
    for number in range(count):
        draw = np.random.default_rng(number)
        pictures = [_picture(draw) for _ in range((1, 1, 0, 2)[number % 4] if number % 8 != 7 else 1)]
        before, between, after = (_words(draw, n) for n in (1 + number % 3, 2, 3 + 2 * number))
        parts = [before, *[part for _ in pictures for part in (shown, between)], after]
        made.append(Prompt(f"<s> {' '.join(parts)} ASSISTANT:", pictures))
    return made


def _picture(draw: np.random.Generator) -> Image.Image:
    width, height = draw.choice([24, 32, 48], 2)
    return Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8))


def _words(draw: np.random.Generator, count: int) -> str:
    return " ".join(f"w{n}" for n in draw.integers(12, 60, count))
