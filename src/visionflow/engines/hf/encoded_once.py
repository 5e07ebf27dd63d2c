"""Pictures that one model sees again and again, under one method after the other, go through its vision tower once."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from functools import wraps
from typing import Any

from transformers import PreTrainedModel

from visionflow.engines.hf.families import family_of
from visionflow.engines.hf.scope import adapted, scope_on

_ENCODE = "get_image_features"
_PLAIN = (str, int, float, bool)
_MOST = 64  # calls that are known at a time


@contextmanager
def encoded_once(model: PreTrainedModel) -> Iterator[None]:
    """Within the scope a model's features of pictures are kept, and given again for the same tensors.

    For inference on inputs that nobody writes to. A method that looks into the tower has it run each time. A model that
    has no ``get_image_features`` is left as it is.

    Raises:
        UnsupportedModelError: the model is not supported.
    """
    model = adapted(model)
    merger: Any = family_of(model).merger_of(model)
    encode = getattr(merger, _ENCODE, None)
    if encode is None:
        yield
        return
    known: deque[tuple[list[Any], Any]] = deque(maxlen=_MOST)

    @wraps(encode)
    def encode_once(*args: Any, **kwargs: Any) -> Any:
        scope = scope_on(merger)
        if scope is not None and scope.looks_at_tower:
            return encode(*args, **kwargs)
        given = [*args, *sorted(kwargs), *(kwargs[name] for name in sorted(kwargs))]
        found = next((features for asked, features in known if _same(asked, given)), None)
        if found is None:
            found = encode(*args, **kwargs)
            known.append((given, found))
        return copy(found)

    own = vars(merger).get(_ENCODE)  # a user's
    setattr(merger, _ENCODE, encode_once)
    try:
        yield
    finally:
        delattr(merger, _ENCODE) if own is None else setattr(merger, _ENCODE, own)


def _same(asked: list[Any], given: list[Any]) -> bool:
    """Whether two calls have the same arguments: plain values that are equal, all others the very same objects."""
    return len(asked) == len(given) and all(
        one is other or (isinstance(one, _PLAIN) and isinstance(other, _PLAIN) and one == other)
        for one, other in zip(asked, given, strict=True)
    )
