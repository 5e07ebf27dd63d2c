"""Flow analyses over the samples of a suite, recorded sample by sample, so that a run can be gone on with.

Only questions that need the picture say anything about its flow: those that the model answers rightly with the picture
and not without it (HiMAP, appendix B).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

import torch
from torch import Tensor

from visionflow.answering import enough_memory
from visionflow.errors import VisionFlowError
from visionflow.evaluation.batches import batches_of, inputs_of
from visionflow.evaluation.records import FLOW, Record, Records
from visionflow.evaluation.rows import DENSE, WITHOUT_PICTURE
from visionflow.evaluation.runner import run_batch
from visionflow.evaluation.samples import Sample
from visionflow.flow.disruption import Disruption
from visionflow.flow.disruption_sweep import Effect, first_tokens, sweep
from visionflow.flow.lengths import sequence_lengths
from visionflow.flow.saliency import Saliency, saliency
from visionflow.flow.saliency_measures import MEASURES, ConventionName, Objective
from visionflow.loading.models import Loaded
from visionflow.loading.prompts import prompt_text, tokens_after

LENGTHS = "lengths"
"""What an analysis calls the numbers of tokens of each kind."""

Analysis: TypeAlias = Callable[[Loaded, Any, Tensor], list[dict[str, Any]]]
"""From the model, inputs and first answer tokens ``[batch]`` to what is found out of each sample, fit for JSON."""


def analyse(
    loaded: Loaded,
    samples: Sequence[Sample],
    analysis: Analysis,
    records: Records,
    only_visual: bool = True,
    batch: int = 8,
    on_batch: Callable[[str, int], None] = lambda task, done: None,
) -> list[Record]:
    """The records of all samples, in their order; those that `records` has already are not run again.

    Args:
        loaded: the model with its processor.
        samples: the questions; captions have no answer token and are refused.
        analysis: what is done with each batch.
        records: what is done; it grows with each batch.
        only_visual: leave out questions that are not answered rightly, or rightly without the picture, too.
        batch: samples of one task that are run at a time.
        on_batch: called after each batch with its task and the number of samples done so far.

    Raises:
        VisionFlowError: a caption is asked for, an answer has no token of its own, or as `evaluate`.
    """
    if any(sample.form == "caption" for sample in samples):
        raise VisionFlowError("a caption has no one answer token to follow: leave the task out with --tasks")
    todo = [sample for sample in samples if sample.id not in records.known]
    for several in batches_of(todo, batch):
        found = run_batch(loaded, several, [DENSE, WITHOUT_PICTURE] if only_visual else [])
        chosen = [place for place, record in enumerate(found) if _needs_picture(record)]
        facts = _analysed(loaded, [several[place] for place in chosen], analysis)
        for record in found:
            record["rows"][FLOW] = None
        for place, fact in zip(chosen, facts, strict=True):
            found[place]["rows"][FLOW] = fact
        records.add(found)
        on_batch(several[0].task, len(records.known))
    return [records.known[sample.id] for sample in samples]


def analysed(records: Iterable[Record]) -> list[Any]:
    """What was found out of each sample that the analysis was made of.

    Raises:
        VisionFlowError: there is none.
    """
    found = [record["rows"][FLOW] for record in records if record["rows"][FLOW] is not None]
    if not found:
        raise VisionFlowError(
            "no question is answered rightly with the picture and wrongly without: raise --limit, or take --all"
        )
    return found


def first_answer_tokens(loaded: Loaded, samples: Sequence[Sample], inputs: Any) -> Tensor:
    """The first token of each right answer, int64 ``[batch]``, as the model itself would write it.

    Of the answer as it stands and with a capital, that which the model finds likelier; the token is read off the
    prompt with the answer behind it, because a tokenizer may cut a word differently when it stands alone.

    Raises:
        VisionFlowError: the tokenizer does not know the answer, or melts it into one token with the prompt.
    """
    ranked = first_tokens(loaded.model, inputs, count=loaded.model.config.get_text_config().vocab_size)
    targets = []
    for sample, ranking in zip(samples, ranked, strict=True):
        spellings = _spellings(loaded.processor, sample)
        place = {token: int((ranking == token).nonzero()) for token in spellings}
        targets.append(min(spellings, key=lambda token: place[token]))
    return torch.tensor(targets)


def saliency_analysis(objective: Objective, convention: ConventionName, normalised: bool) -> Analysis:
    """Each measure of each sample in each layer, and how long its prompt is."""

    def analysis(loaded: Loaded, inputs: Any, targets: Tensor) -> list[dict[str, Any]]:
        profile = saliency(
            loaded.model, inputs, targets, objective=objective, convention=convention, normalised=normalised
        )
        values = {name: profile.per_sample[name].tolist() for name in MEASURES}
        lengths = sequence_lengths(loaded.model, inputs)
        return [
            {name: values[name][sample] for name in MEASURES} | {LENGTHS: asdict(length)}
            for sample, length in enumerate(lengths)
        ]

    return analysis


def profile_of(
    records: Iterable[Record], objective: Objective, convention: ConventionName, normalised: bool
) -> Saliency:
    """The profile of all samples that were analysed.

    Raises:
        VisionFlowError: there are none.
    """
    found = analysed(records)
    return Saliency(
        {name: torch.tensor([facts[name] for facts in found]) for name in MEASURES}, objective, convention, normalised
    )


def lengths_of(records: Iterable[Record]) -> list[dict[str, int]]:
    """System, image and instruction tokens of each sample that was analysed.

    Raises:
        VisionFlowError: there are none.
    """
    return [facts[LENGTHS] for facts in analysed(records)]


def disruption_analysis(disruptions: Sequence[Disruption]) -> Analysis:
    """What each disruption does to each sample."""

    def analysis(loaded: Loaded, inputs: Any, targets: Tensor) -> list[dict[str, Any]]:
        effects = sweep(loaded.model, [inputs], disruptions)
        return [
            {
                "label_kept": [effect.label_kept[sample] for effect in effects],
                "jaccard": [effect.jaccard[sample] for effect in effects],
            }
            for sample in range(len(targets))
        ]

    return analysis


def effects_of(records: Iterable[Record], disruptions: Sequence[Disruption]) -> list[Effect]:
    """The effect of each disruption on all samples that were analysed.

    Raises:
        VisionFlowError: there are none.
    """
    found = analysed(records)
    return [
        Effect(
            disruption,
            tuple(facts["label_kept"][place] for facts in found),
            tuple(facts["jaccard"][place] for facts in found),
        )
        for place, disruption in enumerate(disruptions)
    ]


def _needs_picture(record: Record) -> bool:
    rows = record["rows"]
    return not rows or (rows[DENSE.name]["right"] and not rows[WITHOUT_PICTURE.name]["right"])


def _analysed(loaded: Loaded, samples: Sequence[Sample], analysis: Analysis) -> list[dict[str, Any]]:
    if not samples:
        return []
    inputs = inputs_of(loaded, samples)
    with enough_memory(loaded.model.device, "lower --batch, or try --dtype bfloat16 or --device cpu"):
        return analysis(loaded, inputs, first_answer_tokens(loaded, samples, inputs))


def _spellings(processor: Any, sample: Sample) -> set[int]:
    gold, prompt = sample.gold[0], prompt_text(processor, sample.images(), sample.prompt, sample.before)
    found = {_first_token(processor.tokenizer, prompt, answer) for answer in (gold, gold.title())}
    known = found - {processor.tokenizer.unk_token_id}
    if not known:
        raise VisionFlowError(f"the model's tokenizer has no token for the answer {gold!r}: choose other --tasks")
    return known


def _first_token(tokenizer: Any, prompt: str, answer: str) -> int:
    tokens = tokens_after(tokenizer, prompt, answer if prompt[-1].isspace() else f" {answer}")
    if not tokens:
        raise VisionFlowError(
            f"the model's tokenizer melts the prompt and the answer {answer!r}: the answer's first token is unknown"
        )
    return tokens[0]
