"""GQA from local files: lmms-eval fetches its pictures, a data set of their own, by their name on the Hub."""

import os
from typing import Any

PICTURES = "VISIONFLOW_GQA_PICTURES"
"""The environment variable with the parquet files of the pictures (a pattern)."""


def with_pictures(questions: Any) -> Any:
    """The questions, `datasets.Dataset`, with a column ``image``."""
    from datasets import Features, Image, load_dataset

    found = load_dataset("parquet", data_files=os.environ[PICTURES], split="train")
    encoded = found.cast_column("image", Image(decode=False))
    pictures = {row["id"]: row["image"] for row in encoded}
    columns = Features(questions.features | {"image": Image()})
    return questions.map(lambda row: {"image": pictures[row["imageId"]]}, features=columns)
