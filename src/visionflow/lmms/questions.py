"""Answers to questions about pictures, and what each of them took: tokens, cost, time."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import PreTrainedModel, StoppingCriteriaList

from visionflow.answering import Facts, answers, facts_of, scope_of
from visionflow.answering.timing import TokenClock
from visionflow.engines.hf.caches import cache_name_of, cache_of
from visionflow.engines.hf.families import family_of
from visionflow.errors import VisionFlowError
from visionflow.loading.models import Loaded
from visionflow.loading.prompts import make_prompts, prompt_text, room_after, tokens_after
from visionflow.methods import Method

LONGEST = 1024
"""New tokens, at most, where a task sets no limit of its own."""

_PARAGRAPH = "\n\n"  # what lmms-eval puts into every task that names no stop: its own models ignore it, as we do


@dataclass(frozen=True)
class Style:
    """How an answer is generated: the part of lmms-eval's generation arguments that means something here."""

    max_new_tokens: int = LONGEST
    stops: tuple[str, ...] = ()
    num_beams: int = 1
    do_sample: bool = False
    temperature: float | None = None
    top_p: float | None = None

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> "Style":
        """Greedy unless ``do_sample`` is set, whatever the temperature; an answer ends at the stops but not at a
        paragraph."""
        stops = arguments.get("until") or []
        stops = [stops] if isinstance(stops, str) else stops
        sampling = {name: arguments.get(name) for name in ("temperature", "top_p")}
        do_sample = bool(arguments.get("do_sample", False))
        return cls(
            max_new_tokens=int(arguments.get("max_new_tokens") or LONGEST),
            stops=tuple(stop for stop in stops if stop != _PARAGRAPH),
            num_beams=int(arguments.get("num_beams") or 1),
            do_sample=do_sample,
            **(sampling if do_sample else {}),
        )

    def generation(self, room: int) -> dict[str, Any]:
        """Arguments of `generate` where there is room for so many new tokens."""
        chosen = {name: value for name, value in asdict(self).items() if value is not None}
        del chosen["stops"]
        return chosen | {"max_new_tokens": min(self.max_new_tokens, room)}

    def cut(self, text: str) -> str:
        """The answer up to the first stop."""
        for stop in self.stops:
            text = text.partition(stop)[0]
        return text.strip()


@dataclass(frozen=True)
class Question:
    """One question of a task.

    Attributes:
        task: its name.
        number: of the question in its data set.
        pictures: what is asked about.
        text: the prompt, without the chat template.
        style: how it is to be answered.
    """

    task: str
    number: int
    pictures: tuple[Image.Image, ...]
    text: str
    style: Style

    @cached_property
    def key(self) -> str:
        """A name for all that decides the answer, the pixels included."""
        said = json.dumps([self.task, self.number, self.text, asdict(self.style)])
        digest = hashlib.sha256(said.encode())
        for picture in self.pictures:
            digest.update(f"{picture.mode}{picture.size}".encode() + picture.tobytes())
        return digest.hexdigest()[:32]


@dataclass(frozen=True)
class Answer:
    """The text, and facts about how it came about: see `answer`."""

    text: str
    facts: dict[str, Any]


@torch.inference_mode()
def answer(loaded: Loaded, method: Method | None, questions: Sequence[Question]) -> list[Answer]:
    """Answer a batch of questions of one style; each gets what it would get alone, as long as there is room for it.

    A task may ask for more tokens than the model can place (LLaVA-Bench: 4096, all that LLaVA-1.5 has): an answer ends
    where the model's positions do, counted from the longest prompt of the batch.

    The facts of an answer, all but the times as if the question had been alone:

    - ``input_tokens``, ``output_tokens``: of the prompt, and new ones, the end-of-text token included;
    - ``image_tokens``: present in each layer; ``kept``: the numbers, from 0, of those in the last layer, None if all;
    - ``paper``, ``gated``, ``flops``, each ``[pruned, dense]``: the prefill's cost in that convention, None where the
      cost of the decoder is not modelled;
    - ``seconds_to_first_token``: from the start of `generate`, vision tower included, processor not; in a batch, of
      the batch; ``tokens_per_second``: of the tokens after the first, None if there is none.

    Raises:
        VisionFlowError: there is not enough memory, or `make_prompts` refuses a question.
    """
    style = questions[0].style
    pictures, texts = [each.pictures for each in questions], [each.text for each in questions]
    inputs = make_prompts(loaded.model, loaded.processor, pictures, texts, new_tokens=1)
    arguments = style.generation(room_after(loaded.model, inputs["input_ids"].shape[1]))
    clock = TokenClock(loaded.model.device)
    arguments["stopping_criteria"] = StoppingCriteriaList([clock])
    said = answers(loaded.model, loaded.processor, inputs, method, "lower --batch_size", **arguments)
    return [
        Answer(style.cut(text), _told(facts) | {"output_tokens": length} | _times(clock, length))
        for text, length, facts in zip(said.texts, said.lengths, said.facts, strict=True)
    ]


@torch.inference_mode()
def loss(loaded: Loaded, method: Method | None, question: Question, continuation: str) -> tuple[float, bool, Answer]:
    """How badly `continuation` goes on from the prompt: mean cross-entropy per token in nats; whether greedy search
    would write it; and it with the facts of the prompt.

    The prompt is run by itself, as for an answer, so that a method sees the same prompt whatever the continuation.

    Raises:
        VisionFlowError: the continuation has no tokens of its own, or `make_prompts` refuses the question.
    """
    model = loaded.model
    goal = _continuation(loaded, question, continuation)
    inputs = make_prompts(model, loaded.processor, [question.pictures], [question.text], len(goal))
    with scope_of(model, method) as trace:
        prompt = model(**inputs, use_cache=True, logits_to_keep=1)
        follower, made = _follower(model), prompt.get("language_model_outputs", prompt)
        cache = {cache_name_of(follower): cache_of(made)}
        rest = follower(input_ids=goal[None], use_cache=True, **cache)
    logits = torch.cat([prompt.logits[0, -1:], rest.logits[0, :-1]]).float()
    mean = torch.nn.functional.cross_entropy(logits, goal)
    greedy = bool((logits.argmax(-1) == goal).all())
    [facts] = facts_of(model, inputs, trace)
    return float(mean), greedy, Answer(continuation, _told(facts) | {"output_tokens": len(goal)})


def _follower(model: PreTrainedModel) -> nn.Module:
    """What is called with the tokens after a prompt: BLIP-2 wants a picture in any call, its language model not."""
    family = family_of(model)
    return family.merger_of(model) if family.ids_apart else model


def _continuation(loaded: Loaded, question: Question, continuation: str) -> Tensor:
    """The tokens by which the prompt grows, int64 ``[tokens]``."""
    prompt = prompt_text(loaded.processor, question.pictures, question.text)
    tokens = tokens_after(loaded.processor.tokenizer, prompt, continuation)
    if not tokens:
        raise VisionFlowError(f"{continuation!r} does not begin with a token of its own after the prompt")
    return torch.tensor(tokens, device=loaded.model.device)


def _told(facts: Facts) -> dict[str, Any]:
    """What lmms-eval logs of a prompt."""
    dropped = len(facts.kept) < facts.given_image_tokens
    costs = {name: None if cost is None else [cost.pruned, cost.dense] for name, cost in facts.costs.items()}
    told = {"input_tokens": facts.prompt_tokens, "image_tokens": facts.image_tokens}
    return told | {"kept": facts.kept if dropped else None} | costs


def _times(clock: TokenClock, length: int) -> dict[str, float | None]:
    first, last = clock.seconds[0], clock.seconds[length - 1]
    return {
        "seconds_to_first_token": first,
        "tokens_per_second": (length - 1) / (last - first) if length > 1 else None,
    }
