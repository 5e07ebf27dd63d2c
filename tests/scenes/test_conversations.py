"""Items of two pictures or several turns: the same again, dealt out evenly, and the same through a file."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from visionflow.evaluation.batches import inputs_of, relevant_tokens
from visionflow.evaluation.datafile import suite_in
from visionflow.loading.models import load_model
from visionflow.scenes import CELLS, draw
from visionflow.scenes.conversations import CONVERSATIONS, sample_conversation
from visionflow.scenes.export import export, rows_of


@pytest.mark.parametrize("task", CONVERSATIONS)
def test_an_item_is_the_same_again_and_in_every_split_another(task: str) -> None:
    scenes = [sample_conversation(task, split, 5)[0] for split in ("train", "validation", "test")]
    assert len({several[0].background.seed for several in scenes}) == 3
    again, lesson = sample_conversation(task, "test", 5)
    assert again == scenes[2]
    assert lesson.turns == sample_conversation(task, "test", 5)[1].turns


@pytest.mark.parametrize("task", CONVERSATIONS)
def test_kinds_are_dealt_out_and_answers_are_not_guessed_by_one_word(task: str) -> None:
    items = [sample_conversation(task, "test", number) for number in range(36)]
    kinds = Counter(lesson.kind for _, lesson in items)
    assert kinds == dict.fromkeys(CONVERSATIONS[task], 36 // len(CONVERSATIONS[task]))
    assert max(Counter(lesson.turns[-1].answer for _, lesson in items).values()) < 18
    for scenes, lesson in items:
        assert lesson.shown.shape == (len(scenes), CELLS, CELLS)
        assert (len(scenes), len(lesson.turns) > 1) == ((2, False) if task == "pair" else (1, True))


def test_a_file_holds_pictures_and_turns_and_a_model_is_asked_them(tmp_path: Path) -> None:
    """What is held here is the prompt, and where its answer lies."""
    pytest.importorskip("datasets")
    path = tmp_path / "talks.parquet"
    export((row for task in CONVERSATIONS for row in rows_of(task, "test", 2)), path)
    suite, loaded = suite_in(path), load_model()
    for task in CONVERSATIONS:
        samples = suite.samples(2, [task])
        for number, sample in enumerate(samples):
            scenes, lesson = sample_conversation(task, "test", number)
            said = [(turn.prompt, turn.answer) for turn in lesson.turns]
            assert [*zip(sample.before[::2], sample.before[1::2], strict=True), (sample.prompt, *sample.gold)] == said
            for picture, scene in zip(sample.images(), scenes, strict=True):
                assert np.array_equal(np.asarray(picture), np.asarray(draw(scene)))
            assert sample.relevant is not None
            assert np.array_equal(sample.relevant(CELLS), lesson.shown.squeeze())
        inputs = inputs_of(loaded, samples)
        text = loaded.processor.decode(inputs["input_ids"][0], skip_special_tokens=False)
        asked = [turn.prompt for turn in sample_conversation(task, "test", 0)[1].turns]
        assert text.index("<image>") < min(text.index(each) for each in asked)
        assert [text.index(each) for each in asked] == sorted(text.index(each) for each in asked)
        relevant = relevant_tokens(loaded.model, samples)
        image = inputs["input_ids"] == loaded.model.config.image_token_id
        assert relevant is not None
        assert relevant.shape[1] == int(image[0].sum())
