"""What a server is asked for: ``"visionflow"`` in vLLM's ``--additional-config``, read and checked before it starts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from visionflow.core.cutting import refusal
from visionflow.core.plan import Cut, Plan
from visionflow.errors import UnsupportedUsageError, VisionFlowError
from visionflow.methods import METHODS, Method, parse

KEY = "visionflow"
"""Where the settings stand in ``--additional-config``, and a request's own in ``vllm_xargs``."""

SHADOW = "shadow"
"""What a request says that is served dense to be compared with a pruned one; and the setting that has them made."""

CANNOT = frozenset(
    {
        "adaptive cuts",
        "unknown counts",
        "blocks",
        "withheld keys",
        "watches",
        "tower",
        "two kinds of evidence",
        "weighed rows",
        "compact positions",
    }
)
"""What of a plan the engine does not do, by the names of `visionflow.core.cutting.asked_of`."""

_EXAMPLE = '{"visionflow": {"method": "himap:k1=2,r1=0.5,k2=8,r2=0.75"}}'


@dataclass(frozen=True)
class Settings:
    """A method on a model that is served.

    Attributes:
        method: what is done to every request that does not say otherwise.
        depth: the model's decoder layers.
        image_token_ids: ids that stand for one token of a picture or video.
        step_tokens: the longest prompt that fits one step of the engine, beside all who are being answered.
        report: whether each response says what was done.
        shadow: the share of pruned requests that are answered dense as well.
        shrink_kv: whether blocks of the KV cache are saved behind the cuts.
        processes: those that hold the heads (tensor parallelism).
    """

    method: Method
    depth: int
    image_token_ids: tuple[int, ...]
    step_tokens: int
    report: bool = False
    shadow: float = 0.0
    processes: int = 1
    shrink_kv: bool = False

    @classmethod
    def read(
        cls, given: Any, depth: int, image_token_ids: tuple[int, ...], step_tokens: int, processes: int = 1
    ) -> "Settings":
        """Read what was given: a method, or ``{"method": ..., "report": true}``, with the method's settings beside it.

        The server's own are `report`, `shrink_kv` and, see `visionflow.serving.shadow`, ``{"shadow": 0.01}``.

        Raises:
            VisionFlowError: an unknown method or setting, or a value out of range.
            UnsupportedUsageError: a layer beyond the depth, or a method that the engine cannot carry out.
        """
        options = dict(given) if isinstance(given, Mapping) else {"method": given}
        named, report = options.pop("method", None), options.pop("report", False)
        shadow, shrink_kv = options.pop(SHADOW, 0.0), options.pop("shrink_kv", False)
        if not isinstance(named, str | Mapping):
            raise VisionFlowError(f"{KEY} needs a method: give {_EXAMPLE}")
        for name, value in {"report": report, "shrink_kv": shrink_kv}.items():
            if not isinstance(value, bool):
                raise VisionFlowError(f"{name} is true or false, not {value!r}")
        if isinstance(shadow, bool) or not isinstance(shadow, int | float) or not 0 <= shadow <= 1:
            raise VisionFlowError(f"shadow is a share of the requests, from 0 to 1, not {shadow!r}")
        method = parse(named).having(options).of(depth)
        made = cls.of(method, depth, image_token_ids, step_tokens, report, float(shadow), processes)
        return replace(made, shrink_kv=shrink_kv)

    @classmethod
    def of(
        cls,
        method: Method,
        depth: int,
        image_token_ids: tuple[int, ...],
        step_tokens: int,
        report: bool = False,
        shadow: float = 0.0,
        processes: int = 1,
    ) -> "Settings":
        """Settings with that method.

        Raises:
            UnsupportedUsageError: a server cannot carry it out.
        """
        return cls(_served(method, processes), depth, image_token_ids, step_tokens, report, shadow, processes)

    @cached_property
    def plan(self) -> Plan:
        """What the method asks for."""
        return self.method.plan()

    @property
    def cut_layers(self) -> tuple[int, ...]:
        """The layers before which sequences become shorter: the same for all requests of one server."""
        return tuple(cut.layer for cut in self.plan.cuts)

    def asked(self, value: object) -> tuple[Cut | None, ...] | None:
        """The cuts of one request, at each of the server's layers the cut or None; None where it is served dense.

        Args:
            value: what the request says: None or "on" for the server's method, "off", other values of its settings
                ("r1=0.7"), or another method that cuts before the same layers ("fastv:k=2,r=0.5").

        Raises:
            VisionFlowError: it says something else, or asks for cuts that this server does not have.
        """
        if value in (None, "on"):
            return self.plan.cuts
        if value in ("off", SHADOW):
            return None
        if not isinstance(value, str):
            raise VisionFlowError(f'{KEY} of a request is "on", "off", or settings such as "r1=0.7", not {value!r}')
        return self._aligned(self._other(value).plan().cuts)

    def _other(self, value: str) -> Method:
        """The method that a request names, or the server's with other values; strangers name no file and no module."""
        name, colon, _ = value.partition(":")
        if "=" in name:
            own = self.method.to_dict()
            spec = parse(f"{own.pop('name')}:{value}").with_defaults(own)
        elif name in METHODS and (colon or name == value):
            spec = parse(value)
        else:
            raise VisionFlowError(f"unknown method {name!r}: choose one of {', '.join(METHODS)}, on or off")
        return _served(spec.of(self.depth), self.processes)

    def _aligned(self, cuts: tuple[Cut, ...]) -> tuple[Cut | None, ...]:
        by_layer = {cut.layer: cut for cut in cuts}
        foreign = [layer for layer in by_layer if layer not in self.cut_layers]
        if foreign:
            ours = " and ".join(map(str, self.cut_layers))
            raise VisionFlowError(
                f"this server cuts before layer {ours}, and no request can cut before layer {foreign[0]}: "
                "ask for the same layers, or start another server"
            )
        return tuple(by_layer.get(layer) for layer in self.cut_layers)


def _served(method: Method, processes: int) -> Method:
    """The method, where a server of so many processes can carry it out: each has the keys of its own heads."""
    cannot = CANNOT | ({"keys"} if processes > 1 else set())
    why = refusal(method.plan(), f"a server with method {method.name}", cannot)
    if why is not None:
        raise UnsupportedUsageError(f"{why}; use visionflow.prune on the transformers model, or another method")
    return method
