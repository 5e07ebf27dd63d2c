"""Items of the generated world as rows of each public data set: its columns, their types, and what goes into them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from visionflow.lmms import data_sets
from visionflow.lmms.data_sets import DataSet

Fields = dict[str, Any]
Maker = Callable[[Fields, int], Fields]
PICTURE, TEXT = "image", "string"

_PERCEPTION = ("existence", "count", "position", "color")  # of MME's categories, those that this world has
_ABILITIES = (
    ("coarse perception", "image scene and topic"),
    ("fine-grained perception", "object counting"),
    ("fine-grained perception", "recognition"),
    ("instance reasoning", "cross-instance relation reasoning"),
    ("logical reasoning", "diagram reasoning"),
    ("science & technology", "geography & earth science & agriculture"),
    ("math", "numeric commonsense and calculation"),
)  # of MMStar's categories, one or more under each heading


@dataclass(frozen=True)
class Generated:
    """How one data set is made up.

    Attributes:
        task: of the generated world.
        columns: the type of each; a list is a list, a mapping has fields.
        row: from an item, as `visionflow.scenes.export.rows_of` gives it, and its number.
        apiece: rows made of one item.
    """

    task: str
    columns: Fields
    row: Maker
    apiece: int = 1


GENERATED: dict[DataSet, Generated] = {}


def generated(data_set: DataSet, task: str, apiece: int = 1, /, **columns: Any) -> Callable[[Maker], Maker]:
    """The decorated function makes the rows of `data_set`; see `Generated`."""

    def note(row: Maker) -> Maker:
        GENERATED[data_set] = Generated(task, columns, row, apiece)
        return row

    return note


@generated(
    data_sets.SCIENCE_QA,
    "science",
    image=PICTURE,
    question=TEXT,
    choices=[TEXT],
    answer="int8",
    **dict.fromkeys(("hint", "task", "grade", "subject", "topic", "category", "skill", "lecture", "solution"), TEXT),
)
def _science(item: Fields, n: int) -> Fields:
    return {
        "image": item["image"],
        "question": item["question"],
        "choices": item["options"],
        "answer": "ABCDE".index(item["gold"][0]),
        "hint": "" if n % 2 else "Look at the shapes.",
        "task": "closed choice",
        "grade": "grade2",
        "subject": "natural science",
        "topic": "physics",
        "category": "Materials",
        "skill": item["kind"],
        "lecture": "",
        "solution": "",
    }


@generated(
    data_sets.A_OKVQA,
    "choice",
    image=PICTURE,
    question_id=TEXT,
    question=TEXT,
    choices=[TEXT],
    correct_choice_idx="int8",
    direct_answers=TEXT,
    difficult_direct_answer="bool",
    rationales=[TEXT],
)
def _aokvqa(item: Fields, n: int) -> Fields:
    right = "ABCD".index(item["gold"][0])
    return {
        "image": item["image"],
        "question_id": item["id"],
        "question": item["question"],
        "choices": item["options"],
        "correct_choice_idx": right,
        "direct_answers": str([item["options"][right]] * 10),
        "difficult_direct_answer": False,
        "rationales": [],
    }


@generated(
    data_sets.POPE,
    "existence",
    **dict.fromkeys(("id", "question_id", "question", "answer", "image_source"), TEXT),
    image=PICTURE,
    category=TEXT,
)
def _pope(item: Fields, n: int) -> Fields:
    return {
        "id": str(n),
        "question_id": str(n + 1),
        "question": item["question"],
        "answer": item["gold"][0],
        "image_source": item["id"],
        "image": item["image"],
        "category": item["kind"],
    }


@generated(
    data_sets.NOCAPS,
    "caption",
    image=PICTURE,
    **dict.fromkeys(("image_coco_url", "image_date_captured", "image_file_name", "image_open_images_id"), TEXT),
    **dict.fromkeys(("image_height", "image_width", "image_id"), "int32"),
    image_license="int8",
    annotations_ids=["int32"],
    annotations_captions=[TEXT],
)
def _nocaps(item: Fields, n: int) -> Fields:
    return {
        "image": item["image"],
        "image_coco_url": "",
        "image_date_captured": "2018-11-06 11:04:33",
        "image_file_name": f"{item['id']}.png",
        "image_height": 168,
        "image_width": 168,
        "image_id": n,
        "image_license": 0,
        "image_open_images_id": item["id"],
        "annotations_ids": list(range(5 * n, 5 * n + len(item["gold"]))),
        "annotations_captions": item["gold"],
    }


@generated(data_sets.FLICKR30K, "caption", image=PICTURE, caption=[TEXT], sentids=[TEXT], img_id=TEXT, filename=TEXT)
def _flickr30k(item: Fields, n: int) -> Fields:
    return {
        "image": item["image"],
        "caption": item["gold"],
        "sentids": [str(5 * n + place) for place in range(len(item["gold"]))],
        "img_id": str(n),
        "filename": f"{item['id']}.png",
    }


@generated(
    data_sets.LLAVA_BENCH,
    "open",
    question_id="int64",
    **dict.fromkeys(("question", "caption", "gpt_answer", "category", "image_id"), TEXT),
    image=PICTURE,
)
def _llava_bench(item: Fields, n: int) -> Fields:
    return {
        "question_id": n,
        "question": item["question"],
        "caption": "A picture of coloured shapes.",
        "gpt_answer": item["gold"][0],
        "category": ("conv", "detail", "complex")[n % 3],
        "image_id": item["id"],
        "image": item["image"],
    }


@generated(
    data_sets.MM_VET,
    "open",
    **dict.fromkeys(("question_id", "question", "answer", "image_source", "capability"), TEXT),
    image=PICTURE,
)
def _mmvet(item: Fields, n: int) -> Fields:
    return {
        "question_id": f"v1_{n}",
        "image": item["image"],
        "question": item["question"],
        "answer": item["gold"][0],
        "image_source": "",
        "capability": ("rec", "rec,spat", "rec,know")[n % 3],
    }


@generated(
    data_sets.GQA,
    "open",
    **dict.fromkeys(
        ("id", "imageId", "question", "answer", "fullAnswer", "entailed", "equivalent", "semanticStr"), TEXT
    ),
    isBalanced="bool",
    groups={"global": TEXT, "local": TEXT},
    types={"structural": TEXT, "semantic": TEXT, "detailed": TEXT},
    annotations={part: [{"objectId": TEXT, "value": TEXT}] for part in ("question", "answer", "fullAnswer")},
    semantic=[{"operation": TEXT, "argument": TEXT, "dependencies": ["int32"]}],
)
def _gqa(item: Fields, n: int) -> Fields:
    return {
        "id": f"{n:08}",
        "imageId": item["id"],
        "question": item["question"],
        "answer": item["gold"][0],
        "fullAnswer": f"It is {item['gold'][0]}.",
        "isBalanced": True,
        "groups": {"global": "", "local": item["kind"]},
        "entailed": "[]",
        "equivalent": f"['{n:08}']",
        "types": {"structural": "query", "semantic": "attr", "detailed": item["kind"]},
        "annotations": {"question": [], "answer": [], "fullAnswer": []},
        "semantic": [{"operation": "select", "argument": item["kind"], "dependencies": []}],
        "semanticStr": f"select: {item['kind']}",
    }


@generated(data_sets.MME, "existence", question_id=TEXT, image=PICTURE, question=TEXT, answer=TEXT, category=TEXT)
def _mme(item: Fields, n: int) -> Fields:
    """Items of existence come in pairs of yes and no, on two pictures where MME asks both of one."""
    category = _PERCEPTION[n // 2 % len(_PERCEPTION)]
    return {
        "question_id": f"{category}/{n // 2:04}.png",
        "image": item["image"],
        "question": f"{item['question']} Please answer yes or no.",
        "answer": item["gold"][0].capitalize(),
        "category": category,
    }


@generated(
    data_sets.TEXT_VQA,
    "open",
    **dict.fromkeys(("image_id", "question", "flickr_original_url", "flickr_300k_url", "set_name"), TEXT),
    **dict.fromkeys(("question_id", "image_width", "image_height"), "int32"),
    **{name: [TEXT] for name in ("question_tokens", "answers", "image_classes", "ocr_tokens")},
    image=PICTURE,
)
def _textvqa(item: Fields, n: int) -> Fields:
    return {
        "image_id": item["id"],
        "question_id": 34602 + n,
        "question": item["question"],
        "question_tokens": item["question"].lower().rstrip("?.").split(),
        "image": item["image"],
        "image_width": 168,
        "image_height": 168,
        "flickr_original_url": "",
        "flickr_300k_url": "",
        "answers": item["gold"] * 10,
        "image_classes": ["Shape"],
        "set_name": "val",
        "ocr_tokens": [],
    }


@generated(
    data_sets.MMBENCH,
    "choice",
    2,
    index="int64",
    **dict.fromkeys(("question", "hint", "answer", "A", "B", "C", "D", "category", "source"), TEXT),
    **dict.fromkeys(("L2-category", "comment", "split"), TEXT),
    image=PICTURE,
)
def _mmbench(item: Fields, n: int) -> Fields:
    """Each question comes twice, its options turned by one, and counts if both are answered rightly."""
    turn, right = n % 2, "ABCD".index(item["gold"][0])
    return {
        "index": n // 2 + turn * 1_000_000,
        "question": item["question"],
        "hint": "nan",
        "answer": "ABCD"[(right + turn) % 4],
        **{"ABCD"[(place + turn) % 4]: option for place, option in enumerate(item["options"])},
        "category": item["kind"],
        "image": item["image"],
        "source": "visionflow",
        "L2-category": "finegrained_perception (instance-level)",
        "comment": "nan",
        "split": "dev",
    }


@generated(
    data_sets.MMSTAR,
    "choice",
    index="int64",
    **dict.fromkeys(("question", "answer", "category", "l2_category"), TEXT),
    image=PICTURE,
    meta_info={"source": TEXT, "split": TEXT, "image_path": TEXT},
)
def _mmstar(item: Fields, n: int) -> Fields:
    category, ability = _ABILITIES[n % len(_ABILITIES)]
    options = ", ".join(f"{letter}: {text}" for letter, text in zip("ABCD", item["options"], strict=False))
    return {
        "index": n,
        "question": f"{item['question']}\nOptions: {options}",
        "image": item["image"],
        "answer": item["gold"][0],
        "category": category,
        "l2_category": ability,
        "meta_info": {"source": "visionflow", "split": "val", "image_path": f"images/{n}.png"},
    }
