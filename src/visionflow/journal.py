"""Files of one JSON object per line that grow as work is done: one process writes them, and an interrupted run goes on.

What an interruption leaves is mended: the half of a last line is cut off. Any other damage is refused as a whole.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import groupby
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from visionflow.errors import VisionFlowError

Line = dict[str, Any]


def sole_writer(file: Path) -> AbstractContextManager[object]:
    """Keep other processes from writing `file`, as long as what is returned is kept, and no longer than this process.

    It is a context manager, too. Its folder is made; the lock is a file ``.NAME.lock`` beside it, which stays.

    Raises:
        VisionFlowError: another process is writing it, or another thread.
        OSError: the lock cannot be made.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file.parent.resolve() / f".{file.name}.lock", is_singleton=True)
    try:
        return lock.acquire(timeout=0)
    except Timeout as error:
        raise VisionFlowError(
            f"another run is writing in {file.parent}: wait for its end, or choose another folder"
        ) from error


class Journal:
    """One such file, written by this process alone as long as there is this object."""

    def __init__(self, path: Path) -> None:
        """Raises as `sole_writer`."""
        self.path = path
        self._lock = sole_writer(path)

    def read(self, is_sound: Callable[[Line], bool] = lambda line: True) -> list[Line]:
        """What is in it, none if it is not there; the half of a last line is cut off.

        Args:
            is_sound: whether a line is what it should be; asked once of each, in their order.

        Raises:
            VisionFlowError: some lines are no JSON objects, or not sound.
            OSError: it cannot be read, or not be mended.
        """
        if not self.path.exists():
            return []
        found = whole_lines(self.path, is_sound)
        content = self.path.read_bytes()
        if not content.endswith(b"\n"):  # only now that the rest is known to be sound
            self._cut(content.rfind(b"\n") + 1)
        return found

    def append(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Add lines, all of them or, where there is no room, none.

        Raises:
            VisionFlowError: they cannot be written.
        """
        size = self.path.stat().st_size if self.path.exists() else 0
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines)
        except OSError as error:
            if self.path.is_file():
                self._cut(size)
            raise VisionFlowError(
                f"cannot write {self.path} ({error.strerror or error}): make room and run again"
            ) from error

    def _cut(self, size: int) -> None:
        with self.path.open("r+b") as file:
            file.truncate(size)


def whole_lines(path: Path, is_sound: Callable[[Line], bool]) -> list[Line]:
    """The lines of a journal, whoever writes it; a last line that is still being written is left out.

    Raises:
        VisionFlowError: as `Journal.read`.
        OSError: it cannot be read.
    """
    content = path.read_bytes()
    parsed = [_object(line) for line in content[: content.rfind(b"\n") + 1].split(b"\n")[:-1]]
    sound = [line if line is not None and is_sound(line) else None for line in parsed]
    damaged = [number for number, line in enumerate(sound, start=1) if line is None]
    if damaged:
        where, them = (f"lines {_ranges(damaged)}", "them") if damaged[1:] else (f"line {damaged[0]}", "it")
        raise VisionFlowError(
            f"{path} is damaged in {where}: put the file back, delete {them}, or choose another folder"
        )
    return [line for line in sound if line is not None]


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers as ``2, 5-7``; of many ranges the first ten."""
    runs = [[number for _, number in run] for _, run in groupby(enumerate(numbers), lambda each: each[1] - each[0])]
    told = [f"{run[0]}-{run[-1]}" if run[1:] else str(run[0]) for run in runs]
    return ", ".join(told[:10] + ["..."] * (len(told) > 10))


def _object(line: bytes) -> Line | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
