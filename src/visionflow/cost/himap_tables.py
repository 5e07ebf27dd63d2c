"""The cost columns of the HiMAP paper's Tables 1 and 2 beside what its own settings give."""

import math
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields

from visionflow.core.plan import Plan
from visionflow.cost.load import PRESETS
from visionflow.cost.model import Cost, cost_of
from visionflow.cost.shape import DecoderShape
from visionflow.methods import FastV, HiMAP, Method

# Qwen-VL-Chat's published configuration: 256 tokens a picture; its intermediate_size of 22016 is halved between the
# two branches of the gated network.
_QWEN_VL_CHAT = DecoderShape(32, 4096, 11008, 32, 32, 128, 151936, image_tokens=256)
_SHAPES = {
    "LLaVA-v1.5-7B": PRESETS["llava-1.5-7b"],
    "LLaVA-v1.5-13B": PRESETS["llava-1.5-13b"],
    "QwenVL-Chat-7B": _QWEN_VL_CHAT,
}

_FASTV_RATIO = "the ratio is that of k=3, not of k=2, as the text says"
_FASTV_13B = "k=2, as the text says, gives less; k=3 would fit"
_QWEN = "no shape is stated; 256 tokens, d 4096, m 11008, 32 layers give less"


@dataclass(frozen=True)
class Row:
    """One row: what is printed, and what the stated setting gives under the ``paper`` convention.

    Attributes:
        table: number of the paper's table.
        model: as printed.
        method: with the setting stated in section 5.2 (FastV) or Table 3 (HiMAP); None is the baseline.
        printed_tera: the printed "TFLOPs".
        printed_percent: the printed "Ratio".
        reason: why a cell does not follow; empty where both do.
        nearest: a setting that was not stated and comes closer.
    """

    table: int
    model: str
    method: Method | None
    printed_tera: str
    printed_percent: str
    reason: str = ""
    nearest: Method | None = None

    def cost(self) -> Cost:
        """What the stated setting gives."""
        return self._cost_of(self.method)

    @property
    def tera_follows(self) -> bool:
        """Whether the printed figure is ours, rounded or cut off."""
        return _follows(self.printed_tera, self.cost().pruned / 1e12)

    @property
    def percent_follows(self) -> bool:
        """Whether the printed ratio is ours, rounded or cut off."""
        return _follows(self.printed_percent, 100 * self.cost().ratio)

    def note(self) -> str:
        """The reason, with the figures of the nearest setting."""
        if self.nearest is None:
            return self.reason
        cost = self._cost_of(self.nearest)
        return f"{self.reason}: {label(self.nearest)} gives {cost.pruned / 1e12:.3f} T, {cost.ratio:.1%}"

    def _cost_of(self, method: Method | None) -> Cost:
        return cost_of(Plan() if method is None else method, _SHAPES[self.model], "paper")


def rows() -> Iterator[Row]:
    """Tables 1 and 2 from top to bottom (Table 2 prints the same costs twice, for two pairs of tasks)."""
    seven, thirteen, qwen = _SHAPES
    fastv = FastV(2, 0.5)
    yield Row(1, seven, None, "2.98", "100")
    yield Row(1, seven, fastv, "1.56", "54", _FASTV_RATIO, FastV(3, 0.5))
    yield Row(1, seven, HiMAP(2, 0.5, 8, 0.75), "0.73", "24")
    yield Row(1, thirteen, None, "5.81", "100")
    yield Row(1, thirteen, fastv, "3.09", "53", _FASTV_13B, FastV(3, 0.5))
    yield Row(1, thirteen, HiMAP(3, 0.5, 8, 0.75), "1.36", "23")
    yield Row(1, qwen, None, "3.6", "100", _QWEN)
    yield Row(1, qwen, fastv, "1.9", "53", _QWEN)
    yield Row(1, qwen, HiMAP(2, 0.5, 8, 0.75), "0.89", "25", f"{_QWEN}; nor is a setting stated")
    yield Row(2, seven, None, "2.98", "100")
    yield Row(2, seven, fastv, "1.56", "54", _FASTV_RATIO, FastV(3, 0.5))
    yield Row(
        2,
        seven,
        HiMAP(2, 0.5, 15, 0.75),
        "1.01",
        "34",
        "k2=15, as stated, gives less; k2=16 would fit",
        HiMAP(2, 0.5, 16, 0.75),
    )
    yield Row(2, thirteen, None, "5.81", "100")
    yield Row(
        2,
        thirteen,
        fastv,
        "3.06",
        "53",
        "neither k=2, as the text says, nor k=3 gives 3.06",
        FastV(3, 0.5),
    )
    yield Row(
        2,
        thirteen,
        HiMAP(3, 0.5, 15, 0.75),
        "1.93",
        "33",
        "k1=3, k2=15, as stated, gives less; k1=2, k2=20 would fit",
        HiMAP(2, 0.5, 20, 0.75),
    )


def label(method: Method | None) -> str:
    """A row's method and its numbers in the paper's order: ``HiMAP 2 0.5 8 0.75``."""
    if method is None:
        return "Baseline"
    numbers = (str(getattr(method, field.name)) for field in fields(method) if field.default is MISSING)  # type: ignore[arg-type]
    return " ".join((type(method).__name__, *numbers))


def _follows(printed: str, ours: float) -> bool:
    """Whether `ours`, rounded or cut off at the printed number of decimals, is what was printed."""
    unit = 10 ** len(printed.partition(".")[2])
    return round(float(printed) * unit) in {round(ours * unit), math.floor(ours * unit)}
