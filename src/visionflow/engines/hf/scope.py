"""The pruning scope: hangs a plan on a model's hooks, and takes every trace of itself off again."""

import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any, NoReturn, SupportsIndex

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel, StaticCache

from visionflow.core.evidence import Tower
from visionflow.core.plan import Plan
from visionflow.core.trace import Trace
from visionflow.engines.hf.backend import backend_of, check_backend
from visionflow.engines.hf.beginning import Beginning
from visionflow.engines.hf.block_masks import Masks
from visionflow.engines.hf.caches import (
    cache_name,
    cache_of,
    check_cache,
    lead,
    makes_cache,
    new_cache,
    whole_cache,
)
from visionflow.engines.hf.deepstack import shorten
from visionflow.engines.hf.distances import count_by_column
from visionflow.engines.hf.families import family_of
from visionflow.engines.hf.guards import (
    check_answered,
    check_call,
    check_compiled,
    check_plan,
    check_positions,
    check_shared_keys,
    guard_generation,
)
from visionflow.engines.hf.layer_hooks import LayerHooks, owner_of_hook
from visionflow.engines.hf.layer_kinds import attending, depth_of
from visionflow.engines.hf.passes import Pass
from visionflow.engines.hf.prompt_pass import PromptPass
from visionflow.engines.hf.running import Running
from visionflow.engines.hf.tower import TowerLook
from visionflow.engines.hf.watched import read, watch
from visionflow.errors import UnsupportedUsageError

_opening = threading.Lock()


class Scope:
    """Runs `plan` in every forward pass of `model` until removed; a context manager that yields its trace, or a handle.

    The model is unmodified: hooks on its merger, decoder and layers, and a copied config on the probed attention
    modules, all undone by `remove`, also after an exception. Several threads may call the model; the trace is of the
    latest prompt of any, and `remove` waits for those that still run.

    An answer may be read together with its prompt, as in teacher forcing: `answer_tokens` says how many of the last
    columns are of it. They stay, are no evidence, and read what they would read on the prompt's cache.

    Raises:
        UnsupportedModelError: the model's family or attention implementation is not supported.
        UnsupportedUsageError: a layer beyond the model's depth, another scope is open on this model, or an answer is to
            be read together with its prompt under a plan that does more than cut.
    """

    def __init__(
        self, model: PreTrainedModel, plan: Plan, make_trace: Callable[[int], Trace] = Trace, answer_tokens: int = 0
    ) -> None:
        self.model = model = adapted(model)
        self.family = family_of(model)
        self.plan = plan
        if answer_tokens:
            check_answered(plan)
        self.layers = self.family.layers_of(model)
        plan.check_depth(depth_of(model.config))
        check_shared_keys(self.family, model, plan)
        check_compiled(self.layers, self.family.attention)
        self.backend = backend_of(model, self.family)
        check_backend(self.backend, model, plan)
        self._parameters = [_parameters_of(layer) for layer in self.layers]
        check_positions(self.family, model, plan)
        parts = (part for cut in plan.cuts for part in cut.evidence.parts)
        rows = {part.rows for part in parts if isinstance(part, Tower)}
        self._towers = {each: TowerLook(model, self.family.merger_of(model), each) for each in sorted(rows)}
        self.trace = make_trace(len(self.layers))
        self._local = threading.local()
        self._beginning = Beginning(model, self.family, plan, self.backend, self._towers, answer_tokens)
        self._running = Running()
        self._entered = False
        self._undo: list[Any] = []
        with _opening:
            if scope_on(self.layers[0]) is not None:
                raise UnsupportedUsageError(
                    "this model is in a pruning scope already, and scopes do not nest: leave that one first, by the "
                    "handle's remove() or visionflow.unprune(model)"
                )
            try:
                self._install()
            except BaseException:
                self.remove()
                raise

    def __enter__(self) -> Trace:
        self.enter()
        return self.trace

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()

    @property
    def looks_at_tower(self) -> bool:
        """Whether the plan has evidence from the vision tower, which then has to run inside the scope."""
        return bool(self._towers)

    def enter(self) -> None:
        """What a `with` statement does first.

        Raises:
            UnsupportedUsageError: the scope was left, or another `with` is about to leave it.
        """
        if self._running.left or self._entered:
            raise UnsupportedUsageError(
                f"this pruning scope {'was left' if self._running.left else 'is entered'} already: "
                "open a new one, for example by prune(model, method)"
            )
        self._entered = True

    def remove(self) -> None:
        """Take off every hook and wrapper; the model is what it was. Calling it again does nothing.

        Waits for other threads that run a forward pass or `generate` inside.
        """
        self._running.leave(self._take_off)

    def _take_off(self) -> None:
        while self._undo:
            self._undo.pop()()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise UnsupportedUsageError(
            "a model inside a pruning scope cannot be copied or pickled: leave the scope first, by the handle's "
            "remove() or visionflow.unprune(model) (save_pretrained and state_dict work inside)"
        )

    # -- attaching ----------------------------------------------------------------------------------------------------

    def _install(self) -> None:
        merger, decoder = self.family.merger_of(self.model), self.family.decoder_of(self.model)
        self._merger_parameters = _parameters_of(merger)
        if self.family.ids_apart:
            self._undo += self._beginning.ids.follow(self.model)
        self._keep(merger.register_forward_pre_hook(self._begin, with_kwargs=True))
        self._keep(decoder.register_forward_hook(self._restore))  # first, where the decoder is the merger
        self._keep(merger.register_forward_hook(self._end, always_call=True))
        attended = self.plan.attended_layers(len(self.layers))
        self._layer_hooks = LayerHooks(self, self.layers, attended, self._before_layer)
        self._undo.append(self._layer_hooks.take_off)
        for index in attended:
            self._undo += watch(self.family.attention_of(self.layers[index]), index, self._active)
        for index in attending(self.backend.layers):
            of_layer = partial(self._columns, index)
            self._undo += count_by_column(self.family.attention_of(self.layers[index]), of_layer)
        for tower in self._towers.values():
            self._undo += tower.install()
        self._undo += shorten(decoder, lambda visual, features: self._active().picture_features(visual, features))
        if self.model.can_generate():
            self._undo.append(guard_generation(self.model, self._generation, self._beginning.check_static))

    def _keep(self, handle: RemovableHandle) -> None:
        self._undo.append(handle.remove)

    def _columns(self, layer: int) -> tuple[Tensor, Tensor] | None:
        return self._active().fitting.columns(layer)

    # -- one forward pass ---------------------------------------------------------------------------------------------

    def _active(self) -> Pass:
        forward: Pass | None = getattr(self._local, "forward", None)
        if forward is None:
            raise UnsupportedUsageError(
                "the text decoder was called by itself, so its image tokens are unknown: call the whole model"
            )
        return forward

    @contextmanager
    def _generation(self, ids: Tensor | None) -> Iterator[None]:
        """Around a call of `generate` for a prompt of `ids`."""
        outer = getattr(self._local, "pictured", None)
        with self._running.generation(), self._beginning.ids.noted(ids):
            self._local.pictured = False
            self._forget_pictures()
            try:
                yield
            finally:
                self._local.pictured = outer
                self._forget_pictures()

    def _forget_pictures(self) -> None:
        """What the tower showed this thread is not of the pictures that come next."""
        for tower in self._towers.values():
            tower.forget()

    def _begin(self, merger: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = {**dict(zip(self._merger_parameters, args, strict=False)), **kwargs}
        cache = cache_of(call)
        if self._beginning.is_step(call, cache):
            return self._begin_step(call, cache)
        if not self._running.begin_pass():
            return None
        check_call(self.model, call)
        check_plan(self.family, self.plan, call)
        self._follow_compilation()
        if not (generates := getattr(self._local, "pictured", None) is not None):  # which may have encoded them before
            self._forget_pictures()
        if isinstance(cache, StaticCache):
            self._local.forward, call = self._beginning.on_static(call, cache, self.trace, generates)
            lead(cache, True)
            return (), call
        given = cache
        if cache is None and makes_cache(self.model, call):
            cache = new_cache(self.model.config)
        check_cache(cache := whole_cache(cache))
        self._local.forward = self._beginning.on(call, cache, self.trace)
        lead(cache, True)
        made = cache is not None and given is None
        return (args, {**kwargs, cache_name(self._merger_parameters): cache}) if made else None

    def _begin_step(self, call: dict[str, Any], cache: StaticCache) -> None:
        """The next token of an answer on a static cache; the whole pass may be compiled."""
        if not torch.compiler.is_compiling():
            if not self._running.begin_pass():
                return
            self._follow_compilation()
        check_call(self.model, call)
        self._local.forward = self._beginning.step(call, cache)
        lead(cache, True)

    def _follow_compilation(self) -> None:
        check_compiled(self.layers, self.family.attention)
        self._layer_hooks.follow_compilation()

    def _before_layer(self, layer: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        forward = self._active()
        if layer == 0:
            forward.cache = cache_of(kwargs)  # the decoder may have made its own
        if forward.fitting.leaves_alone and len(args) == 1 and kwargs.get("attention_mask") is None:
            return None
        kwargs = {**dict(zip(self._parameters[layer], args, strict=False)), **kwargs}
        masks = forward.masks if self.backend.layers[layer].attends else Masks()
        kwargs["attention_mask"] = masks.gatherable(kwargs.get("attention_mask"))
        look = partial(read, forward, self.layers[layer], layer)
        hidden, kwargs = forward.enter(layer, kwargs.pop("hidden_states"), kwargs, look)
        return (hidden,), {**kwargs, "attention_mask": masks.native(kwargs.get("attention_mask"))}

    def _restore(self, decoder: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        forward = self._active()
        if isinstance(output, tuple):
            return (forward.restore(output[0]), *output[1:])
        output.last_hidden_state = forward.restore(output.last_hidden_state)
        return output

    def _end(self, merger: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        forward: Pass | None = getattr(self._local, "forward", None)
        self._local.forward = None
        if forward is not None:
            lead(forward.cache, False)
            if isinstance(forward, PromptPass) and output is not None:
                self._tell(forward)
            if forward.cache is not None and output is not None:
                forward.leave()
            if forward.loosened is not None:
                forward.loosened.end(None if output is None else forward.fitting.total)
        if not torch.compiler.is_compiling():
            self._running.end_pass()

    def _tell(self, forward: PromptPass) -> None:
        """Let the trace tell of a prompt.

        In one call of `generate` a prompt without pictures stands beside one with pictures, and is no news: it is what
        classifier-free guidance compares with.
        """
        beside = getattr(self._local, "pictured", None)
        if forward.pictured or not beside:
            vars(self.trace).update(vars(forward.trace))
        if beside is not None:
            self._local.pictured = beside or forward.pictured


def scope_on(model: nn.Module) -> Scope | None:
    """The scope that is open on a model, or on a part or a wrapper of it."""
    return next((owner for module in model.modules() if (owner := owner_of_hook(module)) is not None), None)


def adapted(model: Any) -> Any:
    """The model inside a wrapper of peft, adapters included; any other as it is."""
    return model.get_base_model() if hasattr(model, "peft_config") and hasattr(model, "get_base_model") else model


def _parameters_of(module: nn.Module) -> list[str]:
    """Names of what a module takes, in their order."""
    return list(inspect.signature(module.forward).parameters)
