"""Ask a question about a picture with a quarter of the image tokens: python examples/prune.py"""

from pathlib import Path

from PIL import Image

from visionflow import HiMAP, prune
from visionflow.checkpoint import load_embedded

model, processor = load_embedded()  # or AutoModelForImageTextToText and AutoProcessor of transformers
picture = Image.open(Path(__file__).with_name("scene.png"))
question = {"type": "text", "text": "How many red objects are there?"}
chat = [{"role": "user", "content": [{"type": "image"}, question]}]
text = processor.apply_chat_template(chat, add_generation_prompt=True)
inputs = processor(images=picture, text=text, return_tensors="pt")

with prune(model, HiMAP(k1=2, r1=0.5, k2=8, r2=0.5)) as trace:
    out = model.generate(**inputs, max_new_tokens=8, do_sample=False)

print("answer:", processor.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip())
print("image tokens in each layer:", trace.image_tokens[:, 0].tolist())
print(f"FLOPs of the prefill: {trace.cost('flops').ratio:.0%} of the dense run's")
