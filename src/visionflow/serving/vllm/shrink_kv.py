"""Fewer blocks of the KV cache behind the cuts: the layers of each stage have block tables of their own.

vLLM gives layers with equal specifications one block table, and asks its manager how many blocks a request needs there.
Here a specification knows its stage, and the manager of a stage asks for no room for what is dropped before it.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from visionflow.serving.vllm.internals import FullAttentionManager, FullAttentionSpec, KVCacheSpecRegistry


@dataclass(frozen=True, kw_only=True)
class StageSpec(FullAttentionSpec):  # type: ignore[misc]
    """The KV cache of a layer with so many cuts before it."""

    stage: int = 0

    @classmethod
    def merge(cls, specs: list[Any]) -> "StageSpec":
        """One specification for layers of one stage.

        Raises:
            AssertionError: they are of several, which vLLM takes for layers that cannot share a block table.
        """
        assert cls._of_one_stage(specs)
        merged: StageSpec = replace(super().merge(specs), stage=specs[0].stage)
        return merged

    def is_uniform_with_collection(self, kv_cache_specs: dict[str, Any]) -> bool:
        """Whether all these layers need the same number of slots."""
        return self._of_one_stage([*kv_cache_specs.values()])

    @staticmethod
    def _of_one_stage(specs: list[Any]) -> bool:
        return all(isinstance(spec, StageSpec) and spec.stage == specs[0].stage for spec in specs)


class StageManager(FullAttentionManager):  # type: ignore[misc]
    """Allocates blocks for the layers of one stage.

    Attributes:
        dropped: how many tokens of a request, by its id, are gone after so many cuts; the scheduler gives it.
    """

    dropped: Callable[[str, int], int]

    def get_num_blocks_to_allocate(self, request_id: str, num_tokens: int, *args: Any, **kwargs: Any) -> int:
        """How many blocks are to be added for so many tokens."""
        return int(super().get_num_blocks_to_allocate(request_id, self._left(request_id, num_tokens), *args, **kwargs))

    def allocate_new_blocks(self, request_id: str, num_tokens: int, *args: Any, **kwargs: Any) -> Any:
        """Add them."""
        return super().allocate_new_blocks(request_id, self._left(request_id, num_tokens), *args, **kwargs)

    def cache_blocks(self, request: Any, num_tokens: int, *args: Any, **kwargs: Any) -> None:
        """Let prefix caching know full blocks; those behind a picture are read by nobody."""
        super().cache_blocks(request, self._left(request.request_id, num_tokens), *args, **kwargs)

    def _left(self, request_id: str, num_tokens: int) -> int:
        return max(0, num_tokens - self.dropped(request_id, self.kv_cache_spec.stage))


def spec_of_stage(spec: Any, stage: int) -> StageSpec:
    """A layer's specification as one of that stage."""
    if type(spec) is not FullAttentionSpec:
        raise TypeError(f"a layer that looks at everything has a {type(spec).__name__} in this vLLM")
    return StageSpec(**{each.name: getattr(spec, each.name) for each in fields(spec)}, stage=stage)


KVCacheSpecRegistry._ensure_registered()  # vLLM's own first, or it takes ours for all that there are
KVCacheSpecRegistry.register(StageSpec, StageManager, uniform_type_base_spec=FullAttentionSpec)
