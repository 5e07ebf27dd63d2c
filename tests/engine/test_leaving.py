"""Leaving a scope, on every way out: the handle, the model itself, another thread at work, a copy of the model."""

import copy
import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.generation import BaseStreamer

from tests.matrix import prompts
from tests.reference import fingerprint
from tests.tiny import batch_of, prompt, tiny_llava
from visionflow import FastV, HiMAP, UnsupportedUsageError, VisionFlowError, prune, unprune
from visionflow.engines.hf.scope import scope_on

HIMAP = HiMAP(2, 0.5, 4, 0.75)


# One way in, several ways out --------------------------------------------------------------------------------------


def test_a_scope_that_was_left_is_not_entered_again(model: PreTrainedModel) -> None:
    handle = prune(model, HIMAP)
    with handle as trace:
        model(**prompt(3, "image", 6).inputs)
    with pytest.raises(UnsupportedUsageError, match="was left already: open a new one"), handle:
        pass
    assert trace.image_tokens[-1].tolist() == [4]  # it still tells


def test_a_scope_is_entered_once(model: PreTrainedModel) -> None:
    """The inner `with` would leave it, and the rest of the outer one would run dense."""
    with prune(model, HIMAP) as trace:
        handle = scope_on(model)
        assert handle is not None
        with pytest.raises(UnsupportedUsageError, match="is entered already"), handle:
            pass
        model(**prompt(3, "image", 6).inputs)
    assert trace.image_tokens[-1].tolist() == [4]


def test_a_model_whose_handle_is_lost_is_unpruned(model: PreTrainedModel) -> None:
    model(**prompt(3, "image", 6).inputs)  # the first pass: transformers installs hooks of its own
    before = fingerprint(model)
    prune(model, HIMAP)
    with pytest.raises(UnsupportedUsageError, match=r"visionflow\.unprune\(model\)"):
        prune(model, FastV(2, 0.5))
    unprune(model)
    assert fingerprint(model) == before
    unprune(model)  # in no scope: nothing happens
    with prune(model, HIMAP):
        unprune(model.model)  # a part of it tells as well
        assert fingerprint(model) == before
    with pytest.raises(VisionFlowError, match="unprune needs the model that was pruned, not str"):
        unprune("model")  # type: ignore[arg-type]


def test_a_users_own_generate_is_put_back() -> None:
    model = tiny_llava()
    own = model.generate
    model.generate = own
    with prune(model, HIMAP):
        assert model.generate is not own
    assert model.generate is own


# A scope that others still run in ----------------------------------------------------------------------------------


class Layout(BaseStreamer):
    """Tokens as they come; the second one waits until it is let go."""

    def __init__(self) -> None:
        self.tokens: list[Tensor] = []
        self.waiting, self.go_on = threading.Event(), threading.Event()

    def put(self, value: Tensor) -> None:
        self.tokens.append(value)
        if len(self.tokens) == 3:  # the prompt, and two tokens
            self.waiting.set()
            assert self.go_on.wait(600)

    def end(self) -> None:
        """Nothing is kept back."""


def test_leaving_waits_for_a_thread_that_still_generates(model: PreTrainedModel) -> None:
    settings: dict[str, Any] = {**batch_of(prompts()), "max_new_tokens": 6, "do_sample": False}
    with prune(model, HIMAP):
        expected = model.generate(**settings)
    before = fingerprint(model)
    streamer, made = Layout(), []
    handle = prune(model, HIMAP)
    worker = threading.Thread(target=lambda: made.append(model.generate(**settings, streamer=streamer)))
    leaver = threading.Thread(target=handle.remove)
    worker.start()
    assert streamer.waiting.wait(600)
    leaver.start()
    leaver.join(0.2)
    assert leaver.is_alive()
    streamer.go_on.set()
    for thread in (worker, leaver):
        thread.join()
    assert torch.equal(made[0], expected)
    assert fingerprint(model) == before


def test_leaving_waits_for_a_thread_in_a_forward_pass(model: PreTrainedModel) -> None:
    """Between two layers, when a cut was made: the others would get positions and masks of the whole prompt."""
    inputs = batch_of(prompts())
    with prune(model, HIMAP), torch.no_grad():
        expected = model(**inputs).logits
    inside, go_on, made = threading.Event(), threading.Event(), []

    def hold(*_: Any) -> None:
        inside.set()
        assert go_on.wait(60)

    def run() -> None:
        with torch.no_grad():
            made.append(model(**inputs).logits)

    handle = prune(model, HIMAP)
    held = model.model.language_model.layers[3].mlp.register_forward_hook(hold)
    worker, leaver = threading.Thread(target=run), threading.Thread(target=handle.remove)
    worker.start()
    assert inside.wait(60)
    leaver.start()
    leaver.join(0.2)
    assert leaver.is_alive()
    go_on.set()
    for thread in (worker, leaver):
        thread.join()
    held.remove()
    assert torch.equal(made[0], expected)
    handle.remove()  # nobody is waited for twice


def test_a_thread_may_leave_the_scope_that_it_runs_in(model: PreTrainedModel) -> None:
    """Waiting for itself would be for ever."""
    before = fingerprint(model)
    handle = prune(model, HIMAP)
    watch = model.lm_head.register_forward_hook(lambda *_: handle.remove())
    try:
        model.generate(**prompt(3, "image", 6).inputs, max_new_tokens=1)
    finally:
        watch.remove()
    assert fingerprint(model) == before


def test_a_generate_that_begins_after_its_scope_is_refused(model: PreTrainedModel) -> None:
    """Such as that of a thread which was made in the scope and started too late."""
    with prune(model, HIMAP):
        generate = model.generate
    with pytest.raises(UnsupportedUsageError, match="was left before it began"):
        generate(**prompt(3, "image", 6).inputs, max_new_tokens=1)
    model.generate(**prompt(3, "image", 6).inputs, max_new_tokens=1)


# Copies ------------------------------------------------------------------------------------------------------------


def save(model: PreTrainedModel) -> None:
    torch.save(model, io.BytesIO())


@pytest.mark.parametrize("copy_of", [copy.deepcopy, save], ids=["deepcopy", "save"])
def test_a_model_in_a_scope_is_not_copied(copy_of: Callable[[Any], Any]) -> None:
    model = tiny_llava()  # one that has run carries hooks of transformers that cannot be saved
    with prune(model, HIMAP), pytest.raises(UnsupportedUsageError, match="leave the scope first"):
        copy_of(model)
    copy_of(model)


def test_a_model_in_a_scope_is_saved_as_it_is(model: PreTrainedModel, tmp_path: Path) -> None:
    inputs = prompt(3, "image", 6).inputs
    with torch.no_grad():
        expected = model(**inputs).logits
        with prune(model, HIMAP):
            model.save_pretrained(tmp_path)
        assert torch.equal(type(model).from_pretrained(tmp_path)(**inputs).logits, expected)
    assert "visionflow" not in (tmp_path / "config.json").read_text()
