"""vLLM's second model runner on the CPU: its Triton kernels run in Triton's interpreter.

vLLM takes that runner where Triton has a back end for the machine; there is none for CPUs, so one is named that does
not compile.
"""

import os
from types import SimpleNamespace

ENVIRONMENT = {"TRITON_INTERPRET": "1", "VLLM_USE_V2_MODEL_RUNNER": "1"}
"""What a process has to begin with."""


class _Driver:
    """A driver of nothing, which is there."""

    @staticmethod
    def is_active() -> bool:
        return True


def install() -> None:
    """Let vLLM take its second runner in a process that began with `ENVIRONMENT`; before vLLM is imported."""
    if not os.environ.items() >= ENVIRONMENT.items():
        return
    from triton.backends import backends

    backends.clear()
    backends["cpu"] = SimpleNamespace(driver=_Driver, compiler=None)
