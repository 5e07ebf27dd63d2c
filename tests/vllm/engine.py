"""An engine of vLLM in this process: what it answers, and what happened in it."""

import gc
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from vllm.distributed import cleanup_dist_env_and_memory
from vllm.v1.core.sched.scheduler import Scheduler

from tests.vllm.oracle import NEW_TOKENS
from tests.vllm.prompts import METADATA, Prompt
from visionflow.serving.vllm.pruned_pass import PrunedPass
from vllm import LLM, SamplingParams

OPTIONS: dict[str, Any] = {
    "dtype": "float32",
    "enforce_eager": True,
    "max_model_len": 512,
    "max_num_seqs": 8,
    "block_size": 32,
    "limit_mm_per_prompt": {"image": 3},
    "mm_device_do_normalize": False,  # pixels as transformers has them
    "gpu_memory_utilization": 0.05,
    "disable_log_stats": True,
}


class Engine:
    """One engine.

    Attributes:
        happened: how often a step was "cut", a request "preempted", tokens found in the prefix cache ("hits"), and
            the most blocks of the KV cache that were "held".
    """

    def __init__(self, llm: LLM, happened: Counter[str]) -> None:
        self.llm = llm
        self.happened = happened

    @property
    def _cache(self) -> Any:
        core: Any = self.llm.llm_engine.engine_core
        return core.engine_core.scheduler.kv_cache_manager

    @property
    def free_blocks(self) -> int:
        """Blocks of the KV cache that nobody holds."""
        return int(self._cache.block_pool.get_num_free_blocks())

    @property
    def tables(self) -> int:
        """Block tables of each request; a block is of as many fewer layers."""
        return len(self._cache.coordinator.single_type_managers)

    def outputs(self, prompts: Sequence[Prompt], asked: Sequence[str | None] = (), **more: Any) -> list[Any]:
        """What vLLM gives for all prompts at once; `asked`: what each request says of visionflow."""
        told = METADATA | {"do_sample_frames": False}
        shown = [{"image": p.pictures, "video": [(frames, told) for frames in p.videos]} for p in prompts]
        inputs = [{"prompt": p.text, "multi_modal_data": data} for p, data in zip(prompts, shown, strict=True)]
        params = [
            SamplingParams(
                max_tokens=NEW_TOKENS, temperature=0, ignore_eos=True,
                extra_args={"visionflow": says} if says is not None else None, **more,
            )
            for says in asked or [None] * len(prompts)
        ]  # fmt: skip
        made = self.llm.generate(inputs, params, use_tqdm=False)
        self.happened["hits"] += sum(each.num_cached_tokens or 0 for each in made)
        return list(made)

    def answers(self, prompts: Sequence[Prompt], asked: Sequence[str | None] = ()) -> list[list[int]]:
        """The tokens generated."""
        return [list(each.outputs[0].token_ids) for each in self.outputs(prompts, asked)]


@contextmanager
def engine(folder: Path, settings: Any, **options: Any) -> Iterator[Engine]:
    """An engine on that checkpoint with these settings of visionflow (None for none)."""
    happened: Counter[str] = Counter()
    preempt, enter, schedule = Scheduler._preempt_request, PrunedPass.__enter__, Scheduler.schedule

    def preempted(self: Any, *args: Any, **kwargs: Any) -> None:
        happened["preempted"] += 1
        preempt(self, *args, **kwargs)

    def entered(self: PrunedPass) -> PrunedPass:
        happened["cut"] += 1
        return enter(self)

    def scheduled(self: Any, *args: Any, **kwargs: Any) -> Any:
        output = schedule(self, *args, **kwargs)
        pool = self.kv_cache_manager.block_pool
        happened["held"] = max(happened["held"], pool.num_gpu_blocks - 1 - pool.get_num_free_blocks())
        return output

    given = {} if settings is None else {"additional_config": {"visionflow": settings}}
    watched = patch.multiple(Scheduler, _preempt_request=preempted, schedule=scheduled)
    with watched, patch.object(PrunedPass, "__enter__", entered):
        llm = LLM(str(folder), **OPTIONS | given | options)
        free = (made := Engine(llm, happened)).free_blocks
        yield made
        if not llm.llm_engine.has_unfinished_requests():  # a step that failed leaves some
            assert made.free_blocks == free
        del llm, made.llm  # whoever still has this engine would end the next one with it
    cleanup_dist_env_and_memory()
    gc.collect()
