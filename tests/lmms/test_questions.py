"""Answers with their facts, in batches and alone, on a tiny LLaVA with random weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.questions import tiny_loaded
from tests.renamed_cache import rename_cache
from tests.tiny import IMAGE_SIZE, LAYERS, PER_IMAGE
from tests.zoo import ZOO
from tests.zoo.kit import save
from tests.zoo.kits import KITS
from visionflow import HiMAP, RandomPruning, VisionFlowError
from visionflow.lmms.questions import LONGEST, Answer, Question, Style, answer, loss
from visionflow.loading.models import load_model
from visionflow.loading.prompts import make_prompts
from visionflow.methods import Method
from visionflow.pruning import prune

METHOD = HiMAP(k1=2, r1=0.5, k2=4, r2=0.5)
TIMES = {"seconds_to_first_token", "tokens_per_second"}


def question(number: int, pictures: int = 1, style: Style | None = None) -> Question:
    rng = np.random.default_rng(number)
    shown = tuple(
        Image.fromarray(rng.integers(0, 256, (IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)) for _ in range(pictures)
    )
    words = " ".join(f"w{5 + number + place}" for place in range(1 + 2 * number))
    return Question("task", number, shown, words, style or Style(max_new_tokens=5))


def without_times(given: Answer) -> tuple[str, dict[str, Any]]:
    return given.text, {name: fact for name, fact in given.facts.items() if name not in TIMES}


@pytest.mark.parametrize("method", [None, METHOD])
def test_in_a_batch_each_gets_what_it_gets_alone(method: Method | None) -> None:
    loaded = tiny_loaded()
    questions = [question(0), question(1, pictures=2), question(2, pictures=0), question(3)]
    together = answer(loaded, method, questions)
    alone = [answer(loaded, method, [each])[0] for each in questions]
    assert list(map(without_times, together)) == list(map(without_times, alone))
    assert len({each.text for each in together}) > 1


def test_the_facts_are_the_traces() -> None:
    loaded = tiny_loaded()
    asked = question(3)
    facts = answer(loaded, METHOD, [asked])[0].facts
    inputs = make_prompts(loaded.model, loaded.processor, [asked.pictures], [asked.text])
    with torch.inference_mode(), prune(loaded.model, METHOD) as trace:
        loaded.model.generate(**inputs, max_new_tokens=5, do_sample=False)
    assert facts["image_tokens"] == trace.image_tokens[:, 0].tolist()
    assert facts["flops"] == [trace.cost("flops").pruned, trace.cost("flops").dense]
    assert facts["paper"] == [trace.cost("paper").pruned, trace.cost("paper").dense]
    first = int((inputs["input_ids"][0] == 99).nonzero()[0])
    assert [first + number for number in facts["kept"]] == trace.stages[-1].kept[0].tolist()
    assert facts["input_tokens"] == inputs["input_ids"].shape[1]


def test_dense_keeps_all() -> None:
    facts = answer(tiny_loaded(), None, [question(1)])[0].facts
    assert (facts["kept"], facts["image_tokens"]) == (None, [PER_IMAGE] * LAYERS)
    assert facts["flops"][0] == facts["flops"][1]


def test_a_decoder_without_a_cost_model_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny_loaded()
    monkeypatch.setattr("visionflow.cost.shape.GATED_DENSE", frozenset())
    monkeypatch.setattr("visionflow.loading.prompts._check_image_tokens", lambda *arguments: None)
    facts = answer(loaded, METHOD, [question(1)])[0].facts
    assert (facts["paper"], facts["flops"]) == (None, None)
    assert len(facts["kept"]) == 7


def test_times_and_the_length_of_an_answer() -> None:
    loaded = tiny_loaded()
    whole = answer(loaded, None, [question(1)])[0]
    assert whole.facts["output_tokens"] == 5
    assert 0 < whole.facts["seconds_to_first_token"] < 60
    assert whole.facts["tokens_per_second"] > 0
    first = loaded.processor.tokenizer(whole.text.split()[0])["input_ids"]
    loaded.model.generation_config.eos_token_id = first[-1]  # now the answer ends with its first word
    short, long = (each.facts for each in answer(loaded, None, [question(1), question(3)]))
    assert (short["output_tokens"], short["tokens_per_second"]) == (1, None)
    assert long["output_tokens"] > 1  # filled up behind the end, the short answer is as long


def test_an_answer_ends_where_the_positions_do() -> None:
    loaded = tiny_loaded()
    loaded.model.config.text_config.max_position_embeddings = 40
    asked = question(1, style=Style(max_new_tokens=4096))
    facts = answer(loaded, None, [asked])[0].facts
    assert facts["input_tokens"] + facts["output_tokens"] == 40
    with pytest.raises(VisionFlowError, match="more than the model's 40 positions"):
        answer(loaded, None, [question(9)])


def test_styles() -> None:
    assert Style.of({"until": ["\n\n"], "temperature": 0, "top_p": 1.0, "image_aspect_ratio": "original"}) == Style()
    assert Style.of({"temperature": 0.2, "do_sample": False}).generation(room=9999) == {
        "max_new_tokens": LONGEST,
        "num_beams": 1,
        "do_sample": False,
    }
    sampled = Style.of({"do_sample": True, "temperature": 0.7, "max_new_tokens": 3})
    assert sampled.generation(room=9999) == {"max_new_tokens": 3, "num_beams": 1, "do_sample": True, "temperature": 0.7}
    assert Style.of({"until": ["ASSISTANT:", "\n\n"]}).cut(" red \n\n blue ASSISTANT: no") == "red \n\n blue"


def test_the_key_is_of_all_that_decides() -> None:
    asked = question(1)
    others = [
        question(2),
        replace(asked, text="w9"),
        replace(asked, task="other"),
        replace(asked, style=Style(max_new_tokens=6)),
        replace(asked, pictures=(Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE)),)),
    ]
    assert len({each.key for each in (asked, question(1), *others)}) == 1 + len(others)


@pytest.mark.parametrize("method", [None, METHOD])
def test_the_loss_of_a_continuation(method: Method | None) -> None:
    """That of the words themselves, after the prompt as it is run for an answer."""
    loaded = tiny_loaded()
    asked = question(2)
    written = answer(loaded, method, [replace(asked, style=Style(max_new_tokens=2))])[0].text
    mean, greedy, noted = loss(loaded, method, asked, f" {written}")
    assert greedy
    assert noted.facts["output_tokens"] == 2
    assert noted.facts["image_tokens"][-1] == (PER_IMAGE if method is None else 7)
    worse, not_greedy, _ = loss(loaded, method, asked, " w9 w8")
    assert (worse > mean, not_greedy) == (True, False)
    if method is None:
        inputs = make_prompts(loaded.model, loaded.processor, [asked.pictures], [asked.text])
        goal = torch.tensor(loaded.processor.tokenizer(written)["input_ids"])
        ids = torch.cat([inputs["input_ids"], goal[None]], dim=1)
        with torch.inference_mode():
            logits = loaded.model(input_ids=ids, pixel_values=inputs["pixel_values"]).logits[0, -3:-1]
        assert mean == pytest.approx(float(torch.nn.functional.cross_entropy(logits.float(), goal)), abs=1e-5)


def test_the_loss_of_a_model_that_names_its_cache_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny_loaded()
    expected = loss(loaded, METHOD, question(2), " w9 w8")
    rename_cache(loaded.model, monkeypatch)
    assert loss(loaded, METHOD, question(2), " w9 w8") == expected


@pytest.mark.parametrize("name", ["blip-2", "instructblip", "paddleocr_vl"])
def test_the_loss_of_models_whose_prompt_goes_on_in_another_way(name: str, tmp_path: Path) -> None:
    """It is that of all at once, also where each pass wants a picture (BLIP-2) or positions have several axes."""
    loaded = load_model(str(save(ZOO[name], KITS[name], tmp_path)), "float32")
    asked = question(2)
    mean, _, noted = loss(loaded, None, asked, " w9 w8")
    inputs = make_prompts(loaded.model, loaded.processor, [asked.pictures], [asked.text])
    goal = torch.tensor(loaded.processor.tokenizer("w9 w8", add_special_tokens=False)["input_ids"])
    ids = torch.cat([inputs.pop("input_ids"), goal[None]], dim=1)
    whole = inputs | {"attention_mask": torch.ones_like(ids)}
    if "mm_token_type_ids" in inputs:
        whole["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(goal)[None]], dim=1)
    with torch.inference_mode():
        logits = loaded.model(**whole, input_ids=ids).logits[0, -3:-1]
    assert mean == pytest.approx(float(torch.nn.functional.cross_entropy(logits, goal)), abs=1e-5)
    assert noted.facts["output_tokens"] == 2
    kept = loss(loaded, RandomPruning(1, 0.5), asked, " w9 w8")[2].facts["image_tokens"]
    assert kept[-1] < kept[0]


def test_what_a_processor_adds_for_training_is_no_part_of_a_prompt(tmp_path: Path) -> None:
    """PaliGemma's gives labels of the whole prompt, with which the model would compute a loss of its own."""
    loaded = load_model(str(save(ZOO["paligemma"], KITS["paligemma"], tmp_path)), "float32")
    assert loss(loaded, RandomPruning(1, 0.5), question(2), " w9 w8")[2].facts["output_tokens"] == 2
