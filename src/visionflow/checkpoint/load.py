"""Loading the weights that travel in the package."""

from pathlib import Path

import torch
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from visionflow.errors import VisionFlowError

EMBEDDED = Path(__file__).parent / "embedded"
"""The folder of the embedded model: a Hugging Face checkpoint like any other."""


def load_embedded(
    dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu", attn_implementation: str = "sdpa"
) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """The embedded model, in evaluation mode, and its processor."""
    return load_folder(EMBEDDED, dtype, device, attn_implementation)


def load_folder(
    folder: Path,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    attn_implementation: str = "sdpa",
) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """A model that `visionflow train` exported, in evaluation mode, and its processor."""
    if not (folder / "model.safetensors").exists():
        raise VisionFlowError(f"{folder} holds no model.safetensors: train one with `visionflow train --out DIR`")
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=dtype, attn_implementation=attn_implementation)
    # The back end that is always there; torchvision's pixels differ in the last bits.
    processor = LlavaProcessor.from_pretrained(folder, backend="pil")
    return model.to(device).eval(), processor
