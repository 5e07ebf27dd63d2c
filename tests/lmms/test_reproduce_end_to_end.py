"""`visionflow reproduce` with real runs of lmms-eval, on the embedded model and generated questions."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def reproduce(*arguments: object, **environment: str) -> tuple[int, str, str]:
    line = [sys.executable, "-m", "visionflow", "reproduce", *map(str, arguments)]
    clean = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    env = clean | {"OMP_NUM_THREADS": "1"} | environment
    ended = subprocess.run(line, capture_output=True, text=True, env=env, check=False)
    return ended.returncode, ended.stdout, ended.stderr


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """Two data sets that lmms-eval asks in its own words, one of whose pictures lie apart."""
    out = tmp_path_factory.mktemp("reproduced") / "out"
    return ("visipruner-table5", "--model", "embedded", "--limit", 4, "--columns", "GQA,MME-P", "--out", out)


@pytest.fixture(scope="module")
def told(options: tuple[object, ...]) -> dict[str, Any]:
    code, out, err = reproduce(*options, "--json")
    assert code == 0, err
    assert err.count("running ") == 2
    content: dict[str, Any] = json.loads(out)
    return content


def test_the_table(told: dict[str, Any]) -> None:
    assert [(score["column"], score["row"], score["questions"]) for score in told["scores"]] == [
        ("GQA", "Baseline", 4),
        ("GQA", "VisiPruner", 4),
        ("MME-P", "Baseline", 4),
        ("MME-P", "VisiPruner", 4),
    ]
    assert [score["printed"] for score in told["scores"]] == [62.0, 60.3, 1507.6, 1428.3]
    dense, pruned = told["spent"]
    assert dense["papers"][1] == 1
    assert pruned["flops"][1] < 1


def test_it_goes_on_from_what_is_there(options: tuple[object, ...], told: dict[str, Any]) -> None:
    out = Path(str(options[-1]))
    code, said, err = reproduce(*options, "--json")
    assert (code, err, json.loads(said)) == (0, "", told)  # nothing was run

    logs = sorted((out / "visipruner" / "lmms-eval").rglob("*_samples_gqa_local.jsonl"))
    logs[0].unlink()
    code, said, err = reproduce(*options, "--json")
    assert code == 0, err
    assert err.count("running ") == 1
    again = json.loads(said)
    assert again["scores"] == told["scores"]
    assert again["spent"] == told["spent"]  # the times, too: the answers were kept, and not made again


def test_a_run_that_fails_is_told_by_the_exit_code(options: tuple[object, ...]) -> None:
    """lmms-eval itself exits with 0 here: a parquet file is broken."""
    folder = Path(str(options[-1])).parent
    assert reproduce(*options[:-1], folder / "broken", "--dry-run")[0] == 0
    for file in (folder / "broken").rglob("generated-4/MME/**/*.parquet"):
        file.write_bytes(file.read_bytes()[:-100])
    code, out, err = reproduce(*options[:-1], folder / "broken", "--json")
    assert (code, out) == (2, "")
    assert "lmms-eval did not finish gqa" in err
