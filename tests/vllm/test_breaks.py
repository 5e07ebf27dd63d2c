"""What the comparison is there to see: each rule of the plug-in, broken on purpose, changes answers."""

import re
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.vllm.conftest import Checkpoints
from tests.vllm.engine import engine
from tests.vllm.test_equality import HIMAP, PLAIN, TIGHT, asked_of
from visionflow.core.tokens import Group
from visionflow.serving.requests import Served
from visionflow.serving.vllm import pruner, stages
from visionflow.serving.vllm.cut_prompt import CutPrompt
from visionflow.serving.vllm.pruner import Pruner
from visionflow.serving.vllm.scheduler import Pruning

Patch = pytest.MonkeyPatch


def text_after_the_last_picture(patch: Patch) -> None:
    """The question is what follows all pictures, not what follows the first."""
    see = CutPrompt.see

    def seen(self: CutPrompt, *args: Any) -> None:
        tokens = self.tokens
        later = tokens.image.mask.flip(1).cumsum(1).flip(1) > 0
        mask = tokens.instruction.mask & ~later
        self.tokens = replace(tokens, instruction=Group(mask, tuple(mask.sum(1).tolist())))
        try:
            see(self, *args)
        finally:
            self.tokens = tokens

    patch.setattr(CutPrompt, "see", seen)


def counts_of_another_ratio(patch: Patch) -> None:
    """What was planned for a request is not what is done to it."""
    patch.setattr(Served, "dropped", lambda self, stage: self.image_tokens // 4 if stage else 0)


def prefixes_are_read(patch: Patch) -> None:
    """Requests with pictures read the prefix cache."""
    add = Pruning.add_request

    def added(self: Any, request: Any) -> None:
        add(self, request)
        request.skip_reading_prefix_cache = False

    patch.setattr(Pruning, "add_request", added)


def slots_of_the_whole_prompt(patch: Patch) -> None:
    """Answers are written behind the cuts where the whole prompt would have them."""
    shorten = stages.shortened

    def shortened(common: Any, *args: Any) -> Any:
        metadata = shorten(common, *args)
        if metadata.slot_mapping.shape == common.slot_mapping.shape:
            metadata.slot_mapping = common.slot_mapping
        return metadata

    patch.setattr(stages, "shortened", shortened)


def keys_of_the_whole_prompt(patch: Patch) -> None:
    """Answers read as many keys behind the cuts as before them."""
    shorten = stages.shortened

    def shortened(common: Any, *args: Any) -> Any:
        metadata = shorten(common, *args)
        if metadata.slot_mapping.shape == common.slot_mapping.shape:
            metadata.seq_lens = common.seq_lens
        return metadata

    patch.setattr(stages, "shortened", shortened)


def pictures_between_layers_from_the_start(patch: Patch) -> None:
    """The rows left get the picture features of the first rows given."""

    class First:
        def __init__(self, features: Any) -> None:
            self.features = features

        def __len__(self) -> int:
            return len(self.features)

        def __getitem__(self, key: str) -> torch.Tensor:
            found: torch.Tensor = self.features[key]
            return found if self.running.present is None else found[: len(self.running.present)]

    def features(self: Pruner, given: Any) -> Any:
        if given is None or self._running is None:
            return given
        made = First(given)
        made.running = self._running  # type: ignore[attr-defined]
        return made

    patch.setattr(Pruner, "picture_features", features)


def other_rows_are_looked_at(patch: Patch) -> None:
    """Queries are those of other tokens."""
    see = CutPrompt.see

    def seen(self: CutPrompt, cut: Any, attention: Any, query: Any, key: Any, group: Any) -> None:
        see(self, cut, attention, query.flip(0), key, group)

    patch.setattr(CutPrompt, "see", seen)


def recomputed_tokens_are_ranked(patch: Patch) -> None:
    """A request that comes back after it was preempted has its answer, as far as it goes, among the question."""
    ask = pruner.served_as

    def served_as(settings: Any, request: Any) -> Served:
        grown = SimpleNamespace(
            sampling_params=request.sampling_params,
            prompt_token_ids=[*request.prompt_token_ids, *request.output_token_ids],
        )
        return ask(settings, grown)

    patch.setattr(pruner, "served_as", served_as)


def picture_features_of_all_rows(patch: Patch) -> None:
    """Layers behind a cut are given picture features for all rows."""
    patch.setattr(Pruner, "picture_features", lambda self, features: features)


BREAKS: dict[str, tuple[Callable[[Patch], None], str, dict[str, Any]]] = {
    "text after the last picture": (text_after_the_last_picture, "llava", {}),
    "counts of another ratio": (counts_of_another_ratio, "llava", {}),
    "prefixes are read": (prefixes_are_read, "llava", {"max_num_batched_tokens": 128}),
    "slots of the whole prompt": (slots_of_the_whole_prompt, "llava", {}),
    "keys of the whole prompt": (keys_of_the_whole_prompt, "llava", {}),
    "picture features in the wrong places": (pictures_between_layers_from_the_start, "qwen3_vl", {}),
    "picture features of all rows": (picture_features_of_all_rows, "qwen3_vl", {}),
    "other rows are looked at": (other_rows_are_looked_at, "llava", {}),
    "recomputed tokens are ranked": (recomputed_tokens_are_ranked, "llava", PLAIN | TIGHT),
}


CANNOT_BE = "split over several steps|rows are left behind a cut|must match the size of tensor"


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_rule_is_seen(checkpoints: Checkpoints, monkeypatch: Patch, name: str) -> None:
    break_it, family, options = BREAKS[name]
    oracle = checkpoints.oracle(family)
    asked = asked_of(oracle, family)
    expected = [oracle.answer(p, HIMAP) for p in asked]
    break_it(monkeypatch)
    with engine(oracle.folder, HIMAP.spec, **options) as served:
        try:
            answers = [served.answers(asked) for _ in range(2)]
        except RuntimeError as error:  # a step that cannot be, found by its arithmetic
            assert re.search(CANNOT_BE, str(error))  # noqa: PT017
            return
        assert answers != [expected, expected]
