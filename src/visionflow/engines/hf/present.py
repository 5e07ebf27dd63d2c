"""The tokens that are there: which of those given are left at the layer that runs now, and in which places."""

from collections.abc import Callable

import torch
from torch import Tensor

from visionflow.core.cutting import Taken, merged
from visionflow.core.evidence import Shown
from visionflow.core.tokens import Tokens


class Present:
    """The tokens of one prompt, from layer to layer; it touches hidden states, and nothing else of the model.

    Attributes:
        given: the tokens that came in.
        tokens: those that are left.
        places: int64 ``[batch, left]``, where they were among those given; None while nothing is dropped.
    """

    def __init__(self, given: Tokens, token_axis: int) -> None:
        self.given = given
        self.tokens = given
        self.places: Tensor | None = None
        self._token_axis = token_axis
        self._sizes: Tensor | None = None

    @property
    def padded(self) -> bool:
        """Whether some samples are shorter than others by now."""
        return not self.tokens.full

    def count_in(self, hidden: Tensor) -> int:
        """How many tokens run in `hidden`: all that are left, or, late in some models, only the last."""
        return hidden.shape[self._token_axis]

    def features_in(self, hidden: Tensor) -> Tensor:
        """One vector per token, ``[batch, tokens, width]``: of several streams the first, which goes on."""
        return hidden if self._token_axis == 1 else hidden[0]

    def drop(self, hidden: Tensor, taken: Taken, into: Tensor | None) -> Tensor:
        """The hidden states of the tokens that stay, others merged into them where `into` says so."""
        if into is not None:
            hidden = self._merged(hidden, into.to(hidden.device))
        index = taken.index
        self.tokens = taken.tokens
        self.places = index if self.places is None else self.places.to(index.device).gather(1, index)
        self._sizes = None if self._sizes is None else self._sizes.gather(1, index)
        return take(hidden, index, self._token_axis)

    def _merged(self, hidden: Tensor, into: Tensor) -> Tensor:
        sizes = torch.ones(into.shape, device=hidden.device) if self._sizes is None else self._sizes.to(hidden.device)
        streams = [hidden] if self._token_axis == 1 else list(hidden)
        means = [merged(stream, sizes, into) for stream in streams]
        self._sizes = means[0][1]
        return means[0][0] if self._token_axis == 1 else torch.stack([mean for mean, _ in means])

    def of_given(self, values: Tensor) -> Tensor:
        """Of ``[batch, given, width]`` the entries of the tokens that are left."""
        return values if self.places is None else take(values, self.places, 1)

    def shown_of_given(self, shown: Shown) -> Shown:
        """What evidence of all tokens given shows of those that are left."""
        assert shown.scores is not None
        assert shown.features is not None
        return Shown(self.of_given(shown.scores.unsqueeze(2)).squeeze(2), self.of_given(shown.features))

    def restore(self, hidden: Tensor) -> Tensor:
        """The decoder's output ``[batch, left, width]`` in the places of the input; zero where tokens are gone."""
        if self.places is None or hidden.shape[1] != self.places.shape[1]:  # the last rows only are all there
            return hidden
        if self.padded:
            hidden = hidden.masked_fill(~self.tokens.valid.to(hidden.device).unsqueeze(2), 0.0)
        full = hidden.new_zeros(hidden.shape[0], self.given.columns.shape[1], hidden.shape[2])
        return full.scatter(1, self.places.to(hidden.device).unsqueeze(2).expand_as(hidden), hidden)

    def picture_features(self, visual: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Of the picture features that are added between layers those of the tokens left, and where they go.

        Args:
            visual: bool ``[batch, given]``, image tokens among all that came in.
            features: ``[image tokens, width]``.
        """
        if self.places is None:
            return visual, features
        places, valid = self.places.to(visual.device), self.tokens.valid.to(visual.device)
        left = torch.zeros_like(visual).scatter(1, places, valid)
        return visual.gather(1, places) & valid, features[left[visual].to(features.device)]


def take(value: Tensor, places: Tensor, axis: int) -> Tensor:
    """Entries `places` ``[batch, left]`` along `axis`; the axis before it is the batch, or 1 for all samples."""
    axis = axis % value.dim()
    shape = list(value.shape)
    shape[axis - 1 : axis + 1] = places.shape
    index = places.to(value.device).view(*[1] * (axis - 1), *places.shape, *[1] * (value.dim() - axis - 1))
    expanded = value.expand(*shape[:axis], *value.shape[axis:])
    return expanded.gather(axis, index.expand(shape))


def taken_from(value: object, take_one: Callable[[Tensor], Tensor]) -> object:
    """The same of a tensor, of each in a tuple, or None of None."""
    if isinstance(value, tuple):
        return tuple(taken_from(part, take_one) for part in value)
    return take_one(value) if isinstance(value, Tensor) else None
