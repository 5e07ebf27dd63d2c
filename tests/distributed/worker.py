"""One process of a tensor-parallel run: `torchrun worker.py MODEL OUT` runs every method and writes what it saw."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from transformers import LlavaForConditionalGeneration, PreTrainedModel
from transformers.distributed import DistributedConfig

from tests.exact import exact_in_double
from tests.matrix import METHODS, prompts
from tests.tiny import batch_of
from visionflow import FastV, Method, UnsupportedUsageError, prune
from visionflow.core import Attention, Cut, Features, MaxMin, Plan, Ratio, Watch
from visionflow.core.attention import Heads
from visionflow.core.cutting import asked_of
from visionflow.engines.hf.scope import Scope


@dataclass(frozen=True)
class OfHeads(Method):
    """As FastV, with heads joined in another way."""

    name: ClassVar[str] = "of-heads"

    heads: Heads

    def cuts(self) -> tuple[Cut, ...]:
        """One cut on one row."""
        return (Cut(2, Ratio(0.5), Attention("last", heads=self.heads)),)


# Keys of all heads are in no process: a cut on them is refused.
WHOLE = [method for method in METHODS if "keys" not in asked_of(method.plan())]
SEEN: list[Method] = [*WHOLE, OfHeads("max"), OfHeads((0.5, 0.0, -1.0, 2.0))]


@torch.no_grad()
def observed(model: PreTrainedModel) -> dict[str, Any]:
    """For each method: the columns kept at each stage, the logits, and the tokens generated."""
    inputs = batch_of(prompts())
    results: dict[str, Any] = {}
    for method in SEEN:
        with prune(model, method) as trace:
            logits = model(**inputs).logits
            kept = [(stage.layer, [columns.tolist() for columns in stage.kept]) for stage in trace.stages]
            answers = model.generate(**inputs, max_new_tokens=3, do_sample=False)
        results[str(method)] = {"kept": kept, "logits": logits[inputs["attention_mask"].bool()], "answers": answers}
    return results


def refusals(model: PreTrainedModel) -> list[str]:
    """What an analysis is told, and a cut on keys: they would see some of the heads only."""
    told = []
    for plan in (Plan(watches=(Watch(range(2), print),)), Plan((Cut(2, Ratio(0.5), Features("key"), MaxMin()),))):
        try:
            Scope(model, plan).remove()
        except UnsupportedUsageError as error:
            told.append(str(error))
    return told


if __name__ == "__main__":
    torch.set_num_threads(1)
    config = DistributedConfig(tp_plan="auto", tp_size=2)
    model = LlavaForConditionalGeneration.from_pretrained(sys.argv[1], distributed_config=config, dtype="auto").eval()
    assert len(model.model.language_model.layers[0].self_attn.q_proj.weight.to_local()) == 16  # half of the heads
    with exact_in_double():
        exactly = observed(model)
    found = {"methods": exactly, "refusals": refusals(model)}
    before = dict(model.named_modules())["model.language_model.layers.1.self_attn"].config
    with prune(model, FastV(2, 0.5)):
        pass
    assert dict(model.named_modules())["model.language_model.layers.1.self_attn"].config is before
    torch.save(found, Path(sys.argv[2]) / f"{dist.get_rank()}.pt")
    dist.destroy_process_group()
