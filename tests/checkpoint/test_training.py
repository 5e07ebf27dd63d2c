"""The recipe in miniature: batches are right, a run repeats itself, and an interrupted one ends like a whole one."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlavaProcessor

from tests.exact import EXACTLY
from tests.files import limited_to
from visionflow.checkpoint import training
from visionflow.checkpoint.build import Geometry, build_model, build_processor
from visionflow.checkpoint.data import IGNORED, SEEN, Teacher, patches
from visionflow.checkpoint.learner import Learner, Recipe
from visionflow.checkpoint.load import load_folder
from visionflow.checkpoint.muon import Muon, orthogonal
from visionflow.checkpoint.training import Budget, Report, Rhythm, train
from visionflow.errors import VisionFlowError
from visionflow.scenes import CELL, CELLS, COLOURS, FEW, MANY, draw, lessons, sample_scene, scene_rng

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
RECIPE = Recipe(
    geometry=TINY, tower_pictures=2, pictures=2, length=256, drills=4, meant_layers=1, tower_share=0.5,
    validation_pictures=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def processor() -> LlavaProcessor:
    return build_processor(TINY)


def test_the_processor_makes_one_token_per_patch_and_the_prompt_of_llava(processor: LlavaProcessor) -> None:
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "How many objects are there?"}]}]
    prompt = processor.apply_chat_template(chat, add_generation_prompt=True)
    assert prompt.endswith("USER: <image>\nHow many objects are there? ASSISTANT:")
    assert len(prompt.split("USER:")[0]) > 10
    wide = draw(sample_scene(scene_rng("test", 0), columns=CELLS + 4), scale=3)
    inputs = processor(images=wide, text=prompt, return_tensors="pt")
    assert inputs.pixel_values.shape == (1, 3, CELL * CELLS, CELL * CELLS)
    assert int((inputs.input_ids == processor.image_token_id).sum()) == CELLS**2
    assert inputs.input_ids[0, 0] == processor.tokenizer.bos_token_id


@pytest.mark.parametrize("text", ["¿Cuántos?", "数える", "\x00\t🙂", "HOW MANY??", "<image", ""])
def test_any_text_survives_the_tokenizer(processor: LlavaProcessor, text: str) -> None:
    ids = processor.tokenizer.encode(text, add_special_tokens=False)
    assert processor.tokenizer.decode(ids) == text


def test_every_lesson_is_what_the_processor_makes_of_its_prompt(processor: LlavaProcessor) -> None:
    """What is learnt from is, token for token, what generation will see; labels are answers and their end tokens."""
    teacher = Teacher(processor, 512)
    batch = teacher.lessons("train", range(3))
    for row in range(3):
        rng = scene_rng("train", row)
        scene = sample_scene(rng, (FEW[0], MANY[1]))
        at = len(teacher.picture)
        for lesson in lessons(scene, rng, (512 - at) // 12):
            chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": lesson.prompt}]}]
            chat += [{"role": "assistant", "content": [{"type": "text", "text": lesson.answer}]}]
            inputs = processor(images=draw(scene), text=processor.apply_chat_template(chat), return_tensors="pt")
            own = inputs.input_ids[0, len(teacher.picture) :]
            if at + len(own) > 512:
                break
            assert torch.equal(
                batch.input_ids[row, : len(teacher.picture)], inputs.input_ids[0, : len(teacher.picture)]
            )
            assert torch.equal(batch.input_ids[row, at : at + len(own)], own)
            assert torch.equal(batch.pixel_values[row], inputs.pixel_values[0])
            labels = batch.labels[row, at : at + len(own)]
            assert processor.tokenizer.decode(labels[labels != IGNORED]) == f" {lesson.answer}</s>"
            at += len(own)
        assert (batch.labels[row, at:] == IGNORED).all()


@torch.no_grad()
def test_lessons_side_by_side_do_not_see_each_other(processor: LlavaProcessor) -> None:
    """A lesson's hidden states in the packed row are those of the lesson alone: same positions, nothing leaks."""
    teacher = Teacher(processor, 400)
    batch = teacher.lessons("train", [7])
    model = build_model(TINY, processor.tokenizer).double().eval().model
    packed = model(
        input_ids=batch.input_ids,
        pixel_values=batch.pixel_values,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
    ).last_hidden_state[0]
    shared = len(teacher.picture)
    starts = (batch.position_ids[0] == shared).nonzero().flatten().tolist()
    assert len(starts) >= 4
    for start, end in pairwise(starts):
        ids = torch.cat([batch.input_ids[:, :shared], batch.input_ids[:, start:end]], dim=1)
        alone = model(input_ids=ids, pixel_values=batch.pixel_values).last_hidden_state[0, shared:]
        torch.testing.assert_close(packed[start:end], alone, **EXACTLY)


def test_patch_labels_name_the_object_on_the_patch(processor: LlavaProcessor) -> None:
    labels = patches(processor, "train", [5])
    scene = sample_scene(scene_rng("train", 5), (10, 90))
    top = {(int(item.y // CELL), int(item.x // CELL)): item for item in scene.objects if item.size == "small"}
    assert len(top) > 3
    for (row, column), item in top.items():
        at = row * CELLS + column
        assert int(labels.row[0, at]) == row
        assert int(labels.column[0, at]) == column
        for name, words in SEEN.items():
            assert words[int(getattr(labels, name)[0, at])] == getattr(item, name)
    ground = labels.row[0] == IGNORED
    assert (labels.colour[0][ground] == len(COLOURS)).all()
    assert (labels.mark[0][ground] == IGNORED).all()


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
    assert first["phase"] == second["phase"] == "language"
    for name, weight in first["model"].items():
        assert torch.equal(weight, second["model"][name]), name
    curve = [json.loads(line) for line in (whole.parent / "curve.jsonl").read_text().splitlines()]
    assert [row["phase"] for row in curve] == ["tower", "tower", "language", "language"]
    assert [row["accuracy"] is not None for row in curve] == [False, True, False, True]
    again = [json.loads(line) for line in (resumed.parent / "curve.jsonl").read_text().splitlines()]
    assert [row["loss"] for row in again] == [row["loss"] for row in curve]

    model, processor = load_folder(resumed)
    picture = draw(sample_scene(scene_rng("test", 0)))
    inputs = processor(images=picture, text="<image>\nWhat?", return_tensors="pt")
    assert np.isfinite(model(**inputs).logits.detach().numpy()).all()


@pytest.mark.parametrize("rhythm", [Rhythm(), Rhythm(save=2)], ids=["before its first checkpoint", "after it"])
def test_a_killed_run_logs_no_step_twice(rhythm: Rhythm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is saved any more, and the last line may be half a line."""
    curve = tmp_path / "curve.jsonl"

    def kill(report: Report) -> None:
        if report.step == 3:
            monkeypatch.setattr(training, "_save", lambda *args: None)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, RECIPE, Budget(steps=4), rhythm=rhythm, on_step=kill)
    monkeypatch.undo()
    curve.write_text(curve.read_text() + '{"step": 4, "pha')
    train(tmp_path, RECIPE, Budget(steps=4), resume=(tmp_path / "state.pt").exists())
    assert [json.loads(line)["step"] for line in curve.read_text().splitlines()] == [1, 2, 3, 4]


@pytest.mark.slow
def test_a_run_can_start_from_a_finished_model(tmp_path: Path) -> None:
    """No tower phase then; other sizes are refused, because the weights would not fit."""
    first = train(tmp_path / "first", RECIPE, Budget(steps=2))
    second = train(tmp_path / "second", RECIPE, Budget(steps=1), start=first)
    curve = [json.loads(line) for line in (second.parent / "curve.jsonl").read_text().splitlines()]
    assert [row["phase"] for row in curve] == ["language"]
    tower = "model.vision_tower.encoder.layers.0.mlp.fc1.weight"
    before, after = (load_folder(folder)[0].state_dict() for folder in (first, second))
    name = next(name for name in before if name.endswith(tower.removeprefix("model.")))
    assert torch.equal(before[name], after[name])
    assert not torch.equal(before["lm_head.weight"], after["lm_head.weight"])
    with pytest.raises(VisionFlowError, match="other sizes"):
        train(tmp_path / "third", replace(RECIPE, geometry=replace(TINY, text_layers=3)), Budget(steps=1), start=first)
    assert not (tmp_path / "third").exists()


@pytest.mark.slow
def test_an_interrupted_run_from_a_finished_model_ends_like_a_whole_one(tmp_path: Path) -> None:
    first = train(tmp_path / "first", RECIPE, Budget(steps=1))
    budget = Budget(steps=3)
    whole = train(tmp_path / "whole", RECIPE, budget, start=first)

    def stop(report: Report) -> None:
        if report.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", RECIPE, budget, start=first, on_step=stop)
    resumed = train(tmp_path / "cut", RECIPE, budget, start=first, resume=True)
    one, other = (torch.load(folder.parent / "state.pt", weights_only=True) for folder in (whole, resumed))
    assert one["step"] == other["step"] == 3
    for name, weight in one["model"].items():
        assert torch.equal(weight, other["model"][name]), name


def test_a_learner_that_adopts_a_model_trains_that_model(tmp_path: Path) -> None:
    """Optimisers of the model before it would step, and nothing would be learnt."""
    learner = Learner(RECIPE, torch.device("cpu"))
    learner.adopt(train(tmp_path, RECIPE, Budget(steps=1)))
    before = learner.model.lm_head.weight.detach().clone()
    learner.step(0, 0.5)
    assert learner.phase == "language"
    assert not torch.equal(learner.model.lm_head.weight, before)


def test_runs_that_cannot_start_say_why(tmp_path: Path) -> None:
    with pytest.raises(VisionFlowError, match="nothing to resume"):
        train(tmp_path / "new", RECIPE, Budget(steps=1), resume=True)
    with pytest.raises(VisionFlowError, match=r"no model\.safetensors"):
        train(tmp_path / "new", RECIPE, Budget(steps=1), start=tmp_path)
    assert not (tmp_path / "new").exists()
    (tmp_path / "state.pt").touch()
    with pytest.raises(VisionFlowError, match="already holds"):
        train(tmp_path, RECIPE, Budget(steps=1))
    with pytest.raises(VisionFlowError, match="either a number of steps or"):
        Budget(steps=1, minutes=1)
    with pytest.raises(VisionFlowError, match="at least one step"):
        Budget(steps=0)
    with pytest.raises(VisionFlowError, match="holds no model"):
        load_folder(tmp_path)


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    torch.save({"step": 3}, tmp_path / "state.pt")
    with pytest.raises(VisionFlowError, match=r"state\.pt is damaged, or no training state: delete it and train again"):
        train(tmp_path, RECIPE, Budget(steps=1), resume=True)


def test_a_disk_that_fills_up_in_a_state_leaves_nothing_of_it(tmp_path: Path) -> None:
    with (
        limited_to(40_000),
        pytest.raises(VisionFlowError, match=r"cannot write in .* \(.*\): make room and train again"),
    ):
        train(tmp_path, RECIPE, Budget(steps=1))
    assert sorted(file.name for file in tmp_path.iterdir()) == [".state.pt.lock", "curve.jsonl"]


@pytest.mark.parametrize("full", ["curve.jsonl", "state.partial", "model/tokenizer.json"])
def test_a_full_disk_is_one_sentence(tmp_path: Path, full: str) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    (tmp_path / full).parent.mkdir(exist_ok=True)
    (tmp_path / full).symlink_to("/dev/full")
    way_on = "train again" if full == "state.partial" else "resume from"
    with pytest.raises(VisionFlowError, match=rf"cannot write in .*No space left on device.*: make room and {way_on}"):
        train(tmp_path, RECIPE, Budget(steps=1))


def test_muon_steps_along_the_singular_vectors() -> None:
    """Newton-Schulz leaves the vectors and brings every singular value near 1, tall and wide matrices alike."""
    generator = torch.Generator().manual_seed(0)
    for shape in ((24, 60), (60, 24)):
        matrix = torch.randn(shape, generator=generator)
        left, _, right = torch.linalg.svd(matrix, full_matrices=False)
        turned = left.T @ orthogonal(matrix) @ right.T
        values = turned.diagonal()
        assert (values > 0.6).all()
        assert (values < 1.3).all()
        assert (turned - values.diag()).abs().max() < 1e-4


def test_muon_moves_a_weight_by_the_learning_rate_and_keeps_its_momentum() -> None:
    weight = torch.nn.Parameter(torch.eye(4))
    optimiser = Muon([weight], lr=0.1)
    weight.grad = torch.eye(4)
    optimiser.step()
    moved = torch.eye(4) - weight.detach()
    assert torch.allclose(moved, moved[0, 0] * torch.eye(4), atol=1e-6)
    assert 0.6 < float(moved[0, 0]) / (0.1 * 0.2 * 4**0.5) < 1.3
    assert torch.allclose(optimiser.state[weight]["momentum"], 0.05 * torch.eye(4))
