"""Attention of the layers behind a cut: vLLM's own backend, told of fewer keys and other cache slots.

Each stage has a backend class of its own, so that its layers get a metadata builder of their own.
"""

from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from visionflow.serving.steps import Stage
from visionflow.serving.vllm.internals import (
    AttentionBackend,
    AttentionCGSupport,
    AttentionMetadataBuilder,
    CommonAttentionMetadata,
    subclass_attention_backend,
)

if TYPE_CHECKING:
    from visionflow.serving.vllm.pruner import Pruner

PADDING = -1
"""The slot of a row that is not to be written."""


def stage_backend(base: type[AttentionBackend], stage: int, pruner: "Pruner") -> type[AttentionBackend]:
    """The backend of the layers between two cuts."""
    builder_of_base: type[AttentionMetadataBuilder[Any]] = base.get_builder_cls()

    class StageBuilder(builder_of_base):  # type: ignore[misc]
        """Builds metadata as the backend does, of a step as this stage sees it."""

        supports_update_block_table = False  # what it would keep is of another stage

        @classmethod
        def get_cudagraph_support(cls, *args: Any) -> AttentionCGSupport:
            """None of graphs of whole models: they would read the lengths and slots of the step they were made in."""
            return AttentionCGSupport.NEVER

        def build(
            self, common_prefix_len: int, common_attn_metadata: CommonAttentionMetadata, fast_build: bool = False
        ) -> Any:
            if pruner.step is not None:
                rows = pruner.step.stages[stage]
                common_attn_metadata = shortened(common_attn_metadata, rows, self.kv_cache_spec.block_size)
                pruner.slots.update(dict.fromkeys(self.layer_names, common_attn_metadata.slot_mapping))
            return super().build(common_prefix_len, common_attn_metadata, fast_build)

    made: type[AttentionBackend] = subclass_attention_backend(f"Stage{stage}", base, StageBuilder)
    return made


def shortened(common: CommonAttentionMetadata, stage: Stage, block_size: int) -> CommonAttentionMetadata:
    """The metadata of a step with the rows and keys of one stage; requests and rows that only pad stay that."""
    metadata, device = copy(common), common.seq_lens.device
    requests, padding = len(stage.rows), common.slot_mapping.shape[0] - common.num_actual_tokens
    more = common.num_reqs - requests
    starts = torch.from_numpy(np.pad(stage.starts, (0, more), mode="edge").astype(np.int32))
    keys = torch.from_numpy(np.pad(stage.keys, (0, more)).astype(np.int32))
    metadata.query_start_loc_cpu, metadata.query_start_loc = starts, starts.to(device, non_blocking=True)
    metadata.seq_lens_cpu_upper_bound, metadata.seq_lens = keys, keys.to(device, non_blocking=True)
    metadata.num_actual_tokens = stage.total
    metadata.max_query_len, metadata.max_seq_len = int(stage.rows.max()), int(stage.keys.max())
    metadata.slot_mapping = _slots(common.block_table_tensor, stage, block_size, padding)
    metadata.positions = None
    metadata._num_computed_tokens_cache = metadata._token_to_req_indices_cache = None
    return metadata


def _slots(block_table: Tensor, stage: Stage, block_size: int, padding: int) -> Tensor:
    """The cache slot of each row, int64 ``[rows + padding]``."""
    device = block_table.device
    owners = torch.from_numpy(stage.owners).to(device, non_blocking=True)
    places = torch.from_numpy(stage.places).to(device, non_blocking=True)
    blocks = block_table[owners, places // block_size].long()
    return torch.nn.functional.pad(blocks * block_size + places % block_size, (0, padding), value=PADDING)
