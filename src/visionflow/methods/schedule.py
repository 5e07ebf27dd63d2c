"""Schedule: any cuts one after the other, each with its own evidence and share; what `visionflow.tune` finds."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from visionflow.core.evidence import Attention, Evidence, Nothing
from visionflow.core.keep import Count, Ratio
from visionflow.core.plan import Cut
from visionflow.core.reductions import Received, ReceivedAfter
from visionflow.core.selection import Select, Top
from visionflow.errors import VisionFlowError
from visionflow.methods.base import Method, check_layer
from visionflow.methods.fields import settings_of
from visionflow.methods.registry import METHODS

CHOICES: dict[str, tuple[Evidence, Select]] = {
    "text": (Attention("instruction", ReceivedAfter()), Top()),
    "last": (Attention("last"), Top()),
    "image": (Attention("image", Received()), Top()),
    "none": (Nothing(), Top()),
}
"""What the choice at a cut is made on, by name: what the text after the picture, the last token of the prompt or the
image tokens read of each token; nothing. Any method that makes one cut, of settings k and r, is a choice as well."""


class Step(NamedTuple):
    """One cut of a schedule.

    Attributes:
        layer: layers that run before it.
        choice: what it is made on, a key of `CHOICES` or the name of a method.
        keep: the share of the image tokens given that is left after it, from 0 to 1.
    """

    layer: int
    choice: str
    keep: float

    @classmethod
    def read(cls, text: str) -> "Step":
        """The step that ``str`` makes this text of: ``1/text/0.5``.

        Raises:
            VisionFlowError: it is none.
        """
        try:
            layer, choice, keep = text.split("/")
            step = cls(int(layer), choice, float(keep))
        except ValueError:
            raise VisionFlowError(f"a step is LAYER/CHOICE/KEEP, as in 1/text/0.5, not {text!r}") from None
        check_layer("the layer of a step", step.layer, least=0)
        if not 0 <= step.keep <= 1:
            raise VisionFlowError(f"a step keeps a share from 0 to 1, not {keep}")
        return step

    def __str__(self) -> str:
        return f"{self.layer}/{self.choice}/{self.keep:g}"


@dataclass(frozen=True)
class Schedule(Method):
    """Drop image tokens at each of `steps`, down to a share of those given, each chosen in its own way.

    ``schedule:steps=1/text/0.5+5/last/0.125``: before layer 1 keep the half that the text reads most, before layer 5 an
    eighth of all, those that the last token reads most. A step on ``none`` that keeps 0 withdraws the picture.

    Attributes:
        steps: LAYER/CHOICE/KEEP each: layers that run before the cut, increasing; text, last, image, none, or a method
            that makes one cut (unlike-mean, divprune, ...); the share of the image tokens given that stays, decreasing.

    Raises:
        VisionFlowError: a step is none, or out of order.
    """

    name: ClassVar[str] = "schedule"

    steps: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(map(str, self.steps)))
        layers, kept = [step.layer for step in self.read], [1.0, *(step.keep for step in self.read)]
        if not layers or layers != sorted(set(layers)) or kept != sorted(kept, reverse=True):
            raise VisionFlowError(
                f"the steps of a schedule are at increasing layers and keep ever less, not {' '.join(self.steps)}"
            )
        self.cuts()

    @property
    def read(self) -> tuple[Step, ...]:
        """The steps, as they were read."""
        return tuple(map(Step.read, self.steps))

    def cuts(self) -> tuple[Cut, ...]:
        """One for each step, relative to what the one before has left."""
        made, before = [], 1.0
        for step in self.read:
            keep = Ratio(1 - step.keep / before) if step.keep else Count(0)
            made.append(Cut(step.layer, keep, *choice_of(step.choice, step.layer)))
            before = step.keep or 1.0
        return tuple(made)

    @classmethod
    def defaults(cls, num_layers: int, model: str = "") -> dict[str, Any]:
        """Half at an eighth of the layers, an eighth at five eighths, on what the text reads."""
        first = max(1, num_layers // 8)
        return {"steps": (f"{first}/text/0.5", f"{max(first + 1, num_layers * 5 // 8)}/text/0.125")}


def choice_of(name: str, layer: int) -> tuple[Evidence, Select]:
    """What a cut before `layer` is made on, by name.

    Raises:
        VisionFlowError: there is no such choice, or not there.
    """
    if name in CHOICES:
        return CHOICES[name]
    if name not in METHODS or not {"k", "r"} <= settings_of(METHODS[name]).keys():
        raise VisionFlowError(
            f"unknown choice {name!r}: choose one of {', '.join(CHOICES)}, or a method with settings k and r"
        )
    cuts = METHODS[name](**{"k": layer, "r": 0.5}).plan().cuts
    if len(cuts) != 1:
        raise VisionFlowError(f"method {name} makes {len(cuts)} cuts, and a step is one: choose another")
    return cuts[0].evidence, cuts[0].select
