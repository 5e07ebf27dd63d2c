"""The family of a model, or a clear no. A new family is one more entry of `family_table`."""

from transformers import PreTrainedConfig, PreTrainedModel

from visionflow.engines.hf.family import Family
from visionflow.engines.hf.family_table import FAMILIES, UNSUPPORTED, UNTRIED
from visionflow.errors import UnsupportedModelError

__all__ = ["FAMILIES", "UNSUPPORTED", "UNTRIED", "Family", "check_head", "family_of", "family_of_config"]

_WHOLE = "give the model from AutoModelForImageTextToText.from_pretrained"


def family_of_config(config: PreTrainedConfig) -> Family:
    """The entry for the models that `config` describes, before any weights are read.

    Raises:
        UnsupportedModelError: there is none, or not for its text model.
    """
    family = FAMILIES.get(config.model_type)
    if family is None:
        why = (UNSUPPORTED | UNTRIED).get(config.model_type)
        known = f"the {len(FAMILIES)} supported ones, such as llava and qwen2_5_vl, are listed in docs/families.md"
        reasons = "; ".join(filter(None, (why, known)))
        raise UnsupportedModelError(f"model type {config.model_type!r} is not supported: {reasons}")
    text_type = config.get_text_config().model_type
    if text_type not in family.text_types:
        raise UnsupportedModelError(
            f"model type {config.model_type!r} with a {text_type!r} text model is not supported; "
            f"supported text models: {', '.join(family.text_types)}"
        )
    return family


def family_of(model: object) -> Family:
    """The entry for `model`, with paths that are relative to it: of a whole model, or of a bare one without its head.

    Raises:
        UnsupportedModelError: no entry, a compiled model, or a part of one.
    """
    if hasattr(model, "_orig_mod") or getattr(model, "_compiled_call_impl", None) is not None:
        raise UnsupportedModelError("the model is compiled with torch.compile: prune the model it was made from")
    if not isinstance(model, PreTrainedModel):
        raise UnsupportedModelError(f"prune needs a transformers model, not {type(model).__name__}")
    try:
        family = family_of_config(model.config)
    except UnsupportedModelError as error:
        raise UnsupportedModelError(f"{type(model).__name__}: {error}") from None
    for own in (family, family.without_head()):
        if own.fits(model):
            return own
    raise UnsupportedModelError(
        f"{type(model).__name__} has no text decoder where models of type {family.model_type!r} have theirs: {_WHOLE}"
    )


def check_head(model: PreTrainedModel) -> None:
    """Refuse a model without a head, where logits are read.

    Raises:
        UnsupportedModelError: the model is not supported, or is a bare one.
    """
    family_of(model)
    if not model.can_generate():
        raise UnsupportedModelError(f"{type(model).__name__} has no head, and logits are read here: {_WHOLE}")
