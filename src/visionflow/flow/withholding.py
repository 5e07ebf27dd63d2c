"""An answer written without the picture's keys in some layers: VisiPruner's removal of visual keys from the cache."""

from collections.abc import Sequence

from transformers import PreTrainedModel

from visionflow.core.flows import Withhold
from visionflow.core.plan import Plan
from visionflow.core.tokens import Selection
from visionflow.engines.hf.scope import Scope
from visionflow.flow.watching import check_selection


def withhold(model: PreTrainedModel, layers: Sequence[int], source: Selection = "image") -> Scope:
    """Let no generated token read the keys of `source` in `layers`, until the scope is left (VisiPruner, Table 2).

    ::

        with withhold(model, range(26, 32)):  # or: handle = withhold(...); handle.remove()
            out = model.generate(**inputs, max_new_tokens=32)

    The prompt itself reads everything, so the *first* generated token, which the last prompt token chooses, is always
    that of the free model. A sample without a picture is left alone. `model` is bit-identical after the scope.

    Args:
        model: a model of `visionflow.engines.hf.families.FAMILIES`, in eval mode, with sdpa or eager attention.
        layers: 0-based decoder layers, exactly these; none for the free model.
        source: the prompt tokens withheld: "image", "system", "instruction", "last", or a function of the prompt's
            tokens that gives bool ``[batch, tokens]``.

    Raises:
        UnsupportedModelError: the model is not supported.
        UnsupportedUsageError: no such group, a layer beyond the model's depth, or a scope is open on this model
            already. Later, inside the scope: a prompt that continues a KV cache, or another way of running the model
            that cannot be right.
    """
    check_selection(source)
    return Scope(model, Plan(withheld=(Withhold(layers, source),)))
