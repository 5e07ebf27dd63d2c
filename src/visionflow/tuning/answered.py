"""Prompts with the dense model's own answers, and how far from these a pruned one is: what every search measures.

No labels are needed: KL(dense || pruned) over the tokens that the dense model answers with.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedModel

from visionflow.answering.answers import greedy, new_lengths
from visionflow.core.attention import exact
from visionflow.core.plan import Plan
from visionflow.core.tokens import Tokens, find_tokens
from visionflow.engines.hf.families import family_of
from visionflow.engines.hf.scope import Scope
from visionflow.errors import UnsupportedUsageError, VisionFlowError

Prompts = Mapping[str, Any]
"""A batch of prompts as the processor gives it; padding, if any, on the left."""

_ALIKE = 0.9  # of the dense model's own tokens, those that have to be its likeliest, however they are read


@dataclass(frozen=True)
class Answered:
    """A batch of prompts that the dense model has answered.

    Attributes:
        prompt: the batch.
        answer: int64 ``[batch, answer]``, padded on the right.
        said: bool ``[batch, answer]``, False for padding.
        logits: ``[batch, answer, vocabulary]`` of the dense model before each token of the answer.
        along: whether answers are read together with their prompts, or else one by one on the prompts' cache.
    """

    prompt: Prompts
    answer: Tensor
    said: Tensor
    logits: Tensor
    along: bool

    @classmethod
    @torch.inference_mode()
    def of(cls, model: PreTrainedModel, prompt: Prompts, new_tokens: int) -> "Answered":
        """Have the dense model answer greedily, in so many tokens at most."""
        made = model.generate(**prompt, **greedy(new_tokens), return_dict_in_generate=True, output_logits=True)
        answer = made.sequences[:, prompt["input_ids"].shape[1] :]
        lengths = torch.tensor(new_lengths(model, answer), device=answer.device)
        said = torch.arange(answer.shape[1], device=answer.device) < lengths.unsqueeze(1)
        one_by_one = cls(prompt, answer, said, torch.stack(made.logits, 1), along=False)
        logits = read_along(model, Plan(), prompt, answer, said)
        alike = float((logits.argmax(2) == one_by_one.logits.argmax(2))[said].float().mean())
        if alike < _ALIKE or _prompt_sees(model, prompt, answer, said, logits):
            return one_by_one
        return cls(prompt, answer, said, logits, along=True)

    def read(self, model: PreTrainedModel, plan: Plan) -> Tensor:
        """The logits of the same tokens under `plan`, ``[batch, answer, vocabulary]``."""
        cuts_alone = plan == Plan(plan.cuts)
        way = read_along if self.along and cuts_alone else read_on_the_cache
        return way(model, plan, self.prompt, self.answer, self.said)

    def divergence(self, model: PreTrainedModel, plan: Plan) -> Tensor:
        """KL(dense || pruned) along each prompt's answer, the sum over its tokens, fp32 ``[batch]``, in nats.

        By the chain rule that is how far apart the two are about the whole answer, but for answers that dense would
        not give: one wrong word counts alike in a word and in a caption.
        """
        each = kl(log_probabilities(self.logits), log_probabilities(self.read(model, plan)))
        return (each * self.said).sum(1)


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) over the last axis, in nats."""
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def log_probabilities(logits: Tensor) -> Tensor:
    """Log-probabilities over the last axis, in fp32, or fp64 of an fp64 model."""
    return exact(logits).log_softmax(-1)


def checked(batches: Iterable[Prompts], what: str) -> list[Prompts]:
    """The batches of prompts; none at all is refused, as `what` needs some.

    Raises:
        VisionFlowError: there are none.
    """
    found = list(batches)
    if not found:
        raise VisionFlowError(f"{what} needs at least one prompt with a picture")
    return found


def tokens_of(model: PreTrainedModel, prompt: Prompts) -> Tokens:
    """The spans of a batch of prompts."""
    return find_tokens(prompt["input_ids"], prompt.get("attention_mask"), family_of(model).image_token_ids(model))


@torch.inference_mode()
def read_along(model: PreTrainedModel, plan: Plan, prompt: Prompts, answer: Tensor, said: Tensor) -> Tensor:
    """The logits before each token of `answer`, read together with the prompt in one pass.

    Returns:
        ``[batch, answer, vocabulary]``.
    """
    count = answer.shape[1]
    with Scope(model, plan, answer_tokens=count):
        logits: Tensor = model(**_with_answer(prompt, answer, said), use_cache=False, logits_to_keep=count + 1).logits
    return logits[:, -count - 1 : -1]  # not every class heeds logits_to_keep


@torch.inference_mode()
def read_on_the_cache(model: PreTrainedModel, plan: Plan, prompt: Prompts, answer: Tensor, said: Tensor) -> Tensor:
    """The same as `generate` comes to them, one token after the other, whatever it would have said itself.

    Raises:
        UnsupportedUsageError: the model's own `generate` says something else all the same.
    """
    dictated = LogitsProcessorList([_Dictated(answer, prompt["input_ids"].shape[1])])
    with Scope(model, plan):
        made = model.generate(
            **prompt,
            **greedy(answer.shape[1]),
            logits_processor=dictated,
            return_dict_in_generate=True,
            output_logits=True,
        )
    if not torch.equal(made.sequences[:, prompt["input_ids"].shape[1] :][said], answer[said]):
        raise UnsupportedUsageError(f"generate of {type(model).__name__} takes no text that is dictated to it")
    return torch.stack(made.logits, 1)


class _Dictated(LogitsProcessor):  # type: ignore[misc]
    """The next token is that of the answer."""

    def __init__(self, answer: Tensor, prompt_tokens: int) -> None:
        self._answer, self._prompt_tokens = answer, prompt_tokens

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        step = input_ids.shape[1] - self._prompt_tokens
        return torch.full_like(scores, -torch.inf).scatter(1, self._answer[:, step : step + 1], 0.0)


def _with_answer(prompt: Prompts, answer: Tensor, said: Tensor) -> dict[str, Any]:
    """The inputs with the answer behind the prompt; what is told of each token says of it what it says of text: 0."""
    ids: Tensor = prompt["input_ids"]
    mask = prompt.get("attention_mask")
    mask = torch.ones_like(ids) if mask is None else mask
    behind = {name: torch.zeros_like(answer) for name, value in prompt.items() if _is_told_of_tokens(value, ids)}
    behind |= {"input_ids": answer, "attention_mask": said}
    given = {**prompt, "attention_mask": mask}
    return given | {name: torch.cat([given[name], more.to(given[name].dtype)], 1) for name, more in behind.items()}


def _is_told_of_tokens(value: object, ids: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == ids.shape and not value.is_floating_point()


def _prompt_sees(model: PreTrainedModel, prompt: Prompts, answer: Tensor, said: Tensor, logits: Tensor) -> bool:
    """Whether the prompt reads what comes after it: then its last token has other logits before another answer."""
    other = prompt["input_ids"][:, -1:].expand_as(answer).where(said, answer)
    return not torch.equal(read_along(model, Plan(), prompt, other, said)[:, 0], logits[:, 0])
