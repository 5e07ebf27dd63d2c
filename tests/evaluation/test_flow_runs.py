"""Flow analyses over samples: which of them, towards which token, and with what result."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.questions import sample, samples, tiny_loaded
from visionflow.errors import VisionFlowError
from visionflow.evaluation import runner
from visionflow.evaluation.batches import inputs_of
from visionflow.evaluation.flow_runs import (
    analyse,
    analysed,
    disruption_analysis,
    effects_of,
    first_answer_tokens,
    lengths_of,
    profile_of,
    saliency_analysis,
)
from visionflow.evaluation.records import Records
from visionflow.evaluation.samples import Sample
from visionflow.flow import Disruption, saliency, sweep
from visionflow.loading.models import Loaded


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return tiny_loaded()


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "LONGEST", dict.fromkeys(runner.LONGEST, 2))


def nothing(loaded: Loaded, inputs: Any, targets: Tensor) -> list[dict[str, Any]]:
    return [{"target": int(target)} for target in targets]


def test_only_questions_that_need_the_picture_are_followed(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Right with the picture and wrong without: of four samples, one of each case."""
    asked = samples(4, "open")
    answers = {sample.id: iter(right) for sample, right in zip(asked, [(1, 0), (1, 1), (0, 1), (0, 0)], strict=True)}
    monkeypatch.setattr(Sample, "is_right", lambda sample, answer: bool(next(answers[sample.id])))
    records = analyse(loaded, asked, nothing, Records(), batch=4)
    assert [record["rows"]["flow"] is not None for record in records] == [True, False, False, False]
    assert len(analysed(records)) == 1


def test_all_are_followed_if_one_wants(loaded: Loaded) -> None:
    records = analyse(loaded, samples(3, "open"), nothing, Records(), only_visual=False, batch=2)
    assert len(analysed(records)) == 3
    assert set(records[0]["rows"]) == {"flow"}


def test_no_question_left_and_captions_are_refused(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sample, "is_right", lambda sample, answer: False)
    with pytest.raises(VisionFlowError, match="--all"):
        analysed(analyse(loaded, samples(2, "open"), nothing, Records()))
    caption = Sample(**vars(sample("open", 0)) | {"form": "caption"})
    with pytest.raises(VisionFlowError, match="caption"):
        analyse(loaded, [caption], nothing, Records())


def test_too_little_memory_is_told_with_the_way_out(loaded: Loaded) -> None:
    def hungry(*args: Any) -> list[dict[str, Any]]:
        raise torch.OutOfMemoryError

    with pytest.raises(VisionFlowError, match="out of memory on cpu: lower --batch"):
        analyse(loaded, samples(1, "open"), hungry, Records(), only_visual=False)


def test_the_answer_token_is_that_of_the_answer_behind_the_prompt(loaded: Loaded) -> None:
    asked = samples(3, "open", "choice")
    targets = first_answer_tokens(loaded, asked, inputs_of(loaded, asked))
    ids = loaded.processor.tokenizer
    assert targets.tolist() == [ids.convert_tokens_to_ids(each.gold[0]) for each in asked]
    unknown = Sample(**vars(asked[0]) | {"gold": ("green",)})
    with pytest.raises(VisionFlowError, match="no token for the answer 'green'"):
        first_answer_tokens(loaded, [unknown], inputs_of(loaded, [unknown]))


def test_profiles_and_effects_are_those_of_the_library(loaded: Loaded) -> None:
    """Whatever the batches, in the order of the samples."""
    asked = samples(3, "open")
    inputs = inputs_of(loaded, asked)
    targets = first_answer_tokens(loaded, asked, inputs)
    records = analyse(loaded, asked, saliency_analysis("logit", "paper", False), Records(), False, batch=2)
    profile = profile_of(records, "logit", "paper", False)
    expected = saliency(loaded.model, inputs, targets, objective="logit")
    torch.testing.assert_close(profile.s_vt, expected.s_vt.to(profile.s_vt), rtol=1e-5, atol=1e-9)
    assert [length["image"] for length in lengths_of(records)] == [25, 25, 25]
    blocks = [Disruption("image", "instruction", range(3)), Disruption("image", "image", [1])]
    records = analyse(loaded, asked, disruption_analysis(blocks), Records(), False, batch=2)
    for found, whole in zip(effects_of(records, blocks), sweep(loaded.model, [inputs], blocks), strict=True):
        assert found == whole
