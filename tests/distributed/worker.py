"""One process of a tensor-parallel run: `torchrun worker.py MODEL OUT` runs every method and writes what it saw."""

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from transformers import LlavaForConditionalGeneration, PreTrainedModel
from transformers.distributed import DistributedConfig

from tests.exact import exact_in_double
from tests.matrix import METHODS, prompts
from tests.tiny import batch_of
from visionflow import FastV, UnsupportedUsageError, prune
from visionflow.core import Plan, Watch
from visionflow.engines.hf.scope import Scope


@torch.no_grad()
def observed(model: PreTrainedModel) -> dict[str, Any]:
    """For each method: the columns kept at each stage, the logits, and the tokens generated."""
    inputs = batch_of(prompts())
    results: dict[str, Any] = {}
    for method in METHODS:
        with prune(model, method) as trace:
            logits = model(**inputs).logits
            kept = [(stage.layer, [columns.tolist() for columns in stage.kept]) for stage in trace.stages]
            answers = model.generate(**inputs, max_new_tokens=3, do_sample=False)
        results[str(method)] = {"kept": kept, "logits": logits[inputs["attention_mask"].bool()], "answers": answers}
    return results


def refusal(model: PreTrainedModel) -> str:
    """What an analysis is told, which would see some of the heads only."""
    try:
        Scope(model, Plan(watches=(Watch(range(2), print),)))
    except UnsupportedUsageError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    torch.set_num_threads(1)
    config = DistributedConfig(tp_plan="auto", tp_size=2)
    model = LlavaForConditionalGeneration.from_pretrained(sys.argv[1], distributed_config=config, dtype="auto").eval()
    assert len(model.model.language_model.layers[0].self_attn.q_proj.weight.to_local()) == 16  # half of the heads
    with exact_in_double():
        exactly = observed(model)
    found = {"methods": exactly, "refusal": refusal(model)}
    before = dict(model.named_modules())["model.language_model.layers.1.self_attn"].config
    with prune(model, FastV(2, 0.5)):
        pass
    assert dict(model.named_modules())["model.language_model.layers.1.self_attn"].config is before
    torch.save(found, Path(sys.argv[2]) / f"{dist.get_rank()}.pt")
    dist.destroy_process_group()
