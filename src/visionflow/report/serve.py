"""What a server is about to do to each picture, said before it starts."""

from dataclasses import dataclass
from typing import Any

from rich.console import Console

from visionflow.cost import DecoderShape, cost_of
from visionflow.errors import UnsupportedModelError
from visionflow.methods import Spec
from visionflow.report.numbers import percent
from visionflow.serving.settings import Settings

EXAMPLE = 1000
"""Image tokens of a prompt, where their number depends on the picture."""


@dataclass(frozen=True)
class Announcement:
    """A method on a model that is to be served.

    Attributes:
        model: as it was asked for.
        settings: what the server will do.
        shape: the model's decoder; None where its cost is not modelled.
    """

    model: str
    settings: Settings
    shape: DecoderShape | None

    @classmethod
    def of(cls, model: str, config: Any, spec: Spec) -> "Announcement":
        """What will be done to `model` of that configuration.

        Raises:
            VisionFlowError: a setting does not suit the model, or a server cannot carry the method out.
        """
        try:
            shape = DecoderShape.from_config(config)
        except UnsupportedModelError:
            shape = None
        depth = config.get_text_config().num_hidden_layers
        return cls(model, Settings.of(spec.of(depth, model), depth, (), 0), shape)

    def show(self, console: Console) -> None:
        """Image tokens layer by layer, and what a prompt of one picture costs."""
        method, layers = self.settings.method, self.settings.cut_layers
        console.print(f"{self.model}, {method.spec}")
        own = self.shape and self.shape.image_tokens
        given = own or EXAMPLE
        counts = self.settings.plan.image_tokens(given, self.settings.depth)
        stages = [f"{counts[layer]} from layer {layer} on" for layer in layers]
        of_what = "a picture's" if own else "a prompt's, for example,"
        console.print(f"Of {of_what} {given} image tokens, {', '.join(stages)}.")
        if self.shape is None:
            return
        cost = cost_of(method, self.shape, "flops", image_tokens=given)
        kv = cost.kv_bytes_pruned / cost.kv_bytes_dense
        console.print(
            f"A prompt of these and a short question takes {percent(cost.ratio)} of the prefill's FLOPs, and "
            f"layers attend to {percent(kv)} of its keys and values; their memory is allocated as for the whole prompt."
        )
