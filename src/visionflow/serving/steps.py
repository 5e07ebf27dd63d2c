"""Arithmetic of one engine step: rows, keys and cache slots of each request between two cuts. Host integers only.

The rows of a step are those of its requests, one request after the other. A step runs in stages: stage 0 before the
first cut, stage s after s of them. A prompt that is cut is whole in its step; every later step of that request finds
fewer keys in the layers of each stage, by as many as were dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from visionflow.serving.requests import Served

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Stage:
    """The layers between two cuts, in one step.

    Attributes:
        rows: rows of each request, ``[requests]``.
        before: keys of each request that are in the cache already, ``[requests]``.
    """

    rows: Ints
    before: Ints

    @cached_property
    def starts(self) -> Ints:
        """Where each request's rows begin, and where the last one's end, ``[requests + 1]``."""
        return np.concatenate([[0], np.cumsum(self.rows)]).astype(np.int64)

    @cached_property
    def bounds(self) -> list[tuple[int, int]]:
        """Where each request's rows begin and end."""
        return list(pairwise(self.starts.tolist()))

    @property
    def total(self) -> int:
        """Rows of all requests."""
        return int(self.starts[-1])

    @property
    def keys(self) -> Ints:
        """Keys of each request when these rows are in the cache, ``[requests]``."""
        return self.before + self.rows

    @cached_property
    def owners(self) -> Ints:
        """The request of each row, ``[rows]``."""
        return np.repeat(np.arange(len(self.rows)), self.rows)

    @cached_property
    def places(self) -> Ints:
        """The place of each row among the keys of its request, ``[rows]``."""
        return np.arange(self.total) - (self.starts[:-1] - self.before)[self.owners]


@dataclass(frozen=True)
class Step:
    """The requests of one step, in the order of their rows.

    Attributes:
        served: what each of them is.
        prunes: whether the prompt of each is cut in this step.
        stages: one more than there are cuts.
    """

    served: Sequence[Served]
    prunes: tuple[bool, ...]
    stages: tuple[Stage, ...]

    @classmethod
    def of(cls, served: Sequence[Served], rows: Sequence[int], computed: Sequence[int], cuts: int) -> "Step":
        """The step in which each request runs so many `rows`, so many of its tokens having been `computed` before.

        Raises:
            RuntimeError: a prompt that is to be cut comes in parts.
        """
        pruned = np.array([each.pruned for each in served], dtype=bool)
        ran, given = np.asarray(computed, dtype=np.int64), np.asarray(rows, dtype=np.int64)
        lengths = np.array([len(each.prompt_ids) for each in served], dtype=np.int64)
        if (pruned & (ran < lengths) & ((ran > 0) | (given < lengths))).any():
            raise RuntimeError("a prompt that is to be pruned was split over several steps")
        prunes = pruned & (ran == 0)
        stages = []
        for stage in range(cuts + 1):
            gone = np.array([each.dropped(stage) for each in served], dtype=np.int64)
            stages.append(Stage(given - gone * prunes, ran - gone * ~prunes))
        return cls(served, tuple(prunes.tolist()), tuple(stages))

    @property
    def cuts(self) -> bool:
        """Whether some prompt is cut in this step."""
        return any(self.prunes)
