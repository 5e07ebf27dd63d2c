"""Retrieval: a page is the vectors of its kept tokens; ColPali's bare model is pruned, ColQwen2's is refused."""

from typing import Any

import pytest
import torch
from torch import nn
from transformers import ColPaliConfig, ColPaliForRetrieval, ColQwen2Config, ColQwen2ForRetrieval

from tests.zoo import ZOO
from visionflow import FastV, UnsupportedUsageError, prune


@torch.no_grad()
def test_colpali_embeds_kept_tokens_as_its_bare_model_gives_them() -> None:
    entry = ZOO["paligemma"]
    model = ColPaliForRetrieval(ColPaliConfig(vlm_config=entry.config(), embedding_dim=16)).eval()
    inputs = entry.batch([entry.prompt(3, "image", 6)])
    bare = model.vlm if type(model.vlm).__name__ == "PaliGemmaModel" else model.vlm.model
    seen: list[Any] = []

    def note(module: nn.Module, args: Any, output: Any) -> None:
        seen.append(output[0])

    with prune(bare, FastV(2, 0.5)) as trace:
        handle = bare.register_forward_hook(note)
        vectors = model(**inputs).embeddings
        handle.remove()
    kept = trace.stages[-1].kept[0]
    assert (len(kept), vectors.shape) == (18, (1, inputs["input_ids"].shape[1], 16))
    expected = nn.functional.normalize(model.embedding_proj_layer(seen[0][0, kept]), dim=-1)
    torch.testing.assert_close(vectors[0, kept], expected)


def test_colqwen2_gives_its_bare_model_no_ids_and_is_refused() -> None:
    entry = ZOO["qwen2_vl"]
    model = ColQwen2ForRetrieval(ColQwen2Config(vlm_config=entry.config(), embedding_dim=16)).eval()
    inputs = entry.batch([entry.prompt(3, "image", 6)])
    own = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    with prune(model.vlm, FastV(2, 0.5)), pytest.raises(UnsupportedUsageError, match="pass input_ids"):
        model(**own)
