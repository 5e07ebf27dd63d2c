"""Many clients at once on a server whose cache is too small: ``python -m tests.vllm.load --requests 1000``.

Questions with a picture, pruned and dense, and questions without; a third is streamed, and of these a third is given up
by the client midway. Every finished answer is held against that of the same question asked alone.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from tests.vllm.client import SAMPLES, request_of, started, streamed
from visionflow.serving.launch import Address

CLIENTS = 32
TIGHT = ("--num-gpu-blocks-override", "26")
"""Four prompts of six blocks each fit, one block is left, and all four need one more before they are answered."""
LENGTH = {"max_tokens": 40, "ignore_eos": True}
WORDS = "How many red squares and blue circles are there, and which of the two are more than the other ones?"


@dataclass
class Figures:
    """What happened.

    Attributes:
        requests: all that were sent.
        streamed: those whose answers came in pieces.
        cancelled: of these, those that the client gave up.
        wrong: finished answers that are other than the single run's.
        preemptions: how often a request lost its place in the cache.
        held_before: share of the cache's blocks that somebody holds before the first request.
        held_after: the same after the last.
        mib: resident memory of the server's processes as the run goes on, MiB, ten times.
        seconds: from the first request to the last answer.
        processor_seconds: of the server's processes in this time.
    """

    requests: int
    streamed: int = 0
    cancelled: int = 0
    wrong: int = 0
    preemptions: float = 0
    held_before: float = 0
    held_after: float = 0
    mib: tuple[int, ...] = ()
    seconds: float = 0
    processor_seconds: float = 0


def load(address: Address, requests: int, seed: int = 0) -> Figures:
    """Send so many requests to a server that was started with `TIGHT`."""
    kinds = list(questions(address))
    alone = [answer(address, each) for each in kinds]
    draw = random.Random(seed)
    figures, processes = Figures(requests), psutil.Process().children(recursive=True)
    figures.held_before, preempted = gauge(address, "kv_cache_usage_perc"), gauge(address, "num_preemptions_total")
    start, worked = time.perf_counter(), processor_seconds(processes)
    plan = [(draw.randrange(len(kinds)), draw.randrange(9)) for _ in range(requests)]

    def ask(each: tuple[int, int]) -> bool | None:
        """Whether an answer is as it should be; None where the client gave up."""
        kind, way = each
        if way == 0:
            streamed(address, kinds[kind], pieces=kind % 12)
            return None
        said = streamed(address, kinds[kind])[0] if way < 3 else answer(address, kinds[kind])
        return said == alone[kind]

    with ThreadPoolExecutor(CLIENTS) as clients:
        answered = zip(plan, clients.map(ask, plan), strict=True)
        for number, ((_, way), right) in enumerate(answered, 1):
            figures.streamed += way < 3
            figures.cancelled += right is None
            figures.wrong += right is False
            if number * 10 // requests > len(figures.mib):
                figures.seconds = round(time.perf_counter() - start, 1)
                figures.processor_seconds = round(processor_seconds(processes) - worked, 1)
                figures.preemptions = gauge(address, "num_preemptions_total") - preempted
                figures.mib += (sum(process.memory_info().rss for process in processes) >> 20,)
                print(json.dumps(asdict(figures)), file=sys.stderr, flush=True)
    wait_until_idle(address)
    figures.held_after = gauge(address, "kv_cache_usage_perc")
    return figures


def questions(address: Address) -> Iterator[dict[str, Any]]:
    """Requests of all kinds."""
    for number, sample in enumerate(SAMPLES[::3]):
        yield request_of(address, sample, ("off", None, "r1=0.75", None)[number % 4]) | LENGTH
        if number % 3 == 0:
            text = {"role": "user", "content": f"{WORDS} {sample.prompt}"}
            yield request_of(address, sample) | LENGTH | {"messages": [text]}


def answer(address: Address, request: dict[str, Any]) -> str:
    """The words of an answer that comes whole."""
    told = json.loads(address.get("/v1/chat/completions", request))
    return str(told["choices"][0]["message"]["content"]).strip()


def gauge(address: Address, name: str) -> float:
    """One of vLLM's own figures."""
    lines = [line for line in address.get("/metrics").splitlines() if line.startswith(f"vllm:{name}{{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def processor_seconds(processes: list[psutil.Process]) -> float:
    """What they have worked."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def wait_until_idle(address: Address) -> None:
    """Until nobody is answered any more; given up requests are found out late."""
    for _ in range(300):
        if gauge(address, "num_requests_running") + gauge(address, "num_requests_waiting") == 0:
            return
        time.sleep(0.2)
    raise AssertionError("requests are left over")


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1000)
    with started(more=TIGHT) as address:
        print(json.dumps(asdict(load(address, parser.parse_args().requests))), flush=True)


if __name__ == "__main__":
    main()
