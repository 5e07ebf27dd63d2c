"""What is done of a run, in memory and, where there is a folder, on disk, so that an interrupted run goes on.

``run.json`` says what decides the results; a journal beside it has a line for each thing done. Nothing that is there is
ever overwritten: what does not belong to the run is refused, and so is a second process that writes the same journal.
"""

import json
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock

from visionflow.errors import VisionFlowError
from visionflow.journal import Journal, Line, whole_lines

RUN = "run.json"
ANOTHER = "choose another --out"


class Store:
    """The lines of a run, each under its key.

    Attributes:
        known: of all that is done.
        folder: where they are kept; None for nowhere.
    """

    def __init__(
        self,
        key: Callable[[Line], Hashable],
        is_sound: Callable[[Line], bool],
        folder: Path | None,
        run: Mapping[str, Any],
        name: str,
        shared: str = "",
        way_out: str = ANOTHER,
    ) -> None:
        """Begin in `folder`, or go on there; the half of a last line is dropped.

        Args:
            key: of a sound line; no two lines of a journal have the same.
            is_sound: whether a line is what it should be.
            folder: made where it is missing.
            run: what decides the results; a run with another one is another run.
            name: of the journal that this process writes.
            shared: a pattern of all journals of the run, where other processes write some.
            way_out: what to do where the folder is not to be used.

        Raises:
            VisionFlowError: the folder cannot be written, is being written by another process, belongs to another run,
                or is damaged.
        """
        self.known: dict[Any, Line] = {}
        self.folder = folder
        self._key, self._is_sound = key, is_sound
        self._journal: Journal | None = None
        if folder is None:
            return
        try:
            self._journal = Journal(folder / name)
            _check_whole(folder, name, shared or name, way_out)
            self._journal.path.touch()  # before run.json: a folder with that and without this has lost something
            claim(folder, run, way_out)
            self.known |= self._by_key(self._journal.read)  # mended, so that what is added stands by itself
            for other in sorted({*folder.glob(shared or name)} - {self._journal.path}):
                self.known |= self._by_key(partial(whole_lines, other))
        except OSError as error:
            raise VisionFlowError(f"cannot keep results in {folder} ({error.strerror or error}): {way_out}") from error

    def add(self, lines: Iterable[Line]) -> None:
        """Keep what has been done; lines that are known are left out.

        Raises:
            VisionFlowError: they cannot be written.
        """
        new = {key: line for line in lines if (key := self._key(line)) not in self.known}
        self.known |= new
        if self._journal is not None:
            self._journal.append(new.values())

    def _by_key(self, read: Callable[[Callable[[Line], bool]], object]) -> dict[Hashable, Line]:
        found: dict[Hashable, Line] = {}

        def is_sound(line: Line) -> bool:
            if not self._is_sound(line) or (key := self._key(line)) in found:
                return False
            found[key] = line
            return True

        read(is_sound)
        return found


def claim(folder: Path, run: Mapping[str, Any], way_out: str = ANOTHER) -> None:
    """Make `folder` that of `run`, or see that it is; several processes may do so at once.

    Raises:
        VisionFlowError: it belongs to another run, or its ``run.json`` is damaged.
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / RUN
    said = json.dumps(run, indent=2) + "\n"
    with FileLock(folder.resolve() / f".{RUN}.lock", is_singleton=True):
        if not file.exists():
            half = folder / f"{RUN}.part"
            half.write_text(said, encoding="utf-8")
            half.replace(file)
    try:
        there = _flat(dict(json.loads(file.read_text(encoding="utf-8"))))
    except (ValueError, TypeError) as error:
        raise VisionFlowError(f"{file} is damaged: put it back, or {way_out}") from error
    asked = _flat(json.loads(said))
    for name in asked | there:
        was, now = there.get(name, "absent"), asked.get(name, "absent")
        if was != now:
            raise VisionFlowError(f"{folder} belongs to another run, whose {name} is {was}, not {now}: {way_out}")


def _check_whole(folder: Path, name: str, journals: str, way_out: str) -> None:
    there = sorted(folder.glob(journals))
    if (folder / RUN).exists():
        if not there:
            raise VisionFlowError(f"{folder / name} is missing: put it back, or {way_out}")
        return
    for file in there:
        if file.stat().st_size:
            raise VisionFlowError(f"{file} is there without {RUN}: put that back, or {way_out}")


def _flat(run: Mapping[str, Any]) -> dict[str, str]:
    """Each setting by its name, of several (``rows``) each by its own, for people to read."""
    flat: dict[str, str] = {}
    for name, value in run.items():
        if isinstance(value, dict):
            flat |= {f"{name.removesuffix('s')} {inner}": str(says) for inner, says in value.items()}
        else:
            flat[name] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return flat
