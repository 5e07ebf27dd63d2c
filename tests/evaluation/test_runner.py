"""The runner: the model's own answers, whatever the batch, and runs that go on where they were interrupted."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.questions import samples, tiny_loaded
from tests.tiny import LAYERS, PER_IMAGE
from visionflow.answering import answers
from visionflow.cost import DecoderShape, cost_of
from visionflow.errors import VisionFlowError
from visionflow.evaluation import runner
from visionflow.evaluation.batches import batches_of, check_prompts, inputs_of
from visionflow.evaluation.oracle import Oracle
from visionflow.evaluation.records import RECORDS, Records
from visionflow.evaluation.rows import Configuration, chosen_rows, seeing, table_rows
from visionflow.evaluation.run import fingerprint
from visionflow.evaluation.runner import check_rows, evaluate
from visionflow.evaluation.samples import Sample
from visionflow.evaluation.suites import SUITES, suite_called
from visionflow.loading.models import Loaded
from visionflow.loading.prompts import make_prompt
from visionflow.store import RUN

ROWS = chosen_rows(table_rows(LAYERS), ["oracle", "random-steps", "himap-paid", "fastv-average", "vtw", "no-image"])
NEW_TOKENS = 4


@pytest.fixture(scope="module", autouse=True)
def short_answers() -> Iterator[None]:
    """Random weights never end a sentence."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "LONGEST", dict.fromkeys(runner.LONGEST, NEW_TOKENS))
        yield


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return tiny_loaded()


@pytest.fixture(scope="module")
def asked() -> list[Sample]:
    return samples(3, "choice", "open")


@pytest.fixture(scope="module")
def whole(loaded: Loaded, asked: list[Sample]) -> list[dict[str, Any]]:
    return evaluate(loaded, asked, ROWS, Records(), batch=4)


def described(rows: Sequence[Configuration] = ROWS) -> dict[str, Any]:
    return {"suite": "tiny", "limit": 10, "rows": {row.name: row.settings for row in rows}}


def test_what_a_method_decided_is_recorded_and_costed_for_each_sample(loaded: Loaded, asked: list[Sample]) -> None:
    rows = chosen_rows(table_rows(LAYERS), ["visipruner"])
    for together, sample in zip(evaluate(loaded, asked, rows, Records(), batch=4), asked, strict=True):
        [alone] = evaluate(loaded, [sample], rows, Records())
        assert together["rows"]["visipruner"]["flops"] == alone["rows"]["visipruner"]["flops"]
        decided = together["rows"]["visipruner"]["decided"]
        assert decided["firing_layer"] == alone["rows"]["visipruner"]["decided"]["firing_layer"]
        assert len(decided["kept"]) == len(decided["norm"])
        dense = together["rows"]["dense"]
        assert "decided" not in dense
        assert together["rows"]["visipruner"]["paper"] < dense["paper"] or decided["firing_layer"] is None


def test_the_dense_row_is_the_model_itself(loaded: Loaded, asked: list[Sample], whole: list[dict[str, Any]]) -> None:
    for sample, record in zip(asked, whole, strict=True):
        inputs = make_prompt(loaded.model, loaded.processor, sample.images(), sample.prompt)
        with torch.inference_mode():
            tokens = loaded.model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
        said = loaded.processor.tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        assert record["rows"]["dense"]["answer"] == said.strip()
        assert record["rows"]["dense"]["image_tokens"] == [PER_IMAGE] * LAYERS
    assert len({record["rows"]["dense"]["answer"] for record in whole}) > 1


def test_rows_differ(whole: list[dict[str, Any]]) -> None:
    """A runner that forgot to prune would give every row the dense answers."""
    for row in ("vtw", "random-steps", "no-image"):
        assert any(record["rows"][row]["answer"] != record["rows"]["dense"]["answer"] for record in whole)


def test_the_batch_does_not_change_a_record(loaded: Loaded, asked: list[Sample], whole: list[dict[str, Any]]) -> None:
    assert evaluate(loaded, asked, ROWS, Records(), batch=1) == whole


def test_a_record_says_what_was_kept_and_what_it_cost(loaded: Loaded, whole: list[dict[str, Any]]) -> None:
    facts = whole[2]["rows"]
    assert facts["himap-paid"]["image_tokens"] == [25, 13, 13, 4, 4, 4]
    assert facts["vtw"]["image_tokens"] == [25] * 3 + [0] * 3
    assert facts["no-image"]["image_tokens"] == [0] * LAYERS
    shape = DecoderShape.from_config(loaded.model.config)
    # "<s> USER: <image> w w w ASSISTANT:", of which four tokens come after the picture
    by_hand = {"text_tokens": 6, "instruction_tokens": 4, "image_tokens": PER_IMAGE}
    for row in ROWS:
        if row.method is not None and not isinstance(row.method, Oracle):
            for convention in ("paper", "flops"):
                assert facts[row.name][convention] == cost_of(row.method, shape, convention, **by_hand).pruned


def test_a_caption_is_right_where_it_names_exactly_what_is_there(
    loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a caption of an older version, which was marked otherwise and did not say what to name, too."""
    asked = [SUITES["scenes"].sample("caption", 0)]
    there = list(asked[0].objects)
    rows = table_rows(LAYERS)[:1]
    said = f"a {' and a '.join([*there, there[0]])}"  # one of them too often
    monkeypatch.setattr(runner, "answers", lambda *args, **kept: answers(*args, **kept)._replace(texts=[said]))
    [record] = evaluate(loaded, asked, rows, Records(tmp_path, described(rows), asked))
    assert (record["objects"], record["rows"]["dense"]["right"]) == (there, False)
    lines = (tmp_path / RECORDS).read_text()
    old = {name: value for name, value in json.loads(lines).items() if name != "objects"}
    old["rows"]["dense"]["right"] = True
    (tmp_path / RECORDS).write_text(json.dumps(old) + "\n")
    assert evaluate(loaded, asked, rows, Records(tmp_path, described(rows), asked)) == [record]


def test_a_decoder_without_a_cost_model_is_evaluated(
    loaded: Loaded, asked: list[Sample], whole: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answers and tokens are what they are; its costs are None, not a number and not a refusal."""
    monkeypatch.setattr("visionflow.cost.shape.GATED_DENSE", frozenset())
    check_rows(loaded.model, asked, ROWS)
    for record, costed in zip(evaluate(loaded, asked, ROWS, Records(), batch=4), whole, strict=True):
        unknown = {"paper": None, "flops": None}
        assert record["rows"] == {name: facts | unknown for name, facts in costed["rows"].items()}


def test_a_record_says_which_tokens_were_kept(asked: list[Sample], whole: list[dict[str, Any]]) -> None:
    for sample, record in zip(asked, whole, strict=True):
        assert sample.relevant is not None
        assert record["relevant"] == sample.relevant(5).ravel().nonzero()[0].tolist()
        assert record["rows"]["oracle"]["kept"] == record["relevant"]
        assert record["rows"]["dense"]["kept"] == list(range(PER_IMAGE))
        assert record["rows"]["vtw"]["kept"] == record["rows"]["no-image"]["kept"] == []
        for facts in record["rows"].values():
            assert len(facts["kept"]) == facts["image_tokens"][-1]


def test_without_the_picture_there_are_no_image_tokens(loaded: Loaded, asked: list[Sample]) -> None:
    rows = seeing(table_rows(LAYERS)[:2], "none")
    for record in evaluate(loaded, asked[:2], rows, Records()):
        assert all(facts["image_tokens"] == [0] * LAYERS for facts in record["rows"].values())
    grey = evaluate(loaded, asked[:3], seeing(table_rows(LAYERS)[:1], "grey"), Records())
    seen = evaluate(loaded, asked[:3], table_rows(LAYERS)[:1], Records())
    assert [each["rows"]["dense"]["image_tokens"] for each in grey] == [[PER_IMAGE] * LAYERS] * 3
    assert grey != seen


def test_batches_are_of_one_task(loaded: Loaded, asked: list[Sample]) -> None:
    several = list(batches_of(asked, 2))
    assert [[sample.id for sample in each] for each in several] == [
        ["choice-0", "choice-1"],
        ["choice-2"],
        ["open-0", "open-1"],
        ["open-2"],
    ]
    inputs = inputs_of(loaded, several[0])
    lengths = [make_prompt(loaded.model, loaded.processor, each.images(), each.prompt) for each in several[0]]
    assert inputs["attention_mask"].sum(1).tolist() == [each["input_ids"].shape[1] for each in lengths]
    assert inputs["attention_mask"][:, -1].all()  # padded on the left


def test_an_interrupted_run_goes_on_and_ends_the_same(
    loaded: Loaded, asked: list[Sample], whole: list[dict[str, Any]], tmp_path: Path
) -> None:
    class Interrupted(Exception):
        pass

    def stop(task: str, done: int) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        evaluate(loaded, asked, ROWS, Records(tmp_path / "run", described(), asked), 2, stop)
    file = tmp_path / "run" / RECORDS
    lines = file.read_text().splitlines(keepends=True)
    assert len(lines) == 2
    file.write_text(lines[0] + lines[1][:40])  # the second was only half written
    records = Records(tmp_path / "run", described(), asked)
    assert list(records.known) == ["choice-0"]
    assert evaluate(loaded, asked, ROWS, records, 4) == whole
    on_disk = Records(tmp_path / "run", described(), asked).known
    assert [on_disk[sample.id] for sample in asked] == whole


@pytest.fixture
def folder(tmp_path: Path, asked: list[Sample], whole: list[dict[str, Any]]) -> Path:
    """A finished run."""
    Records(tmp_path / "run", described(), asked).add(whole)
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"suite": "other"}, "whose suite is tiny, not other"),
        ({"limit": 20}, "whose limit is 10, not 20"),
        ({"rows": {"dense": "no pruning"}}, "whose row oracle is Oracle"),
        ({"weights": "abc"}, "whose weights is absent, not abc"),
    ],
)
def test_the_folder_of_another_run_is_refused(
    folder: Path, asked: list[Sample], change: dict[str, Any], message: str
) -> None:
    refused(folder, asked, message, described() | change)


def test_damage_is_refused(folder: Path, asked: list[Sample], tmp_path: Path) -> None:
    lines = (folder / RECORDS).read_text().splitlines(keepends=True)
    damages = {
        "damaged in line 2": [lines[0], lines[1][:50] + "\n", *lines[2:]],
        "damaged in line 3": [lines[0], lines[1], lines[0]],
        "damaged in line 1": ["[]\n", *lines],
        "line 2 .* does not ask": [lines[0], lines[1].replace("choice-1", "choice-77")],
        "line 1 .* does not ask": [lines[0].replace('"gold": ["A"]', '"gold": ["B"]')],
        "damaged in line 4": [*lines[:3], lines[3].replace('"vtw"', '"wtv"')],
    }
    for message, content in damages.items():
        (folder / RECORDS).write_text("".join(content))
        refused(folder, asked, message)


@pytest.mark.parametrize("row", [[], 3, "A", None, {}, {"answer": "A", "right": "yes", "kept": []}], ids=repr)
def test_rows_that_are_no_answers_are_damage(folder: Path, asked: list[Sample], row: object) -> None:
    """Every line is, and they are refused as one."""
    records = [json.loads(line) for line in (folder / RECORDS).read_text().splitlines()]
    for record in records:
        record["rows"]["dense"] = row
    (folder / RECORDS).write_text("".join(json.dumps(record) + "\n" for record in records))
    refused(folder, asked, "damaged in lines 1-6: put the file back, delete them, or")


def test_missing_files_are_refused(folder: Path, asked: list[Sample], tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "b")
    (folder / RECORDS).unlink()
    refused(folder, asked, "records.jsonl is missing")
    (tmp_path / "b" / RUN).unlink()
    refused(tmp_path / "b", asked, "is there without run.json")
    (tmp_path / "b" / RUN).write_text('{"suite": ')
    refused(tmp_path / "b", asked, "run.json is damaged")
    (tmp_path / "file").write_text("mine")
    refused(tmp_path / "file", asked, "cannot keep results in")


def refused(folder: Path, asked: list[Sample], message: str, run: dict[str, Any] | None = None) -> None:
    """With one sentence, and nothing is changed."""
    before = contents(folder)
    with pytest.raises(VisionFlowError, match=message) as refusal:
        Records(folder, run or described(), asked)
    assert "\n" not in str(refusal.value)
    assert contents(folder) == before


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in ([folder] if folder.is_file() else folder.iterdir())}


def test_a_row_too_deep_is_refused_before_any_work(loaded: Loaded, asked: list[Sample]) -> None:
    with pytest.raises(VisionFlowError, match="decoder layers"):
        evaluate(loaded, asked, table_rows(32), Records())


def test_other_weights_have_another_fingerprint(loaded: Loaded) -> None:
    other = tiny_loaded().model
    assert fingerprint(other) == fingerprint(loaded.model)
    with torch.no_grad():
        other.lm_head.weight += 1
    assert fingerprint(other) != fingerprint(loaded.model)


def test_the_scenes_are_spread_evenly_and_know_their_patches() -> None:
    asked = SUITES["scenes"].samples(16)
    assert [sample.task for sample in asked] == [
        *["choice"] * 3, *["science"] * 3, *["existence"] * 2, *["caption"] * 2, *["open"] * 2, *["pair"] * 2,
        *["turns"] * 2,
    ]  # fmt: skip
    assert len({sample.id for sample in asked}) == 16
    assert {len(sample.gold) for sample in asked if sample.task == "caption"} == {5}
    for sample in asked:
        assert sample.relevant is not None
        assert sample.relevant(12).shape[-2:] == (12, 12)
        assert json.dumps(sample.gold)
    again = SUITES["scenes"].samples(3, ["choice"])
    assert [sample.prompt for sample in again] == [sample.prompt for sample in asked[:3]]
    assert [sample.images()[0].tobytes() for sample in again] == [sample.images()[0].tobytes() for sample in asked[:3]]


def test_a_task_that_the_processor_has_no_prompt_for_is_refused_before_any_work() -> None:
    loaded = tiny_loaded()
    samples = SUITES["scenes"].samples(2, ["open", "turns"])
    check_prompts(loaded, samples)
    loaded.processor.chat_template = None
    with pytest.raises(VisionFlowError, match=r"task turns is not for this model \(.*\): leave it out with --tasks"):
        check_prompts(loaded, samples)


def test_unknown_suites_and_tasks_are_refused() -> None:
    with pytest.raises(VisionFlowError, match="unknown suite 'pope': choose one of scenes"):
        suite_called("pope")
    with pytest.raises(VisionFlowError, match="unknown task 'count': choose of choice, science"):
        SUITES["scenes"].samples(3, ["count"])
