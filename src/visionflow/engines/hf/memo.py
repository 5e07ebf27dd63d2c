"""What is made once in a forward pass for all layers that share it: masks, positions, what the caches hold."""

from collections.abc import Callable
from typing import Any

import torch


class Memo:
    """Results by the objects that they were made of."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, ...], tuple[object, Any]] = {}

    def once(self, parts: tuple[object, ...], make: Callable[[], Any]) -> Any:
        """`make()`, once for the same `parts`; what is compiled is made again, and found to be the same there."""
        if torch.compiler.is_compiling():
            return make()
        key = tuple(id(part) for part in parts)
        if key not in self._made:
            self._made[key] = (parts, make())  # the parts are kept alive, so that their ids stay theirs
        return self._made[key][1]

    def pair(self, one: object, other: object) -> None:
        """Let each be what is made of the other."""
        self._made |= {(id(one),): ((one,), other), (id(other),): ((other,), one)}
