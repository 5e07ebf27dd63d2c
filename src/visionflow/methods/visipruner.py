"""VisiPruner: shallow, middle and deep phases, decided for each prompt by its own attention (EMNLP 2025)."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from visionflow.core.adaptive import AdaptiveCuts
from visionflow.core.flows import Block, BlockMode, Withhold
from visionflow.core.plan import Cut, Plan
from visionflow.core.tokens import GroupName, Tokens
from visionflow.errors import VisionFlowError
from visionflow.methods.base import Method, check_range
from visionflow.methods.visipruner_phases import Phases, Selection

Phase = Literal["shallow", "middle", "deep"]
FreedMass = Literal["renormalise", "drop", "fold"]
TokenScale = Literal["absolute", "relative"]
ExitRule = Literal["consecutive", "cumulative"]

EMBEDDED = "embedded"  # as `visionflow.loading.models` calls the model of this package

# From `visionflow.tuning.thresholds` on the embedded model: docs/results/visipruner.md.
_EMBEDDED_DEFAULTS = {
    "shallow_layers": 2,
    "layer_threshold": 0.801,
    "token_threshold": 0.0057,
    "token_scale": "relative",
}


@dataclass(frozen=True)
class VisiPruner(Method):
    """Use image tokens in the middle layers only, and there only the few that the last prompt token needs.

    - **Shallow**, layers 0 to S-1: the text reads the text before it, image tokens what comes before the picture.
      Attention to image tokens is not computed, and their keys and values are not cached for the answer.
    - **Middle**, from layer S on: with o the attention output of the last prompt token and c_j what image token j adds
      to it, ``s_j = cos(o - c_j, o)`` and ``m_j = ||c_j||`` (see `visionflow.core.contribution`). The first layer
      where some ``s_j < layer_threshold`` fires: before the next layer, all image tokens go but those with
      ``m_j > token_threshold``.
    - **Deep**: when every kept token has ``s_j >= exit_threshold`` for `exit_patience` layers, all go.

    Every sample of a batch has its own firing layer, tokens and exit; ``trace.decisions[-1]`` tells them
    (`visionflow.methods.visipruner_phases.Phases`). A layer that is looked at costs one small read from the device.

    Nothing is ever dropped from a prompt in which no layer fires, unless `fallback_layer` says so; a prompt in which a
    layer fires keeps the `at_least` tokens that add most, even if none is above the threshold.

    The released code is batch 1 and eager only, computes the shallow attention and sets it to zero after the softmax,
    lets layer S alone (here it is the first that may fire), keeps every key for the answer, decides in fp16, and counts
    quiet layers without asking that they follow each other. Its shallow phase is ``freed_mass="fold"`` with
    ``shallow_image_to_image=True`` and ``shallow_cache=True``.

    Attributes:
        shallow_layers: S, layers of the shallow phase, and the first that may fire; at least 0.
        layer_threshold: a layer fires when an s_j is below it.
        token_threshold: image tokens with a larger m_j stay. It depends on the model; see
            `visionflow.tuning.thresholds.calibrate`.
        exit_threshold: a kept token with a smaller s_j still matters.
        exit_patience: quiet layers before the exit; at least 1.
        token_scale: `token_threshold` is compared with m_j ("absolute", the paper) or m_j / ||o|| ("relative").
        at_least: image tokens kept at least where a layer fires; 0 to let all go.
        at_most: image tokens kept at most, those with the largest m_j; None for no limit.
        fallback_layer: a layer that fires whatever it shows, where none before it has; None for none.
        exit_rule: the quiet layers are "consecutive" (the paper) or "cumulative" (the released code).
        selection: which tokens stay, as many as m_j says: by m_j ("value"), or by the attention they get from the
            "last" token, the "text" after the picture or the "image" tokens (the paper's Table 4).
        phases: of "shallow", "middle", "deep"; deep needs middle.
        freed_mass: attention that the shallow phase takes from image tokens goes to the rest of the row
            ("renormalise", the paper; only so is it left uncomputed), is lost ("drop"), or, in layer 0, goes to the
            first image token and is lost in the others ("fold", the released code for 7B).
        shallow_image_to_image: image tokens read each other in the shallow phase (with "fold" not in layer 0).
        shallow_cache: the answer reads the image tokens of the shallow layers.

    Raises:
        VisionFlowError: a field is out of range.
    """

    name: ClassVar[str] = "visipruner"
    always_said: ClassVar[tuple[str, ...]] = ("shallow_layers", "layer_threshold", "token_threshold", "token_scale")

    shallow_layers: int = 6
    layer_threshold: float = 0.995
    token_threshold: float = 0.2
    exit_threshold: float = 0.999
    exit_patience: int = 2
    token_scale: TokenScale = "absolute"
    at_least: int = 1
    at_most: int | None = None
    fallback_layer: int | None = None
    exit_rule: ExitRule = "consecutive"
    selection: Selection = "value"
    phases: tuple[Phase, ...] = ("shallow", "middle", "deep")
    freed_mass: FreedMass = "renormalise"
    shallow_image_to_image: bool = False
    shallow_cache: bool = False

    def __post_init__(self) -> None:
        for name, least in (("shallow_layers", 0), ("exit_patience", 1), ("at_least", 0)):
            _check_whole(name, getattr(self, name), least)
        for name in ("layer_threshold", "exit_threshold"):
            check_range(name, getattr(self, name), -1, 1, ", for it is a cosine")
        check_range("token_threshold", self.token_threshold, 0, float("inf"), ", for it is a norm")
        if self.at_most is not None:
            _check_whole("at_most", self.at_most, max(1, self.at_least))
        if self.fallback_layer is not None:
            _check_whole("fallback_layer", self.fallback_layer, self.shallow_layers)
        for name, choices in (
            ("token_scale", TokenScale),
            ("exit_rule", ExitRule),
            ("selection", Selection),
            ("freed_mass", FreedMass),
        ):
            if getattr(self, name) not in get_args(choices):
                raise VisionFlowError(
                    f"{name} must be one of {', '.join(get_args(choices))}, not {getattr(self, name)!r}"
                )
        unknown = [phase for phase in self.phases if phase not in get_args(Phase)]
        if unknown or not isinstance(self.phases, tuple):
            raise VisionFlowError(f"phases is a tuple of some of {', '.join(get_args(Phase))}, not {self.phases!r}")
        if "deep" in self.phases and "middle" not in self.phases:
            raise VisionFlowError("the deep phase ends what the middle phase has kept: add 'middle' to phases")

    @classmethod
    def defaults(cls, num_layers: int, model: str = "") -> dict[str, Any]:
        """Thresholds belong to one model each: the embedded model has its own, every other one the paper's."""
        if model == EMBEDDED:
            return dict(_EMBEDDED_DEFAULTS)
        return {"shallow_layers": max(1, round(num_layers * 6 / 32))} if num_layers <= 8 else {}

    @classmethod
    def whose_defaults(cls, num_layers: int, model: str = "") -> str:
        """With the model that the thresholds are of."""
        if model == EMBEDDED:
            return "the default of the embedded model, whose thresholds were found for it"
        return f"the default for {num_layers} layers, with the thresholds that the paper found for LLaVA-1.5"

    @classmethod
    def bench_defaults(cls, num_layers: int) -> dict[str, Any]:
        """The means of the paper: it fires at layer 14 of 32, keeps ten tokens, withdraws them nine layers later."""
        first = min(max(1, round(num_layers * 6 / 32)), num_layers - 2)
        return {
            "shallow_layers": first,
            "layer_threshold": -1.0,
            "fallback_layer": min(max(first, round(num_layers * 14 / 32)), num_layers - 2),
            "at_least": 10,
            "at_most": 10,
            "exit_threshold": -1.0,
            "exit_patience": max(1, round(num_layers * 9 / 32)),
        }

    def cuts(self) -> tuple[Cut, ...]:
        """None at given layers."""
        return ()

    def plan(self) -> Plan:
        """Blocks and withheld keys of the shallow phase; cuts that wait for what the layers show."""
        return Plan(
            blocks=self.blocks(),
            withheld=self._withheld(),
            adaptive=FiringCuts(tuple(vars(self).items())) if "middle" in self.phases else None,
            way_out="leave 'shallow' out of the phases of VisiPruner",
        )

    def blocks(self) -> tuple[Block, ...]:
        """What the shallow phase does not let read the image."""
        if "shallow" not in self.phases:
            return ()
        layers = range(self.shallow_layers)
        # What comes before the picture reads it, too, where a model does not mask what is later (PaliGemma).
        text: tuple[GroupName, ...] = ("system", "instruction")
        blocked = text if self.shallow_image_to_image else (*text, "image")
        if self.freed_mass == "fold" and layers:
            first = [Block(layers[:1], "image", target, "fold") for target in text]
            rest = [Block(layers[1:], "image", target, "zero") for target in blocked]
            return (*first, Block(layers[:1], "image", "image", "zero"), *rest)
        mode: BlockMode = "skip" if self.freed_mass == "renormalise" else "zero"
        return tuple(Block(layers, "image", target, mode) for target in blocked)

    def _withheld(self) -> tuple[Withhold, ...]:
        if self.shallow_cache or "shallow" not in self.phases:
            return ()
        return (Withhold(range(self.shallow_layers), "image"),)


@dataclass(frozen=True)
class FiringCuts(AdaptiveCuts):
    """Where layers fire and tokens exit.

    Attributes:
        options: the fields of a `VisiPruner`, by name.
    """

    options: tuple[tuple[str, Any], ...]

    @property
    def method(self) -> VisiPruner:
        """Whose cuts these are."""
        return VisiPruner(**dict(self.options))

    @property
    def named_layers(self) -> dict[str, int]:
        """The first layer that may fire, and one that is to fire whatever it shows."""
        names = ("shallow_layers", "fallback_layer")
        return {name: layer for name in names if (layer := getattr(self.method, name)) is not None}

    def start(self, tokens: Tokens) -> Phases:
        """The phases of one prompt."""
        return Phases(self.method, tokens)


def _check_whole(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise VisionFlowError(f"{name} must be a whole number, at least {least}, not {value!r}")
