"""What a request says of visionflow is read where vLLM takes it in: what cannot be is the client's error, a 400."""

from functools import wraps
from typing import Any

from vllm.v1.engine.input_processor import InputProcessor

from visionflow.errors import VisionFlowError
from visionflow.serving.settings import KEY, Settings
from visionflow.serving.vllm.config import is_asked_for, settings_of
from visionflow.serving.vllm.internals import VLLMValidationError


def install() -> None:
    """Have vLLM look at each request's ``vllm_xargs`` before it goes to the engine."""
    process = InputProcessor.process_inputs
    if hasattr(process, "__wrapped__"):
        return

    @wraps(process)
    def checked(self: Any, request_id: str, prompt: Any, params: Any, *args: Any, **kwargs: Any) -> Any:
        asked = (getattr(params, "extra_args", None) or {}).get(KEY)
        if asked is not None:
            check(_settings_in(self), asked)
        return process(self, request_id, prompt, params, *args, **kwargs)

    InputProcessor.process_inputs = checked


def check(settings: Settings | None, asked: object) -> None:
    """Refuse what a request cannot ask for.

    Args:
        settings: of the server; None where it does not prune.
        asked: what the request says.

    Raises:
        VLLMValidationError: with the reason, which the client is told.
    """
    try:
        if settings is not None:
            settings.asked(asked)
        elif asked != "off":
            raise VisionFlowError(f"this server does not prune: start it with {KEY} in --additional-config")
    except VisionFlowError as error:
        raise VLLMValidationError(str(error), parameter=f"vllm_xargs.{KEY}", value=asked) from error


def _settings_in(processor: Any) -> Settings | None:
    """The settings of the engine that takes requests in here, read once."""
    if not hasattr(processor, "visionflow_settings"):
        config = processor.vllm_config
        processor.visionflow_settings = settings_of(config) if is_asked_for(config) else None
    settings: Settings | None = processor.visionflow_settings
    return settings
