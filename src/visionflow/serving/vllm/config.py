"""Where vLLM finishes its configuration, in the front end and before any worker: settings are read, misfits refused."""

import math
from functools import wraps
from typing import Any

from visionflow.engines.hf.families import family_of_config
from visionflow.errors import UnsupportedModelError, UnsupportedUsageError
from visionflow.serving import versions
from visionflow.serving.settings import KEY, Settings
from visionflow.serving.vllm.archs import ARCHITECTURES, PREFIX
from visionflow.serving.vllm.internals import VllmConfig, envs, init_logger

SCHEDULER = "visionflow.serving.vllm.scheduler.PruningScheduler"
logger = init_logger("vllm.visionflow")  # under vLLM's own, which is what shows


def install() -> None:
    """Have every configuration of vLLM's looked at when it is complete."""
    verify = VllmConfig.try_verify_and_update_config
    if hasattr(verify, "__wrapped__"):
        return

    @wraps(verify)
    def verify_and_configure(self: VllmConfig) -> None:
        model = self.model_config  # vLLM copies and completes configurations again, for parts of the model
        first = model is not None and not getattr(model, "config_updated", False)
        verify(self)
        if first and is_asked_for(self):
            configure(self)

    VllmConfig.try_verify_and_update_config = verify_and_configure


def configure(config: Any) -> None:
    """Have the model served by its pruned class, and its requests scheduled by ours.

    Raises:
        VisionFlowError: something of the settings, the model or the engine does not fit.
    """
    versions.check_version()
    architecture = config.model_config.architecture
    if architecture not in ARCHITECTURES:
        raise UnsupportedModelError(
            f"vLLM's {architecture} cannot be served pruned; these can: {', '.join(sorted(ARCHITECTURES))}"
        )
    settings = settings_of(config)
    _check_engine(config, settings)
    config.model_config.hf_config.architectures = [PREFIX + architecture]
    config.scheduler_config.scheduler_cls = SCHEDULER
    logger.info(
        "visionflow: %s cuts before layer %s; prompts of more than %d tokens are served dense",
        settings.method.spec,
        ", ".join(map(str, settings.cut_layers)),
        settings.step_tokens,
    )


def settings_of(config: Any) -> Settings:
    """The settings of a server, from vLLM's configuration; in every process the same."""
    hf_config, scheduler = config.model_config.hf_config, config.scheduler_config
    step_tokens = scheduler.max_num_batched_tokens - scheduler.max_num_seqs
    threshold = scheduler.long_prefill_token_threshold
    return Settings.read(
        _given(config),
        config.model_config.hf_text_config.num_hidden_layers,
        tuple(int(getattr(hf_config, name)) for name in family_of_config(hf_config).image_tokens),
        min(step_tokens, threshold) if threshold > 0 else step_tokens,
        config.parallel_config.tensor_parallel_size,
    )


def is_asked_for(config: Any) -> bool:
    """Whether vLLM's configuration names visionflow."""
    return _given(config) is not None


def _given(config: Any) -> Any:
    given = config.additional_config
    return given.get(KEY) if isinstance(given, dict) else None


def _check_engine(config: Any, settings: Settings) -> None:
    """Refuse engine features under which pruning is not known to be right, all of them in one message."""
    parallel, model = config.parallel_config, config.model_config
    multimodal, text = model.multimodal_config, model.hf_text_config
    misfits = {
        "--runner other than generate": model.runner_type != "generate",
        "--scheduler-cls": config.scheduler_config.scheduler_cls is not None,
        "LoRA": config.lora_config is not None,
        "speculative decoding": config.speculative_config is not None,
        "pipeline parallelism": parallel.pipeline_parallel_size > 1,
        "context parallelism": parallel.decode_context_parallel_size * parallel.prefill_context_parallel_size > 1,
        "dual batch overlap": parallel.use_ubatching,
        "VLLM_USE_BREAKABLE_CUDAGRAPH": bool(envs.VLLM_USE_BREAKABLE_CUDAGRAPH),
        "KV transfer": config.kv_transfer_config is not None,
        "encoder disaggregation": config.ec_transfer_config is not None,
        "prompt embeddings": model.enable_prompt_embeds,
        "VLLM_USE_RUST_FRONTEND": bool(envs.VLLM_USE_RUST_FRONTEND),  # reads requests where this has no say
        "--kv-sharing-fast-prefill": config.cache_config.kv_sharing_fast_prefill,
        "--video-pruning-rate": bool(multimodal and multimodal.video_pruning_rate),
        "attention windows shorter than --max-model-len": _window(text) < model.max_model_len,
        "attention that reads pictures both ways": model.is_mm_prefix_lm,
    }
    if settings.shrink_kv:
        misfits |= {
            "attention windows and shrink_kv": _window(text) < math.inf,
            "--disable-hybrid-kv-cache-manager and shrink_kv": bool(
                config.scheduler_config.disable_hybrid_kv_cache_manager
            ),
        }
    found = [name for name, there in misfits.items() if there]
    if found:
        raise UnsupportedUsageError(f"pruning does not go together with {', '.join(found)}")


def _window(text: Any) -> float:
    """How far back layers look, of a text model's configuration; infinite where all of them look at everything."""
    sliding = "sliding_attention" in (getattr(text, "layer_types", None) or ["sliding_attention"])
    window = getattr(text, "sliding_window", None) if getattr(text, "use_sliding_window", True) and sliding else None
    return math.inf if window is None else float(window)
