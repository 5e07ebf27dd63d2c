"""The recipe in miniature: batches are right, a run repeats itself, and an interrupted one ends like a whole one."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlavaProcessor

from tests.checkpoint.tiny import RECIPE, TINY
from tests.exact import EXACTLY
from tests.files import limited_to
from visionflow.checkpoint import training
from visionflow.checkpoint.attention import CHUNK, NAME, Sight
from visionflow.checkpoint.build import build_model, build_processor
from visionflow.checkpoint.data import Hiding, Lessons, Teacher
from visionflow.checkpoint.learner import Learner
from visionflow.checkpoint.load import load_folder
from visionflow.checkpoint.muon import Muon, orthogonal
from visionflow.checkpoint.seen import NOTHING, SEEN, patches
from visionflow.checkpoint.sources import Drawn
from visionflow.checkpoint.tensors import IGNORED
from visionflow.checkpoint.training import INTERIM, Budget, Report, Rhythm, _go_on, train
from visionflow.errors import VisionFlowError
from visionflow.scenes import (
    CELL,
    CELLS,
    Lesson,
    course,
    draw,
    ground_at,
    lessons,
    sample_scene,
    scene_rng,
    shared_lessons,
)
from visionflow.scenes.places import bare_cells, cell_of

CHAT = 3
"""Chunks of lessons in a row of the tests."""


def stir(model: torch.nn.Module) -> None:
    """Layers that start by adding nothing would not show what they see."""
    for name, weight in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            torch.nn.init.normal_(weight, std=0.3)


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


def of_its_own(batch: Lessons, row: int, lesson: int) -> torch.Tensor:
    """Where the tokens of a lesson lie in its row."""
    return (batch.owner[row] == lesson).nonzero().flatten()


@pytest.mark.parametrize("pictures", [1, 2])
def test_every_lesson_is_what_the_processor_makes_of_its_conversation(processor: LlavaProcessor, pictures: int) -> None:
    """What is learnt from is, token for token, what generation will see; labels are answers and their end tokens."""
    teacher = Teacher(processor, CHAT, Drawn())
    batch = teacher.lessons("train", range(3), course(1.0), pictures)
    for row in range(3):
        rng = scene_rng("train", row)
        scenes = tuple(sample_scene(rng, course(1.0).between) for _ in range(pictures))
        most = CHAT * CHUNK // 13
        taught = lessons(scenes[0], rng, most, course(1.0)) if pictures == 1 else shared_lessons(scenes, rng, most)
        assert [lesson.kind for lesson in taught if lesson.kind in batch.kinds[row]][: len(batch.kinds[row])]
        fitted = 0
        for lesson in taught:
            inputs = processor(
                images=[draw(scene) for scene in scenes], text=told(processor, lesson, pictures), return_tensors="pt"
            )
            own = inputs.input_ids[0, batch.start :]
            places = of_its_own(batch, row, fitted + 1)
            if len(own) != len(places) or not torch.equal(batch.input_ids[row, places], own):
                continue  # there was no room for it
            fitted += 1
            assert torch.equal(batch.input_ids[row, : batch.start], inputs.input_ids[0, : batch.start])
            assert torch.equal(batch.position_ids[row, places], torch.arange(batch.start, batch.start + len(own)))
            labels = batch.labels[row, places]
            said = "".join(f" {turn.answer}</s>" for turn in lesson.turns)
            assert processor.tokenizer.decode(labels[labels != IGNORED]) == said
            pixels = batch.pixel_values[row * pictures : (row + 1) * pictures]
            assert torch.equal(pixels, inputs.pixel_values)
        assert fitted == len(batch.kinds[row]) > 0


def told(processor: LlavaProcessor, lesson: Lesson, pictures: int) -> str:
    chat = []
    for number, turn in enumerate(lesson.turns):
        images = [{"type": "image"}] * pictures * (number == 0)
        chat.append({"role": "user", "content": [*images, {"type": "text", "text": turn.prompt}]})
        chat.append({"role": "assistant", "content": [{"type": "text", "text": turn.answer}]})
    text: str = processor.apply_chat_template(chat)
    return text


@torch.no_grad()
def test_lessons_side_by_side_do_not_see_each_other(processor: LlavaProcessor) -> None:
    """A lesson's hidden states in its row are those of the lesson alone, under torch's own attention."""
    batch = Teacher(processor, CHAT, Drawn()).lessons("train", [7], course(1.0))
    model = build_model(TINY, processor.tokenizer).double().eval().model
    stir(model)
    model.language_model.set_attn_implementation(NAME)
    packed = model(**batch.inputs(), sight=Sight.of(batch.sees, batch.start, torch.float64)).last_hidden_state[0]
    model.language_model.set_attn_implementation("sdpa")
    assert len(batch.kinds[0]) >= 4
    for lesson in range(1, len(batch.kinds[0]) + 1):
        places = of_its_own(batch, 0, lesson)
        ids = torch.cat([batch.input_ids[:, : batch.start], batch.input_ids[:, places]], dim=1)
        alone = model(input_ids=ids, pixel_values=batch.pixel_values).last_hidden_state[0, batch.start :]
        torch.testing.assert_close(packed[places], alone, **EXACTLY)


@pytest.mark.parametrize("hiding", [Hiding(lesson=1, row=0), Hiding(lesson=0, row=1)], ids=["lesson", "row"])
@torch.no_grad()
def test_what_is_hidden_is_not_looked_at_and_what_matters_is_not_hidden(
    processor: LlavaProcessor, hiding: Hiding
) -> None:
    """Other features in the hidden patches change no lesson that they are hidden from."""
    rng = scene_rng("train", 3)
    scene = sample_scene(rng, course(1.0).between)
    taught = lessons(scene, rng, CHAT * CHUNK // 13, course(1.0))
    batch = Teacher(processor, CHAT, Drawn()).lessons("train", [3], course(1.0), 1, hiding)
    image = (batch.input_ids[0] == processor.image_token_id).nonzero().flatten()
    shown = {lesson.kind: lesson.shown.ravel() for lesson in taught}
    lost = 0
    for number, kind in enumerate(batch.kinds[0], start=1):
        sees = batch.sees[0][of_its_own(batch, 0, number)[0], image].numpy()
        lost += int((~sees).sum())
        if [lesson.kind for lesson in taught].count(kind) == 1:
            assert sees[shown[kind]].all()
    assert lost > 0


def test_patch_labels_name_what_is_on_the_patch(processor: LlavaProcessor) -> None:
    labels = patches(processor, "train", [5])
    scene = sample_scene(scene_rng("train", 5), (10, 70), signs=(0, 1, 3, 6))
    signs = {cell: (sign, letter) for sign in scene.signs for cell, letter in zip(sign.cells, sign.word, strict=True)}
    small = {cell_of(item): item for item in scene.objects if item.size == "small"}
    bare = bare_cells(scene)
    assert len(small) > 3
    assert len(signs) > 0
    for row in range(CELLS):
        for column in range(CELLS):
            place, cell = row * CELLS + column, (row, column)
            says = {name: int(getattr(labels, name)[0, place]) for name in ("row", "column", "first", *SEEN)}
            assert (says["row"], says["column"]) == cell
            if cell in signs:
                sign, letter = signs[cell]
                assert SEEN["letter"][says["letter"]] == letter
                assert (SEEN["shape"][says["shape"]], SEEN["colour"][says["colour"]]) == ("sign", sign.colour)
            elif cell in small:
                item = small[cell]
                assert all(
                    SEEN[name][says[name]] == getattr(item, name) for name in ("shape", "colour", "size", "mark")
                )
                assert says["first"] == 1
            elif cell in bare:
                assert SEEN["shape"][says["shape"]] == NOTHING
                assert SEEN["ground"][says["ground"]] == ground_at(scene.grounds, row, column)
                assert says["mark"] == IGNORED
    assert int((labels.first == 1).sum()) == len(scene.objects)


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
    assert [row["right"] is not None for row in curve] == [False, True, False, True]
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
    torch.testing.assert_close(after[name], before[name], rtol=0, atol=0.02)  # it goes on learning from where it was
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


def test_a_run_goes_on_from_its_interim_checkpoint(tmp_path: Path) -> None:
    """From its step, its phase, its weights (in bf16) and its vocabulary, though lessons have new words by then."""
    train(tmp_path / "first", RECIPE, Budget(steps=3))
    file = tmp_path / "first" / INTERIM
    learner = Learner(RECIPE, torch.device("cpu"))
    so_far = _go_on(file, learner)
    assert so_far.step == 3
    assert so_far.processor > 0
    assert learner.phase == "language"
    state = torch.load(tmp_path / "first" / "state.pt", weights_only=True)
    assert learner.vocabulary() == state["tokenizer"]
    for name, weight in learner.model.state_dict().items():
        assert torch.equal(weight, state["model"][name].bfloat16().float()), name
    train(tmp_path / "second", replace(RECIPE, meant_weight=0.1), Budget(steps=5), interim=file)
    curve = [json.loads(line) for line in (tmp_path / "second" / "curve.jsonl").read_text().splitlines()]
    assert [line["step"] for line in curve] == [4, 5]
    assert curve[0]["processor"] > so_far.processor


def test_a_file_that_is_no_interim_checkpoint_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with pytest.raises(VisionFlowError, match="no such file"):
        train(tmp_path / "run", RECIPE, Budget(steps=1), interim=file)
    file.write_bytes(b"nothing of it")
    with pytest.raises(
        VisionFlowError, match=r"no interim checkpoint of a training run: give its interim\.safetensors"
    ):
        train(tmp_path / "run", RECIPE, Budget(steps=1), interim=file)
    train(tmp_path / "first", RECIPE, Budget(steps=1))
    larger = replace(RECIPE, geometry=replace(TINY, text_layers=3))
    with pytest.raises(VisionFlowError, match="other sizes"):
        train(tmp_path / "run", larger, Budget(steps=1), interim=tmp_path / "first" / INTERIM)


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
    with pytest.raises(VisionFlowError, match="not from both"):
        train(tmp_path / "new", RECIPE, Budget(steps=1), start=tmp_path, interim=tmp_path)
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
