"""Peak memory of saliency at LLaVA-1.5-7B width, by number of layers: ``python -m tests.flow.memory_of_saliency``.

Each depth is a process of its own: it makes a LLaVA with random fp32 weights (d 4096, m 11008, 32 heads; a small vision
tower and vocabulary), runs saliency on one prompt of 640 tokens, 576 of them a picture, and reads the peak of its
resident memory above what it was before. What autograd keeps is counted from the tensors themselves. Needs 5 GiB.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DEPTHS = (1, 2, 3, 4)
SYSTEM, IMAGE, INSTRUCTION = 35, 576, 29
TOKENS = SYSTEM + IMAGE + INSTRUCTION
HEADS = 32
MIB = 2**20


def main() -> None:
    """Print one line per depth, and what each further layer adds."""
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}  # what is freed goes back to the system at once
    print("layers   weights      peak above   kept by autograd   [MiB]", flush=True)
    measured = []
    for depth in DEPTHS:
        command = [sys.executable, "-m", "tests.flow.memory_of_saliency", str(depth)]
        measured.append(json.loads(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout))
        print("{layers:6d}  {weights:8.0f}  {peak:14.1f}  {kept:17.1f}".format(**measured[-1]), flush=True)
    first, last = measured[0], measured[-1]
    more = last["layers"] - first["layers"]
    print(f"\neach further layer: peak {(last['peak'] - first['peak']) / more:+.1f} MiB, ", end="")
    print(f"autograd keeps {(last['kept'] - first['kept']) / more:+.1f} MiB")
    maps = HEADS * TOKENS**2 / MIB
    print(f"not kept, per layer: A {4 * maps:.1f} MiB; A and its gradient {8 * maps:.1f} MiB")


def measure(depth: int) -> dict[str, float]:
    """Peak resident memory of one saliency above the memory before it, and the bytes autograd keeps, in MiB."""
    import torch

    from visionflow.flow import saliency

    torch.manual_seed(0)
    model = wide_llava(depth)
    own = {parameter.untyped_storage().data_ptr(): parameter.nbytes for parameter in model.parameters()}
    ids = torch.cat(
        [torch.randint(3, 900, (SYSTEM,)), torch.full((IMAGE,), 999), torch.randint(3, 900, (INSTRUCTION,))]
    )
    inputs = {"input_ids": ids[None], "pixel_values": torch.randn(1, 3, 336, 336)}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # a saved output that held its own graph would never be freed

    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = memory("VmRSS")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        saliency(model, inputs, [7])
    peak = memory("VmHWM") - before
    sizes = {"weights": sum(own.values()), "peak": peak, "kept": sum(kept.values())}
    return {"layers": depth} | {name: size / MIB for name, size in sizes.items()}


def wide_llava(depth: int) -> "PreTrainedModel":
    """LLaVA-1.5-7B's decoder layers, `depth` of them."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration
    from transformers.initialization import no_init_weights

    text = LlamaConfig(
        vocab_size=1000, hidden_size=4096, intermediate_size=11008, num_hidden_layers=depth, num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
    )  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, image_size=336,
        patch_size=14, projection_dim=64,
    )  # fmt: skip
    config = LlavaConfig(text_config=text, vision_config=vision, image_token_id=999, image_seq_length=IMAGE)
    with no_init_weights():
        model = LlavaForConditionalGeneration(config).eval()
    for parameter in model.parameters():
        parameter.data.uniform_(-0.02, 0.02)
    return model


def memory(field: str) -> int:
    """Bytes of one field of this process's status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(int(sys.argv[1]))))
    else:
        main()
