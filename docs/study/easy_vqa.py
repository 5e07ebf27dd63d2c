"""easy-VQA (Zhou 2019; PyPI `easy-vqa`, pictures inside) as data files that `visionflow train --data` and `eval` read.

pip download --no-deps easy-vqa && unzip easy_vqa-*.whl
python docs/study/easy_vqa.py easy_vqa/data train easy-train.parquet
python docs/study/easy_vqa.py easy_vqa/data test easy-test.parquet
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from visionflow.scenes.export import export


def rows(data: Path, split: str) -> Iterator[dict[str, Any]]:
    """One row per question; which patches matter is not known."""
    questions = json.loads((data / split / "questions.json").read_text())
    for number, (question, answer, picture) in enumerate(questions):
        yes_no = answer in ("yes", "no")
        yield {
            "id": f"easy-{split}-{number}",
            "image": {"bytes": (data / split / "images" / f"{picture}.png").read_bytes(), "path": None},
            "task": "existence" if yes_no else "open",
            "kind": "yes or no" if yes_no else "colour" if "color" in question else "shape",
            "question": question,
            "prompt": question,
            "gold": [answer],
            "options": [],
            "relevant": None,
            "about": None,
            "scene": None,
        }


if __name__ == "__main__":
    folder, name, out = sys.argv[1:]
    export(rows(Path(folder), name), Path(out))
