"""Stream the words of an answer while the model is pruned: python examples/streaming.py"""

from pathlib import Path
from threading import Thread

from PIL import Image
from transformers import TextIteratorStreamer

from visionflow import HiMAP, prune
from visionflow.checkpoint import load_embedded

model, processor = load_embedded()
picture = Image.open(Path(__file__).with_name("scene.png"))
question = {"type": "text", "text": "Describe the image."}
chat = [{"role": "user", "content": [{"type": "image"}, question]}]
text = processor.apply_chat_template(chat, add_generation_prompt=True)
inputs = processor(images=picture, text=text, return_tensors="pt")
streamer = TextIteratorStreamer(processor.tokenizer, skip_prompt=True, skip_special_tokens=True)

with prune(model, HiMAP(k1=2, r1=0.5, k2=8, r2=0.5)) as trace:  # its end waits for the thread
    settings = {"max_new_tokens": 60, "do_sample": False, "streamer": streamer}
    Thread(target=model.generate, kwargs={**inputs, **settings}).start()
    for piece in streamer:
        print(piece, end="", flush=True)

print(f"\n{int(trace.image_tokens[-1, 0])} of {int(trace.image_tokens[0, 0])} image tokens in the last layer")
