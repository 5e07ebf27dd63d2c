"""`visionflow serve` on the embedded model in processes of its own, and what its clients send it."""

import base64
import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.message import Message
from itertools import islice
from typing import Any
from urllib.request import Request, urlopen

from visionflow import HiMAP
from visionflow.evaluation.samples import Sample
from visionflow.evaluation.suites import SUITES
from visionflow.scenes import TASKS
from visionflow.serving.launch import Address

METHOD = HiMAP(2, 0.5, 4, 0.75)
KEPT = {2: 72, 4: 18}
SAMPLES = SUITES["scenes"].samples(60, tuple(TASKS))
LONGEST = 24
ARGUMENTS = [
    *("--dtype", "float32", "--max-model-len", "512", "--block-size", "32", "--max-num-seqs", "8"),
    *("--gpu-memory-utilization", "0.05", "--enforce-eager"),
]


@contextmanager
def started(
    *options: str, more: Sequence[str] = (), method: str = METHOD.spec, kept: Mapping[int, int] = KEPT
) -> Iterator[Address]:
    """A server with these options of `visionflow serve` and `more` of vLLM's, when it has proved that it prunes.

    Args:
        method: as it is typed.
        kept: the image tokens that it says each cut leaves, by layer.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        arguments = [*ARGUMENTS, *more, "--port", str(free.getsockname()[1])]
    called = [sys.executable, "-m", "visionflow", "serve", "embedded", "--method", method, *options]
    environment = os.environ | {"VLLM_ENABLE_V1_MULTIPROCESSING": "1", "VLLM_LOGGING_LEVEL": "INFO"}
    process = subprocess.Popen([*called, "--", *arguments], env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    told: list[str] = []
    for line in process.stderr:
        told.append(line)
        if f"question about a picture was pruned: {[*kept.values()][-1]} of 144 image tokens" in line:
            break
    assert process.poll() is None, "".join(told[-40:])
    stages = ", ".join(f"{count} from layer {layer} on" for layer, count in kept.items())
    assert f"Of a picture's 144 image tokens, {stages}." in "".join(told)
    with ThreadPoolExecutor(1) as reader:  # a pipe that nobody reads stops who writes
        reader.submit(process.stderr.read)
        try:
            yield Address.of(arguments)
        finally:
            process.terminate()
            process.wait(60)


def asked(address: Address, sample: Sample, says: str | None = None, **more: Any) -> dict[str, Any]:
    """What the server answers."""
    answer: dict[str, Any] = json.loads(address.get("/v1/chat/completions", request_of(address, sample, says) | more))
    return answer


def streamed(address: Address, request: dict[str, Any], pieces: int | None = None) -> tuple[str, Message]:
    """The words of a streamed answer, and its headers; after so many `pieces`, where given, the client hangs up."""
    body = json.dumps(request | {"stream": True}).encode()
    words = []
    with urlopen(
        Request(f"{address.url}/v1/chat/completions", body, {"Content-Type": "application/json"}), timeout=600
    ) as answer:
        events = (line.removeprefix(b"data: ").strip() for line in answer if line.startswith(b"data: "))
        for event in islice(events, pieces):
            choices = [] if event == b"[DONE]" else json.loads(event)["choices"]
            words += [choice["delta"].get("content") or "" for choice in choices]
        assert pieces is not None or event == b"[DONE]"
        return "".join(words).strip(), answer.headers


def request_of(address: Address, sample: Sample, says: str | None = None) -> dict[str, Any]:
    """A question as OpenAI's clients send it."""
    file = io.BytesIO()
    sample.images()[0].save(file, "PNG")
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


def counted(address: Address) -> dict[str, float]:
    """What is counted of visionflow."""
    lines = address.get("/metrics").splitlines()
    return {name: float(n) for name, n in (each.rsplit(" ", 1) for each in lines if each.startswith("visionflow:"))}
