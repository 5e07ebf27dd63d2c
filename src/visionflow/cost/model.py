"""What a method saves: from token counts alone, before any model is loaded, or from a finished run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from visionflow.core.work import Work
from visionflow.cost.conventions import (
    IMAGE_TOKEN_COST,
    Convention,
    check_convention,
    choice_flops,
    flops,
    head_flops,
    image_flops,
    kv_bytes,
    own,
    probe_flops,
)
from visionflow.cost.shape import DecoderShape
from visionflow.errors import VisionFlowError
from visionflow.methods.base import Method

# A short question in LLaVA-1.5's prompt: 35 tokens of system prompt, 25 of question and template.
TEXT_TOKENS = 60


class Course(Protocol):
    """What a prompt goes through, as far as counts alone tell: a `visionflow.core.Plan`, for example."""

    def check_depth(self, num_layers: int) -> None:
        """Refuse a model that is too shallow."""

    def image_tokens(self, image_tokens: int, num_layers: int) -> list[int]:
        """Image tokens in each layer for a prompt of `image_tokens`."""

    def work(self, image_tokens: int, system_tokens: int, instruction_tokens: int, num_layers: int) -> Work:
        """What the layers have to do for a prompt of so many tokens."""


@dataclass(frozen=True)
class Cost:
    """The prefill with and without the method; sums over the batch.

    Attributes:
        convention: what `dense` and `pruned` count.
        dense: multiply-adds or FLOPs, as the convention says, of the unpruned model.
        pruned: the same with the method; where the convention is ``flops``, its probes included.
        kv_bytes_dense: size of the prompt's KV cache, image and text tokens, in every convention.
        kv_bytes_pruned: the same with the method.
        average_image_tokens: image tokens of one sample in one layer, averaged over layers and samples.
    """

    convention: Convention
    dense: int
    pruned: int
    kv_bytes_dense: int
    kv_bytes_pruned: int
    average_image_tokens: float

    @property
    def ratio(self) -> float:
        """Pruned over dense; 1 where there is nothing to pay for, hence nothing to save."""
        return self.pruned / self.dense if self.dense else 1.0


def cost_of(
    method: Method | Course,
    shape: DecoderShape,
    convention: Convention,
    *,
    image_tokens: int | None = None,
    text_tokens: int = TEXT_TOKENS,
    instruction_tokens: int | None = None,
    logits_rows: int | None = 1,
    bytes_per_element: int = 2,
) -> Cost:
    """The cost of one prompt from its counts alone.

    Args:
        method: a method or a plan, of which ``Plan()`` is the unpruned model; or another `Course`.
        shape: the decoder.
        convention: ``paper``, ``gated`` or ``flops``.
        image_tokens: of the prompt; the shape's own by default.
        text_tokens: all other tokens of the prompt. They count in ``flops`` and in the KV bytes.
        instruction_tokens: text tokens after the image, whose rows HiMAP's first probe reads (``flops`` only). All
            text tokens by default, so a probe is never counted too low.
        logits_rows: tokens whose logits are computed (``flops`` only): 1 as in `generate`, None for the whole prompt
            as in a plain forward pass, where the runtime puts hidden states back in their places.
        bytes_per_element: of the KV cache; 2 for fp16 and bf16.

    Raises:
        VisionFlowError: a count is out of range, or the method names a layer that the shape does not have.
    """
    course = method.plan() if isinstance(method, Method) else method
    course.check_depth(shape.depth)
    n = _prompt_image_tokens(shape, image_tokens)
    _check_count("text_tokens", text_tokens)
    if instruction_tokens is None:
        instruction_tokens = text_tokens
    _check_count("instruction_tokens", instruction_tokens, at_most=text_tokens)
    return cost_of_work(
        shape,
        course.work(n, text_tokens - instruction_tokens, instruction_tokens, shape.num_layers),
        [[count] for count in course.image_tokens(n, shape.num_layers)],
        convention,
        logits_rows=logits_rows,
        bytes_per_element=bytes_per_element,
        given=[n],
    )


def cost_of_work(
    shape: DecoderShape,
    work: Work,
    image_tokens: Sequence[Sequence[int]],
    convention: Convention,
    *,
    logits_rows: int | None = 1,
    bytes_per_element: int = 2,
    given: Sequence[int] | None = None,
) -> Cost:
    """The cost of a batch whose places have each gone through `work`, against the dense run of the tokens given.

    ``flops`` and the KV bytes count what was executed, places that only fill up the batch included; ``paper`` and
    ``gated`` count each sample's own image tokens.

    Args:
        shape: the decoder.
        work: of one place in the batch, for example `visionflow.core.Trace.work`.
        image_tokens: for each layer, the image tokens present in each sample.
        convention: ``paper``, ``gated`` or ``flops``.
        logits_rows: tokens of each sample whose logits are computed (``flops`` only); None for the whole prompt.
        bytes_per_element: of the KV cache.
        given: image tokens that came in, of each sample; by default those of the first layer.

    Raises:
        VisionFlowError: the work is not of the shape's number of layers.
    """
    if not len(work.lengths) == len(image_tokens) == shape.num_layers:
        raise VisionFlowError(
            f"a run of {len(work.lengths)} layers cannot be costed with a shape of {shape.num_layers} decoder layers"
        )
    _check_count("bytes_per_element", bytes_per_element, at_least=1)
    depth, batch = shape.num_layers, len(image_tokens[0])
    given = image_tokens[0] if given is None else given
    if check_convention(convention) == "flops":
        dense, pruned = _flops(shape, work, image_tokens, given, logits_rows)
    else:
        dense, pruned = _multiply_adds(shape, work, image_tokens, given, convention)
    return Cost(
        convention,
        dense,
        pruned,
        kv_bytes_dense=batch * sum(kv_bytes(shape, work.given, bytes_per_element, layer) for layer in range(depth)),
        kv_bytes_pruned=batch
        * sum(kv_bytes(shape, rows, bytes_per_element, layer) for layer, rows in enumerate(work.cached)),
        average_image_tokens=sum(map(sum, image_tokens)) / (depth * batch),
    )


def _flops(
    shape: DecoderShape,
    work: Work,
    image_tokens: Sequence[Sequence[int]],
    given: Sequence[int],
    logits_rows: int | None,
) -> tuple[int, int]:
    """FLOPs of the batch, dense and pruned."""
    depth, batch = shape.num_layers, len(given)
    around = head_flops(shape, work.given if logits_rows is None else min(logits_rows, work.given))
    around += shape.before * work.given
    dense = sum(flops(shape, work.given, work.given**2, layer) for layer in range(depth)) + shape.after * work.given
    run = enumerate(zip(work.lengths, work.pairs, strict=True))
    layers = sum(flops(shape, rows, pairs, layer) for layer, (rows, pairs) in run)
    layers += shape.after * work.lengths[-1]
    before = [work.given, *work.lengths]
    probes = sum(probe_flops(shape, probe, before[probe.layer + (not probe.projected)]) for probe in work.probes)
    probes += sum(choice_flops(shape, compared) for compared in work.compared)
    return (
        batch * (dense + around) + image_flops(shape, [given] * depth),
        batch * (layers + probes + around) + image_flops(shape, image_tokens),
    )


def _multiply_adds(
    shape: DecoderShape,
    work: Work,
    image_tokens: Sequence[Sequence[int]],
    given: Sequence[int],
    convention: Convention,
) -> tuple[int, int]:
    """Multiply-adds of the image tokens of the batch, dense and pruned."""
    usual = IMAGE_TOKEN_COST[convention]

    def layer_cost(layer: int, n: int, pairs: int) -> int:
        return usual(shape, n, pairs) if shape.layers is None else own(shape, layer, n, pairs)

    before, after = shape.before // 2 * sum(given), shape.after // 2
    dense = sum(layer_cost(layer, n, n * n) for layer in range(shape.num_layers) for n in given)
    pruned = sum(
        layer_cost(layer, n, 0 if layer in work.blocked else n * n)
        for layer, samples in enumerate(image_tokens)
        for n in samples
    )
    return dense + before + after * sum(given), pruned + before + after * sum(image_tokens[-1])


def _prompt_image_tokens(shape: DecoderShape, image_tokens: int | None) -> int:
    if image_tokens is None:
        image_tokens = shape.image_tokens
    if image_tokens is None:
        raise VisionFlowError("this model's image tokens depend on the picture: say how many with image_tokens")
    _check_count("image_tokens", image_tokens)
    return image_tokens


def _check_count(name: str, value: int, at_least: int = 0, at_most: int | None = None) -> None:
    if value < at_least or (at_most is not None and value > at_most):
        limit = f"at least {at_least}" + (f" and at most {at_most}" if at_most is not None else "")
        raise VisionFlowError(f"{name} must be {limit}, not {value}")
