"""Which tokens an answer hangs on, layer by layer: python examples/saliency.py"""

from pathlib import Path

import torch
from PIL import Image

from visionflow.checkpoint import load_embedded
from visionflow.flow import saliency

model, processor = load_embedded()
picture = Image.open(Path(__file__).with_name("scene.png"))
question = {"type": "text", "text": "How many red objects are there?"}
chat = [{"role": "user", "content": [{"type": "image"}, question]}]
text = processor.apply_chat_template(chat, add_generation_prompt=True)
inputs = processor(images=picture, text=text, return_tensors="pt")

with torch.inference_mode():
    answer_ids = model(**inputs).logits[:, -1].argmax(-1)  # or the first token of the right answer
profile = saliency(model, inputs, answer_ids, objective="margin")

print("layer  system   image  question   within the image  image to question")
for row in profile.rows():
    flows = f"{row['s_sys']:7.4f} {row['s_img']:7.4f}   {row['s_ins']:7.4f}   {row['s_vv']:16.4f}  {row['s_vt']:17.4f}"
    print(f"{row['layer']:5d} {flows}")
