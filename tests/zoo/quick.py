"""Which families every run of the tests looks at; the others are for ``make slow``."""

from collections.abc import Iterable
from typing import Any

from tests.matrix import quick_or_slow

QUICK = (
    "llava", "llava_next", "internvl", "smolvlm", "paligemma", "gemma3", "gemma3n", "gemma4", "qwen2_5_vl", "qwen3_vl",
    "ernie4_5_vl_moe", "llama4", "chameleon", "qwen3_5", "lfm2_vl",
)  # fmt: skip
"""One of each kind that the runtime treats differently."""


def shared_out(names: Iterable[str]) -> list[Any]:
    """Parameters of a test: all names, in order, those that are not quick marked as slow."""
    return quick_or_slow(sorted(names), QUICK)
