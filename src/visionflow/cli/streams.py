"""Standard input, output and error as a command may find them: closed, full, or a pipe whose reader has left."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO, cast

from visionflow.errors import VisionFlowError


class OutputError(Exception):
    """Standard output takes no more. No `OSError`: libraries have ways of their own with those, and files raise them.

    Attributes:
        reader_left: whether it is a pipe whose reader has left, which is no fault.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or str(error))
        self.reader_left = isinstance(error, BrokenPipeError)


class _Output:
    """Standard output, whose failures are an `OutputError`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            raise OutputError(error) from error

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            raise OutputError(error) from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Remarks(_Output):
    """Standard error: what nobody can read any more is lost, and the work goes on."""

    def write(self, text: str) -> int:
        with suppress(OutputError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OutputError):
            super().flush()


@contextmanager
def remarks() -> Iterator[None]:
    """Standard input and error are there: empty, and read by nobody, where they were closed."""
    stdin, stderr = sys.stdin, sys.stderr
    with ExitStack() as opened:
        # In this order each gets the number it should have, which is then no other file's.
        sys.stdin = stdin or opened.enter_context(Path(os.devnull).open(encoding="utf-8"))
        readable = stderr or opened.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
        sys.stderr = cast(TextIO, _Remarks(readable))
        try:
            yield
        finally:
            sys.stdin, sys.stderr = stdin, stderr
            _settle(readable)


@contextmanager
def output() -> Iterator[None]:
    """Standard output, written to the end when the work is done.

    Raises:
        VisionFlowError: it is closed, so that all work would be for nothing.
        OutputError: it could not be written.
    """
    stdout = sys.stdout
    if stdout is None:
        raise VisionFlowError("standard output is closed: leave it open, or send it to a file or to /dev/null")
    if isinstance(stdout, io.TextIOWrapper):
        stdout.reconfigure(errors="backslashreplace")  # as standard error does: any answer can be printed
    sys.stdout = cast(TextIO, _Output(stdout))
    try:
        yield
        sys.stdout.flush()
    finally:
        sys.stdout = stdout
        _settle(stdout)


def _settle(stream: TextIO) -> None:
    """Python writes once more what is left when it ends, and complains: give that somewhere to go."""
    try:
        stream.flush()
    except OSError:
        with suppress(OSError):  # no file of the system's
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
