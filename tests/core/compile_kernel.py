"""Compile the fused leave-one-out for a GPU, which takes none: ``python -m tests.core.compile_kernel``.

Triton's interpreter forgives what its compiler refuses.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from visionflow.core import contribution_kernel

POINTERS = {"index": "*i64", "outputs": "*fp32", "statistics": "*fp32", "dots": "*fp32", "squares": "*fp32"}
CAPABILITIES = (80, 90)
"""Of an A100 and of an H100."""


def compiled() -> Iterator[str]:
    """What was compiled: each kernel for heads of 128, with and without a mask."""
    kernels = (contribution_kernel._attend, contribution_kernel._owe)
    masks = ((False, "*bf16"), (True, "*u8"), (True, "*bf16"))
    for kernel, (masked, mask), capability in product(kernels, masks, CAPABILITIES):
        constants = {"MASKED": masked, "BY_PLACE": not masked, "KEYS": 32, "DIMS": 128, "VALUE_DIMS": 128}
        states = {"query": "*bf16", "key": "*bf16", "value": "*bf16", "mask": mask, "scaling": "fp32"}
        numbers = {"sizes": ("i32",) * 6, "strides": (("i32",) * 4,) * 4}
        known: dict[str, Any] = {**POINTERS, **states, **numbers, **dict.fromkeys(constants, "constexpr")}
        signature = {name: known[name] for name in kernel.arg_names}
        source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
        made = triton.compile(source, target=GPUTarget("cuda", capability, 32))
        yield f"{kernel.__name__}, mask {mask if masked else 'none'}, sm_{capability}: {len(made.asm['cubin'])} bytes"


if __name__ == "__main__":
    print("\n".join(compiled()))
