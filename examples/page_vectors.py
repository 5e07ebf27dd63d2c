"""Pages in, vectors out: an index of kept tokens alone, a third of the size: python examples/page_vectors.py

The model here was trained to answer, not to retrieve: in ColPali's place, `model.vlm` is what is pruned.
"""

from pathlib import Path

import torch
from PIL import Image, ImageOps

from visionflow import HiMAP, prune
from visionflow.checkpoint import load_embedded

model, processor = load_embedded()
scene = Image.open(Path(__file__).with_name("scene.png")).convert("RGB")
pages = [scene, ImageOps.mirror(scene), ImageOps.flip(scene)]
bare = model.model  # without its head: hidden states, from which a retriever projects
text = processor.apply_chat_template(
    [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Describe the image."}]}]
)


@torch.no_grad()
def vectors(page: Image.Image, r: float) -> tuple[torch.Tensor, float]:
    """The unit vectors ``[kept, width]`` of a page's image tokens, and the share of the dense FLOPs that they took."""
    inputs = processor(images=page, text=text, return_tensors="pt")
    with prune(bare, HiMAP(k1=1, r1=r, k2=2, r2=r)) as trace:
        hidden = bare(**inputs).last_hidden_state[0]
    return torch.nn.functional.normalize(hidden[trace.stages[-1].kept[0]], dim=-1), trace.cost("flops").ratio


whole = [vectors(page, 0.0)[0] for page in pages]
index, costs = zip(*(vectors(page, 0.42) for page in pages), strict=True)
size = sum(map(torch.numel, index)) / sum(map(torch.numel, whole))
print(
    f"{len(index[0])} of {len(whole[0])} vectors a page, each of {index[0].shape[1]} numbers: {size:.0%} of the index"
)
print(f"{costs[0]:.0%} of the FLOPs of the dense decoder")
