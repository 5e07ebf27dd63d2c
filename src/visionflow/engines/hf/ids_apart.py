"""Ids of models whose language model is called with embeddings (BLIP-2): noted where they come in, used once."""

import threading

from torch import Tensor


class IdsApart:
    """The ids of the prompt that comes next, thread by thread."""

    def __init__(self) -> None:
        self._local = threading.local()

    def note(self, ids: Tensor | None) -> None:
        """The whole model, or its `generate`, was called with these."""
        self._local.ids = ids

    def take(self, embeds: Tensor | None) -> Tensor | None:
        """The ids of a prompt of embeddings ``[batch, tokens, width]``, repeated as `generate` does for beams."""
        ids: Tensor | None = getattr(self._local, "ids", None)
        if ids is None or embeds is None or ids.shape[1] != embeds.shape[1]:
            return None
        self._local.ids = None
        return ids.repeat_interleave(len(embeds) // len(ids), 0)
