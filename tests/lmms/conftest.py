"""lmms-eval in a process of its own, with no network, on generated questions in their columns."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.lmms.seed_bench import SEED_BENCH
from visionflow.lmms import data_sets, generated
from visionflow.lmms.data_sets import DataSet
from visionflow.lmms.harness import Cell, collect
from visionflow.lmms.local_tasks import local_name, write_tasks
from visionflow.lmms.tasks.gqa import PICTURES

if find_spec("lmms_eval") is None:
    collect_ignore = ["test_harness.py", "test_reproduce_end_to_end.py"]

QUESTIONS = 6

TASKS: dict[str, DataSet] = {
    "scienceqa_img": data_sets.SCIENCE_QA,
    "scienceqa_img_himap": data_sets.SCIENCE_QA,
    "aokvqa": data_sets.A_OKVQA,
    "aokvqa_himap": data_sets.A_OKVQA,
    "pope": data_sets.POPE,
    "pope_himap": data_sets.POPE,
    "nocaps_val_cider": data_sets.NOCAPS,
    "flickr30k_test_cider": data_sets.FLICKR30K,
    "llava_in_the_wild": data_sets.LLAVA_BENCH,
    "mmvet": data_sets.MM_VET,
    "mmvet_question": data_sets.MM_VET,
    "gqa": data_sets.GQA,
    "textvqa_val": data_sets.TEXT_VQA,
    "mme": data_sets.MME,
    "mmbench_en_dev_static": data_sets.MMBENCH,
    "mmstar": data_sets.MMSTAR,
    "seedbench_ppl": SEED_BENCH,
}


@dataclass(frozen=True)
class Ended:
    """A run of lmms-eval that is over."""

    code: int
    said: str
    out: Path

    def cell(self, task: str, limit: int = QUESTIONS) -> Cell:
        """What it logged of a task."""
        cell = collect(self.out, local_name(task), limit)
        assert cell is not None, self.said[-3000:]
        return cell


@dataclass(frozen=True)
class Bench:
    """Where questions and tasks lie, and how lmms-eval is started on them."""

    folder: Path

    @cached_property
    def environment(self) -> dict[str, str]:
        """No network, no Java, one thread, a cache of its own."""
        no_java = self.folder / "bin"
        no_java.mkdir()
        (no_java / "java").write_text(f"#!/bin/sh\ntouch {self.folder}/java-was-started\nexit 1\n")
        (no_java / "java").chmod(0o755)
        pictures = self.folder / "data" / "GQA" / str(data_sets.GQA.pictures)
        return {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")} | {
            "PATH": f"{no_java}:{os.environ['PATH']}",
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(self.folder / "cache"),
            "OMP_NUM_THREADS": "1",
            PICTURES: str(pictures),
        }

    def run(
        self, *tasks: str, name: str, arguments: str = "", launcher: str = "", options: str = "", **env: str
    ) -> Ended:
        """``--model_args``, what starts Python's modules, and further options, in the words of the command line."""
        out = self.folder / name
        line = [*(launcher.split() or [sys.executable]), "-m", "lmms_eval", "--model", "visionflow"]
        line += ["--model_args", arguments, "--tasks", ",".join(map(local_name, tasks))]
        line += ["--include_path", str(self.folder / "tasks"), "--limit", str(QUESTIONS)]
        line += ["--output_path", str(out), "--log_samples", *options.split()]
        ended = subprocess.run(line, capture_output=True, text=True, env=self.environment | env, check=False)
        return Ended(ended.returncode, ended.stdout + ended.stderr, out)


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Six questions of each data set, and all tasks on them."""
    folder = tmp_path_factory.mktemp("lmms")
    generated.write(folder / "data", set(TASKS.values()), QUESTIONS)
    write_tasks(folder / "tasks", {task: (each, each.local(folder / "data")) for task, each in TASKS.items()})
    return Bench(folder)


@pytest.fixture(scope="session")
def judge() -> Iterator[dict[str, str]]:
    """The environment of a judge that gives 0.5 of 1 to MM-Vet's answers, and 8 against our 6 to LLaVA-Bench's."""

    class Judge(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
            content = "0.5" if "Correctness" in asked else "8 6\nThe first is better."
            message = {"role": "assistant", "content": content}
            reply: dict[str, Any] = {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": "judge",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            }
            body = json.dumps(reply).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Judge)
    Thread(target=server.serve_forever, daemon=True).start()
    yield {"OPENAI_API_KEY": "none", "OPENAI_API_URL": f"http://127.0.0.1:{server.server_port}/v1"}
    server.shutdown()
