"""Percentile bootstrap: how much a mean over samples would change with other samples.

The 2.5 % and 97.5 % points of the means of 10 000 samples of n, drawn with replacement (B. Efron and R. J. Tibshirani,
An Introduction to the Bootstrap, 1993, chapter 13). The same seed gives the same draws.
"""

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 10_000
_NUMBERS_AT_ONCE = 2**22  # 32 MiB of int64, however many the samples


def resampled_means(values: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Means of each row of ``[rows, samples]`` over the same samples drawn with replacement, ``[rows, RESAMPLES]``."""
    samples = values.shape[1]
    rng = np.random.default_rng(seed)
    step = max(1, _NUMBERS_AT_ONCE // samples)
    drawn = (_times_drawn(rng, min(step, RESAMPLES - at), samples) for at in range(0, RESAMPLES, step))
    return np.concatenate([np.stack([times @ row for row in values]) / samples for times in drawn], axis=1)


def _times_drawn(rng: np.random.Generator, resamples: int, samples: int) -> NDArray[np.float64]:
    """How often each sample is in each resample, ``[resamples, samples]``: all rows are read by the same counts."""
    places = rng.integers(samples, size=(resamples, samples)) + samples * np.arange(resamples)[:, None]
    return np.bincount(places.ravel(), minlength=resamples * samples).reshape(resamples, samples).astype(np.float64)


def bounds(means: NDArray[np.float64], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The points between which so much of the resampled means lies."""
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
