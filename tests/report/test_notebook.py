"""A trace and a profile show themselves in a notebook: their own numbers, bars to scale, no foreign markup."""

import re
from dataclasses import replace

import pytest
import torch

from tests.tiny import PER_IMAGE, batch_of, prompt, tiny_llava
from visionflow import HiMAP, prune
from visionflow.flow import saliency
from visionflow.pruning import PruningTrace

MODEL = tiny_llava()


def traced(*prompts: object) -> PruningTrace:
    with torch.no_grad(), prune(MODEL, HiMAP(2, 0.5, 4, 0.75)) as trace:
        MODEL(**batch_of(list(prompts)))  # type: ignore[arg-type]
    return trace


def rows(html: str) -> list[list[str]]:
    """The texts of each row of the table."""
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", html)]


def test_a_trace_shows_the_tokens_of_its_layers_its_cuts_and_its_cost() -> None:
    trace = traced(prompt(3, "image", 4))
    html = trace._repr_html_()
    first, second = (len(stage.kept[0]) for stage in trace.stages)
    assert rows(html) == [
        ["layers", "tokens", "image tokens"],
        ["0-1", f"{8 + PER_IMAGE}", f"{PER_IMAGE}"],
        ["2-3", f"{8 + first}", f"{first}"],
        ["4-5", f"{8 + second}", f"{second}"],
    ]
    assert f"Cut before layer 4: {second} kept." in html
    assert f"({trace.cost('flops').ratio:.1%})" in html
    assert [float(full) for full in re.findall(r"([\d.]+)%, transparent", html)][-1] == pytest.approx(
        100 * second / PER_IMAGE, abs=0.05
    )


def test_a_trace_of_a_batch_shows_from_the_least_to_the_most() -> None:
    html = traced(prompt(3, "image", 4), prompt(2, "image", 1, "image", 2))._repr_html_()
    assert "Prefill of 2 prompts, padding included" in html
    assert rows(html)[1][2] == f"{PER_IMAGE} to {2 * PER_IMAGE}"


def test_a_trace_of_nothing_says_so() -> None:
    with prune(MODEL, HiMAP(2, 0.5, 4, 0.75)) as trace:
        assert trace._repr_html_() == "<p>No prompt has gone through this scope yet: run the model inside it.</p>"


def test_what_stands_in_place_of_a_cost_is_no_markup() -> None:
    trace = replace(traced(prompt(3, "image", 4)), shape=None, uncosted="<script>alert(1)</script> is not modelled")
    assert "<p>&lt;script&gt;alert(1)&lt;/script&gt; is not modelled</p>" in trace._repr_html_()


def test_a_profile_shows_its_measures_by_layer() -> None:
    profile = saliency(MODEL, prompt(3, "image", 4).inputs, [5])
    found = profile._repr_html_()
    assert rows(found)[0] == ["layer", "S_sys", "S_img", "S_ins", "S_vv", "S_vt"]
    assert [row[2] for row in rows(found)[1:]] == [f"{value:.3g}" for value in profile.s_img.tolist()]
    assert found.count("100.0%, transparent") == 5
