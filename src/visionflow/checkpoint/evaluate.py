"""How often the model is right on test scenes, by kind of question, with the picture, with a grey one and with none.

python -m visionflow.checkpoint.evaluate --limit 500
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count as naturals
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from visionflow.checkpoint.load import EMBEDDED, load_folder
from visionflow.scenes import KINDS, Question, Scene, ask, draw, sample_scene, scene_rng

Sight = Literal["picture", "grey", "none"]
SIGHTS: tuple[Sight, ...] = ("picture", "grey", "none")

_BATCH = 32
_GREY = (128, 128, 128)
_LONGEST_ANSWER = 48


@dataclass(frozen=True)
class Item:
    """One question of the test, with the scene it is about."""

    scene: Scene
    question: Question


def unseen_items(limit: int) -> list[Item]:
    """`limit` questions about as many different test scenes, as many of each kind as can be."""
    kinds = list(KINDS)
    share = {kind: limit // len(kinds) + (i < limit % len(kinds)) for i, kind in enumerate(kinds)}
    items = []
    scenes = naturals()
    for kind, wanted in share.items():
        found = 0
        while found < wanted:
            rng = scene_rng("test", next(scenes))
            scene = sample_scene(rng)
            question = ask(scene, rng, kind)
            if question is not None:
                items.append(Item(scene, question))
                found += 1
    return items


@torch.inference_mode()
def answers(
    model: LlavaForConditionalGeneration, processor: LlavaProcessor, items: Sequence[Item], sight: Sight = "picture"
) -> list[str]:
    """The model's greedy answers, each question alone in its prompt, one left-padded batch."""
    picture = [] if sight == "none" else [{"type": "image"}]
    chats = [[{"role": "user", "content": [*picture, {"type": "text", "text": item.question.text}]}] for item in items]
    prompts = processor.apply_chat_template(chats, add_generation_prompt=True)
    images = [_seen(item.scene, sight) for item in items] if picture else None
    inputs = processor(images=images, text=prompts, padding=True, return_tensors="pt").to(model.device, model.dtype)
    out = model.generate(**inputs, do_sample=False, max_new_tokens=_LONGEST_ANSWER)
    said = processor.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return [text.strip() for text in said]


def right_by_kind(
    model: LlavaForConditionalGeneration, processor: LlavaProcessor, items: Sequence[Item], sight: Sight = "picture"
) -> Counter[str]:
    """How many answers equal the right one, letter for letter, by kind."""
    right: Counter[str] = Counter()
    for batch in track(list(_batches(items)), description=f"{sight:>8}", console=Console(stderr=True)):
        for item, said in zip(batch, answers(model, processor, batch, sight), strict=True):
            right[item.question.kind] += said == item.question.answer
    return right


def best_guess_by_kind(items: Sequence[Item]) -> Counter[str]:
    """How many would be right by always giving the kind's most frequent answer: what one reaches without looking."""
    golds: dict[str, Counter[str]] = {}
    for item in items:
        golds.setdefault(item.question.kind, Counter())[item.question.answer] += 1
    return Counter({kind: answers.most_common(1)[0][1] for kind, answers in golds.items()})


def main(
    limit: Annotated[int, typer.Option(min=1, help="How many questions, spread evenly over the kinds.")] = 500,
    model: Annotated[Path, typer.Option(help="Folder of the model; the embedded one if not given.")] = EMBEDDED,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
) -> None:
    """Print the share of right answers on test scenes, by kind of question and by what the model got to see."""
    torch.set_num_threads(threads)
    llava, processor = load_folder(model)
    items = unseen_items(limit)
    asked = Counter(item.question.kind for item in items)
    columns: dict[str, Counter[str]] = {s: right_by_kind(llava, processor, items, s) for s in SIGHTS}
    columns["best guess"] = best_guess_by_kind(items)
    table = Table(title=f"Right answers, {len(items)} questions on test scenes")
    for heading in ("kind", "questions", *columns):
        table.add_column(heading, justify="right")
    for kind, number in asked.items():
        table.add_row(kind, str(number), *(f"{right[kind] / number:.1%}" for right in columns.values()))
    total = [f"{right.total() / len(items):.1%}" for right in columns.values()]
    table.add_row("all", str(len(items)), *total, end_section=True)
    Console().print(table)


def _seen(scene: Scene, sight: Sight) -> Image.Image:
    return draw(scene) if sight == "picture" else Image.new("RGB", (scene.width, scene.height), _GREY)


def _batches(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]


if __name__ == "__main__":
    typer.run(main)
