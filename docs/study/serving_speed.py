"""vLLM dense and pruned, in processor time: ``python docs/study/serving_speed.py`` where vLLM for the CPU is installed.

A LLaVA of 576 image tokens with random weights (bf16, 12 layers of 1024 by default, its tower next to nothing), served
by two engines in this process, one with HiMAP. Their clock is the processor time of this process, which other jobs on
the machine disturb least: an engine that has nothing to do jumps to the next arrival. Engines take turns, step by step,
so that what disturbs one disturbs the other; and what they are asked is asked once before, for vLLM's kernels are made
when a step is the first of its length. Prints JSON.
"""

import json
import os
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, Any

os.environ |= {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine in this process, whose time is the clock
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "OMP_NUM_THREADS": "1",
}

import numpy as np
import torch
import typer
from PIL import Image
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from visionflow import HiMAP
from visionflow.checkpoint.load import load_embedded
from visionflow.cost import DecoderShape, cost_of
from visionflow.serving.export import export
from vllm import LLM, SamplingParams

METHOD = HiMAP(2, 0.5, 8, 0.75)
IMAGE_TOKENS, BLOCK = 576, 32
QUESTION = "What colour is the large square to the left of the small circle, and how many of them are there?"


def checkpoint(folder: Path, layers: int, width: int) -> LlavaConfig:
    """Write the model and its processor; its configuration."""
    _, embedded = load_embedded()
    tokenizer = embedded.tokenizer
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, image_size=336,
            patch_size=14,
        ),
        text_config=LlamaConfig(
            hidden_size=width, intermediate_size=width * 43 // 16, num_hidden_layers=layers,
            num_attention_heads=width // 64, num_key_value_heads=width // 64, vocab_size=len(tokenizer),
            max_position_embeddings=4096, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids(embedded.image_token),
    )  # fmt: skip
    torch.manual_seed(0)
    processor = LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}), tokenizer,
        patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1,
    )  # fmt: skip
    export(LlavaForConditionalGeneration(config).to(torch.bfloat16), processor, folder)
    return config


@dataclass(frozen=True)
class Run:
    """What became of some requests, in processor seconds.

    Attributes:
        busy: time that the engine worked.
        first: from each arrival to its first token.
        total: from each arrival to its last token.
    """

    busy: float
    first: tuple[float, ...]
    total: tuple[float, ...]


class Engine:
    """One engine, dense or pruned."""

    def __init__(self, folder: Path, settings: dict[str, Any] | None, requests: int, cache: int) -> None:
        given = {} if settings is None else {"additional_config": {"visionflow": settings}}
        self._engine: Any = LLM(
            str(folder), dtype="bfloat16", enforce_eager=True, max_model_len=1024, max_num_seqs=requests,
            max_num_batched_tokens=2048 + requests, block_size=BLOCK, kv_cache_memory_bytes=cache,
            enable_prefix_caching=False, async_scheduling=False, disable_log_stats=True, mm_processor_cache_gb=0,
            gpu_memory_utilization=0.05, seed=0, **given,
        ).llm_engine  # fmt: skip
        self._sent = 0

    def running(self, arrivals: Sequence[float], new_tokens: int) -> Generator[None, None, Run]:
        """Answer requests that arrive at these times with so many tokens each, a step at a time."""
        params = SamplingParams(max_tokens=new_tokens, temperature=0, ignore_eos=True)
        waiting = deque((str(self._sent + place), at) for place, at in enumerate(arrivals))
        self._sent += len(arrivals)
        came, first, last = dict(waiting), {}, {}
        clock = busy = 0.0
        while waiting or self._engine.has_unfinished_requests():
            if not self._engine.has_unfinished_requests():
                clock = max(clock, waiting[0][1])
            start = time.process_time()
            while waiting and waiting[0][1] <= clock:
                name, _ = waiting.popleft()
                self._engine.add_request(name, _prompt(int(name)), params)
            outputs = self._engine.step()
            spent = time.process_time() - start
            clock, busy = clock + spent, busy + spent
            for output in outputs:
                first.setdefault(output.request_id, clock)
                if output.finished:
                    last[output.request_id] = clock
            yield
        times = [tuple(ended[name] - at for name, at in came.items()) for ended in (first, last)]
        return Run(busy, *times)


def run(engines: dict[str, Engine], arrivals: Sequence[float], new_tokens: int) -> dict[str, Run]:
    """Have all engines answer such requests, a step of each in turn."""
    running = {name: engine.running(arrivals, new_tokens) for name, engine in engines.items()}
    ended: dict[str, Run] = {}
    while len(ended) < len(running):
        for name in [name for name in running if name not in ended]:
            try:
                next(running[name])
            except StopIteration as end:
                ended[name] = end.value
    return ended


def _prompt(number: int) -> dict[str, Any]:
    """A question about a picture of its own."""
    pixels = np.random.default_rng(number).integers(0, 256, (336, 336, 3), dtype=np.uint8)
    text = f"<s>The assistant answers questions about a picture. USER: <image>\n{QUESTION} ASSISTANT:"
    return {"prompt": text, "multi_modal_data": {"image": Image.fromarray(pixels)}}


def _of_many(values: Sequence[float]) -> dict[str, float]:
    return {"median": round(median(values), 3), "p99": round(float(np.percentile(values, 99)), 3)}


def at_once(engines: dict[str, Engine], concurrent: int, rounds: int) -> dict[str, Any]:
    """Processor seconds per request of prompts that come together, one token each; the first round is not counted."""
    found = [run(engines, [0.0] * concurrent, 1) for _ in range(rounds + 1)][1:]
    seconds = {name: round(median(each[name].busy for each in found) / concurrent, 4) for name in engines}
    ratios = [round(each["pruned"].busy / each["dense"].busy, 3) for each in found]
    return seconds | {"ratio": round(median(ratios), 3), "ratios": ratios}


def arriving(engines: dict[str, Engine], requests: int, new_tokens: int, per_second: float) -> dict[str, Any]:
    """Times of requests that arrive one after the other, at a fixed rate."""
    arrivals = [n / per_second for n in range(requests)]
    found: dict[str, Any] = {"per_second": round(per_second, 3), "requests": requests, "new_tokens": new_tokens}
    run(engines, arrivals, new_tokens)
    for name, each in run(engines, arrivals, new_tokens).items():
        tokens = [(total - first) / (new_tokens - 1) for first, total in zip(each.first, each.total, strict=True)]
        found[name] = {
            "first_token_s": _of_many(each.first),
            "per_token_s": _of_many(tokens),
            "whole_s": _of_many(each.total),
        }
    return found


def throughput(engines: dict[str, Engine], requests: int, new_tokens: int) -> dict[str, float]:
    """Requests per processor second where all come together and the cache holds a few of them."""
    run(engines, [0.0] * requests, new_tokens)
    found = {name: requests / each.busy for name, each in run(engines, [0.0] * requests, new_tokens).items()}
    return {name: round(each, 3) for name, each in found.items()} | {
        "ratio": round(found["pruned"] / found["dense"], 3)
    }


def main(
    layers: int = 12,
    width: int = 1024,
    rounds: int = 2,
    requests: Annotated[int, typer.Option(help="Of the two runs with longer answers.")] = 32,
    settings: Annotated[str, typer.Option(help="More settings of the pruned server, as JSON.")] = "{}",
) -> None:
    """Measure."""
    for line in measured(layers, width, rounds, requests, json.loads(settings)):
        print(json.dumps(line), flush=True)


def measured(layers: int, width: int, rounds: int, requests: int, more: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The figures, one after the other."""
    given = {"method": METHOD.spec} | more
    with TemporaryDirectory() as place:
        folder = Path(place)
        shape = DecoderShape.from_config(checkpoint(folder, layers, width))
        text = len(load_embedded()[1].tokenizer(_prompt(0)["prompt"])["input_ids"]) - 1
        cost = cost_of(METHOD, shape, "flops", image_tokens=IMAGE_TOKENS, text_tokens=text)
        yield {
            "layers": layers,
            "width": width,
            "text_tokens": text,
            "settings": given,
            "allowed": round(cost.ratio, 3),
        }

        def engines(blocks: int) -> dict[str, Engine]:
            """Two with as much memory for keys and values as so many blocks of all layers take, and one that pads."""
            cache = (blocks + 1) * BLOCK * layers * 2 * width * torch.bfloat16.itemsize
            made = {name: Engine(folder, each, 32, cache) for name, each in (("dense", None), ("pruned", given))}
            run(made, [0.0, 0.0], 2)
            return made

        roomy = engines(blocks=32 * 1024 // BLOCK)
        for concurrent in (16, 32):
            found = at_once(roomy, concurrent, rounds)
            yield {
                "at_once": concurrent,
                "cpu_s_per_request": found,
                "over_allowed": round(found["ratio"] / cost.ratio, 3),
            }
        rate = 0.7 / (found["dense"] * 1.2)
        yield {"arriving": arriving(roomy, requests, 16, rate)}
        del roomy
        held = -(-(IMAGE_TOKENS + text + 48) // BLOCK)
        yield {"pool_of_8_dense": throughput(engines(blocks=8 * held), requests, 48), "requests": requests}


if __name__ == "__main__":
    typer.run(main)
