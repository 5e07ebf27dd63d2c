"""Every name of vLLM that it does not promise to keep; all other modules here take them from this one."""

from torch.distributed import ProcessGroup
from vllm.config import VllmConfig
from vllm.distributed import get_tp_group
from vllm.entrypoints.generate.beam_search.offline import BeamSearchOfflineMixin
from vllm.entrypoints.generate.beam_search.online import BeamSearchOnlineMixin
from vllm.exceptions import VLLMValidationError
from vllm.forward_context import get_forward_context
from vllm.logger import init_logger
from vllm.model_executor.layers.attention import Attention
from vllm.model_executor.models.registry import ModelRegistry
from vllm.sampling_params import RequestOutputKind
from vllm.sequence import IntermediateTensors
from vllm.v1.attention.backend import (
    AttentionBackend,
    AttentionCGSupport,
    AttentionMetadataBuilder,
    CommonAttentionMetadata,
    subclass_attention_backend,
)
from vllm.v1.core.single_type_kv_cache_manager import FullAttentionManager
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.input_processor import InputProcessor
from vllm.v1.kv_cache_interface import FullAttentionSpec
from vllm.v1.kv_cache_spec_registry import KVCacheSpecRegistry

from vllm import envs

__all__ = [
    "AsyncLLM",
    "Attention",
    "AttentionBackend",
    "AttentionCGSupport",
    "AttentionMetadataBuilder",
    "BeamSearchOfflineMixin",
    "BeamSearchOnlineMixin",
    "CommonAttentionMetadata",
    "FullAttentionManager",
    "FullAttentionSpec",
    "InputProcessor",
    "IntermediateTensors",
    "KVCacheSpecRegistry",
    "ModelRegistry",
    "RequestOutputKind",
    "VLLMValidationError",
    "VllmConfig",
    "envs",
    "get_forward_context",
    "init_logger",
    "subclass_attention_backend",
    "tensor_parallel_group",
]


def tensor_parallel_group() -> ProcessGroup | None:
    """The processes among which heads are divided; None where there is one."""
    group = get_tp_group()
    return None if group.world_size == 1 else group.device_group
