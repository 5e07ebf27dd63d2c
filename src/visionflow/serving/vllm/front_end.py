"""Where vLLM takes requests in: what one says of visionflow is read, and what cannot be is the client's error, a 400.

vLLM's server asks for an answer before it sends a word of it: what is refused there is a 400 also where the answer was
to be streamed.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import wraps
from typing import Any

from visionflow.errors import VisionFlowError
from visionflow.serving.exchange import CURRENT, Answer, Exchange
from visionflow.serving.requests import Served
from visionflow.serving.settings import KEY, Settings
from visionflow.serving.vllm.config import is_asked_for, settings_of
from visionflow.serving.vllm.internals import (
    AsyncLLM,
    BeamSearchOfflineMixin,
    BeamSearchOnlineMixin,
    InputProcessor,
    RequestOutputKind,
    VLLMValidationError,
)


def install() -> None:
    """Have vLLM look at each request before it goes to the engine, and follow its answer where somebody asks."""
    _wrap(InputProcessor, "process_inputs", _processing)
    _wrap(AsyncLLM, "generate", _generating)
    _wrap(BeamSearchOnlineMixin, "beam_search", _searching)
    _wrap(BeamSearchOfflineMixin, "beam_search", _searching)


def _wrap(owner: type, name: str, wrapper: Callable[[Any], Any]) -> None:
    """Put a wrapper around a method, once."""
    method = getattr(owner, name)
    if not hasattr(method, "visionflow"):
        made: Any = wraps(method)(wrapper(method))
        made.visionflow = True
        setattr(owner, name, made)


def _processing(process: Any) -> Any:
    def process_inputs(self: Any, request_id: str, prompt: Any, params: Any, *args: Any, **kwargs: Any) -> Any:
        settings = _settings_in(self)
        check(settings, _asked(params))
        if settings is not None and kwargs.get("resumable"):
            raise VLLMValidationError("a server that prunes takes no prompts that come in parts")
        return process(self, request_id, prompt, params, *args, **kwargs)

    return process_inputs


def _generating(generate: Any) -> Any:
    def checked(self: Any, prompt: Any, sampling_params: Any, *args: Any, **kwargs: Any) -> Any:
        settings, exchange = _settings_in(self.input_processor), CURRENT.get()
        check(settings, _asked(sampling_params))
        outputs = generate(self, prompt, sampling_params, *args, **kwargs)
        if settings is None or exchange is None:
            return outputs
        most, states = self.vllm_config.scheduler_config.max_num_seqs, self.output_processor
        exchange.settings, exchange.crowded = settings, lambda: states.get_num_unfinished_requests() >= most
        return _followed(outputs, exchange, settings, sampling_params)

    return checked


def _searching(search: Any) -> Any:
    def beam_search(self: Any, *args: Any, **kwargs: Any) -> Any:
        engine = self.engine_client if hasattr(self, "engine_client") else self.llm_engine
        if _settings_in(engine.input_processor) is not None:
            raise VLLMValidationError("a server that prunes does no beam search: it would prune each beam anew")
        return search(self, *args, **kwargs)

    return beam_search


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
        elif asked not in (None, "off"):
            raise VisionFlowError(f"this server does not prune: start it with {KEY} in --additional-config")
    except VisionFlowError as error:
        raise VLLMValidationError(str(error), parameter=f"vllm_xargs.{KEY}", value=asked) from error


async def _followed(
    outputs: AsyncGenerator[Any, None], exchange: Exchange, settings: Settings, params: Any
) -> AsyncGenerator[Any, None]:
    """The outputs of a request as they come, noted in the exchange that it is part of."""
    answer = None
    async with aclosing(outputs):
        async for output in outputs:
            if answer is None:
                served = Served.of(
                    settings, output.prompt_token_ids, _asked(params), params.prompt_logprobs is not None
                )
                answer = Answer(served, greedy=params.temperature == 0 and params.n == 1)
                exchange.answers.append(answer)
            for made in output.outputs[:1]:
                is_delta = params.output_kind == RequestOutputKind.DELTA
                answer.add(made.token_ids, all_of_them=not is_delta, finished=output.finished)
            yield output


def _asked(params: Any) -> object:
    """What a request says of visionflow."""
    return (getattr(params, "extra_args", None) or {}).get(KEY)


def _settings_in(processor: Any) -> Settings | None:
    """The settings of the engine that takes requests in here, read once."""
    if not hasattr(processor, "visionflow_settings"):
        config = processor.vllm_config
        processor.visionflow_settings = settings_of(config) if is_asked_for(config) else None
    settings: Settings | None = processor.visionflow_settings
    return settings
