"""Questions of the generated world in the columns, types and nesting of the public data sets.

The embedded model knows that world and no other; lmms-eval's own task code reads these files as it reads the real ones.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from visionflow.errors import VisionFlowError
from visionflow.lmms.data_sets import DataSet
from visionflow.lmms.generated_sets import GENERATED, PICTURE, TEXT, Fields
from visionflow.scenes.export import rows_of


def write(folder: Path, wanted: Iterable[DataSet], limit: int) -> None:
    """Write `limit` questions of each data set under `folder`, laid out as its copy of the Hub would be.

    Files that are there are left alone: what is in them follows from the limit.

    Raises:
        VisionFlowError: the `datasets` library is missing, or a file cannot be written.
    """
    for each in wanted:
        made = GENERATED[each]
        items = list(rows_of(made.task, "test", -(-limit // made.apiece)))
        rows = [made.row(items[n // made.apiece], n) for n in range(limit)]
        place = folder / each.repo.partition("/")[2]
        _write(place / _file(each.files), made.columns, rows)
        if each.pictures:
            pictures = [{"id": item["id"], "image": item["image"]} for item in items]
            _write(place / _file(each.pictures), {"id": TEXT, "image": PICTURE}, pictures)


def _file(pattern: str) -> str:
    return pattern.replace("-*.parquet", "-00000-of-00001.parquet")


def _write(path: Path, columns: Fields, rows: Sequence[Fields]) -> None:
    if path.exists():
        return
    try:
        from datasets import Features
        from datasets.arrow_writer import ParquetWriter
    except ImportError as error:
        raise VisionFlowError(
            "generated questions take the datasets library: pip install 'visionflow[data]'"
        ) from error
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with ParquetWriter(features=Features(_typed(columns)), path=str(partial)) as writer:
            for row in rows:
                writer.write(row)
            writer.finalize()
        partial.replace(path)
    except OSError as error:
        raise VisionFlowError(f"cannot write {path}: {error.strerror or error}; choose another folder") from error
    finally:
        partial.unlink(missing_ok=True)


def _typed(column: Any) -> Any:
    """A column's type in the terms of `datasets`."""
    from datasets import Image, List, Value

    if isinstance(column, dict):
        return {name: _typed(inner) for name, inner in column.items()}
    if isinstance(column, list):
        return List(_typed(column[0]))
    return Image() if column == PICTURE else Value(column)
