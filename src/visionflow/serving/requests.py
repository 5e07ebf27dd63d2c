"""What a request becomes: how many image tokens stay at each cut, or why it is served dense; known before it runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from visionflow.core.plan import Cut
from visionflow.core.tokens import Tokens, find_tokens
from visionflow.serving.settings import SHADOW, Settings

DENSE = {
    "text": "it has no picture",
    "shadow": "it is a pruned request once more, to be compared",
    "off": "it asked for visionflow=off",
    "no_question": "no text follows the picture, and that text decides what stays",
    "prompt_logprobs": "it asks for log-probabilities of the prompt, and dropped tokens have none",
    "too_long": "the prompt does not fit one step of the engine: raise --max-num-batched-tokens",
    "nothing_to_drop": "its ratios drop none of its image tokens",
}
"""Why a request is served dense, by outcome; the other outcome is "pruned"."""


@dataclass(frozen=True)
class Served:
    """A request on a server that prunes: a function of what came with it alone, the same in every process.

    Attributes:
        prompt_ids: the prompt, pictures as their placeholders.
        image_token_ids: ids of the placeholders.
        image_tokens: how many of them are in the prompt.
        cuts: at each of the server's layers its cut or None; empty where it is served dense.
        kept: image tokens after each of these, all of them where it is served dense.
        outcome: "pruned", or a key of `DENSE`.
    """

    prompt_ids: Sequence[int]
    image_token_ids: tuple[int, ...]
    image_tokens: int
    cuts: tuple[Cut | None, ...]
    kept: tuple[int, ...]
    outcome: str

    @classmethod
    def of(
        cls, settings: Settings, prompt_ids: Sequence[int], asked: object = None, prompt_logprobs: bool = False
    ) -> "Served":
        """What becomes of a request.

        Args:
            settings: of the server.
            prompt_ids: the prompt.
            asked: what it says of itself, see `Settings.asked`.
            prompt_logprobs: it asks for log-probabilities of its prompt.

        Raises:
            VisionFlowError: `asked` is none of what a request may say.
        """
        ids = torch.tensor(prompt_ids, dtype=torch.int64)[None]
        tokens = find_tokens(ids, None, settings.image_token_ids)
        image_tokens, cuts = tokens.image.counts[0], settings.asked(asked)
        kept = _kept(cuts or (), image_tokens)
        reasons = {
            "text": not image_tokens,
            "shadow": asked == SHADOW,
            "off": cuts is None,
            "no_question": not tokens.instruction.counts[0],
            "prompt_logprobs": prompt_logprobs,
            "too_long": len(prompt_ids) > settings.step_tokens,
            "nothing_to_drop": all(n == image_tokens for n in kept),
        }
        outcome = next((name for name, holds in reasons.items() if holds), "pruned")
        if outcome != "pruned":
            cuts, kept = (), (image_tokens,) * len(settings.cut_layers)
        return cls(prompt_ids, settings.image_token_ids, image_tokens, cuts or (), kept, outcome)

    @property
    def pruned(self) -> bool:
        """Whether its prompt is cut."""
        return self.outcome == "pruned"

    def dropped(self, stage: int) -> int:
        """Image tokens that are gone after the first `stage` cuts."""
        return self.image_tokens - self.kept[stage - 1] if stage else 0

    @cached_property
    def tokens(self) -> Tokens:
        """The spans of the prompt, a batch of one."""
        ids = torch.tensor(self.prompt_ids, dtype=torch.int64)[None]
        return find_tokens(ids, None, self.image_token_ids)

    def saved(self, settings: Settings) -> int:
        """Prompt tokens times layers that are not there: what the layers behind the cuts do not attend to."""
        ends = (*settings.cut_layers[1:], settings.depth)
        layers = [end - start for start, end in zip(settings.cut_layers, ends, strict=True)]
        return sum(self.dropped(stage) * n for stage, n in enumerate(layers, 1))

    def report(self, settings: Settings) -> dict[str, Any]:
        """What was done, of JSON's types: image tokens, those kept by layer, why not, and what is saved."""
        saved, total = self.saved(settings), len(self.prompt_ids) * settings.depth
        return {
            "image_tokens": self.image_tokens,
            "kept": dict(zip(map(str, settings.cut_layers), self.kept, strict=True)),
            "dense": DENSE.get(self.outcome),
            "kv_token_layers_saved": saved,
            "kv_saved": round(saved / total, 4),
        }


def _kept(cuts: Sequence[Cut | None], image_tokens: int) -> tuple[int, ...]:
    """Image tokens after each cut."""
    kept = []
    for cut in cuts:
        count = cut.keep(image_tokens) if cut is not None else image_tokens
        assert count is not None  # plans with counts that are not known are refused
        image_tokens = count
        kept.append(count)
    return tuple(kept)
