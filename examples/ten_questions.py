"""Ten questions on one prefill: the picture is read and pruned once: python examples/ten_questions.py"""

import copy
from pathlib import Path

import torch
from PIL import Image

from visionflow import HiMAP, prune
from visionflow.checkpoint import load_embedded

model, processor = load_embedded()
picture = Image.open(Path(__file__).with_name("scene.png"))
things = ("red", "blue", "green", "yellow", "purple", "orange", "white", "black", "small", "large")


def prompt(question: str) -> dict[str, torch.Tensor]:
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
    text = processor.apply_chat_template(chat, add_generation_prompt=True)
    return processor(images=picture, text=text, return_tensors="pt")


prompts = [prompt(f"How many {thing} objects are there?") for thing in things]
columns = zip(*(each["input_ids"][0].tolist() for each in prompts), strict=False)
shared = next(place for place, ids in enumerate(columns) if len(set(ids)) > 1)  # the beginning that all have
beginning = prompts[0]["input_ids"][:, :shared]

with prune(model, HiMAP(k1=2, r1=0.5, k2=8, r2=0.75)) as trace, torch.inference_mode():
    cache = model(beginning, pixel_values=prompts[0]["pixel_values"], logits_to_keep=1).past_key_values
    for thing, each in zip(things, prompts, strict=True):
        ids = each["input_ids"]
        out = model.generate(ids, past_key_values=copy.deepcopy(cache), max_new_tokens=4, do_sample=False)
        print(f"{thing}: {processor.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip()}")

print(f"{shared} tokens were read once, {int(trace.image_tokens[-1, 0])} image tokens stayed in the last layer")
