"""What a table needs that does not come with this package: weights and data sets, and whether they are there."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from visionflow.lmms.data_sets import GIGABYTES, DataSet, model_in_cache
from visionflow.loading.waiting import within

_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Need:
    """One thing that is needed.

    Attributes:
        what: weights or questions.
        name: ``owner/name`` on the Hub, or a path.
        size: for people.
        found: where it is; empty if it has to be fetched.
    """

    what: str
    name: str
    size: str
    found: str


def needs_of(model: str, wanted: Sequence[DataSet], data_dir: Path | None) -> list[Need]:
    """The weights of `model` and the data sets, each with where it is.

    Raises:
        VisionFlowError: a local copy is not whole.
    """
    return [_weights(model), *(_questions(each, data_dir) for each in wanted)]


def _weights(model: str) -> Need:
    gigabytes = GIGABYTES.get(model)
    size = f"{gigabytes} GB" if gigabytes else "size not known"
    if Path(model).is_dir():
        return Need("weights", model, "", "this directory")
    return Need("weights", model, size, "the Hub's cache" if model_in_cache(model) else "")


def _questions(wanted: DataSet, data_dir: Path | None) -> Need:
    size = f"{_size(wanted.megabytes)}, {wanted.questions} questions"
    if wanted.fetched > wanted.megabytes:
        size += f"; lmms-eval fetches all splits, {_size(wanted.fetched)}"
    copy = wanted.local(data_dir) if data_dir else None
    if copy:
        return Need("questions", wanted.repo, size, str(copy))
    return Need("questions", wanted.repo, size, "the Hub's cache" if wanted.in_cache() else "")


def hub_problem() -> str:
    """Why nothing can be fetched from the Hub; empty if it can be reached."""
    from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE

    if HF_HUB_OFFLINE or os.environ.get("HF_DATASETS_OFFLINE") == "1":
        return "HF_HUB_OFFLINE is set"
    try:
        head = Request(ENDPOINT, method="HEAD")
        within(_TIMEOUT_S, f"asking {ENDPOINT}", lambda: urlopen(head, timeout=_TIMEOUT_S).close())
        return ""
    except HTTPError:
        return ""  # it answered
    except (OSError, ValueError) as error:
        return f"{ENDPOINT} cannot be reached ({getattr(error, 'reason', None) or error})"


def _size(megabytes: float) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes:.0f} MB"
