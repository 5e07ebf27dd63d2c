"""The zoo: a tiny model of every class that transformers maps to image-text-to-text, or why there is none."""

from tests.zoo import blip, discrete, experts, gemma, glm_vl, hybrids, llava_like, molmo, qwen_vl, tiles
from tests.zoo.entry import Entry, Prompt
from tests.zoo.refused import REFUSED

__all__ = ["OTHER_TEXTS", "REFUSED", "ZOO", "Entry", "Prompt"]

ZOO: dict[str, Entry] = {
    entry.model_type: entry
    for module in (llava_like, tiles, qwen_vl, glm_vl, gemma, experts, molmo, discrete, hybrids, blip)
    for entry in module.ENTRIES
}

OTHER_TEXTS: dict[str, Entry] = {"paligemma 2": llava_like.PALIGEMMA_2}
"""Classes of the zoo with another text model, where the runtime sees a difference."""
