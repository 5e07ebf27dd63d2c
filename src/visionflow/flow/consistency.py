"""How far two runs agree on the first answer token (HiMAP, section 3.2, 3.3 and appendix D), and how sure that is.

Label consistency is the share of samples whose most likely token is what it was; score consistency the mean Jaccard
similarity of the five most likely ones. E = S - S_hat is what score consistency loses, with S = 1, the clean run
against itself; D = ln(E_vv / E_vt) compares two disruptions. Intervals are 95 % percentile bootstraps over samples.
"""

from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from visionflow.bootstrap import bounds, resampled_means
from visionflow.errors import VisionFlowError

TOP = 5


@dataclass(frozen=True)
class Estimate:
    """A mean over samples and the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class LogRatio:
    """D of two disruptions, which is undefined where one of them changes nothing.

    Attributes:
        value: None where D is undefined.
        low, high: bounds of the 95 % interval over the resamples in which D is defined; None where `value` is.
        undefined_share: share of the resamples in which D is undefined: where it is not small, D is not to be trusted.
    """

    value: float | None
    low: float | None
    high: float | None
    undefined_share: float


def top_tokens(logits: Tensor, count: int = TOP) -> Tensor:
    """The `count` most likely tokens, best first; the first is the greedy one, and of equals the lowest id comes first.

    Args:
        logits: ``[..., vocabulary]``.

    Returns:
        int64 ``[..., count]``.
    """
    return logits.sort(dim=-1, descending=True, stable=True).indices[..., :count]


def same_label(clean: Tensor, disrupted: Tensor) -> Tensor:
    """Whether the greedy token is what it was.

    Args:
        clean, disrupted: token ids ``[samples, count]``, best first.

    Returns:
        bool ``[samples]``.
    """
    return clean[:, 0] == disrupted[:, 0]


def jaccard(clean: Tensor, disrupted: Tensor) -> Tensor:
    """``|a & b| / |a | b|`` of the two sets of token ids of each sample.

    Args:
        clean, disrupted: ``[samples, count]``, no id twice in a row.

    Returns:
        fp64 ``[samples]``, in [0, 1].

    Raises:
        VisionFlowError: the two differ in shape.
    """
    if clean.shape != disrupted.shape:
        raise VisionFlowError(
            f"top tokens of shape {list(clean.shape)} and {list(disrupted.shape)} cannot be paired: "
            "compare two runs of the same samples"
        )
    shared = (clean[:, :, None] == disrupted[:, None, :]).sum(dim=(1, 2))
    return shared.double() / (2 * clean.shape[1] - shared)


def consistency(scores: ArrayLike, seed: int = 0) -> Estimate:
    """The mean of what each sample scored ``[samples]``: of `same_label` the label, of `jaccard` the score consistency.

    Raises:
        VisionFlowError: there are no samples, or a score is outside [0, 1].
    """
    return _estimate(_scores(scores), seed)


def bias(scores: ArrayLike, seed: int = 0) -> Estimate:
    """``E = S - S_hat`` with S = 1 (appendix D), from the `jaccard` of each sample ``[samples]``.

    Raises:
        VisionFlowError: there are no samples, or a score is outside [0, 1].
    """
    return _estimate(1 - _scores(scores), seed)


def log_ratio(intra_visual: ArrayLike, visual_textual: ArrayLike, seed: int = 0) -> LogRatio:
    """``D = ln(E_vv / E_vt)`` (section 3.3) of two disruptions of the same samples, which are resampled together.

    Args:
        intra_visual, visual_textual: `jaccard` of each sample under either, ``[samples]``.

    Raises:
        VisionFlowError: there are no samples, a score is outside [0, 1], or the two differ in length.
    """
    scores = _scores(intra_visual), _scores(visual_textual)
    if len(scores[0]) != len(scores[1]):
        raise VisionFlowError(
            f"{len(scores[0])} and {len(scores[1])} samples cannot be paired: disrupt the same samples twice"
        )
    errors = 1 - np.stack(scores)
    means = resampled_means(errors, seed)
    defined = (means > 0).all(axis=0)
    undefined = float(1 - defined.mean())
    value = log_of_biases(*errors.mean(axis=1).tolist())
    if value is None:
        return LogRatio(None, None, None, undefined)
    ratios = np.log(means[0, defined]) - np.log(means[1, defined])
    return LogRatio(value, *bounds(ratios), undefined)


def log_of_biases(intra_visual: float, visual_textual: float) -> float | None:
    """``ln(E_vv / E_vt)``; None, for undefined, where either is not positive."""
    if intra_visual <= 0 or visual_textual <= 0:
        return None
    return log(intra_visual) - log(visual_textual)


def _estimate(values: NDArray[np.float64], seed: int) -> Estimate:
    return Estimate(float(values.mean()), *bounds(resampled_means(values[None], seed)[0]))


def _scores(values: ArrayLike) -> NDArray[np.float64]:
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or not len(scores):
        raise VisionFlowError("there are no samples to average: give one score per sample")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise VisionFlowError("consistency is a score in [0, 1] per sample: give same_label or jaccard of two runs")
    return scores
