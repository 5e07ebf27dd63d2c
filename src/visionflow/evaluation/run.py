"""Which samples and rows a run has, and the description by which it is known again."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedModel

from visionflow import __version__
from visionflow.cost.conventions import Convention
from visionflow.engines.hf.layer_kinds import depth_of
from visionflow.errors import VisionFlowError
from visionflow.evaluation.budget import budget_rows
from visionflow.evaluation.rows import NO_IMAGE, REFERENCE, ROWS, Configuration, chosen_rows, rows_of_methods, seeing
from visionflow.evaluation.samples import Sample
from visionflow.loading.models import Loaded


@dataclass(frozen=True)
class Run:
    """All that decides a run's answers.

    Attributes:
        rows: the configurations.
        described: these, the questions and the model as one JSON object; a run with another description is another run.
        missing: rows that could not be made, by name, and why.
    """

    rows: list[Configuration]
    described: dict[str, Any]
    missing: Mapping[str, str] = field(default_factory=dict)


def run_of(
    loaded: Loaded,
    suite: str,
    samples: Sequence[Sample],
    *,
    methods: Sequence[str] = (),
    rows: str = "table",
    sight: str = "picture",
    filtered: bool = False,
    seed: int = 0,
    budget: float | None = None,
    cost: Convention = "flops",
) -> Run:
    """A run over `samples` with the rows that suit the model's depth.

    Args:
        loaded: the model.
        suite: the name of what the samples are of.
        samples: the questions.
        methods: names of rows, or methods as `visionflow.method` takes them; all rows if none is named.
        rows: which set of rows, a key of `visionflow.evaluation.rows.ROWS`.
        sight: what stands in place of the picture: "picture", "grey" or "none".
        filtered: the row without the image is needed, too.
        seed: of the random rows.
        budget: share of dense that each row is to take, in place of `rows`; see `visionflow.evaluation.budget`.
        cost: of what the budget is a share.

    Raises:
        VisionFlowError: an unknown row or sight, a model with too few layers, or one whose cost is not modelled.
    """
    num_layers = depth_of(loaded.model.config)
    always = (REFERENCE, NO_IMAGE) if filtered else (REFERENCE,)
    missing: Mapping[str, str] = {}
    if budget is None:
        known = ROWS[rows](num_layers, seed, loaded.name)
        more = rows_of_methods(known, methods, num_layers, loaded.name, loaded.model.config.model_type)
        known = chosen_rows([*known, *more], methods, always)
    else:
        known, missing = budget_rows(loaded, samples, budget, methods, seed, cost)
    chosen = seeing(known, sight)
    described = {
        "suite": suite,
        "limit": len(samples),
        "tasks": list(dict.fromkeys(sample.task for sample in samples)),
        "model": loaded.name,
        "dtype": str(loaded.model.dtype).removeprefix("torch."),
        "weights": fingerprint(loaded.model),
        "sight": sight,
        "seed": seed,
        "rows": {row.name: row.settings for row in chosen},
        "visionflow": __version__,
    } | ({} if budget is None else {"budget": budget, "cost": cost})
    return Run(chosen, described, missing)


def check_against(names: Sequence[str], rows: Sequence[Configuration]) -> None:
    """Refuse a comparison with a row that is not there.

    Raises:
        VisionFlowError: there is none of that name.
    """
    known = [row.name for row in rows]
    for name in names:
        if name not in known:
            raise VisionFlowError(f"there is no row {name!r} to compare with: choose of {', '.join(known)}")


def fingerprint(model: PreTrainedModel) -> str:
    """A short name for a model's weights: a hash of a few numbers of each, whatever the device."""
    digest = hashlib.sha256()
    for name, weight in model.named_parameters():
        few = weight.detach().flatten()[:: max(1, weight.numel() // 64)]
        digest.update(name.encode() + few.float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
