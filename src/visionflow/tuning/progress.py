"""How a search tells of its progress."""

from collections.abc import Callable

OnStep = Callable[[str, int, int], None]
"""Told after each step of a search: what it was, and how many of how many are done."""


def silent(step: str, done: int, total: int) -> None:
    """Tell nobody."""
