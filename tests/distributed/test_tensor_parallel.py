"""Two processes, each with half of the heads, keep the tokens and give the logits of one process with all of them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.distributed.worker import SEEN, observed
from tests.exact import EXACTLY
from tests.tiny import tiny_llava
from visionflow import Method

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow  # two more processes that load everything


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes saw."""
    folder = tmp_path_factory.mktemp("ranks")
    model = tiny_llava(2, dtype=torch.float64)
    model.save_pretrained(folder / "model")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    run = subprocess.run(
        [*command, "-m", "tests.distributed.worker", str(folder / "model"), str(folder)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    """What a single process sees."""
    return observed(tiny_llava(2, dtype=torch.float64))


@pytest.mark.parametrize("method", SEEN, ids=str)
def test_every_rank_sees_what_a_single_process_sees(
    ranks: list[dict[str, Any]], alone: dict[str, Any], method: Method
) -> None:
    expected = alone[str(method)]
    for rank in ranks:
        seen = rank["methods"][str(method)]
        assert seen["kept"] == expected["kept"]
        torch.testing.assert_close(seen["logits"], expected["logits"], **EXACTLY)
        assert torch.equal(seen["answers"], expected["answers"])


def test_what_needs_all_heads_is_refused(ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        assert ["an analysis looks" in told or "a cut on keys looks" in told for told in rank["refusals"]] == [True] * 2
