"""The recipe in miniature: batches are right, a run repeats itself, and an interrupted one ends like a whole one."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlavaProcessor

from visionflow.checkpoint.build import Geometry, build_processor
from visionflow.checkpoint.data import IGNORED, as_chat, conversations, draw_scenes, patches
from visionflow.checkpoint.learner import Recipe
from visionflow.checkpoint.load import load_folder
from visionflow.checkpoint.training import Budget, Report, Rhythm, train
from visionflow.errors import VisionFlowError
from visionflow.scenes import COLOURS, draw, questions, sample_scene, scene_rng

TINY = Geometry(
    vision_width=16,
    vision_layers=1,
    vision_heads=2,
    vision_mlp=16,
    text_width=16,
    text_layers=2,
    text_heads=2,
    text_kv_heads=1,
    text_head_width=8,
    text_mlp=16,
)
RECIPE = Recipe(geometry=TINY, tower_pictures=2, pictures=2, turns=2, tower_share=0.5, validation_pictures=2)


@pytest.fixture(scope="module")
def processor() -> LlavaProcessor:
    return build_processor(TINY)


def test_the_processor_makes_one_token_per_patch_and_the_prompt_of_llava(processor: LlavaProcessor) -> None:
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "How many objects are there?"}]}]
    prompt = processor.apply_chat_template(chat, add_generation_prompt=True)
    assert prompt.endswith("USER: <image>\nHow many objects are there? ASSISTANT:")
    assert len(prompt.split("USER:")[0]) > 10
    wide = draw(sample_scene(scene_rng("test", 0), width=160, height=96), scale=3)
    inputs = processor(images=wide, text=prompt, return_tensors="pt")
    assert inputs.pixel_values.shape == (1, 3, 96, 96)
    assert int((inputs.input_ids == processor.image_token_id).sum()) == 144
    assert inputs.input_ids[0, 0] == processor.tokenizer.bos_token_id


@pytest.mark.parametrize("text", ["¿Cuántos?", "数える", "\x00\t🙂", "HOW MANY??", "<image", ""])
def test_any_text_survives_the_tokenizer(processor: LlavaProcessor, text: str) -> None:
    ids = processor.tokenizer.encode(text, add_special_tokens=False)
    assert processor.tokenizer.decode(ids) == text


def test_training_rows_are_what_the_processor_makes_of_the_prompt(processor: LlavaProcessor) -> None:
    """What is learnt from is, token for token, what generation will see; labels are answers and their end tokens."""
    batch = conversations(processor, draw_scenes("train", range(3)), turns=3, longest=1000)
    pixels = patches(processor, draw_scenes("train", range(3))).pixel_values
    for row, index in enumerate(range(3)):
        rng = scene_rng("train", index)
        scene = sample_scene(rng)
        picture = draw(scene)
        asked = questions(scene, rng, 3)
        prompt = processor.apply_chat_template(as_chat(asked[:1])[:1], add_generation_prompt=True)
        inputs = processor(images=picture, text=prompt, return_tensors="pt")
        length = inputs.input_ids.shape[1]
        assert torch.equal(batch.input_ids[row, :length], inputs.input_ids[0])
        assert torch.equal(pixels[row], inputs.pixel_values[0])
        assert (batch.labels[row, :length] == IGNORED).all()
        answered = batch.labels[row, length:]
        said = processor.tokenizer.decode(answered[answered != IGNORED])
        assert said.startswith(f" {asked[0].answer}</s>")
        assert said.count("</s>") in (2, 3)


def test_patch_labels_name_the_object_on_the_patch(processor: LlavaProcessor) -> None:
    labels = patches(processor, draw_scenes("train", [5]))
    scene = sample_scene(scene_rng("train", 5))
    for item in scene.objects:
        at = int(item.y // 8) * 12 + int(item.x // 8)
        assert int(labels.row[0, at]) == int(item.y // 8)
        assert int(labels.column[0, at]) == int(item.x // 8)
        assert int(labels.colour[0, at]) == list(COLOURS).index(item.colour)
    ground = labels.row[0] == IGNORED
    assert (labels.colour[0][ground] == len(COLOURS)).all()
    assert ground.float().mean() > 0.5


def test_an_interrupted_run_ends_like_a_whole_one(tmp_path: Path) -> None:
    """The interruption falls in the second phase, so that phase, optimiser and data position all must come back."""
    budget = Budget(steps=4)
    whole = train(tmp_path / "whole", RECIPE, budget, rhythm=Rhythm(validate=2, save=100))

    def stop(report: Report) -> None:
        if report.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", RECIPE, budget, on_step=stop)
    resumed = train(tmp_path / "cut", RECIPE, budget, resume=True)
    first, second = (torch.load(folder.parent / "state.pt", weights_only=True) for folder in (whole, resumed))
    assert first["step"] == second["step"] == 4
    assert first["phase"] == second["phase"] == "whole"
    for name, weight in first["model"].items():
        assert torch.equal(weight, second["model"][name]), name
    curve = [json.loads(line) for line in (whole.parent / "curve.jsonl").read_text().splitlines()]
    assert [row["phase"] for row in curve] == ["tower", "tower", "whole", "whole"]
    assert [row["accuracy"] is not None for row in curve] == [False, True, False, True]
    again = [json.loads(line) for line in (resumed.parent / "curve.jsonl").read_text().splitlines()]
    assert [row["loss"] for row in again] == [row["loss"] for row in curve]

    model, processor = load_folder(resumed)
    picture = draw(sample_scene(scene_rng("test", 0)))
    inputs = processor(images=picture, text="<image>\nWhat?", return_tensors="pt")
    assert np.isfinite(model(**inputs).logits.detach().numpy()).all()


def test_runs_that_cannot_start_say_why(tmp_path: Path) -> None:
    with pytest.raises(VisionFlowError, match="nothing to resume"):
        train(tmp_path, RECIPE, Budget(steps=1), resume=True)
    (tmp_path / "state.pt").touch()
    with pytest.raises(VisionFlowError, match="already holds"):
        train(tmp_path, RECIPE, Budget(steps=1))
    with pytest.raises(VisionFlowError, match="either a number of steps or"):
        Budget(steps=1, minutes=1)
    with pytest.raises(VisionFlowError, match="at least one step"):
        Budget(steps=0)
    with pytest.raises(VisionFlowError, match="holds no model"):
        load_folder(tmp_path)
