"""Prune a batch; each sample keeps the image tokens that it would keep alone: python examples/batch.py"""

from pathlib import Path

from PIL import Image, ImageOps

from visionflow import FastV, prune
from visionflow.checkpoint import load_embedded

model, processor = load_embedded()
picture = Image.open(Path(__file__).with_name("scene.png")).convert("RGB")
samples = [
    ("How many red objects are there?", [picture]),
    ("How many red objects are there?", [ImageOps.mirror(picture)]),
    ("Is there a circle in the image?", [picture]),
    ("How many corners does a triangle have?", []),  # a sample without a picture is left as it is
]


def chat(question: str, pictures: list[Image.Image]) -> list[dict]:
    return [{"role": "user", "content": [{"type": "image"}] * len(pictures) + [{"type": "text", "text": question}]}]


texts = [processor.apply_chat_template(chat(*sample), add_generation_prompt=True) for sample in samples]
pictures = [each for _, pictures in samples for each in pictures]
inputs = processor(images=pictures, text=texts, padding=True, padding_side="left", return_tensors="pt")

with prune(model, FastV(k=2, r=0.75)) as trace:
    out = model.generate(**inputs, max_new_tokens=8, do_sample=False)

answers = processor.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
for number, (question, _) in enumerate(samples):
    kept, cost = len(trace.stages[0].kept[number]), trace.cost_of(number).ratio
    print(f"{question} {answers[number].strip()} ({kept} image tokens kept, {cost:.0%} of the dense FLOPs)")
