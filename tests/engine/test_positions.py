"""Positions numbered anew after a cut: those of a shorter prompt, in decoding as well, and where they are refused."""

import pytest
import torch
from transformers import DynamicCache, PreTrainedModel

from tests.matrix import model_of
from tests.tiny import prompt
from tests.zoo import ZOO
from visionflow import DivPrune, PyramidDrop, UnsupportedModelError, UnsupportedUsageError, prune
from visionflow.serving.settings import Settings

INPUTS = prompt(3, "image", 6, seed=1).inputs
COMPACT = DivPrune(0.6, positions="compact")


@pytest.fixture
def model() -> PreTrainedModel:
    return model_of("llava")


@torch.no_grad()
def test_greedy_answers_are_those_of_the_shorter_prompt(model: PreTrainedModel) -> None:
    """Of its embeddings, without any scope: the tokens kept, one after the other."""
    with prune(model, COMPACT) as trace:
        made = model.generate(**INPUTS, max_new_tokens=6, do_sample=False)[0, INPUTS["input_ids"].shape[1] :]
    stays = trace.stages[0].tokens
    columns = stays.columns[0][stays.valid[0]]
    embedded = model(**INPUTS, output_hidden_states=True).hidden_states[0][:, columns]
    assert len(columns) < INPUTS["input_ids"].shape[1]
    text, ids = model.model.language_model, []
    for _ in range(6):
        ids.append(int(model.lm_head(text(inputs_embeds=embedded).last_hidden_state)[0, -1].argmax()))
        embedded = torch.cat([embedded, text.embed_tokens(torch.tensor([[ids[-1]]]))], 1)
    assert made.tolist() == ids
    with prune(model, DivPrune(0.6)):
        kept = model(**INPUTS).logits
    with prune(model, COMPACT):
        assert not torch.allclose(model(**INPUTS).logits[0, -1], kept[0, -1])


@torch.no_grad()
def test_a_compact_cache_goes_on_in_a_scope_alone(model: PreTrainedModel) -> None:
    """In any scope, token for token; a plain model would number on from where the prompt ended."""
    with prune(model, COMPACT):
        made = model.generate(**INPUTS, max_new_tokens=4, do_sample=False)[0, INPUTS["input_ids"].shape[1] :].tolist()
        cache = DynamicCache()
        ids = [int(model(**INPUTS, past_key_values=cache).logits[0, -1].argmax())]
    with pytest.raises(UnsupportedUsageError, match="inside a pruning scope"):
        model(input_ids=torch.tensor([ids]), past_key_values=cache)
    with prune(model, COMPACT):
        cache = DynamicCache()
        model(**INPUTS, past_key_values=cache)
    with prune(model, PyramidDrop((2,))):
        while len(ids) < 4:
            logits = model(input_ids=torch.tensor([ids[-1:]]), past_key_values=cache).logits
            ids.append(int(logits[0, -1].argmax()))
    assert made == ids


def test_a_later_turn_with_a_picture_is_refused(model: PreTrainedModel) -> None:
    cache, turn = DynamicCache(), prompt(2, "image", 5, seed=3).inputs
    mask = torch.ones(1, INPUTS["input_ids"].shape[1] + turn["input_ids"].shape[1], dtype=torch.long)
    with prune(model, COMPACT), torch.no_grad():
        model(**INPUTS, past_key_values=cache)
        with pytest.raises(UnsupportedUsageError, match="numbered anew where the prompt comes in one piece"):
            model(**turn | {"attention_mask": mask}, past_key_values=cache)


@pytest.mark.parametrize("name", ["qwen2_5_vl", "gemma3"])
def test_text_models_with_other_positions_are_refused(name: str) -> None:
    with pytest.raises(UnsupportedModelError, match="positions='compact' is for text models with one position"):
        prune(ZOO[name].build(), COMPACT)


def test_other_words_and_servers_are_refused() -> None:
    with pytest.raises(UnsupportedUsageError, match="positions are 'keep' or 'compact', not 'close'"):
        DivPrune(0.6, positions="close")  # type: ignore[arg-type]
    with pytest.raises(UnsupportedUsageError, match="it numbers positions anew"):
        Settings.of(COMPACT, 6, (1,), 4096)
