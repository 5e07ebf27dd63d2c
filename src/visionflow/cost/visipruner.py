"""What VisiPruner costs when it is known where it fires, what it keeps and where it exits; and its paper's count."""

from dataclasses import dataclass, replace

from visionflow.core.contribution import PRODUCTS
from visionflow.core.keep import Count
from visionflow.core.plan import Cut, Plan
from visionflow.core.work import Probed, Work
from visionflow.cost.conventions import gated
from visionflow.cost.shape import DecoderShape
from visionflow.errors import VisionFlowError
from visionflow.methods import VisiPruner

_FORM = ("phases", "freed_mass", "shallow_image_to_image", "shallow_cache")
"""Fields of the method that alter its form, not only where it fires and what it keeps."""


@dataclass(frozen=True)
class Profile:
    """One prompt's course under VisiPruner, which decides by what it sees: here it is given in numbers.

    The defaults are the means of the paper for LLaVA-1.5-7B; the firing layer, which it does not print, is the one that
    its cost follows from.

    Attributes:
        shallow_layers: S, layers that do not read the image.
        fire_layer: the last layer with all image tokens, at least S.
        kept: image tokens after it.
        exit_layer: the first layer without image tokens.

    Raises:
        VisionFlowError: the layers are out of order, or nothing is kept.
    """

    shallow_layers: int = 6
    fire_layer: int = 14
    kept: int = 10
    exit_layer: int = 24

    def __post_init__(self) -> None:
        if self.kept < 1:
            raise VisionFlowError(f"kept must be at least 1, not {self.kept}")
        if not 0 <= self.shallow_layers <= self.fire_layer:
            raise VisionFlowError(
                f"fire_layer must be at least shallow_layers, not {self.fire_layer} with {self.shallow_layers} of them"
            )
        if self.exit_layer < self.fire_layer + 2:
            raise VisionFlowError(
                f"exit_layer must be at least fire_layer + 2, not {self.exit_layer} after {self.fire_layer}"
            )

    @classmethod
    def of_depth(cls, num_layers: int) -> "Profile":
        """The paper's means; in a model shallower than LLaVA-1.5-7B, with its 32 layers, at a like depth."""
        paper, share = cls(), min(1.0, num_layers / 32)
        fire = max(0, min(round(share * paper.fire_layer), num_layers - 3))
        return cls(
            min(round(share * paper.shallow_layers), fire),
            fire,
            paper.kept,
            max(round(share * paper.exit_layer), fire + 2),
        )

    @classmethod
    def of_method(cls, method: VisiPruner, num_layers: int, **said: int) -> "Profile":
        """The same for a method of the paper's form, with what is `said` of the course in place of the means.

        Raises:
            VisionFlowError: the method leaves out phases or alters them, which a profile does not know of.
        """
        altered = [name for name in _FORM if getattr(method, name) != getattr(VisiPruner, name)]
        if altered:
            raise VisionFlowError(
                f"the cost of visipruner is known without a prompt for its default {', '.join(altered)} alone: "
                "run it, and read the trace"
            )
        course = {**vars(cls.of_depth(num_layers)), **said}
        if "shallow_layers" not in said:
            course["shallow_layers"] = min(course["shallow_layers"], course["fire_layer"])
        return cls(**course)

    def check_depth(self, num_layers: int) -> None:
        """Refuse a model that is too shallow."""
        if self.exit_layer >= num_layers:
            raise VisionFlowError(
                f"exit_layer {self.exit_layer} is beyond the model's {num_layers} decoder layers: give fire_layer and "
                f"exit_layer, at most {num_layers - 1}"
            )

    def image_tokens(self, image_tokens: int, num_layers: int) -> list[int]:
        """Image tokens in each layer for a prompt of `image_tokens`."""
        return self._plan().image_tokens(image_tokens, num_layers)

    def _plan(self) -> Plan:
        """The cuts at their layers, and the shallow phase; without the probes."""
        cuts = Cut(self.fire_layer + 1, Count(self.kept)), Cut(self.exit_layer, Count(0))
        return replace(VisiPruner(self.shallow_layers).plan(), cuts=cuts, adaptive=None)

    def work(self, image_tokens: int, system_tokens: int, instruction_tokens: int, num_layers: int) -> Work:
        """What one prompt of so many tokens goes through, with one row looked at from layer S to the exit."""
        probes = [Probed(layer, 1, PRODUCTS) for layer in range(self.shallow_layers, self.exit_layer)]
        work = self._plan().work(image_tokens, system_tokens, instruction_tokens, num_layers)
        return replace(work, probes=probes if image_tokens else [])


@dataclass(frozen=True)
class Accounting:
    """How VisiPruner's paper (appendix M) counts a prompt, beside what is executed; text and vision encoder left out.

    The paper charges no attention at all to the layers up to the one that fires, though those from S on compute it; so
    its figures are lower than what any execution gives.

    Attributes:
        multiply_adds: of the image tokens, as the paper counts.
        multiply_adds_executed: the same with the attention of the layers from S to the one that fires.
        multiply_adds_dense: of the unpruned model.
        attention_saved: share of the vision-related attention, image to image and text to image, as the paper counts.
        attention_saved_executed: the same with the layers from S to the one that fires.
    """

    multiply_adds: int
    multiply_adds_executed: int
    multiply_adds_dense: int
    attention_saved: float
    attention_saved_executed: float


def papers_accounting(profile: Profile, shape: DecoderShape, image_tokens: int, text_tokens: int) -> Accounting:
    """The paper's count of one prompt: its "FLOPs" are multiply-adds, its "99 %" is `Accounting.attention_saved`.

    Args:
        profile: where it fires, what it keeps, where it exits.
        shape: the decoder.
        image_tokens: of the prompt.
        text_tokens: of the prompt; 74 in the paper.
    """
    profile.check_depth(shape.num_layers)
    counts = profile.image_tokens(image_tokens, shape.num_layers)

    def multiply_adds(first_reading: int) -> int:
        """With attention charged from that layer on."""
        return sum(gated(shape, n, n * n * (layer >= first_reading)) for layer, n in enumerate(counts))

    def attention_saved(first_reading: int) -> float:
        read = sum(n * n + n * text_tokens for n in counts[first_reading:])
        dense = shape.num_layers * (image_tokens**2 + image_tokens * text_tokens)
        return 1 - read / dense if dense else 0.0

    return Accounting(
        multiply_adds(profile.fire_layer + 1),
        multiply_adds(profile.shallow_layers),
        shape.num_layers * gated(shape, image_tokens, image_tokens**2),
        attention_saved(profile.fire_layer + 1),
        attention_saved(profile.shallow_layers),
    )
