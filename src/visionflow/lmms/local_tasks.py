"""Tasks that read local copies of their data: one YAML file each, which includes lmms-eval's own file, or ours."""

import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from visionflow.errors import VisionFlowError
from visionflow.lmms import TASKS
from visionflow.lmms.data_sets import DataSet

LOCAL = "_local"
"""What the names of such tasks end in: lmms-eval knows no two tasks of one name."""

_YAML = """\
include: {original}
task: {name}
dataset_path: parquet
dataset_name: null
dataset_kwargs:
  data_files:
    {split}: {files}
"""
_PICTURES = "process_docs: !function visionflow.lmms.tasks.gqa.with_pictures\n"


def local_name(task: str) -> str:
    """How a task is called when it reads local files."""
    return task + LOCAL


def write_tasks(folder: Path, wanted: Mapping[str, tuple[DataSet, Path | None]]) -> None:
    """Write into `folder` the tasks `wanted`, by name: of which data set, and where its local copy is.

    Those without a copy keep their name and their place on the Hub.

    Raises:
        VisionFlowError: a file cannot be written, or lmms-eval has no such task.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for task, (data_set, copy) in wanted.items():
            name = local_name(task) if copy else task
            (folder / f"{name}.yaml").write_text(_text(task, data_set, copy), encoding="utf-8")
    except OSError as error:
        raise VisionFlowError(f"cannot write in {folder} ({error.strerror or error}): choose another --out") from error


def _text(task: str, data_set: DataSet, copy: Path | None) -> str:
    original = yaml_of(task)
    if copy is None:
        return f"include: {original}\ntask: {task}\n"
    text = _YAML.format(
        original=original, name=local_name(task), split=data_set.split, files=copy.resolve() / data_set.files
    )
    return text + (_PICTURES if data_set.pictures else "")


def yaml_of(task: str) -> Path:
    """The file of a task of ours or of lmms-eval's.

    Raises:
        VisionFlowError: there is none.
    """
    ours = TASKS / f"{task}.yaml"
    if ours.is_file():
        return ours
    found = _harness_files().get(task)
    if found is None:
        raise VisionFlowError(f"this lmms-eval has no task {task}: install lmms-eval 0.7.3")
    return found


@cache
def _harness_files() -> dict[str, Path]:
    spec = find_spec("lmms_eval")
    places = spec.submodule_search_locations if spec else None
    named = re.compile(r"^task *: *[\"']?([\w-]+)[\"']? *$", re.MULTILINE)
    files: dict[str, Path] = {}
    for place in places or []:
        for path in sorted(Path(place, "tasks").rglob("*.yaml")):
            if name := named.search(path.read_text(encoding="utf-8")):
                files.setdefault(name[1], path)
    return files
