"""Streams that are closed, full or left by their reader, and the unexpected: one line, never a traceback."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TextIO

import pytest

from tests.cli.running import Run
from visionflow.cli import app, main

COMMANDS = [("flops",), ("flops", "--json"), ("--help",), ("--version",), ("eval", "--help")]
"""What prints by rich, as JSON, and by typer."""

needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str]:
    """Exit code and standard error, with the standard output that stands in `sys.stdout`."""
    monkeypatch.setattr("sys.argv", ["visionflow", *args])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0), capsys.readouterr().err


@pytest.fixture
def full() -> Iterator[TextIO]:
    stream = Path("/dev/full").open("w")  # noqa: SIM115 - closing it would fail
    yield stream
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    stream.close()


@needs_full
@pytest.mark.parametrize("args", COMMANDS)
def test_a_full_disk_under_standard_output(
    args: tuple[str, ...], full: TextIO, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout", full)
    told = "visionflow: cannot write to standard output (No space left on device): make room, or send it elsewhere\n"
    assert run(monkeypatch, capsys, *args) == (2, told)
    assert sys.stdout is full


@pytest.mark.parametrize("args", COMMANDS)
def test_a_reader_that_leaves_is_no_fault(
    args: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr("sys.stdout", stream)
        assert run(monkeypatch, capsys, *args) == (0, "")


@pytest.mark.parametrize("args", COMMANDS)
def test_a_closed_standard_output_is_refused_before_any_work(
    args: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout", None)
    code, err = run(monkeypatch, capsys, *args)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("visionflow: standard output is closed: leave it open")


def test_a_standard_error_that_takes_nothing_stops_nothing(
    visionflow: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as left:
        for stream in (None, left):
            monkeypatch.setattr("sys.stderr", stream)
            code, out, _ = visionflow("flops")
            assert (code, out.partition(",")[0]) == (0, "llava-1.5-7b")
            assert visionflow("nonsense")[:2] == (2, "")


def test_a_closed_standard_input_is_an_empty_one(visionflow: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    told = "visionflow: standard input is empty: give a picture (PNG, JPEG, WebP, ...)\n"
    assert visionflow("ask", "-", "What is this?") == (2, "", told)
    assert visionflow("flops")[0] == 0


def test_what_standard_output_cannot_encode_is_written_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def say() -> None:
        print("数 \udcff")  # an answer, and a file name that is no text

    monkeypatch.setattr(app, "app", lambda **_: say())
    with (tmp_path / "out").open("w", encoding="ascii") as stream:
        monkeypatch.setattr("sys.stdout", stream)
        assert run(monkeypatch, capsys) == (0, "")
    assert (tmp_path / "out").read_text() == "\\u6570 \\udcff\n"


def test_the_unexpected_is_one_line_and_its_traceback_can_be_had(
    visionflow: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise KeyError("a\nb")

    monkeypatch.setattr(app, "app", fail)
    monkeypatch.delenv(app.TRACEBACK, raising=False)
    told = r"visionflow: unexpected KeyError: 'a\nb'; to report it, run again with VISIONFLOW_TRACEBACK=1, which shows "
    assert visionflow("flops") == (1, "", told + "the traceback\n")
    monkeypatch.setenv(app.TRACEBACK, "1")
    code, out, err = visionflow("flops")
    assert (code, out) == (1, "")
    assert err.startswith("Traceback (most recent call last)")
    assert err.endswith(told + "the traceback\n")


@needs_full
@pytest.mark.parametrize(
    ("redirected", "code"),
    [("", 0), (">/dev/full", 2), (">&-", 2), ("<&- >&- 2>&-", 2), ("<&- 2>&-", 0), ("2>/dev/full", 0), ("| true", 0)],
)
def test_the_process_ends_as_it_should(redirected: str, code: int) -> None:
    """Python itself writes once more at the end."""
    line = f"set -o pipefail; '{sys.executable}' -m visionflow --version {redirected}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=600)
    assert done.returncode == code
    assert done.stderr.count("\n") == (1 if code and "2>" not in redirected else 0)


def test_an_interrupt_while_the_command_is_being_read_ends_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "visionflow.cli.app", Interrupted("visionflow.cli.app"))
    assert run(monkeypatch, capsys, "flops") == (130, "")
