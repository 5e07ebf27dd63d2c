"""The report's numbers are the library's own, its views lie where the tokens do, and the page carries both."""

import base64
import json
import re
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import visionflow
from tests.report.look.pages import (
    QUESTION,
    dynamic_report,
    gradient,
    hybrid_report,
    plain_report,
    tiled_report,
    two_models_report,
    video_report,
)
from tests.report.test_geometry import deaf
from tests.tiny import PER_IMAGE, prompt, tiny_llava
from tests.tiny_processor import tiny_llava_next_processor, tiny_processor
from tests.zoo import ZOO
from visionflow import FastV, HiMAP, LookReport, VisionFlowError, prune
from visionflow.answering import greedy
from visionflow.engines.hf.families import family_of
from visionflow.flow import logit_lens, picture_attention, saliency
from visionflow.loading.prompts import make_prompt
from visionflow.report.look import page
from visionflow.report.look.videos import steps_of
from visionflow.report.look.views import image_columns_of

MODEL, PROCESSOR = tiny_llava(), tiny_processor()
INPUTS = make_prompt(MODEL, PROCESSOR, [gradient(60, 40)], QUESTION)


def test_numbers_are_those_of_the_analyses() -> None:
    data = plain_report().data
    dense = data["runs"][0]
    attention = picture_attention(MODEL, INPUTS)
    columns = data["prompt"]["image_columns"]
    assert columns == attention.columns[0].tolist()
    np.testing.assert_allclose(dense["reads"][0][:, columns], attention.image[0], rtol=1e-4, atol=1e-7)
    lens = logit_lens(MODEL, INPUTS)
    assert dense["lens"]["ids"][0] == lens.ids[0].tolist()
    np.testing.assert_allclose(dense["lens"]["probabilities"][0], lens.probabilities[0], rtol=1e-4)
    first = dense["tokens"][0]["id"]
    assert data["knock_outs"]["first_token"]["id"] == data["saliency"]["target"] == first
    assert data["saliency"]["layers"] == saliency(MODEL, INPUTS, [first]).to_dict()["layers"]


@pytest.mark.parametrize(("place", "method"), [(1, HiMAP(2, 0.5, 4, 0.75)), (2, FastV(2, 0.5))], ids=["himap", "fastv"])
def test_a_run_is_what_prune_does(place: int, method: visionflow.Method) -> None:
    data, run = plain_report().data, plain_report().data["runs"][place]
    with torch.no_grad(), prune(MODEL, method) as trace:
        out = MODEL.generate(**INPUTS, **greedy(4), return_dict_in_generate=True)
    new = out.sequences[0, len(data["prompt"]["ids"]) :].tolist()
    assert [token["id"] for token in run["tokens"]] == new
    assert (run["method"], run["spec"]) == (str(method), method.spec)
    assert run["image_tokens"] == trace.image_tokens[:, 0].tolist()
    assert run["flops_total"] == trace.cost("flops").pruned
    assert sum(run["kv_bytes"]) == trace.cost("flops").kv_bytes_pruned
    for told, stage in zip(run["stages"], trace.stages, strict=True):
        kept = [data["prompt"]["image_columns"][number] for number in told["kept"]]
        assert (told["layer"], kept) == (stage.layer, stage.kept[0].tolist())
        ranked = dict(zip(told["present"], told["ranks"], strict=True))
        assert {ranked[number] for number in told["kept"]} == set(range(1, len(kept) + 1))
    dense = data["runs"][0]["tokens"]
    parts = [a["id"] != b for a, b in zip(dense, new, strict=True)]
    assert run["parts"] == (parts.index(True) if any(parts) else None)


def test_without_a_processor_tokens_are_numbers_in_their_order() -> None:
    report = visionflow.look(tiny_llava(), prompt(3, "image", 4, "image", 2).inputs, (), max_new_tokens=1, blocks=0)
    assert report.data["unplaced"] == "the pictures and the processor were not given"
    assert [view["picture"] for view in report.data["views"]] == [None, None]
    assert [len(view["tokens"]) for view in report.data["views"]] == [PER_IMAGE] * 2
    assert re.fullmatch(r"\[\d+\]", report.data["runs"][0]["answer"])
    assert report.data["knock_outs"] is None
    report.html()


@pytest.mark.parametrize("size", [(60, 40), (20, 60), (16, 16)], ids=str)
def test_tiles_lie_over_the_picture(size: tuple[int, int]) -> None:
    data = tiled_report(gradient(*size)).data
    assert not data["unplaced"]
    whole, tiles = data["views"]
    tokens = [*whole["tokens"], *tiles["tokens"]]
    ends = {tiles["tokens"][0] + row * (tiles["columns"] + 1) + tiles["columns"] for row in range(tiles["rows"])}
    assert sorted({*tokens, *ends}) == list(range(len(data["prompt"]["image_columns"])))
    left, top, right, bottom = tiles["box"]
    assert max(left / size[0], top / size[1]) < 0.2
    assert min(right / size[0], bottom / size[1]) > 0.8


def test_a_painted_tile_patch_is_the_token_that_changes() -> None:
    """What the view says of a token is where a change of the picture changes what enters the decoder."""
    model, processor = deaf("llava_next"), tiny_llava_next_processor()
    black = Image.new("RGB", (64, 32))
    view = tiled_report(black).data["views"][1]
    left, top, right, bottom = view["box"]
    across, down = (right - left) / view["columns"], (bottom - top) / view["rows"]
    before = _embedded(model, processor, black)
    for row, column in ((0, 0), (view["rows"] - 1, 1), (view["rows"] - 1, view["columns"] - 1)):
        painted = black.copy()
        place = (
            left + (column + 0.3) * across,
            top + (row + 0.3) * down,
            left + (column + 0.7) * across,
            top + (row + 0.7) * down,
        )
        painted.paste((255, 255, 255), tuple(map(round, place)))
        changed = (_embedded(model, processor, painted) - before).norm(dim=1)
        tiles = changed[view["tokens"]]
        assert int(tiles.argmax()) == row * view["columns"] + column


def _embedded(model: Any, processor: Any, picture: Image.Image) -> torch.Tensor:
    inputs, seen = make_prompt(model, processor, [picture], QUESTION), []
    decoder = family_of(model).decoder_of(model)
    hook = decoder.register_forward_pre_hook(
        lambda _, __, kwargs: seen.append(kwargs["inputs_embeds"]), with_kwargs=True
    )
    with torch.no_grad():
        model(**inputs)
    hook.remove()
    is_image = inputs["input_ids"][0] == family_of(model).image_token_id(model)
    embedded: torch.Tensor = seen[0][0][is_image]
    return embedded


def test_pictures_of_any_size_have_their_own_grids() -> None:
    data = dynamic_report().data
    assert not data["unplaced"]
    assert [(view["picture"], view["rows"], view["columns"]) for view in data["views"]] == [(0, 10, 13), (1, 11, 8)]
    assert [token for view in data["views"] for token in view["tokens"]] == list(range(10 * 13 + 11 * 8))


def test_a_layer_without_attention_has_no_map_and_the_page_can_say_so() -> None:
    data = hybrid_report().data
    assert data["model"]["attending"] == [1, 4]
    there = ~np.isnan(data["runs"][1]["reads"]).all(axis=(0, 2))
    assert there.nonzero()[0].tolist() == [1, 4]
    assert min(data["runs"][0]["kv_bytes"]) > 0  # states are kept, too
    assert data["saliency"] is data["knock_outs"] is None
    assert "only 1, 4 have any" in data["no_saliency"]
    assert "only 1, 4 have attention" in data["no_knock_outs"]


def test_a_video_has_a_grid_for_each_of_its_steps_over_its_first_frame() -> None:
    data = video_report().data
    assert [(view["picture"], view["frame"]) for view in data["views"]] == [(step, step) for step in range(0, 16, 2)]
    assert {(view["rows"], view["columns"]) for view in data["views"]} == {(4, 4)}
    assert [token for view in data["views"] for token in view["tokens"]] == list(range(128))
    assert data["views"][3]["box"] == (0, 0, 86, 86)
    assert not data["unplaced"]
    assert data["prompt"]["groups"].count("image") == 128
    shown = json.loads(Reader(video_report().html()).data)["shown"]
    assert [bool(each) for each in shown] == [True, False] * 8


def test_without_its_frames_a_video_is_grids_all_the_same() -> None:
    data = video_report(frames=3).data
    assert data["unplaced"] == "the 16 frames of the video were not given"
    assert [view["picture"] for view in data["views"]] == [None] * 8


@pytest.mark.parametrize(("name", "count", "side"), [("llava_next_video", 4, 1), ("llava_onevision", 4, 1)])
def test_frames_that_are_pooled_to_squares(name: str, count: int, side: int) -> None:
    entry = ZOO[name]
    inputs = entry.batch([entry.prompt(3, "video", 5)])
    steps = steps_of(entry.build(), inputs, len(image_columns_of(entry.build(), inputs)))
    assert steps is not None
    assert (steps.count, steps.rows, steps.columns, steps.frames_each) == (count, side, side, 1)


def test_many_pictures_have_fewer_pixels_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "MOST_PIXELS", 8 * 40**2)
    shown = json.loads(Reader(video_report().html()).data)["shown"]
    assert Image.open(BytesIO(base64.b64decode(shown[0].partition(",")[2]))).size == (40, 40)


class Reader(HTMLParser):
    """Ids, what is named from elsewhere, and the text of the data."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.named: list[str] = []
        self.addresses: list[str] = []
        self.data, self._within = "", False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = dict(attrs)
        self._within = own.get("id") == "data"
        self.ids += [own["id"]] if own.get("id") else []
        self.named += [own[name] or "" for name in ("aria-labelledby", "for") if name in own]
        self.addresses += [own[name] or "" for name in ("src", "href") if name in own]

    def handle_data(self, data: str) -> None:
        self.data += data * self._within

    def handle_endtag(self, tag: str) -> None:
        self._within = False


def test_the_page_is_one_file_that_carries_the_data() -> None:
    text = plain_report().html()
    assert len(text) < 1_000_000
    found = Reader(text)
    assert len(set(found.ids)) == len(found.ids)
    assert set(found.named) <= set(found.ids)
    assert found.addresses == ["data:,"]
    assert "default-src 'none'" in text
    content = json.loads(found.data)
    expected = plain_report().to_json()
    [shown] = content["looks"]
    assert shown.keys() == expected.keys()
    assert content["shown"][0].startswith("data:image/png;base64,")
    reads = shown["runs"][1]["reads"]
    numbers = np.frombuffer(base64.b64decode(reads["fp32"]), "<f4").reshape(reads["shape"])
    np.testing.assert_array_equal(numbers, plain_report().data["runs"][1]["reads"])
    scripts = {file.name: file.read_text() for file in (Path(page.__file__).parent / "page").glob("*.js")}
    own = (*page.COMMON, *page.SCRIPTS)
    assert set(own) == scripts.keys() - {"d3.min.js", "plot.umd.min.js"}
    named = {name for file in own for name in re.findall(r'\$\("([\w-]+)"\)', scripts[file])}
    assert named <= set(found.ids)


@pytest.mark.parametrize("number", [0, 1], ids=["llava", "llava_next"])
def test_two_models_on_one_page_have_each_their_own_numbers(number: int) -> None:
    """All of them are the library's own; tokens, layers and the picture's views are the model's."""
    model = (MODEL, ZOO["llava_next"].build())[number]
    processor = (PROCESSOR, tiny_llava_next_processor())[number]
    inputs = make_prompt(model, processor, [gradient(60, 40)], QUESTION)
    content = json.loads(Reader(two_models_report().html()).data)
    look = content["looks"][number]
    assert len(content["shown"]) == 1
    assert look["prompt"]["ids"] == inputs["input_ids"][0].tolist()
    assert [len(view["tokens"]) for view in look["views"]] == ([25], [4, 8])[number]
    attention, dense = picture_attention(model, inputs), look["runs"][0]
    reads = np.frombuffer(base64.b64decode(dense["reads"]["fp32"]), "<f4").reshape(dense["reads"]["shape"])
    columns = attention.columns[0].tolist()
    np.testing.assert_allclose(reads[0][:, columns], attention.image[0], rtol=1e-4, atol=1e-7)
    lens = logit_lens(model, inputs)
    assert dense["lens"]["ids"][0] == lens.ids[0].tolist()
    read = saliency(model, inputs, [dense["tokens"][0]["id"]]).to_dict()["layers"]
    for told, own in zip(look["saliency"]["layers"], read, strict=True):
        assert told == pytest.approx(own, rel=1e-3)


def test_looks_on_one_page_are_of_one_question_and_one_picture() -> None:
    one, more = two_models_report(), two_models_report().against(plain_report())
    assert len(one.data["against"]) == 1
    assert [look["model"]["name"] for look in more.to_json()["against"]] == ["llava_next", "llava"]
    assert [look["against"] for look in more.data["against"]] == [[], []]
    with pytest.raises(VisionFlowError, match="one page has one question, not 'w12 w13 w14' and ''"):
        plain_report().against(video_report())
    with pytest.raises(VisionFlowError, match="the same pictures for all models"):
        plain_report().against(LookReport(plain_report().data, [gradient(60, 41)]))


def test_a_question_cannot_end_the_script() -> None:
    report = LookReport({**plain_report().data, "question": "</script><b>&"}, plain_report().pictures)
    text = report.html()
    assert "<title>&lt;/script&gt;&lt;b&gt;&amp;" in text
    assert json.loads(Reader(text).data)["looks"][0]["question"] == "</script><b>&"


def test_maps_of_long_answers_are_thinned_to_what_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "MOST_NUMBERS", 3 * int(np.prod(plain_report().data["runs"][0]["reads"].shape[1:])) * 2)
    [content] = json.loads(Reader(plain_report().html()).data)["looks"]
    assert [run["reads"]["shape"][0] for run in content["runs"]] == [2] * 3
    assert [len(run["tokens"]) for run in content["runs"]] == [4] * 3


def test_it_is_saved_as_a_page_or_as_data(tmp_path: Path) -> None:
    report = plain_report()
    assert report.save(tmp_path / "page.html").read_text() == report.html()
    assert json.loads(report.save(tmp_path / "data.json").read_text()) == report.to_json()
    with pytest.raises(VisionFlowError, match="choose another name"):
        report.save(tmp_path / "nowhere" / "page.html")
    assert report._repr_html_().startswith("<iframe")


def test_what_cannot_be_looked_into_is_refused() -> None:
    with pytest.raises(VisionFlowError, match="give inputs, or a processor with pictures and a question"):
        visionflow.look(tiny_llava())
    with pytest.raises(VisionFlowError, match="nonesuch"):
        visionflow.look(tiny_llava(), prompt(3, "image", 4).inputs, "nonesuch")
