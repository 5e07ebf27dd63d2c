"""One prompt while it is cut: which tokens are left, what was seen of them, and how many each of them stands for."""

from typing import Any

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from visionflow.core import cutting
from visionflow.core.attention import AttentionRows
from visionflow.core.evidence import Attention, Features, Shown
from visionflow.core.plan import Cut
from visionflow.serving.requests import Served


class CutPrompt:
    """A prompt in the step that cuts it; it brings the core what a cut asks for.

    Attributes:
        tokens: those that are left, a batch of one.
    """

    def __init__(self, served: Served, device: torch.device) -> None:
        self.tokens = served.tokens.to(device)
        self._cuts = served.cuts
        self._shown: Shown | None = None
        self._sizes: Tensor | None = None

    @property
    def length(self) -> int:
        """Tokens that are left."""
        return self.tokens.columns.shape[1]

    def cut(self, place: int) -> Cut | None:
        """The cut at the server's `place`-th layer, where it drops something."""
        cut = self._cuts[place]
        return cut if cut is not None and cutting.drops(cut, self.tokens) else None

    def see(self, cut: Cut, attention: Any, query: Tensor, key: Tensor, group: ProcessGroup | None) -> None:
        """Look at a layer's queries and keys, ``[tokens, heads x head_dim]`` after RoPE and norms, for `cut`."""
        if isinstance(cut.evidence, Features):
            self.feature(cut, key)
            return
        assert isinstance(cut.evidence, Attention)
        query, key = (self._by_head(each, attention.head_size) for each in (query, key))
        softcap = getattr(attention.impl, "logits_soft_cap", None) or None
        rows = AttentionRows.of(
            cut.evidence.rows,
            query,
            key,
            attention.impl.scale,
            None,
            self.tokens,
            group=group,
            softcap=softcap,
            joined=cut.evidence.heads,
        )
        self._shown = cutting.probe(rows, cut.evidence)

    def _by_head(self, states: Tensor, size: int) -> Tensor:
        """``[tokens, heads x size]`` as ``[1, heads, tokens, size]``."""
        return states.view(self.length, -1, size).transpose(0, 1)[None]

    def feature(self, cut: Cut, features: Tensor) -> None:
        """Look at features of the tokens left, ``[tokens, width]``, for `cut`."""
        assert isinstance(cut.evidence, Features)
        self._shown = cut.evidence.show(features[None], self.tokens)

    def drop(self, cut: Cut, states: Tensor) -> tuple[Tensor, Tensor | None]:
        """Decide `cut` and let go of what it drops.

        Args:
            cut: one that drops something.
            states: the residual stream, ``[tokens, width]``.

        Returns:
            The tokens that stay, int64 ``[fewer]``, as places among those that were left; and the states into which
            others are merged, ``[tokens, width]``, or None where none are.
        """
        shown, self._shown = self._shown, None
        chosen, counts = cutting.choose(cut, self.tokens, shown)
        merged = None if chosen.into is None else self._merged(states, chosen.into)
        taken = cutting.take(self.tokens, chosen.keep, counts)
        self.tokens = taken.tokens
        self._sizes = None if self._sizes is None else self._sizes.gather(1, taken.index)
        return taken.index[0], merged

    def _merged(self, states: Tensor, into: Tensor) -> Tensor:
        sizes = torch.ones(into.shape, device=states.device) if self._sizes is None else self._sizes
        merged, self._sizes = cutting.merged(states[None], sizes, into)
        return merged[0]
