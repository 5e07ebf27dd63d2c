"""Greedy tokens of vLLM equal those of transformers inside `prune`: families, methods, and what engines do."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from tests.matrix import METHODS
from tests.vllm.conftest import Checkpoints
from tests.vllm.engine import engine
from tests.vllm.oracle import Oracle
from tests.vllm.prompts import Prompt, of_videos, prompts
from tests.zoo.kits import KITS
from visionflow import FastV, HiMAP, Method
from visionflow.core.cutting import refusal
from visionflow.serving.settings import CANNOT

FAMILIES = (
    "llava",
    "llava_next",
    "llava_onevision",
    "internvl",
    "mistral3",
    "idefics3",
    "smolvlm",
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen3_vl",
    "qwen3_vl_moe",
    "glm4v",
    "glm4v_moe",
)
HIMAP = HiMAP(2, 0.5, 4, 0.75)
SERVED = [method for method in METHODS if refusal(method.plan(), "", CANNOT) is None]


def asked_of(oracle: Oracle, family: str, count: int = 16) -> list[Prompt]:
    """Prompts of which pruning changes the answers."""
    made = prompts(KITS[family].shown, count)
    changed = sum(oracle.answer(p, HIMAP) != oracle.answer(p, None) for p in made)
    assert changed >= count // 2
    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_families(checkpoints: Checkpoints, family: str) -> None:
    oracle = checkpoints.oracle(family)
    asked = asked_of(oracle, family)
    with engine(oracle.folder, HIMAP.spec) as served:
        outputs = served.outputs(asked)
        assert [each.prompt_token_ids for each in outputs] == [oracle.ids(p) for p in asked]
        assert [list(each.outputs[0].token_ids) for each in outputs] == [oracle.answer(p, HIMAP) for p in asked]
        assert served.happened["cut"]


@pytest.mark.parametrize("family", ["llava", "qwen3_vl"])
def test_log_probabilities_are_as_near_as_those_of_dense_prompts(checkpoints: Checkpoints, family: str) -> None:
    """Two implementations in fp32 differ by their rounding, pruned or not."""
    oracle = checkpoints.oracle(family)
    asked = asked_of(oracle, family)
    worst = {}
    for method in (None, HIMAP):
        with engine(oracle.folder, method and method.spec) as served:
            outputs = [each.outputs[0] for each in served.outputs(asked, logprobs=0)]
        told = [[step[token].logprob for step, token in zip(e.logprobs, e.token_ids, strict=True)] for e in outputs]
        expected = [oracle.log_probabilities(p, method) for p in asked]
        worst[method] = np.abs(np.array(told) - np.array(expected)).max()
    print(f"worst difference of log-probabilities, {family}: dense {worst[None]:.1e}, pruned {worst[HIMAP]:.1e}")
    assert worst[HIMAP] < 4 * worst[None] < 1e-3


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen3_vl"])
def test_videos(checkpoints: Checkpoints, family: str) -> None:
    """Those of Qwen2.5-VL are answered otherwise by vLLM than by transformers, pruned or not."""
    oracle = checkpoints.oracle(family)
    asked = of_videos(KITS[family].shown.replace("image", "video"), 6)
    assert any(oracle.answer(p, HIMAP) != oracle.answer(p, None) for p in asked)
    with engine(oracle.folder, HIMAP.spec) as served:
        outputs = served.outputs(asked)
        assert [each.prompt_token_ids for each in outputs] == [oracle.ids(p) for p in asked]
        assert [list(each.outputs[0].token_ids) for each in outputs] == [oracle.answer(p, HIMAP) for p in asked]
        assert served.happened["cut"]


@pytest.mark.parametrize("method", SERVED, ids=str)
def test_methods(checkpoints: Checkpoints, method: Method) -> None:
    """Those that are not served are refused: tests/serving/test_settings.py."""
    oracle = checkpoints.oracle("llava")
    asked = asked_of(oracle, "llava")
    with engine(oracle.folder, method.spec) as served:
        assert served.answers(asked) == [oracle.answer(p, method) for p in asked]
        assert served.happened["cut"]


@dataclass(frozen=True)
class Engine:
    """What an engine is told to do, and what must have happened for the case to say anything."""

    options: dict[str, Any]
    happens: tuple[str, ...] = ("cut",)
    rounds: int = 1
    family: str = "llava"
    settings: dict[str, Any] = field(default_factory=dict)


SHRUNK = {"shrink_kv": True}
PLAIN = {"enable_chunked_prefill": False, "enable_prefix_caching": False, "async_scheduling": False}
TIGHT = {"max_model_len": 128, "num_gpu_blocks_override": 8}
ENGINES = {
    "plain": Engine(PLAIN),
    "chunked prefill and prefix caching": Engine({"max_num_batched_tokens": 128}, ("cut", "hits"), rounds=2),
    "the same with M-RoPE": Engine({"max_num_batched_tokens": 128}, ("cut", "hits"), rounds=2, family="qwen2_5_vl"),
    "preemption": Engine(TIGHT, ("cut", "preempted")),
    "preemption with DeepStack": Engine(
        TIGHT | {"num_gpu_blocks_override": 6}, ("cut", "preempted"), family="qwen3_vl"
    ),
    "preemption, one step at a time": Engine(PLAIN | TIGHT, ("cut", "preempted")),
    "compiled decoding": Engine({"enforce_eager": False}),
    "fewer blocks": Engine(PLAIN, settings=SHRUNK),
    "fewer blocks, with chunked prefill and prefix caching": Engine(
        {"max_num_batched_tokens": 128}, ("cut", "hits"), rounds=2, family="qwen2_5_vl", settings=SHRUNK
    ),
    "fewer blocks, with preemption and DeepStack": Engine(
        TIGHT | {"num_gpu_blocks_override": 15}, ("cut", "preempted"), family="qwen3_vl", settings=SHRUNK
    ),
}


@pytest.mark.parametrize("case", ENGINES)
def test_engines(checkpoints: Checkpoints, case: str) -> None:
    told = ENGINES[case]
    oracle = checkpoints.oracle(told.family)
    asked = asked_of(oracle, told.family)
    expected = [oracle.answer(p, HIMAP) for p in asked]
    with engine(oracle.folder, {"method": HIMAP.spec} | told.settings, **told.options) as served:
        for _ in range(told.rounds):
            assert served.answers(asked) == expected
        assert all(served.happened[what] for what in told.happens), served.happened


def test_fewer_blocks_are_held(checkpoints: Checkpoints) -> None:
    """Of 98 tokens with the answer, 75 of pictures, 61 are left behind the first cut and 32 behind the second.

    Stages have as many layers each, so a block of a shrunken cache is one of a third of the layers.
    """
    oracle = checkpoints.oracle("llava")
    shown = " ".join([KITS["llava"].shown, "w14", "w15"] * 3)
    prompt = Prompt(f"<s> {shown} w16 w17 w18 w19 ASSISTANT:", prompts("", 1)[0].pictures * 3)
    held = []
    for settings in ({}, SHRUNK):
        with engine(oracle.folder, {"method": HIMAP.spec} | settings) as served:
            assert served.answers([prompt] * 4) == [oracle.answer(prompt, HIMAP)] * 4
            held.append(served.happened["held"] / served.tables)
    assert held[1] <= 0.7 * held[0], held


def test_a_further_turn_about_a_picture(checkpoints: Checkpoints) -> None:
    """It is a prompt of its own: nothing of the first is read from the cache, and what stays is decided anew."""
    oracle = checkpoints.oracle("llava")
    asked = [p for p in asked_of(oracle, "llava") if p.pictures][:6]
    with engine(oracle.folder, HIMAP.spec, enable_prefix_caching=True) as served:
        told = [oracle.processor.decode(made, skip_special_tokens=True) for made in served.answers(asked)]
        turns = zip(asked, told, strict=True)
        further = [Prompt(f"{p.text} {said} w14 w15 w16 ASSISTANT:", p.pictures) for p, said in turns]
        assert served.answers(further) == [oracle.answer(p, HIMAP) for p in further]
        assert not served.happened["hits"]


def test_tensor_parallel(checkpoints: Checkpoints) -> None:
    """Two processes with half of the heads each; that the answers are not the dense ones says that it was cut."""
    oracle = checkpoints.oracle("llava")
    asked = asked_of(oracle, "llava", 8)
    with engine(oracle.folder, HIMAP.spec, tensor_parallel_size=2) as served:
        assert served.answers(asked) == [oracle.answer(p, HIMAP) for p in asked]


def test_requests_of_all_kinds_share_a_batch(checkpoints: Checkpoints) -> None:
    oracle = checkpoints.oracle("qwen2_5_vl")
    asked = asked_of(oracle, "qwen2_5_vl")
    says = [(None, "off", "r1=0.75", "fastv:k=4,r=0.5")[number % 4] for number in range(len(asked))]
    methods = {None: HIMAP, "off": None, "r1=0.75": HiMAP(2, 0.75, 4, 0.75), "fastv:k=4,r=0.5": FastV(4, 0.5)}
    with engine(oracle.folder, HIMAP.spec) as served:
        assert served.answers(asked, says) == [oracle.answer(p, methods[s]) for p, s in zip(asked, says, strict=True)]


def test_prompts_that_do_not_fit_one_step_are_dense(checkpoints: Checkpoints) -> None:
    oracle = checkpoints.oracle("llava")
    asked = asked_of(oracle, "llava")
    room = sorted(len(oracle.ids(p)) for p in asked)[len(asked) // 2]
    fits = [len(oracle.ids(p)) <= room for p in asked]
    with engine(oracle.folder, HIMAP.spec, max_num_batched_tokens=room + 8, enable_prefix_caching=False) as served:
        expected = [oracle.answer(p, HIMAP if fit else None) for p, fit in zip(asked, fits, strict=True)]
        assert served.answers(asked) == expected
        assert served.happened["cut"]
