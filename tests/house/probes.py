"""What looks at attention cost on a GPU that is not here, by count: kernels, bytes, and their time by arithmetic.

``python -m tests.house.probes``. Looks and decoder layers run on shapes alone, as on CUDA: those of the 7B model, bf16,
with 35 text tokens before the picture and 29 after it. Every operation that is no view counts as a kernel that reads
its inputs and writes its outputs once. None of it is a measurement.
"""

from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AttentionInterface
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from visionflow import HiMAP, Method
from visionflow.bench.shapes import shape_config
from visionflow.core import (
    AttentionRows,
    Tokens,
    attention,
    contribution,
    find_tokens,
    log_sum_exp,
    paid,
    received,
    received_after,
)

SYSTEM, INSTRUCTION, HEADS, SIZE, DEPTH = 35, 29, 32, 128, 32
LENGTHS = ((1, 576), (8, 576), (1, 2880), (8, 2880), (1, 16384))

BYTES = 3.35e12
"""Bytes a second of an H100's memory."""

PRODUCTS, FLASH, FP32_PRODUCTS = 490e12, 350e12, 50e12
"""FLOPs a second, assumed: of products of half precision (half of what an H100 has), of flash attention, of products
of fp32."""

SHORTEST = 2e-6
"""Seconds of a kernel that has next to nothing to do."""

aten = torch.ops.aten


@dataclass
class Kernels(TorchDispatchMode):
    """The kernels that were run: how many, the bytes that they read and write, and the seconds they take."""

    count: int = 0
    bytes: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.is_view or func in (aten.detach.default, aten._unsafe_view.default, aten.empty.memory_format):
            return out
        moved = sum(map(_bytes, tree_leaves((args, kwargs, out))))
        self.count += 1
        self.bytes += moved
        self.seconds += max(SHORTEST, moved / BYTES, _seconds_of_products(func, args))
        return out


def _bytes(value: Any) -> int:
    """What lies in memory of a tensor: what is repeated lies there once."""
    if not isinstance(value, Tensor):
        return 0
    sizes = (size for size, stride in zip(value.shape, value.stride(), strict=True) if stride)
    return int(torch.Size(sizes).numel()) * value.element_size()


def _seconds_of_products(func: Any, args: Any) -> float:
    """Of products of matrices, and of causal attention, which has two of them for half of the pairs."""
    if func.overloadpacket in (aten.bmm, aten.mm):
        flops = 2 * args[0].numel() * args[1].shape[-1]
        return flops / (FP32_PRODUCTS if args[0].dtype == torch.float32 else PRODUCTS)
    if func.overloadpacket is aten._scaled_dot_product_flash_attention:
        batch, heads, tokens, size = args[0].shape
        width = -(-size // 64) * 64  # the kernel is made for heads of 64, 128, 192 and 256
        return 4 * batch * heads * tokens**2 / 2 * width / FLASH
    return 0.0


def prompt_of(batch: int, image_tokens: int) -> Tokens:
    """The tokens of prompts that are all alike, as shapes."""
    ids = torch.tensor([[5] * SYSTEM + [9] * image_tokens + [5] * INSTRUCTION]).expand(batch, -1)
    found = vars(find_tokens(ids, None, 9)).items()
    return Tokens(
        **{
            name: _shape_of(part) if isinstance(part, Tensor) else replace(part, mask=_shape_of(part.mask))
            for name, part in found
        }
    )


def _shape_of(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device="meta")


@contextmanager
def _as_on_cuda() -> Iterator[None]:
    """Tensors that are shapes alone get what those on a GPU with flash attention get."""
    with (
        patch.dict(log_sum_exp._KERNELS, meta=log_sum_exp._KERNELS["cuda"]),
        patch.dict(log_sum_exp._WORTHWHILE, meta=log_sum_exp._WORTHWHILE["cuda"]),
        patch.dict(log_sum_exp._WORTHWHILE_RECEIVED, meta=log_sum_exp._WORTHWHILE_RECEIVED["cuda"]),
        patch.object(attention, "_sums_in_fp32", lambda states: states.dtype == torch.bfloat16),
    ):
        yield


def kernels_of(look: Callable[[Tokens, Tensor, Tensor, Tensor], object], batch: int, image_tokens: int) -> Kernels:
    """Those of one look at the queries, keys and values of so many tokens."""
    tokens = prompt_of(batch, image_tokens)
    shape = (batch, HEADS, tokens.columns.shape[1], SIZE)
    states = [torch.empty(shape, dtype=torch.bfloat16, device="meta") for _ in range(3)]
    with _as_on_cuda(), Kernels() as kernels:
        look(tokens, *states)
    return kernels


def _rows(tokens: Tokens, query: Tensor, key: Tensor, group: Any) -> AttentionRows:
    return AttentionRows.of(group, query, key, SIZE**-0.5, None, tokens)


LOOKS: dict[str, Callable[[Tokens, Tensor, Tensor, Tensor], object]] = {
    "first": lambda tokens, query, key, value: received_after(_rows(tokens, query, key, "instruction")),
    "paid": lambda tokens, query, key, value: paid(_rows(tokens, query, key, "image"), "image"),
    "received": lambda tokens, query, key, value: received(_rows(tokens, query, key, "image")),
    "leave-one-out": lambda tokens, query, key, value: contribution(_rows(tokens, query, key, "last"), value),
}


@dataclass(frozen=True)
class Share:
    """HiMAP's two looks in a prefill: the kernels, and their part of the time of the pruned prefill."""

    batch: int
    image_tokens: int
    criterion: str
    kernels: int
    bytes: int
    seconds: float
    share: float


def share(batch: int, image_tokens: int, criterion: str) -> Share:
    """Of HiMAP(2, .5, 8, .75), whose second look is at half of the image tokens."""
    first = kernels_of(LOOKS["first"], batch, image_tokens)
    second = kernels_of(LOOKS[criterion], batch, image_tokens // 2)
    seconds = first.seconds + second.seconds
    whole = prefill_seconds(HiMAP(2, 0.5, 8, 0.75), batch, image_tokens)
    return Share(
        batch,
        image_tokens,
        criterion,
        first.count + second.count,
        first.bytes + second.bytes,
        seconds,
        seconds / (whole + seconds),
    )


def prefill_seconds(method: Method, batch: int, image_tokens: int) -> float:
    """All decoder layers, pruned, without the looks."""
    counts = method.plan().image_tokens(image_tokens, DEPTH)
    return sum(_layer_seconds(batch, SYSTEM + count + INSTRUCTION) for count in counts)


@cache
def _layer_seconds(batch: int, tokens: int) -> float:
    config = shape_config("llava-1.5-7b").get_text_config()
    config._attn_implementation = "counted"
    with torch.device("meta"):
        layer = LlamaDecoderLayer(config, 0).to(torch.bfloat16).eval()
        hidden = torch.empty(batch, tokens, config.hidden_size, dtype=torch.bfloat16)
        angles = torch.empty(1, tokens, SIZE, dtype=torch.bfloat16)
    with torch.no_grad(), Kernels() as kernels:
        layer(hidden, position_embeddings=(angles, angles))
    return kernels.seconds


def _flash(module: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> tuple[Tensor, None]:
    """Causal attention as transformers calls it."""
    read = aten._scaled_dot_product_flash_attention(query, key, value, 0.0, True)[0]
    return read.transpose(1, 2).contiguous(), None


AttentionInterface.register("counted", _flash)


def fused_leave_one_out(batch: int, image_tokens: int) -> Kernels:
    """What the two kernels of `visionflow.core.contribution_kernel` and the norm after them read: all of it twice."""
    numbers = 2 * batch * HEADS * (image_tokens + SYSTEM + INSTRUCTION) * SIZE
    return Kernels(3, 2 * 2 * numbers, max(3 * SHORTEST, 2 * 2 * numbers / BYTES))


def report() -> Iterator[str]:
    """A line for each length and criterion, and for each length of what VisiPruner looks at in a layer."""
    yield "HiMAP's looks         kernels       MB       ms  of the pruned prefill"
    for batch, tokens in LENGTHS:
        for criterion in ("paid", "received"):
            each = share(batch, tokens, criterion)
            told = f"{each.kernels:7} {each.bytes / 1e6:8.0f} {1e3 * each.seconds:8.3f}  {100 * each.share:.2f} %"
            yield f"{batch} x {tokens:5}, {criterion:9} {told}"
    yield "Leave-one-out, one layer"
    for batch, tokens in LENGTHS:
        for name, found in (
            ("plain", kernels_of(LOOKS["leave-one-out"], batch, tokens)),
            ("fused", fused_leave_one_out(batch, tokens)),
        ):
            yield f"{batch} x {tokens:5}, {name:9} {found.count:7} {found.bytes / 1e6:8.0f} {1e3 * found.seconds:8.3f}"


if __name__ == "__main__":
    ArgumentParser(prog="python -m tests.house.probes", description=(__doc__ or "").partition("\n")[0]).parse_args()
    print("\n".join(report()))
