"""`prune` and `unprune`: a method on a model, for as long as the scope is open."""

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn
from transformers import PreTrainedModel

from visionflow.core.plan import Plan
from visionflow.core.trace import Trace
from visionflow.core.work import Work
from visionflow.cost import Convention, Cost, DecoderShape, cost_of_work
from visionflow.cost.shape import image_tokens_of
from visionflow.engines.hf.scope import Scope, scope_on
from visionflow.errors import UnsupportedModelError, VisionFlowError
from visionflow.methods.base import Method


@dataclass
class PruningTrace(Trace):
    """A trace that knows the model's shape, and so what was saved."""

    shape: DecoderShape | None = field(default=None, repr=False)
    uncosted: str = field(default="", repr=False)
    bytes_per_element: int = 2
    has_head: bool = field(default=True, repr=False)
    per_picture: int | None = field(default=None, repr=False)

    def patches(self, stage: int = -1, per_picture: int | None = None) -> list[list[Tensor]]:
        """Where in each picture the tokens are that `stage` (the last, by default) kept.

        ``trace.patches()[sample][picture]``, int64, counts the image tokens of that picture from 0, ascending; where
        they are a grid, row by row, ``divmod(number, columns)`` is row and column.

        Args:
            stage: which cut, as in `stages`.
            per_picture: image tokens of one picture, where pictures touch; of LLaVA-1.5 it is known.

        Raises:
            VisionFlowError: there is no such stage, or a run of image tokens is not so many whole pictures.
        """
        return super().patches(stage, per_picture or self.per_picture)

    def cost(self, convention: Literal["paper", "gated", "flops"] = "flops", logits_rows: int | None = 1) -> Cost:
        """What the latest prompt cost, and what it would have cost dense; see `visionflow.cost`.

        Args:
            convention: "flops" (true FLOPs of the prefill), "paper" or "gated" (multiply-adds of the image tokens).
            logits_rows: rows of logits per sample: 1 as in `generate`, None for all rows of the prompt; a model without
                a head makes none.

        Raises:
            VisionFlowError: nothing was run yet, or the cost of this kind of decoder is not modelled.
        """
        return self._cost(self.work, self.image_tokens, self.given_image_tokens, convention, logits_rows)

    def cost_of(
        self, sample: int, convention: Literal["paper", "gated", "flops"] = "flops", logits_rows: int | None = 1
    ) -> Cost:
        """The same for one sample of the batch by itself, without the padding that its company costs.

        Raises:
            VisionFlowError: nothing was run yet.
        """
        return self._cost(
            self.work_of(sample),
            self.image_tokens[:, [sample]],
            self.given_image_tokens[[sample]],
            convention,
            logits_rows,
        )

    def _cost(
        self, work: Work, image_tokens: Tensor, given: Tensor, convention: Convention, logits_rows: int | None
    ) -> Cost:
        if self.shape is None and self.uncosted:
            raise VisionFlowError(self.uncosted)
        if self.shape is None or not self.rows or not self.rows[0]:
            raise VisionFlowError("nothing to cost yet: run the model inside the scope first")
        return cost_of_work(
            self.shape,
            work,
            image_tokens.tolist(),
            convention,
            logits_rows=logits_rows if self.has_head else 0,
            bytes_per_element=self.bytes_per_element,
            given=given.tolist(),
        )

    def _repr_html_(self) -> str:
        """Tokens of each layer, cuts and cost, as a notebook shows them."""
        from visionflow.report.notebook import trace_html

        return trace_html(self)


class Pruning(Scope):
    """An open pruning scope: a context manager that yields the trace, or a handle with `remove` and `trace`."""

    trace: PruningTrace

    def __enter__(self) -> PruningTrace:
        self.enter()
        return self.trace


def prune(model: PreTrainedModel, method: Method) -> Pruning:
    """Let `model` use fewer image tokens, as `method` says, until the scope is left.

    ::

        with prune(model, HiMAP(k1=2, r1=0.5, k2=8, r2=0.75)) as trace:  # or: handle = prune(...); handle.remove()
            out = model.generate(**inputs, max_new_tokens=32)
        trace.stages[0].kept, trace.image_tokens, trace.cost("flops").ratio

    `model` is an unmodified Hugging Face model; it is bit-identical after the scope, which waits at its end for threads
    that still run the model inside. Without the handle, `unprune` leaves it. Logits and the last hidden state keep
    their shape: rows of dropped image tokens are zero. Per-layer outputs (``output_hidden_states``,
    ``output_attentions``) are as long as the layers' own sequences.

    Args:
        model: of a family in `visionflow.engines.hf.families.FAMILIES`, with its head or without (`LlavaModel`), in
            eval mode, with eager, sdpa, flex or flash attention, or a peft model around one.
        method: for example `HiMAP`, `FastV`, `VTW`, `VisiPruner`, `RandomPruning`.

    Raises:
        UnsupportedModelError: the model is not supported.
        UnsupportedUsageError: a layer beyond the model's depth, or a scope is open on this model already. Later, inside
            the scope: a way of running the model that cannot be right (a quantized cache, chunked prefill, assisted
            decoding, continuous batching, samples packed in one row, training mode).
        VisionFlowError: `method` is not a method.
    """
    if not isinstance(method, Method):
        raise VisionFlowError(f"prune needs a method such as HiMAP(k1=2, r1=0.5, k2=8, r2=0.75), not {method!r}")
    return Pruning(model, method.plan(), lambda layers: _trace_of(model, layers))


def unprune(model: nn.Module) -> None:
    """Leave the pruning scope that is open on `model`, where its handle is not at hand; do nothing where none is.

    Waits for other threads that run a forward pass or `generate` inside.

    Args:
        model: what was given to `prune`, or a wrapper around it.

    Raises:
        VisionFlowError: `model` is no model.
    """
    if not isinstance(model, nn.Module):
        raise VisionFlowError(f"unprune needs the model that was pruned, not {type(model).__name__}")
    scope = scope_on(model)
    if scope is not None:
        scope.remove()


def dense(model: PreTrainedModel) -> Pruning:
    """A scope that prunes nothing and keeps a trace: what `prune` is compared with.

    Raises:
        UnsupportedModelError: the model is not supported.
        UnsupportedUsageError: a scope is open on this model already.
    """
    return Pruning(model, Plan(), lambda layers: _trace_of(model, layers))


def _trace_of(model: PreTrainedModel, layers: int) -> PruningTrace:
    try:
        shape, uncosted = DecoderShape.from_config(model.config), ""
    except UnsupportedModelError as error:  # what it does is pruned all the same
        shape, uncosted = None, str(error)
    return PruningTrace(
        layers,
        shape=shape,
        uncosted=uncosted,
        bytes_per_element=model.dtype.itemsize,
        has_head=model.can_generate(),
        per_picture=image_tokens_of(model.config),
    )
