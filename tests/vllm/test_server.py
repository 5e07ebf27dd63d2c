"""`visionflow serve` on the embedded model, as a client sees it: pruned and dense at once, refusals, metrics."""

import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import torch

from visionflow import HiMAP, prune
from visionflow.checkpoint.load import load_embedded
from visionflow.evaluation.samples import Sample
from visionflow.evaluation.suites import SUITES
from visionflow.serving.launch import Address

METHOD = HiMAP(2, 0.5, 4, 0.75)
SAMPLES = SUITES["scenes"].samples(60)
LONGEST = 24
ARGUMENTS = [
    *("--dtype", "float32", "--max-model-len", "512", "--block-size", "32", "--max-num-seqs", "8"),
    *("--gpu-memory-utilization", "0.05", "--enforce-eager"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[Address]:
    """The server, when it has proved that it prunes."""
    with started("--report") as address:
        yield address


@contextmanager
def started(*options: str) -> Iterator[Address]:
    """A server with these options of `visionflow serve`, when it has proved that it prunes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        arguments = [*ARGUMENTS, "--port", str(free.getsockname()[1])]
    called = [sys.executable, "-m", "visionflow", "serve", "embedded", "--method", METHOD.spec, *options]
    environment = os.environ | {"VLLM_ENABLE_V1_MULTIPROCESSING": "1", "VLLM_LOGGING_LEVEL": "INFO"}
    process = subprocess.Popen([*called, "--", *arguments], env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    told: list[str] = []
    for line in process.stderr:
        told.append(line)
        if "question about a picture was pruned: 18 of 144 image tokens" in line:
            break
    assert process.poll() is None, "".join(told[-40:])
    assert "Of a picture's 144 image tokens, 72 from layer 2 on, 18 from layer 4 on." in "".join(told)
    with ThreadPoolExecutor(1) as reader:  # a pipe that nobody reads stops who writes
        reader.submit(process.stderr.read)
        try:
            yield Address.of(arguments)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def asked(address: Address, sample: Sample, says: str | None = None, **more: Any) -> dict[str, Any]:
    """What the server answers."""
    answer: dict[str, Any] = json.loads(address.get("/v1/chat/completions", request_of(address, sample, says) | more))
    return answer


def streamed(address: Address, sample: Sample, says: str | None = None) -> tuple[str, dict[str, Any]]:
    """The words of a streamed answer, and what its headers say was done."""
    request = request_of(address, sample, says) | {"stream": True}
    url = address.url + "/v1/chat/completions"
    with urlopen(Request(url, json.dumps(request).encode(), {"Content-Type": "application/json"})) as answer:
        done = json.loads(answer.headers["x-visionflow"])
        events = [line.removeprefix(b"data: ").strip() for line in answer if line.startswith(b"data: ")]
    assert events.pop() == b"[DONE]"
    words = (choice["delta"].get("content") for event in events for choice in json.loads(event)["choices"])
    return "".join(word or "" for word in words).strip(), done


def request_of(address: Address, sample: Sample, says: str | None = None) -> dict[str, Any]:
    """A question as OpenAI's clients send it."""
    file = io.BytesIO()
    sample.image().save(file, "PNG")
    url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": sample.prompt}]
    model = json.loads(address.get("/v1/models"))["data"][0]["id"]
    request: dict[str, Any] = {
        "model": model,
        "max_tokens": LONGEST,
        "temperature": 0,
        "messages": [{"role": "user", "content": content}],
    }
    if says is not None:
        request["vllm_xargs"] = {"visionflow": says}
    return request


def text_of(answer: dict[str, Any]) -> str:
    """Its words."""
    return str(answer["choices"][0]["message"]["content"]).strip()


def test_sixty_questions_are_answered_as_transformers_answers_them(server: Address) -> None:
    """Every third of them is served dense, in the same batches."""
    says = ["off" if number % 3 == 2 else None for number in range(len(SAMPLES))]
    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(lambda each: text_of(asked(server, *each)), zip(SAMPLES, says, strict=True)))
    model, processor = load_embedded()
    expected, changed = [], 0
    for sample, off in zip(SAMPLES, says, strict=True):
        chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": sample.prompt}]}]
        prompt = processor.apply_chat_template(chat, add_generation_prompt=True)
        inputs = processor(images=sample.image(), text=prompt, return_tensors="pt")
        made = []
        for method in (None, METHOD):
            with torch.no_grad(), nullcontext() if method is None else prune(model, method):
                out = model.generate(**inputs, max_new_tokens=LONGEST, do_sample=False)
            made.append(processor.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip())
        changed += made[0] != made[1]
        expected.append(made[0] if off else made[1])
    assert answers == expected
    assert changed  # or pruned and dense could not be told apart


def test_each_response_says_what_was_done(server: Address) -> None:
    report = asked(server, SAMPLES[0])["kv_transfer_params"]["visionflow"]
    assert (report["image_tokens"], report["kept"], report["dense"]) == (144, {"2": 72, "4": 18}, None)
    report = asked(server, SAMPLES[0], "r1=0.75")["kv_transfer_params"]["visionflow"]
    assert report["kept"] == {"2": 36, "4": 9}
    report = asked(server, SAMPLES[0], "off")["kv_transfer_params"]["visionflow"]
    assert report["dense"] == "it asked for visionflow=off"


def test_streamed_responses_say_it_in_their_headers(server: Address) -> None:
    words, report = streamed(server, SAMPLES[0])
    whole = asked(server, SAMPLES[0])
    assert (words, report) == (text_of(whole), whole["kv_transfer_params"]["visionflow"])
    assert streamed(server, SAMPLES[0], "off")[1]["dense"] == "it asked for visionflow=off"


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
    tokens = more.pop("visionflow:kv_token_layers_total") / 8 / 2
    assert tokens > 144
    assert more == {
        'visionflow:requests_total{outcome="pruned"}': 1,
        'visionflow:requests_total{outcome="off"}': 1,
        "visionflow:prompts_cut_total": 1,
        "visionflow:image_tokens_total": 288,
        "visionflow:image_tokens_kept_total": 18 + 144,
        "visionflow:kv_token_layers_saved_total": 2 * 72 + 4 * 126,
    }


def counted(address: Address) -> dict[str, float]:
    """What is counted of visionflow."""
    lines = address.get("/metrics").splitlines()
    return {name: float(n) for name, n in (each.rsplit(" ", 1) for each in lines if each.startswith("visionflow:"))}


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
        (["--method", "vtw:k=8"], "beyond the model's 8 decoder layers"),
        (["--method", "visipruner"], "depends on activations"),
        (["--", "--pipeline-parallel-size", "2"], "pruning does not go together with pipeline parallelism"),
    ],
)
def test_a_server_that_cannot_prune_does_not_start(arguments: list[str], why: str) -> None:
    called = [sys.executable, "-m", "visionflow", "serve", "embedded", *arguments]
    ended = subprocess.run(called, env=os.environ | {"COLUMNS": "80"}, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 2
    assert why in ended.stderr.splitlines()[-1]
