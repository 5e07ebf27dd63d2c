"""What the older systems share: original checkpoints are loaded whole or not at all, by transformers' Auto classes."""

from typing import Any

from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, LlavaForConditionalGeneration
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import WeightTransform

from visionflow.engines.hf.families import FAMILIES, Family
from visionflow.errors import UnsupportedModelError, VisionFlowError


class OriginalLlava(LlavaForConditionalGeneration):  # type: ignore[misc]
    """A stock LLaVA whose weights may come in the files of the original system, under their original names."""

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: Any, *args: Any, output_loading_info: bool = False, **kwargs: Any
    ) -> Any:
        """As in transformers, but a weight that is missing, left over or of another shape is an error.

        Raises:
            VisionFlowError: the weights are not those that the configuration describes.
        """
        strict = {"output_loading_info": True, "ignore_mismatched_sizes": True}  # mismatches are refused by name, here
        model, report = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs | strict)
        missing, left_over = sorted(report["missing_keys"]), sorted(report["unexpected_keys"])
        misfits = sorted(key for key, *_ in report["mismatched_keys"])
        for kind, keys in (("missing", missing), ("left over", left_over), ("of another shape", misfits)):
            if keys:
                raise VisionFlowError(
                    f"{pretrained_model_name_or_path} does not hold a {cls.__name__}: {len(keys)} weights {kind}, "
                    f"for example {keys[0]}; get the released files again"
                )
        return (model, report) if output_loading_info else model


def register(config: Any, model: type[OriginalLlava], processor: Any, weights: list[WeightTransform]) -> None:
    """Let transformers' Auto classes, and the pruning scope, know a system by its original ``model_type``.

    Args:
        config: configuration class; its ``from_dict`` understands the original ``config.json``.
        model: model class.
        processor: has a ``from_pretrained`` that makes a stock processor of the original files.
        weights: from original weight names to those of `model`; applied in order.
    """
    AutoConfig.register(config.model_type, config)
    AutoModelForImageTextToText.register(config, model)
    AutoProcessor.register(config, processor)
    register_checkpoint_conversion_mapping(config.model_type, weights)
    FAMILIES[config.model_type] = Family(config.model_type, text_types=(config.text_type,))


def check_fields(original: dict[str, Any], supported: dict[str, Any], way_out: str) -> None:
    """Refuse an original configuration with a field that says something else than what is supported.

    Raises:
        UnsupportedModelError: with the field's name and `way_out`.
    """
    for name, value in supported.items():
        if original.get(name, value) != value:
            raise UnsupportedModelError(f"{name} is {original[name]!r}, supported is {value!r}: {way_out}")


def hub_options(options: dict[str, Any]) -> dict[str, Any]:
    """Those of the arguments of ``from_pretrained`` that say where files come from."""
    names = ("cache_dir", "force_download", "local_files_only", "revision", "subfolder", "token")
    return {name: options[name] for name in names if name in options}
