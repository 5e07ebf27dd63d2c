"""An accelerator that is none: tensors that claim to be on a device, hold their data on the CPU, and tell of waits.

What would break or wait on a GPU shows on any machine: an operation on tensors of two devices raises, and each one for
which the host waits for the device (a value that is read, a size that depends on values, a copy from or to the host)
is noted with its file and line.
"""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "pretended"
_setup_privateuseone_for_python_backend(NAME)
DEVICE = torch.device(NAME, 0)

aten = torch.ops.aten
_COPIES = {aten._to_copy.default, aten.copy_.default, aten.to.device, aten.to.dtype_layout}
_READS = {aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default, aten.equal.default}
_INDEXED = {aten.index.Tensor, aten.index_put_.default}
_VIEWS = (aten.detach.default, aten.alias.default, aten._unsafe_view.default)
_OF_NUMBERS = {torch.tensor, torch.as_tensor}
_OURS = ("/visionflow/", "/transformers/")


class Claimed(Tensor):
    """A tensor that says it is on the accelerator; `held` has its data."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "Claimed":
        claimed: Claimed = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )
        claimed.held = held
        return claimed

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(Log(), func, args, kwargs)

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Claimed({tuple(self.shape)}, {self.dtype})"


class DeviceMix(AssertionError):
    """An operation on tensors of two devices."""


@dataclass
class Log:
    """What was seen: `operations` on the accelerator that are no views, `waits` by where they were asked for, and of
    each attention whether a mask went with it."""

    operations: int = 0
    waits: list[str] = field(default_factory=list)
    masked: list[bool] = field(default_factory=list)


@contextmanager
def watched() -> Iterator[Log]:
    """Run what is on the accelerator, and watch it."""
    log = Log()
    with _Functions(log), _Dispatch(log):
        yield log


def claimed(value: Any) -> Any:
    """Tensors, and those in lists and dictionaries, as if on the accelerator."""
    return tree_map(lambda each: Claimed(each) if isinstance(each, Tensor) else each, value)


def released(value: Any) -> Any:
    """Back to ordinary tensors."""
    return tree_map(lambda each: each.held if isinstance(each, Claimed) else each, value)


def moved(model: nn.Module) -> None:
    """Put all weights and buffers of the model on the accelerator, for good."""
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                module._parameters[name] = nn.Parameter(Claimed(weight.detach()), requires_grad=False)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = Claimed(buffer)


class _Functions(TorchFunctionMode):
    """What never comes to the dispatcher as one operation: attention, tensors made of numbers, and numbers of them."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self.log = log

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is F.scaled_dot_product_attention and isinstance(args[0], Claimed):
            return self._attention(func, args, kwargs)
        if func in _OF_NUMBERS and torch.device(kwargs.get("device") or "cpu").type == NAME:
            made = func(*released(args), **kwargs | {"device": "cpu"})
            self._wait(func, made.numel())
            return Claimed(made)
        if func is Tensor.tolist and isinstance(args[0], Claimed):
            self._wait(func, args[0].numel())
            return args[0].held.tolist()
        return func(*args, **kwargs)

    def _attention(self, func: Any, args: Any, kwargs: Any) -> Claimed:
        mask = kwargs.get("attn_mask", args[3] if len(args) > 3 else None)
        self.log.masked.append(mask is not None)
        self.log.operations += 1
        _check(func, [*args, *kwargs.values()])
        return Claimed(func(*released(args), **released(kwargs)))

    def _wait(self, func: Any, values: int) -> None:
        if values:
            self.log.waits.append(f"{func.__name__} at {_caller()}")


class _Dispatch(TorchDispatchMode):
    def __init__(self, log: Log) -> None:
        super().__init__()
        self.log = log

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(self.log, func, args, kwargs)


def _run(log: Log, func: Any, args: Any, kwargs: Any) -> Any:
    """The operation on what the tensors hold."""
    kwargs = dict(kwargs or {})
    flat, _ = tree_flatten((args, kwargs))
    here = any(isinstance(each, Claimed) for each in flat)
    target = kwargs.get("device")
    wanted = target is not None and torch.device(target).type == NAME
    if not (here or wanted):
        return func(*args, **kwargs)
    if func not in _COPIES:
        _check(func, flat[:1] if func in _INDEXED else flat)
    if _waits(func, flat, target):
        log.waits.append(f"{func} at {_caller()}")
    if target is not None:
        kwargs["device"] = torch.device("cpu")
    out = func(*released(args), **released(kwargs))
    log.operations += not _is_view(func)
    if _in_place(func):
        return args[0]
    leaves = here and target is not None and not wanted  # a copy to the host
    return out if leaves else tree_map(lambda each: Claimed(each) if isinstance(each, Tensor) else each, out)


def _check(func: Callable[..., Any], values: list[Any]) -> None:
    """All tensors on one device, but that numbers (0-D) may stay on the host."""
    strangers = [each for each in values if isinstance(each, Tensor) and not isinstance(each, Claimed) and each.dim()]
    if strangers:
        raise DeviceMix(f"{func} on the accelerator and a CPU tensor {tuple(strangers[0].shape)} at {_caller()}")


def _waits(func: Any, flat: list[Any], target: Any) -> bool:
    if func in _READS:
        return True
    if func in _INDEXED:  # by places that are on the host, or by a mask, whose places have to be counted
        places = [each for each in flat[1:] if isinstance(each, Tensor) and each.dim()]
        return any(not isinstance(each, Claimed) or each.dtype == torch.bool for each in places)
    if func is aten.copy_.default:
        return isinstance(flat[0], Claimed) != isinstance(flat[1], Claimed)
    if func is aten._to_copy.default and target is not None:
        return isinstance(flat[0], Claimed) != (torch.device(target).type == NAME)
    return func is aten.repeat_interleave.Tensor


def _is_view(func: Any) -> bool:
    return bool(getattr(func, "is_view", False)) or func in _VIEWS


def _in_place(func: Any) -> bool:
    return bool(func._schema.name.endswith("_") and not func._schema.name.endswith("__"))


def _caller() -> str:
    """The innermost line of this package or of transformers."""
    for frame in reversed(traceback.extract_stack()):
        if any(part in frame.filename for part in _OURS):
            return f"{'/'.join(frame.filename.split('/')[-3:])}:{frame.lineno}"
    return "a test"
