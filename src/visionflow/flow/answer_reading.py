"""What the model reads while it answers: for each answer token the row of attention that chose it, and its depths.

The first answer token is chosen by the last prompt token, every other by the answer token before it. Of each of these
rows, and of no other, the attention over all keys is taken as generation goes by: memory grows with answer tokens x
layers x keys, never with heads or with the square of the prompt.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from visionflow.core.attention import AttentionRows, out_of_autocast
from visionflow.core.flows import Watch
from visionflow.core.layer import LayerAttention
from visionflow.core.plan import Plan
from visionflow.core.reductions import received
from visionflow.core.tokens import Tokens
from visionflow.engines.hf.attention_functions import check_sinks, function_of, put_function, softcap_of
from visionflow.engines.hf.backend import stand_in
from visionflow.engines.hf.caches import layout_in
from visionflow.engines.hf.families import family_of
from visionflow.engines.hf.layer_kinds import depth_of
from visionflow.errors import UnsupportedUsageError
from visionflow.flow.lens import LogitLens, check_lens, read_early


@dataclass
class AnswerReading:
    """Collected while one prompt is answered; a scope with the plan `watching` and `during` around `generate` fill it.

    ::

        reading = AnswerReading(model, tokens)
        with Scope(model, reading.watching(plan)), reading.during():
            out = model.generate(**inputs, return_dict_in_generate=True)
        rows = reading.rows(out.past_key_values)

    Attributes:
        model: a supported model, in eval mode, with sdpa or eager attention.
        tokens: of the prompt: one sample, not padded.
    """

    model: PreTrainedModel
    tokens: Tokens
    _prompt: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)  # by layer: columns, and what they got
    _decoded: dict[int, list[Tensor]] = field(default_factory=dict)
    _states: dict[int, list[Tensor]] = field(default_factory=dict)
    _native: dict[int, Callable[..., Any]] = field(default_factory=dict)  # attention functions outside of any scope

    def __post_init__(self) -> None:
        self._native = {layer: function_of(module) for layer, module in self._attending().items()}
        if self.tokens.valid.shape[0] != 1 or not bool(self.tokens.valid.all()):
            raise UnsupportedUsageError("one prompt at a time is looked into, without padding")

    def watching(self, plan: Plan) -> Plan:
        """`plan`, in which what the last prompt token reads is seen in every layer that attends."""
        return replace(plan, watches=(*plan.watches, Watch(tuple(self._native), self._see_prompt)))

    @contextmanager
    def during(self) -> Iterator[None]:
        """Around `generate`, inside the scope whose plan is `watching`."""
        family = family_of(self.model)
        with ExitStack() as undo:
            for layer, module in self._attending().items():
                for each in self._look_on(layer, module):
                    undo.callback(each)
            for depth, module in enumerate((*family.layers_of(self.model), family.norm_of(self.model))):
                undo.callback(module.register_forward_pre_hook(self._keeper(depth)).remove)
            yield

    def rows(self, cache: Any) -> Tensor:
        """What each answer token's row reads in each layer, mean over heads, as the softmax gave it.

        Args:
            cache: that `generate` returned, which knows what each layer holds.

        Returns:
            fp32 ``[answer_tokens, layers, columns]`` on the CPU: columns of the prompt, then answer tokens but the
            last; NaN where a layer does not hold that token, or it comes later, and in layers without attention.
        """
        given = self.tokens.columns.shape[1]
        steps = max(map(len, self._decoded.values()), default=0)
        rows = torch.full((1 + steps, depth_of(self.model.config), given + steps), torch.nan)
        for layer, (columns, weights) in self._prompt.items():
            rows[0, layer, columns] = weights
            layout = layout_in(cache, layer)
            held = torch.arange(given) if layout is None else layout.index[0, : layout.length(given)].cpu()
            for step, decoded in enumerate(self._decoded.get(layer, ())):
                there = torch.cat([held, torch.arange(given, given + step + 1)])[-len(decoded) :]  # windows let go
                rows[1 + step, layer, there] = decoded
        return rows

    def lens(self, top: int = 5) -> LogitLens:
        """The likeliest next tokens at each depth, for each row: ids ``[answer_tokens, layers + 1, top]``.

        Raises:
            UnsupportedModelError: the model has no logit lens, see `logit_lens`.
        """
        check_lens(self.model, top)
        states = [torch.cat([state.to(self.model.device) for state in self._states[d]]) for d in sorted(self._states)]
        return LogitLens(*read_early(self.model, torch.stack(states, 1), top))

    @property
    def states_bytes(self) -> int:
        """Size of the hidden states that are held for the lens."""
        return sum(state.nbytes for states in self._states.values() for state in states)

    # -- what is seen -------------------------------------------------------------------------------------------------

    def _attending(self) -> dict[int, nn.Module]:
        """The attention modules of the layers that have one."""
        family, attending = family_of(self.model), depth_of(self.model.config).attending
        layers = family.layers_of(self.model)
        return {layer: family.attention_of(layers[layer]) for layer in attending}

    @torch.no_grad()
    def _see_prompt(self, attention: LayerAttention) -> None:
        with out_of_autocast(attention.query.device):
            read = received(attention.rows_of("last"))
        self._prompt[attention.layer] = attention.tokens.columns[0].cpu(), read[0].float().cpu()

    def _keeper(self, depth: int) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def keep(module: nn.Module, args: tuple[Any, ...]) -> None:
            self._states.setdefault(depth, []).append(args[0].detach()[..., -1, :].reshape(1, -1))

        return keep

    def _look_on(self, layer: int, module: nn.Module) -> list[Callable[[], None]]:
        """Have `module` show what a single token reads; what comes back undoes it, the first last."""
        attend, unwatched = function_of(module), stand_in(module)

        def attend_seen(
            module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **kwargs: Any
        ) -> Any:
            if query.shape[2] == 1 and self._prompt:
                check_sinks(module, kwargs.get("s_aux"))
                softcap = softcap_of(kwargs.get("softcap"), self._native[layer])
                scaling = kwargs.get("scaling") or query.shape[3] ** -0.5
                self._see_token(layer, query, key, attention_mask, scaling, softcap)
            return attend(unwatched, query, key, value, attention_mask, **kwargs)

        return put_function(module, f"visionflow_reading_{id(self)}_{layer}", attend_seen)

    @torch.no_grad()
    def _see_token(
        self, layer: int, query: Tensor, key: Tensor, mask: Tensor | None, scaling: float, softcap: float | None
    ) -> None:
        only = torch.zeros(1, 1, dtype=torch.long, device=query.device)
        rows = AttentionRows(query, key, scaling, mask, only, only == 0, self.tokens, softcap=softcap)
        with out_of_autocast(query.device):
            [(_, _, weights)] = rows.chunks()
        self._decoded.setdefault(layer, []).append(weights[0, 0].float().cpu())
