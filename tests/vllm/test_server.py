"""`visionflow serve` on the embedded model, as a client sees it: pruned and dense at once, refusals, metrics."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import torch

from tests.vllm.client import LONGEST, METHOD, SAMPLES, asked, counted, request_of, started, streamed, text_of
from visionflow import Method, Schedule, prune
from visionflow.checkpoint.load import load_embedded
from visionflow.evaluation.samples import Sample
from visionflow.methods import PlanFile
from visionflow.serving.launch import Address


@pytest.fixture(scope="module")
def server() -> Iterator[Address]:
    """The server, when it has proved that it prunes."""
    with started("--report") as address:
        yield address


def test_sixty_questions_are_answered_as_transformers_answers_them(server: Address) -> None:
    """Every third of them is served dense, in the same batches."""
    says = ["off" if number % 3 == 2 else None for number in range(len(SAMPLES))]
    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(lambda each: text_of(asked(server, *each)), zip(SAMPLES, says, strict=True)))
    dense, pruned = by_transformers(SAMPLES, None), by_transformers(SAMPLES, METHOD)
    assert answers == [each[0] if off else each[1] for *each, off in zip(dense, pruned, says, strict=True)]
    assert dense != pruned  # or they could not be told apart


def test_a_plan_file_is_served(tmp_path: Path) -> None:
    """As `visionflow tune` writes it; its first cut is before the first layer."""
    method, samples = Schedule(("0/cover/0.31", "9/text/0.1")), SAMPLES[:24]
    PlanFile.of(method, 12, "llava").write(tmp_path / "plan.json")
    with started(method=str(tmp_path / "plan.json"), kept={0: 45, 9: 15}) as server:
        answers = [text_of(asked(server, each)) for each in samples]
    pruned = by_transformers(samples, method)
    assert answers == pruned
    assert pruned != by_transformers(samples, None)


def by_transformers(samples: Sequence[Sample], method: Method | None) -> list[str]:
    """Greedy answers of the embedded model inside `prune`, or dense."""
    model, processor = load_embedded()
    answers = []
    for sample in samples:
        chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": sample.prompt}]}]
        prompt = processor.apply_chat_template(chat, add_generation_prompt=True)
        inputs = processor(images=sample.images()[0], text=prompt, return_tensors="pt")
        with torch.no_grad(), nullcontext() if method is None else prune(model, method):
            out = model.generate(**inputs, max_new_tokens=LONGEST, do_sample=False)
        answers.append(processor.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip())
    return answers


def test_each_response_says_what_was_done(server: Address) -> None:
    report = asked(server, SAMPLES[0])["kv_transfer_params"]["visionflow"]
    assert (report["image_tokens"], report["kept"], report["dense"]) == (144, {"2": 72, "4": 18}, None)
    report = asked(server, SAMPLES[0], "r1=0.75")["kv_transfer_params"]["visionflow"]
    assert report["kept"] == {"2": 36, "4": 9}
    report = asked(server, SAMPLES[0], "off")["kv_transfer_params"]["visionflow"]
    assert report["dense"] == "it asked for visionflow=off"


def test_streamed_responses_say_it_in_their_headers(server: Address) -> None:
    words, headers = streamed(server, request_of(server, SAMPLES[0]))
    whole = asked(server, SAMPLES[0])
    assert words == text_of(whole)
    assert json.loads(headers["x-visionflow"]) == whole["kv_transfer_params"]["visionflow"]
    _, headers = streamed(server, request_of(server, SAMPLES[0], "off"))
    assert json.loads(headers["x-visionflow"])["dense"] == "it asked for visionflow=off"


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("says", "why"),
    [
        ("maybe", "unknown method 'maybe'"),
        ("r1=1.5", "0 <= r1 < 1"),
        ("k1=3", "no request can cut before layer 3"),
        ("os.path:join", "unknown method 'os.path'"),
        (["off"], "not ['off']"),
    ],
)
def test_what_cannot_be_is_the_clients_error(server: Address, says: Any, why: str, streams: bool) -> None:
    with pytest.raises(HTTPError) as error:
        asked(server, SAMPLES[0], says, stream=streams)
    assert error.value.code == 400
    told = json.loads(error.value.read())["error"]
    assert told["param"] == "vllm_xargs.visionflow"
    assert why in told["message"]


def test_beams_are_refused(server: Address) -> None:
    with pytest.raises(HTTPError) as error:
        asked(server, SAMPLES[0], use_beam_search=True, n=2)
    assert error.value.code == 400
    assert "it would prune each beam anew" in error.value.read().decode()


def test_metrics_count_outcomes_and_tokens(server: Address) -> None:
    before = counted(server)
    asked(server, SAMPLES[0])
    asked(server, SAMPLES[0], "off")
    more = {name: n - before.get(name, 0) for name, n in counted(server).items() if n != before.get(name, 0)}
    assert more.pop("visionflow:probe_seconds_total") > 0
    tokens = more.pop("visionflow:kv_token_layers_total") / 12 / 2
    assert tokens > 144
    assert more == {
        'visionflow:requests_total{outcome="pruned"}': 1,
        'visionflow:requests_total{outcome="off"}': 1,
        "visionflow:prompts_cut_total": 1,
        "visionflow:image_tokens_total": 288,
        "visionflow:image_tokens_kept_total": 18 + 144,
        "visionflow:kv_token_layers_saved_total": 2 * 72 + 8 * 126,
    }


def test_pruned_requests_are_answered_dense_as_well() -> None:
    """The client's answers are what they are anyhow; greedy ones are compared, and those that are drawn asked twice."""
    with started("--shadow", "1") as address:
        wait_for(address, 1)  # the server's own question, whose one token is the same
        same = 1
        for number, sample in enumerate(SAMPLES[34:42], 2):
            pruned, _ = asked(address, sample), wait_for(address, number)
            dense = asked(address, sample, "off")
            same += text_of(pruned) == text_of(dense)
        found = counted(address)
        assert found.get('visionflow:shadow_requests_total{outcome="same"}', 0) == same
        assert found.get('visionflow:shadow_requests_total{outcome="other"}', 0) == 9 - same
        assert found['visionflow:requests_total{outcome="shadow"}'] == 9
        assert found["visionflow:shadow_tokens_total"] > found["visionflow:shadow_tokens_same_total"] > 0
        asked(address, SAMPLES[0], temperature=1.0)
        wait_for(address, 10)


def wait_for(address: Address, comparisons: int) -> None:
    """Until so many were made."""
    for _ in range(600):
        made = {name: n for name, n in counted(address).items() if "shadow_requests" in name}
        if sum(made.values()) == comparisons:
            assert not [name for name in made if "failed" in name or "skipped" in name]
            return
        time.sleep(0.1)
    raise AssertionError(made)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--method", "himap:k1=2,r1=1.5"], "0 <= r1 < 1"),
        (["--method", "vtw:k=12"], "beyond the model's 12 decoder layers"),
        (["--method", "visipruner"], "depends on activations"),
        (["--", "--pipeline-parallel-size", "2"], "pruning does not go together with pipeline parallelism"),
    ],
)
def test_a_server_that_cannot_prune_does_not_start(arguments: list[str], why: str) -> None:
    called = [sys.executable, "-m", "visionflow", "serve", "embedded", *arguments]
    ended = subprocess.run(called, env=os.environ | {"COLUMNS": "80"}, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 2
    assert why in ended.stderr.splitlines()[-1]
