"""Run a script as though this machine had an accelerator, and raise what CUDA would.

``python tests/pretend.py SCRIPT`` runs SCRIPT on the CPU, but
``torch.accelerator.current_accelerator`` answers ``cuda`` and every tensor that the
script puts there is tracked. Mixing devices, ``.numpy()`` or matplotlib on a tensor of
the device, and indexing with tensors of the wrong place raise the errors that a real
device raises, so that a forgotten ``.to(device)`` is found without a GPU.

How: a `torch.overrides.TorchFunctionMode` sees every call from Python into torch. A
tensor lives on the pretended device when its *storage* does: views, ``.data`` and
parameters share their storage and so are right by themselves. Storages are remembered
through weak references that keep an address from being used twice.

What it cannot see: calls that one C++ function makes inside another (a library function
counts as one operation, which lives where its inputs live); what happens inside the
transforms of ``torch.func``, whose results live where their inputs live; tensors that C++
makes and hands back to Python (those of ``gradcheck``); other processes
(data loader workers, ``torchrun``); pinned memory; kernels that exist on the CPU alone;
numerical differences, speed and memory of a device; streams and asynchronous errors.
"""

from __future__ import annotations

import functools
import os
import runpy
import sys
from pathlib import Path

import functorch
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._pytree import tree_leaves

DEVICE = torch.device("cuda", 0)
CPU = torch.device("cpu")

# Functions for which tensors of two devices may meet, as on CUDA.
COPIES = {"copy_", "to", "type", "set_", "load_state_dict", "index", "__getitem__"}
# Functions on packed sequences: their lengths and batch sizes live on the CPU.
PACKED = {
    "_pack_padded_sequence", "_pad_packed_sequence", "gru", "lstm", "rnn_tanh", "rnn_relu",
}  # fmt: skip
# Answers about a tensor, not tensors: nothing can be mixed up.
QUESTIONS = {
    "__get__", "__set__", "size", "dim", "numel", "stride", "shape", "is_tensor",
    "is_floating_point", "is_complex", "is_storage", "__repr__", "__format__",
    "__len__", "__hash__", "element_size", "data_ptr", "storage_offset",
    "untyped_storage", "is_contiguous", "__bool__", "__float__", "__int__", "__index__",
    "item", "tolist", "is_signed", "ndimension", "nelement", "is_inference", "is_pinned",
    "backward", "register_hook", "requires_grad_", "retain_grad", "is_same_size",
    "__dir__", "__reduce_ex__", "is_shared", "result_type", "can_cast", "is_nonzero",
    "_has_compatible_shallow_copy_type", "has_names", "is_conj", "is_neg", "get_device",
    "__contains__",
}  # fmt: skip


class PretendedDevice(TorchFunctionMode):
    """Tracks which storages live on the pretended device; see the module's docstring."""

    def __init__(self) -> None:
        super().__init__()
        self.there: dict[int, StorageWeakRef] = {}
        self.in_backward = 0

    def is_there(self, tensor: torch.Tensor) -> bool:
        """Whether ``tensor`` lives on the pretended device."""
        storage = storage_of(tensor)
        if storage is None:
            return False
        reference = self.there.get(storage._cdata)
        return reference is not None and not reference.expired()

    def put(self, result) -> None:
        """Remember that all tensors in ``result`` live on the pretended device."""
        for tensor in tensors_in(result):
            storage = storage_of(tensor)
            if storage is not None:
                self.there[storage._cdata] = StorageWeakRef(storage)
        if len(self.there) > 20_000:
            self.there = {k: r for k, r in self.there.items() if not r.expired()}

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        keywords = dict(keywords or {})
        name = getattr(function, "__name__", "")
        owner = getattr(function, "__self__", None)
        if name == "__get__":
            return self.attribute(function, owner, arguments)
        if name in ("numpy", "__array__", "__dlpack__", "share_memory_"):
            if self.is_there(arguments[0]):
                raise TypeError(
                    "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() "
                    "to copy the tensor to host memory first."
                )
        if function in (torch.Tensor.to, torch.Tensor.cpu, torch.Tensor.cuda):
            return self.move(function, arguments, keywords)
        if name == "is_available":
            return True
        target = keywords.get("device")
        if target is not None and torch.device(target).type == DEVICE.type:
            keywords["device"] = CPU
            result = function(*arguments, **keywords)
            if function is torch.as_tensor or function is torch.asarray:
                result = result.clone()
            self.put(result)
            return result
        inputs = tensors_in((arguments, keywords))
        if name == "_pack_padded_sequence" and self.is_there(inputs[1]):
            raise RuntimeError(
                "'lengths' argument should be a 1D CPU int64 tensor, but got 1D cuda:0 "
                "Long tensor"
            )
        if name in PACKED:
            inputs = [t for t in inputs if t.is_floating_point()]
        if target is None and name not in QUESTIONS:
            self.check(function, name, arguments, inputs)
        if name in ("backward", "grad"):
            self.in_backward += 1
            try:
                result = function(*arguments, **keywords)
            finally:
                self.in_backward -= 1
        else:
            result = function(*arguments, **keywords)
        if target is None and name not in ("tolist", "item"):
            if any(self.is_there(t) for t in inputs):
                outputs = tensors_in(result)
                if name in PACKED:
                    outputs = [t for t in outputs if t.is_floating_point()]
                self.put(outputs)
        return result

    def attribute(self, function, owner, arguments):
        """Attributes of a tensor: ``device`` and ``grad`` need an answer of ours."""
        tensor = arguments[0]
        there = self.is_there(tensor)
        attribute = getattr(owner, "__name__", "")
        if there and attribute == "device":
            return DEVICE
        if there and attribute == "is_cuda":
            return True
        if there and attribute == "is_cpu":
            return False
        result = function(*arguments)
        if there and attribute == "grad" and result is not None:
            self.put(result)
        return result

    def move(self, function, arguments, keywords):
        """``to``, ``cpu`` and ``cuda``: copy between the places, or stay."""
        tensor, *rest = arguments
        keywords = dict(keywords)
        there = self.is_there(tensor)
        goal = there
        if function is torch.Tensor.cpu:
            goal = False
        elif function is torch.Tensor.cuda:
            goal = True
        else:
            words = [*rest, keywords.get("device"), keywords.get("other")]
            for word in words:
                if isinstance(word, torch.Tensor):
                    goal = self.is_there(word)
                elif isinstance(word, str | int | torch.device) and not isinstance(
                    word, bool
                ):
                    goal = torch.device(word).type == DEVICE.type
            rest = [CPU if isinstance(w, str | int | torch.device)
                    and not isinstance(w, bool) else w for w in rest]  # fmt: skip
            if keywords.get("device") is not None:
                keywords["device"] = CPU
        if function is torch.Tensor.to:
            result = function(tensor, *rest, **keywords)
        else:
            result = tensor
        if goal != there and shares(result, tensor):
            result = result.clone()
        if goal:
            self.put(result)
        return result

    def check(self, function, name, arguments, inputs) -> None:
        """Raise what CUDA raises where ``inputs`` live in two places."""
        if self.in_backward or len(inputs) < 2:
            return
        if any(map(torch._C._functorch.is_functorch_wrapped_tensor, inputs)):
            return
        if name in ("__getitem__", "__setitem__"):
            self.check_index(name, arguments)
            return
        if name in COPIES:
            return
        if name == "ctc_loss":  # takes its lengths, which come last, from the CPU too
            inputs = inputs[:2]
        # 0-dimensional CPU tensors count as numbers, as in CUDA's pointwise kernels
        places = {self.is_there(t) for t in inputs if t.dim() > 0 or self.is_there(t)}
        if len(places) > 1:
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two "
                f"devices, cuda:0 and cpu! (when calling {resolve_name(function) or name})"
            )

    def check_index(self, name, arguments) -> None:
        """A tensor of the device takes indices from both places, one of the CPU its own."""
        tensor, index, *value = arguments
        there = self.is_there(tensor)
        if not there and any(self.is_there(t) for t in tensors_in(index)):
            raise RuntimeError(
                "indices should be either on cpu or on the same device as the indexed "
                "tensor (cpu)"
            )
        for item in tensors_in(value):
            if self.is_there(item) != there and item.dim() > 0 and tensors_in(index):
                raise RuntimeError(
                    "Expected all tensors to be on the same device, but found at least "
                    "two devices, cuda:0 and cpu! (when assigning to an indexed tensor)"
                )


def tensors_in(tree) -> list[torch.Tensor]:
    """All tensors in nested lists, tuples and dicts."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def storage_of(tensor: torch.Tensor):
    """The storage of ``tensor``, or None where it has none (sparse layouts)."""
    with torch._C.DisableTorchFunction():
        if tensor.layout is not torch.strided:
            tensor = (
                tensor.values()
                if tensor.layout is not torch.sparse_coo
                else tensor._values()
            )
        try:
            return tensor.untyped_storage()
        except (NotImplementedError, RuntimeError):
            return None


def shares(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors share a storage."""
    first, second = storage_of(one), storage_of(other)
    return first is not None and second is not None and first._cdata == second._cdata


def pretend() -> PretendedDevice:
    """Make torch answer that there is an accelerator; returns the mode to enter."""
    torch.accelerator.current_accelerator = lambda check_available=False: DEVICE
    torch.accelerator.is_available = lambda: True
    torch.accelerator.device_count = lambda: 1
    torch.accelerator.current_device_index = lambda: 0
    torch.accelerator.synchronize = lambda device=None: None
    torch.optim.Optimizer._accelerator_graph_capture_health_check = lambda self: None
    torch.Tensor.pin_memory = lambda tensor, device=None: tensor
    torch.backends.cudnn.enabled = False  # an RNN would flatten its weights for cuDNN
    torch.cuda.get_rng_state = lambda device=DEVICE: torch.get_rng_state()
    torch.cuda.set_rng_state = lambda state, device=DEVICE: torch.set_rng_state(state)
    start_autocast = torch.autocast.__init__

    def start_autocast_on_cpu(self, device_type, *arguments, **keywords):
        start_autocast(self, "cpu", *arguments, **keywords)  # where the numbers are

    torch.autocast.__init__ = start_autocast_on_cpu
    start_loader = torch.utils.data.DataLoader.__init__

    def start_loader_unpinned(self, *arguments, **keywords):
        start_loader(self, *arguments, **keywords | {"pin_memory": False})

    torch.utils.data.DataLoader.__init__ = start_loader_unpinned
    mode = PretendedDevice()
    for module in (torch.func, functorch):
        for name in ("vmap", "grad", "grad_and_value", "jacrev", "jacfwd", "hessian"):
            if hasattr(module, name):
                setattr(module, name, tracked(getattr(module, name), mode))
        if hasattr(module, "jvp"):  # no transform: it answers at once
            module.jvp = tracked(lambda jvp: jvp, mode)(module.jvp)
    return mode


def tracked(transform, mode: PretendedDevice):
    """``transform`` of torch.func; its functions' results live where their inputs do."""

    def transformed(function, *arguments, **keywords):
        inner = transform(function, *arguments, **keywords)

        @functools.wraps(function)
        def call(*inputs, **options):
            result = inner(*inputs, **options)
            if any(mode.is_there(tensor) for tensor in tensors_in((inputs, options))):
                mode.put(result)
            return result

        return call

    return transformed


def main(script: str) -> None:
    """Run ``script`` as ``__main__`` under the pretended device."""
    sys.argv = [script]
    sys.path[0] = os.path.dirname(os.path.abspath(script))
    with pretend():
        runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(*map(str, map(Path, sys.argv[1:])))
