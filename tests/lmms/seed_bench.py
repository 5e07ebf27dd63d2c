"""SEED-Bench, which no table asks: multiple choice by likelihood, on generated questions."""

from visionflow.lmms.data_sets import DataSet
from visionflow.lmms.generated_sets import PICTURE, TEXT, Fields, generated

SEED_BENCH = DataSet("lmms-lab-encoder/SEED-Bench", "data/test-*.parquet", "test", 17990, 0, 0)


@generated(
    SEED_BENCH,
    "choice",
    **dict.fromkeys(("answer", "choice_a", "choice_b", "choice_c", "choice_d"), TEXT),
    **dict.fromkeys(("data_id", "data_type", "question", "question_id"), TEXT),
    question_type_id="int16",
    image=[PICTURE],
    segment=["int64"],
)
def _seed_bench(item: Fields, n: int) -> Fields:
    return {
        "answer": item["gold"][0],
        **dict(zip(("choice_a", "choice_b", "choice_c", "choice_d"), item["options"], strict=True)),
        "data_id": item["id"],
        "data_type": "image",
        "question": item["question"],
        "question_id": str(n),
        "question_type_id": 1,
        "image": [item["image"]],
        "segment": [],
    }
