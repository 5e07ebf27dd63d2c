"""HiMAP: hierarchical modality-aware pruning, the method of "Unraveling the Shift of Visual Information Flow"."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from visionflow.core.evidence import Attention
from visionflow.core.keep import Ratio
from visionflow.core.plan import Cut
from visionflow.core.reductions import Paid, Received, ReceivedAfter
from visionflow.errors import VisionFlowError
from visionflow.methods.base import Method, check_layer, check_ratio

DeepCriterion = Literal["paid", "received"]

# Table 3 of the paper, by model and task: (k1, r1, k2, r2).
_PRESETS: dict[str, dict[str, tuple[int, float, int, float]]] = {
    "llava-1.5-7b": {
        "multiple-choice": (2, 0.5, 8, 0.75),
        "hallucination": (2, 0.5, 8, 0.75),
        "caption": (2, 0.5, 15, 0.75),
        "open-ended": (2, 0.5, 15, 0.75),
    },
    "llava-1.5-13b": {
        "multiple-choice": (3, 0.5, 8, 0.75),
        "hallucination": (3, 0.5, 8, 0.75),
        "caption": (3, 0.5, 15, 0.75),
        "open-ended": (3, 0.5, 15, 0.75),
    },
}


@dataclass(frozen=True)
class HiMAP(Method):
    """Drop `r1` of the image tokens before layer `k1`, then `r2` of the rest before layer `k2`.

    With A the attention of a layer averaged over heads in fp32, A[i, j] what row i pays to key j, V the image and I
    the instruction tokens:

    - shallow stage, A of layer k1-1 (eq. 8): ``phi_sh(v) = sum_{i in I} A[i, v]``, how much the text after v reads v
      (text between pictures counts for those before it, also where a model lets it read later ones);
    - deep stage, A of layer k2-1, on what the first stage left: ``deep_criterion="paid"`` is eq. 9 as printed,
      ``phi_dp(v) = sum_{i in V} A[v, i]``, how much v has gathered from the image tokens; ``"received"`` is
      ``sum_{i in V} A[i, v]``, how much they gather from v.

    The released code computes "received" although the paper prints "paid"; it is batch 1, without a KV cache, with the
    prompt lengths 35 and 576 in the source. Under a causal mask "received" favours early tokens and "paid" late ones.

    Attributes:
        k1: layers that run before the first cut; at least 1.
        r1: fraction dropped at the first cut, 0 <= r1 < 1.
        k2: layers that run before the second cut; more than k1.
        r2: fraction of the remaining image tokens dropped at the second cut, 0 <= r2 < 1.
        deep_criterion: "paid" or "received".
        exclude_self: leave the diagonal A[v, v] out of phi_dp (both papers' forms include it).

    Raises:
        VisionFlowError: a field is out of range.
    """

    name: ClassVar[str] = "himap"

    k1: int
    r1: float
    k2: int
    r2: float
    deep_criterion: DeepCriterion = "paid"
    exclude_self: bool = False

    def __post_init__(self) -> None:
        check_layer("k1", self.k1)
        check_layer("k2", self.k2)
        check_ratio("r1", self.r1)
        check_ratio("r2", self.r2)
        if self.k1 >= self.k2:
            raise VisionFlowError(f"k1 must be smaller than k2, not k1={self.k1} and k2={self.k2}")
        if self.deep_criterion not in get_args(DeepCriterion):
            raise VisionFlowError(f"deep_criterion must be 'paid' or 'received', not {self.deep_criterion!r}")

    @classmethod
    def preset(cls, model: str, task: str) -> "HiMAP":
        """The paper's settings (Table 3) for `model` ("llava-1.5-7b", "llava-1.5-13b") and `task`
        ("multiple-choice", "hallucination", "caption", "open-ended").

        Raises:
            VisionFlowError: the paper has no row for that model or task.
        """
        tasks = _PRESETS.get(model)
        if tasks is None:
            raise VisionFlowError(f"no HiMAP preset for model {model!r}: choose one of {', '.join(_PRESETS)}")
        if task not in tasks:
            raise VisionFlowError(f"no HiMAP preset for task {task!r}: choose one of {', '.join(tasks)}")
        return cls(*tasks[task])

    def cuts(self) -> tuple[Cut, ...]:
        """Two cuts: the text decides the first, the image tokens decide the second."""
        deep = Paid("image", self.exclude_self) if self.deep_criterion == "paid" else Received(self.exclude_self)
        return (
            Cut(self.k1, Ratio(self.r1), Attention("instruction", ReceivedAfter())),
            Cut(self.k2, Ratio(self.r2), Attention("image", deep)),
        )
