"""KL of schedules on prompts, measured once: in memory, and in a folder where an interrupted search goes on from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from transformers import PreTrainedModel

from visionflow.methods.base import Method
from visionflow.store import Store
from visionflow.tuning.answered import Answered

Part = Literal["tuning", "validation"]

NAME = "measured.jsonl"


class Measurements:
    """What is measured: by method, part of the prompts and batch, the KL of each prompt."""

    def __init__(self, folder: Path | None = None, run: Mapping[str, Any] | None = None) -> None:
        """Begin in `folder`, or go on there; see `visionflow.store.Store` for what it raises."""
        self.store = Store(_key, _is_sound, folder, run or {}, NAME)

    def kl(
        self, model: PreTrainedModel, method: Method, part: Part, batches: Sequence[Answered], hopeless: float
    ) -> float | None:
        """The mean over all prompts; None as soon as it is certain to be above `hopeless`, for no KL is below zero."""
        total, prompts = 0.0, sum(len(batch.answer) for batch in batches)
        for number, batch in enumerate(batches):
            total += sum(self._of_batch(model, method, part, number, batch))
            if total / prompts > hopeless:
                return None
        return total / prompts

    def _of_batch(
        self, model: PreTrainedModel, method: Method, part: Part, number: int, batch: Answered
    ) -> list[float]:
        key = (method.spec, part, number)
        if key not in self.store.known:
            found = batch.divergence(model, method.plan()).tolist()
            self.store.add([{"method": method.spec, "part": part, "batch": number, "kl": found}])
        kl: list[float] = self.store.known[key]["kl"]
        return kl


def _key(line: Mapping[str, Any]) -> tuple[str, str, int]:
    return line["method"], line["part"], line["batch"]


def _is_sound(line: Mapping[str, Any]) -> bool:
    kinds = {"method": str, "part": str, "batch": int, "kl": list}
    return all(isinstance(line.get(name), kind) for name, kind in kinds.items())
