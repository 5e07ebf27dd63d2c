"""The same comparison on vLLM's second model runner, which it takes on GPUs, in a process that begins with it."""

import os
import subprocess
import sys

import pytest

from tests.vllm.second_runner import ENVIRONMENT

EQUALITY = "tests/vllm/test_equality.py"
CASES = {
    "families": "test_families and (qwen2_5_vl or qwen3_vl)",
    "engines": "test_engines and (chunked or preemption)",
    "requests": "requests_of_all_kinds",
}


@pytest.mark.parametrize("case", CASES)
def test_the_second_runner_answers_as_the_first(case: str) -> None:
    called = [sys.executable, "-m", "pytest", "-q", "-x", EQUALITY, "-k", CASES[case]]
    ended = subprocess.run(called, env=os.environ | ENVIRONMENT, capture_output=True, text=True, timeout=1800)
    assert ended.returncode == 0, ended.stdout[-4000:]
