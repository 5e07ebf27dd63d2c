"""The type of the fixture `visionflow`."""

from collections.abc import Callable

Run = Callable[..., tuple[int, str, str]]
