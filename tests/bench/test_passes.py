"""The greedy answer that bench clocks."""

import pytest
import torch

from tests.renamed_cache import rename_cache
from tests.tiny import tiny_llava
from visionflow.bench.passes import answer
from visionflow.bench.prompt import make_prompt


@pytest.mark.parametrize("renamed", [False, True])
def test_the_last_logits_are_those_of_the_whole_text(renamed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step is given the cache by the name that the model has for it."""
    model = tiny_llava(dtype=torch.float64)
    prompt = make_prompt(model, image_tokens=25, text_tokens=6)
    inputs = prompt.decoder_inputs(prompt.features(model))
    whole = dict(inputs)
    for _ in range(3):
        logits = model(**whole, logits_to_keep=1).logits
        whole["input_ids"] = torch.cat([whole["input_ids"], logits.argmax(-1)], 1)
    if renamed:
        rename_cache(model, monkeypatch)
    torch.testing.assert_close(answer(model, inputs, 2, lambda: None).logits, logits)
