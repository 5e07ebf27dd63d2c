"""Prompts of all kinds: no picture, one, two; short and long questions; pictures of two sizes."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class Prompt:
    """Text with a placeholder where each picture or video stands, and these; a video is uint8 ``[frames, y, x, 3]``."""

    text: str
    pictures: list[Image.Image] = field(default_factory=list)
    videos: list[NDArray[np.uint8]] = field(default_factory=list)


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


METADATA = {"fps": 2.0, "duration": 2.0, "total_num_frames": 4, "frames_indices": [0, 1, 2, 3]}
"""Of each video: four frames, all of which are shown."""


def of_videos(shown: str, count: int) -> list[Prompt]:
    """So many prompts, each of one video of four frames."""
    made = []
    for number in range(count):
        draw = np.random.default_rng(number)
        frames = draw.integers(0, 256, (4, *draw.choice([16, 24, 32], 2), 3), dtype=np.uint8)
        made.append(Prompt(f"<s> {shown} {_words(draw, 3 + 2 * number)} ASSISTANT:", videos=[frames]))
    return made


def _picture(draw: np.random.Generator) -> Image.Image:
    width, height = draw.choice([24, 32, 48], 2)
    return Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8))


def _words(draw: np.random.Generator, count: int) -> str:
    return " ".join(f"w{n}" for n in draw.integers(12, 60, count))
