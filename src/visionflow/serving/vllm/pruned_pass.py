"""One step in which prompts are cut: hooks on vLLM's decoder layers that show what cuts ask for and take rows away."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from visionflow.core.evidence import Attention, Features
from visionflow.core.plan import Cut
from visionflow.serving.steps import Stage, Step
from visionflow.serving.vllm import metrics
from visionflow.serving.vllm.cut_prompt import CutPrompt
from visionflow.serving.vllm.internals import IntermediateTensors

if TYPE_CHECKING:
    from visionflow.serving.vllm.pruner import Pruner

Hook = Callable[..., Any]

LAYER_ARGUMENTS = ("positions", "hidden_states", "residual")
"""What vLLM's decoder layers take, in this order."""


class _SeenError(Exception):
    """Ends a layer that is run only as far as its attention."""


class PrunedPass:
    """Hooks for one call of the model's forward, whose rows are those of the step's requests and of padding after them.

    Attributes:
        present: int64 ``[rows]``, the rows that are left, as places among those given; None before the first cut.
    """

    def __init__(self, pruner: "Pruner", step: Step) -> None:
        self.present: Tensor | None = None
        self._pruner = pruner
        self._step = step
        self._cuts_done = 0
        self._given = 0
        self._positions: Tensor | None = None
        self._pictures: Tensor | None = None
        self._prompts: dict[int, CutPrompt] = {}
        self._reading = False
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> "PrunedPass":
        layers, attentions, cuts = self._pruner.layers, self._pruner.attentions, self._pruner.settings.cut_layers
        seen = {layer + delta for layer in cuts for delta in (-1, 0)} & set(range(len(layers)))
        for layer in seen:
            self._handles.append(attentions[layer].register_forward_pre_hook(self._looking(layer)))
        for layer in {0, *range(cuts[0], len(layers))}:
            self._handles.append(layers[layer].register_forward_pre_hook(self._entering(layer), with_kwargs=True))
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()

    def restore(self, hidden: Tensor) -> Tensor:
        """The decoder's output in the places of its input; zero where rows are gone."""
        assert self.present is not None
        metrics.cut(len(self._prompts), self._pruner.group)
        full = hidden.new_zeros(self._given, *hidden.shape[1:])
        return full.index_copy_(0, self.present, hidden)

    # -- hooks --------------------------------------------------------------------------------------------------------

    def _entering(self, layer: int) -> Hook:
        """What a layer gets instead of its own arguments: the rows that are left, with their positions."""

        def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            given = dict(zip(LAYER_ARGUMENTS, args, strict=False)) | kwargs
            if layer == 0 and not self._prompts:
                self._begin(given["hidden_states"])
            if not self._reading:
                given |= self._cut(layer, module, given)
            if self._positions is not None:
                given["positions"] = self._positions
            return (), given

        return enter

    def _looking(self, layer: int) -> Hook:
        """Shows the queries and keys of a layer, ``[rows, heads x head_dim]``, to the cut that asks for them."""

        def look(attention: Any, args: tuple[Any, ...]) -> None:
            query, key = args[:2]
            with metrics.probing(query.device, self._pruner.group):
                for prompt, cut, rows in self._cutting(self._place_of(layer + (not self._reading))):
                    if cut.read_of(layer, "entry" if self._reading else "ran"):
                        prompt.see(cut, attention, query[rows], key[rows], self._pruner.group)
            if self._reading:
                raise _SeenError

        return look

    # -- cuts ---------------------------------------------------------------------------------------------------------

    def _begin(self, hidden: Tensor) -> None:
        """The first layer is entered, with the rows of text and pictures as they were given."""
        self._given, self._pictures = hidden.shape[0], hidden
        requests = zip(self._step.served, self._step.prunes, strict=True)
        self._prompts = {n: CutPrompt(served, hidden.device) for n, (served, prunes) in enumerate(requests) if prunes}

    def _cut(self, layer: int, module: nn.Module, given: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a layer before which prompts are cut: some rows of what it was `given`."""
        place = self._place_of(layer)
        if place is None:
            return {}
        if any(
            isinstance(cut.evidence, Attention) and cut.evidence.when == "entry" for _, cut, _ in self._cutting(place)
        ):
            self._read(module, given)
        hidden, residual = given["hidden_states"], given.get("residual")
        states = hidden if residual is None else hidden + residual
        stage = self._stage
        parts = [torch.arange(*bounds, device=hidden.device) for bounds in stage.bounds]
        for request, prompt in self._prompts.items():
            cut, start = prompt.cut(place), stage.bounds[request][0]
            if cut is None:
                continue
            rows = slice(start, start + prompt.length)
            self._show(prompt, cut, states, rows)
            kept, merged = prompt.drop(cut, states[rows])
            parts[request] = torch.cat([kept + start, parts[request][rows.stop - start :]])
            if merged is not None:
                hidden, residual = _with_states(hidden, residual, rows, merged)
        return self._left(torch.cat(parts), given["positions"], hidden, residual)

    def _left(self, rows: Tensor, positions: Tensor, hidden: Tensor, residual: Tensor | None) -> dict[str, Any]:
        """The arguments of a layer for these rows alone, which are left from now on."""
        self.present = rows if self.present is None else self.present[rows]
        self._positions = positions[..., self.present]
        self._cuts_done += 1
        if len(rows) != self._stage.total:  # cache slots are made for so many
            raise RuntimeError(f"{len(rows)} rows are left behind a cut, and {self._stage.total} were to be")
        return {"hidden_states": hidden[rows], "residual": None if residual is None else residual[rows]}

    def _show(self, prompt: CutPrompt, cut: Cut, states: Tensor, rows: slice) -> None:
        """Show a cut the features that are at hand as it is reached."""
        if isinstance(cut.evidence, Features) and cut.evidence.of == "hidden":
            prompt.feature(cut, states[rows])
        elif isinstance(cut.evidence, Features) and cut.evidence.of == "image":
            assert self._pictures is not None
            prompt.feature(cut, self._pictures[rows] if self.present is None else self._pictures[self.present[rows]])

    def _read(self, module: nn.Module, given: dict[str, Any]) -> None:
        """Run a layer as far as its attention, for who wants to see that before it runs."""
        self._reading = True
        try:
            module(**given)
        except _SeenError:
            pass
        finally:
            self._reading = False

    # -- who and where ------------------------------------------------------------------------------------------------

    @property
    def _stage(self) -> Stage:
        return self._step.stages[self._cuts_done]

    def _place_of(self, layer: int) -> int | None:
        """Which of the server's cuts is before `layer`."""
        cuts = self._pruner.settings.cut_layers
        return cuts.index(layer) if layer in cuts else None

    def _cutting(self, place: int | None) -> Iterator[tuple[CutPrompt, Cut, slice]]:
        """The prompts that lose something at a cut, with that cut and their rows."""
        if place is None:
            return
        for request, prompt in self._prompts.items():
            cut, start = prompt.cut(place), self._stage.bounds[request][0]
            if cut is not None:
                yield prompt, cut, slice(start, start + prompt.length)


def _with_states(hidden: Tensor, residual: Tensor | None, rows: slice, states: Tensor) -> tuple[Tensor, Tensor | None]:
    """Hidden states and residual whose sum, in some rows, is `states`."""
    hidden = hidden.clone()
    if residual is None:
        hidden[rows] = states
        return hidden, None
    residual = residual.clone()
    hidden[rows], residual[rows] = 0.0, states
    return hidden, residual


class OfPresent(IntermediateTensors):  # type: ignore[misc]
    """Tensors of all rows given, ``[rows, width]``, of which a layer finds those of the rows left when it asks."""

    def __init__(self, tensors: dict[str, Tensor], running: PrunedPass) -> None:
        super().__init__(tensors)
        self._running = running

    def __getitem__(self, key: str | slice) -> Any:
        """The tensor of that name, for the rows that are left now."""
        found = super().__getitem__(key)
        return found if self._running.present is None else found[self._running.present]
