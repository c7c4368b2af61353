"""A GPU that is not there: shapes and devices without numbers, and a look at every operation that would wait for it.

Under torch's FakeTensorMode a tensor has a device and no content, so the program runs as it would on a GPU up to what
a kernel computes. What makes the host wait is written down, with the line that asked for it.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

GPU = torch.device("cuda", 0)

# Whose result depends on numbers: the host waits for them, on a GPU.
_WAIT = ("aten.nonzero", "aten.is_nonzero", "aten.equal", "aten.masked_select", "aten._unique")
_COPIES = ("aten._to_copy", "aten.copy_", "aten._copy_from")


class _Event:
    """Of a stream, long past."""

    def __init__(self, **_: Any) -> None: ...

    def record(self, stream: Any = None) -> None: ...

    def synchronize(self) -> None: ...


class _Stream:
    def __init__(self, *_: Any, **__: Any) -> None: ...

    def wait_event(self, event: _Event) -> None: ...

    def wait_stream(self, stream: _Stream) -> None: ...

    def record_event(self) -> _Event:
        return _Event()

    def synchronize(self) -> None: ...


@dataclass
class Audit(TorchDispatchMode):
    """What would wait: (operation, file:line in transfer_cli), in order."""

    found: list[tuple[str, str]] = field(default_factory=list)
    pinned: set[int] = field(default_factory=set)
    """Storages of the host that a GPU can copy from and to by itself."""

    def __post_init__(self) -> None:
        super().__init__()
        self._kept: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = str(func), kwargs or {}
        if name.startswith("aten._local_scalar_dense"):
            self._note(name, _on_gpu(args))
            return 1.0 if args[0].is_floating_point() else 1
        if name.startswith("aten._fused_sgd_"):
            return None  # Fake tensors do not know it.
        if name.startswith("aten._pin_memory"):
            return self._pin(args[0])
        if name.startswith("aten.is_pinned"):
            return self._is_pinned(args[0])
        self._note(name, name.startswith(_WAIT) and _on_gpu(args))
        self._note(name, "aten.index" in name and _on_gpu(args) and _by_booleans(args))
        result = func(*args, **kwargs)
        if kwargs.get("pin_memory"):
            self._kept.append(result)
            self.pinned.add(_storage(result))
        if name.startswith(_COPIES):
            self._note(f"{name} to {result.device}", self._waits(args, kwargs, result))
        return result

    def _waits(self, args: Any, kwargs: Any, result: Tensor) -> bool:
        """Whether a copy keeps the host waiting: between host and GPU, unless asked not to and from pinned memory."""
        source = args[1] if len(args) > 1 and isinstance(args[1], Tensor) else args[0]
        if source.device.type == result.device.type:
            return False
        host = source if source.device.type == "cpu" else result
        without = kwargs.get("non_blocking") or (len(args) > 2 and args[2])
        return not (without and self._is_pinned(host))

    def _pin(self, tensor: Tensor) -> Tensor:
        copy = torch.empty_like(tensor)
        self._kept.append(copy)
        self.pinned.add(_storage(copy))
        return copy

    def _is_pinned(self, tensor: Tensor) -> bool:
        return _storage(tensor) in self.pinned

    def _note(self, name: str, waits: bool) -> None:
        if waits:
            self.found.append((name, _asked_by()))


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _on_gpu(args: Any) -> bool:
    return any(isinstance(value, Tensor) and value.device.type == "cuda" for value in args)


def _by_booleans(args: Any) -> bool:
    lists = [value for value in args if isinstance(value, list | tuple)]
    return any(isinstance(one, Tensor) and one.dtype == torch.bool for values in lists for one in values)


def _asked_by() -> str:
    frames = [f for f in traceback.extract_stack() if "/transfer_cli/" in f.filename]
    return f"{frames[-1].filename.rpartition('/transfer_cli/')[2]}:{frames[-1].lineno}" if frames else "elsewhere"


def move(module: nn.Module) -> None:
    """The parameters and buffers of a module, as they would lie on the GPU, in place."""
    for part in module.modules():
        for name, own in part._parameters.items():
            if own is not None:
                part._parameters[name] = nn.Parameter(there(own), requires_grad=own.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = there(buffer)


def there(tensor: Tensor) -> Tensor:
    """A tensor like this one on the GPU."""
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=GPU)


@contextmanager
def fake_gpu(parameters: Callable[[], Iterator[nn.Parameter]]) -> Iterator[Audit]:
    """Within, tensors have no numbers and a GPU is there; a backward pass gives each of `parameters` a gradient.

    Torch's autograd would ask the driver.
    """

    def backward(loss: Tensor) -> None:
        for parameter in parameters():
            if parameter.requires_grad:
                parameter.grad = torch.empty_like(parameter)

    def pin(tensor: Tensor) -> Tensor:
        return audit._pin(tensor)

    def numpy(tensor: Tensor) -> Any:
        with _disable_current_modes():
            return as_array(tensor)

    audit, as_array = Audit(), torch.Tensor.numpy
    replaced: dict[str, Any] = {
        "torch.Tensor.backward": backward,
        "torch.Tensor.pin_memory": pin,
        "torch.Tensor.is_pinned": lambda tensor: audit._is_pinned(tensor),
        "torch.Tensor.numpy": numpy,
        "torch.Tensor.record_stream": lambda tensor, stream: None,
        "torch.cuda.Stream": _Stream,
        "torch.cuda.Event": _Event,
        "torch.cuda.stream": lambda stream: nullcontext(),
        "torch.cuda.current_stream": lambda device=None: _Stream(),
        "torch.cuda.default_stream": lambda device=None: _Stream(),
        "torch.cuda.get_rng_state": lambda device=None: torch.zeros(16, dtype=torch.uint8),
        "torch.cuda.set_rng_state": lambda state, device=None: None,
        "torch.random.fork_rng": lambda *_, **__: nullcontext(),
        "transfer_cli.engine.devices.kernels.why_not": lambda device: "no numbers to work on",
    }
    with ExitStack() as stack:
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        for name, value in replaced.items():
            stack.enter_context(mock.patch(name, value))
        stack.enter_context(audit)
        yield audit
