"""One process writes a journal; a torn line is mended, other damage refused as a whole."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.checkpoint.test_training import RECIPE
from tests.files import limited_to
from visionflow.bench.points import Points
from visionflow.checkpoint.training import Budget, train
from visionflow.errors import VisionFlowError
from visionflow.evaluation.records import Records
from visionflow.journal import Journal, sole_writer, whole_lines
from visionflow.lmms.answers import Answers
from visionflow.lmms.reproduction import EMBEDDED, Reproduction
from visionflow.lmms.tables import table_called

TABLE = table_called("himap-table1")
OTHER_PROCESS = """
import sys
from pathlib import Path
from visionflow.errors import VisionFlowError
from visionflow.journal import sole_writer
try:
    lock = sole_writer(Path(sys.argv[1]))
    print("mine", flush=True)
    sys.stdin.read()
except VisionFlowError as error:
    print(error)
"""


def other(file: Path) -> "subprocess.Popen[str]":
    """Another process that wants to write `file`, and keeps it until it ends."""
    command = [sys.executable, "-c", OTHER_PROCESS, str(file)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_one_process_writes_and_a_killed_one_lets_go(tmp_path: Path) -> None:
    file = tmp_path / "run" / "records.jsonl"
    with other(file) as first:
        assert said(first) == "mine"
        with other(file) as second:
            refusal = f"another run is writing in {file.parent}: wait for its end, or choose another folder"
            assert said(second) == refusal
        with pytest.raises(VisionFlowError, match="another run is writing in"):
            Journal(file)
        first.kill()
    with sole_writer(file), other(file) as third:
        assert said(third) == refusal
    with other(file) as fourth:
        assert said(fourth) == "mine"
        fourth.kill()


def test_a_process_may_open_its_own_again(tmp_path: Path) -> None:
    first, second = Journal(tmp_path / "j.jsonl"), Journal(tmp_path / "j.jsonl")
    first.append([{"n": 1}])
    assert second.read() == [{"n": 1}]


def test_the_half_of_a_last_line_is_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "j.jsonl"
    journal = Journal(file)
    assert journal.read() == []
    journal.append([{"n": 1}, {"n": 2}])
    whole = file.read_bytes()
    for torn in (b'{"n": 3', b'{"n": 3}', b"\xff"):  # the second is whole but for its end
        file.write_bytes(whole + torn)
        assert whole_lines(file, bool) == [{"n": 1}, {"n": 2}]
        assert file.read_bytes() == whole + torn  # perhaps it is being written
        assert journal.read() == [{"n": 1}, {"n": 2}]
        assert file.read_bytes() == whole


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"n": 1}\n[]\n', "damaged in line 2: "),
        (b'"n"\n{"n": 1}\n', "damaged in line 1: "),
        (b'{"n": 1}\n{"n"\n{"n": 2}\n', "damaged in line 2: "),
        (b'{"n": 1}\n\n\xff\n7\n{"n": 2}\n{"m": 2}\n{"n"', "damaged in lines 2-4, 6: "),
        (b'{"n": 1}\n7\n' * 12, r"damaged in lines 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, \.\.\.: "),
    ],
    ids=["a list", "a string", "cut", "several", "many"],
)
def test_other_damage_is_refused_as_a_whole(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "j.jsonl"
    file.write_bytes(content)
    with pytest.raises(VisionFlowError, match=message) as caught:
        Journal(file).read(lambda line: "n" in line)
    assert "\n" not in str(caught.value)
    assert file.read_bytes() == content


def test_what_does_not_fit_leaves_no_half(tmp_path: Path) -> None:
    file = tmp_path / "j.jsonl"
    journal = Journal(file)
    journal.append([{"n": 1}])
    before = file.read_bytes()
    with limited_to(len(before) + 5000), pytest.raises(VisionFlowError, match=r"cannot write .* \(.*\): make room and"):
        journal.append([{"n": "x" * 20_000}])
    assert file.read_bytes() == before


@contextmanager
def written_elsewhere(file: Path) -> Iterator[None]:
    """Another thread is writing it, which is refused as another process is, and takes no second to start."""
    begun, done = threading.Event(), threading.Event()

    def write() -> None:
        with sole_writer(file):
            begun.set()
            done.wait()

    thread = threading.Thread(target=write)
    thread.start()
    begun.wait()
    try:
        yield
    finally:
        done.set()
        thread.join()


STORES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "eval, saliency, disrupt": ("records.jsonl", lambda folder: Records(folder, {"rows": {}}, [])),
    "scaling": ("points.jsonl", lambda folder: Points({"model": "tiny"}, folder)),
    "lmms": ("answers-0.jsonl", lambda folder: Answers(folder, {"model": "tiny"})),
    "train": ("state.pt", lambda folder: train(folder, RECIPE, Budget(steps=1))),
    "reproduce": ("run.json", lambda folder: Reproduction(TABLE, TABLE.columns[:1], EMBEDDED, folder).prepare()),
}


@pytest.mark.parametrize("store", STORES)
def test_every_store_has_one_writer(store: str, tmp_path: Path) -> None:
    name, begin = STORES[store]
    with written_elsewhere(tmp_path / name), pytest.raises(VisionFlowError, match="another run is writing in"):
        begin(tmp_path)
    assert [file.name for file in tmp_path.iterdir() if file.name != f".{name}.lock"] in ([], ["run.json"])
