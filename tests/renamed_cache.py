"""A model that names its cache as those of transformers 5.24 and later do, whatever the version."""

from dataclasses import dataclass
from typing import Any

import pytest
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from visionflow.engines.hf.caches import cache_name_of, cache_of


@dataclass
class Output(ModelOutput):  # type: ignore[misc]
    """What a call gives."""

    logits: Tensor | None = None
    cache: Any = None


def rename_cache(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on a call takes and gives ``cache``; the old name is no argument, and none of what it gives."""
    forward, own = model.forward, cache_name_of(model)

    def renamed(*, cache: Any = None, **given: Any) -> Output:
        assert "past_key_values" not in given
        output = forward(**given, **{own: cache})
        return Output(logits=output.logits, cache=cache_of(output))

    monkeypatch.setattr(model, "forward", renamed)
