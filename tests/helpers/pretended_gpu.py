"""A machine with one GPU, pretended on a CPU: `with pretended_gpu() as gpu:`.

A tensor "on the GPU" holds its values in the CPU's memory, but says that it is on cuda:0. An operation on tensors of
both devices raises, as CUDA does. So does a conversion to NumPy, or a random generator of the other device. `gpu.waits`
counts, by line of our code, how often the host would wait for the device: it reads a value, or copies between pageable
memory and the GPU. Nothing is learned about kernels, speed or memory. Functional transforms such as `vmap` do not work.
"""

import contextlib
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import torch
import torch._dynamo  # before its rules would see what is pretended here
from torch import Tensor
from torch.nn.utils import clip_grad
from torch.overrides import TorchFunctionMode, resolve_name

from helpers import ROOT

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
RealGenerator, real_autocast, real_export = torch.Generator, torch.autocast, torch.export.export
by_device = clip_grad._group_tensors_by_device_and_dtype
READING = {
    *(Tensor.item, Tensor.tolist, Tensor.__bool__, Tensor.__int__, Tensor.__float__, Tensor.__index__),
    *(Tensor.nonzero, torch.nonzero, Tensor.unique, torch.unique, Tensor.masked_select, torch.masked_select),
    *(Tensor.equal, torch.equal, Tensor.bincount, torch.bincount, torch.allclose, Tensor.allclose),
}  # functions whose result's values or shape the host must know
SETTERS = {Tensor.data.__set__, Tensor.grad.__set__}
PROGRAM = {"metad2a", "generator", "predictor", "set_encoder"}  # folders whose lines are named
CURRENT: list["PretendedGpu"] = []


class PretendedGpu:
    def __init__(self):
        self.waits, self.operations = Counter(), 0

    def wait(self):
        frame = sys._getframe(1)
        while frame and not self.ours(frame.f_code.co_filename):
            frame = frame.f_back
        if frame:
            self.waits[f"{Path(frame.f_code.co_filename).relative_to(ROOT)}:{frame.f_lineno}"] += 1

    @staticmethod
    def ours(file):
        return Path(file).is_relative_to(ROOT) and Path(file).relative_to(ROOT).parts[0] in PROGRAM


class OnGpu(Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunctionSubclass():
            return call(func, args, kwargs or {})

    def __reduce_ex__(self, protocol):
        with torch._C.DisableTorchFunctionSubclass():
            return plain(self).requires_grad_(self.requires_grad).__reduce_ex__(protocol)


class NewTensors(TorchFunctionMode):
    """Sees functions that get no tensor of the GPU, such as `torch.zeros(3, device="cuda")`."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunctionSubclass():
            return call(func, args, kwargs or {})


class Generator(RealGenerator):
    def __new__(cls, device="cpu"):
        made = RealGenerator.__new__(cls)
        made.place = CUDA if on_cuda(device) else CPU
        return made

    def __init__(self, device="cpu"):
        pass

    @property
    def device(self):
        return self.place


def on_cuda(device):
    return device is not None and torch.device(device).type == "cuda"


def plain(tensor):
    """The values as a tensor of the CPU."""
    return tensor.detach().as_subclass(Tensor)


def tensors_in(value):
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from tensors_in(part)


def on_gpu(value, inputs=()):
    """A result whose tensors are on the GPU."""
    if isinstance(value, Tensor):
        if isinstance(value, OnGpu) or any(value is tensor for tensor in inputs):
            return value
        made = value.as_subclass(OnGpu)
        if type(value) is torch.nn.Parameter:
            made._is_param = True
        return made
    if isinstance(value, list | tuple):
        parts = [on_gpu(part, inputs) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def moved(func, args, kwargs):
    """`Tensor.to`, `cpu` and `cuda`."""
    source, *rest = args
    here, target = isinstance(source, OnGpu), None
    if func is not Tensor.to:
        target, rest, kwargs = (CPU if func is Tensor.cpu else CUDA), [CPU], {}
    for i, value in enumerate(rest):
        if isinstance(value, torch.device | str) and func is Tensor.to:
            target, rest[i] = value, CPU
        elif isinstance(value, Tensor):
            target, rest[i] = (CUDA if isinstance(value, OnGpu) else CPU), plain(value)
    if kwargs.get("device") is not None:
        target, kwargs = kwargs["device"], kwargs | {"device": CPU}
    there = here if target is None else on_cuda(target)
    inner = source.as_subclass(Tensor) if here else source
    made = Tensor.to(inner, *rest, **kwargs)
    if there == here and made is inner:
        return source
    if there != here:
        made = made.clone() if made.data_ptr() == source.data_ptr() else made
        if source.numel() and not (there and kwargs.get("non_blocking")):
            CURRENT[-1].wait()
    return on_gpu(made) if there else made


def copied(source, memo):
    if id(source) not in memo:
        made = on_gpu(plain(source).clone()).requires_grad_(source.requires_grad)
        made._is_param = getattr(source, "_is_param", False)
        memo[id(source)] = made
    return memo[id(source)]


def check_devices(func, args, tensors, here):
    """Raise as CUDA does if tensors of both devices meet; numbers (tensors without dimensions) may."""
    other = [tensor for tensor in tensors if not isinstance(tensor, OnGpu) and tensor.dim()]
    name = resolve_name(func) or str(func)
    if func is Tensor.__getitem__:
        wrong = not isinstance(args[0], OnGpu) and any(tensor.dim() for tensor in here)
    elif func in (Tensor.__setitem__, Tensor.index_put_, torch.index_put):
        values = list(tensors_in(args[2]))
        onto_gpu = isinstance(args[0], OnGpu)
        wrong = any(isinstance(value, OnGpu) != onto_gpu and value.dim() for value in values)
        wrong |= not onto_gpu and any(isinstance(index, OnGpu) for index in tensors_in(args[1]))
    else:
        wrong = bool(other) and func is not Tensor.copy_ and func not in SETTERS
    if wrong:
        raise RuntimeError(f"Expected all tensors to be on the same device, but found cuda:0 and cpu! ({name})")


def waits(func, args, kwargs, here, on_device):
    """Whether the host would wait."""
    if func in (torch.tensor, torch.as_tensor):
        return on_device and not here
    if not here:
        return False
    if func in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[0], OnGpu):
        index = list(tensors_in(args[1]))
        masks = any(tensor.dtype in (torch.bool, torch.uint8) and tensor.dim() for tensor in index)
        copied = any(not isinstance(tensor, OnGpu) and tensor.dim() for tensor in index) or isinstance(args[1], list)
        scalars = func is Tensor.__setitem__ and isinstance(args[2], Tensor) and not isinstance(args[2], OnGpu)
        return masks or copied or scalars
    if func is Tensor.copy_:
        return isinstance(args[0], OnGpu) != isinstance(args[1], OnGpu)
    if func in (torch.repeat_interleave, Tensor.repeat_interleave):
        return isinstance(args[1], Tensor) and kwargs.get("output_size") is None
    return func in READING


def not_numpy(*args, **kwargs):
    raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")


# Functions of a tensor on the GPU that the CPU's would answer wrongly
ANSWERS = {
    Tensor.device.__get__: lambda *_: CUDA,
    Tensor.is_cuda.__get__: lambda *_: True,
    Tensor.is_cpu.__get__: lambda *_: False,
    Tensor.get_device: lambda *_: 0,
    Tensor.numpy: not_numpy,
    Tensor.__array__: not_numpy,
    Tensor.__deepcopy__: copied,
}


def call(func, args, kwargs):
    """Do what a function of PyTorch does, as if the tensors were where they say."""
    tensors = [*tensors_in(args), *tensors_in(kwargs)]
    here = [tensor for tensor in tensors if isinstance(tensor, OnGpu)]
    if here and func in ANSWERS:
        return ANSWERS[func](*args, **kwargs)
    if func is torch._has_compatible_shallow_copy_type:
        return isinstance(args[0], OnGpu) == isinstance(args[1], OnGpu)
    if func is Tensor.pin_memory:
        return args[0]
    if func in (Tensor.to, Tensor.cpu, Tensor.cuda):
        return moved(func, args, kwargs)
    on_device = bool(here)
    if kwargs.get("device") is not None:
        on_device, kwargs = on_cuda(kwargs["device"]), kwargs | {"device": CPU}
    elif here:
        check_devices(func, args, tensors, here)
    generator = kwargs.get("generator")
    if generator is not None and (getattr(generator, "place", CPU) == CUDA) != on_device:
        raise RuntimeError(f"The generator lies on another device than the result ({resolve_name(func)})")
    CURRENT[-1].operations += on_device
    if waits(func, args, kwargs, here, on_device):
        CURRENT[-1].wait()
    found = func(*args, **kwargs)
    return on_gpu(found, tensors) if on_device and func not in SETTERS else found


@contextlib.contextmanager
def pretended_gpu():
    none, properties = (lambda *args, **kwargs: None), SimpleNamespace(total_memory=80 << 30, name="pretended GPU")
    cuda = {
        "is_available": lambda: True, "device_count": lambda: 1, "current_device": lambda: 0, "set_device": none,
        "synchronize": none, "max_memory_allocated": lambda *_: 0, "memory_allocated": lambda *_: 0,
        "reset_peak_memory_stats": none, "empty_cache": none, "manual_seed": none, "manual_seed_all": none,
        "get_device_name": lambda *_: "pretended GPU", "get_device_capability": lambda *_: (9, 0),
        "mem_get_info": lambda *_: (80 << 30, 80 << 30), "get_device_properties": lambda *_: properties,
        "is_bf16_supported": lambda *_, **__: True,
    }  # fmt: skip

    def grouped(*args, **kwargs):
        """PyTorch's C++ code knows the devices only as they are."""
        return {
            (CUDA if isinstance(parts[0][0][0], OnGpu) else place, dtype): parts
            for (place, dtype), parts in by_device(*args, **kwargs).items()
        }

    def export(*args, **kwargs):
        """An export traces a network that lies on the host, by another mode."""
        mode = torch._C._pop_torch_function_stack()
        try:
            return real_export(*args, **kwargs)
        finally:
            torch._C._push_on_torch_function_stack(mode)

    def autocast(device_type, *args, **kwargs):
        return real_autocast("cpu" if device_type == "cuda" else device_type, *args, **kwargs)

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.multiple(torch.cuda, **cuda))
        stack.enter_context(mock.patch.multiple(torch, Generator=Generator, autocast=autocast))
        checks = dict.fromkeys(("_accelerator_graph_capture_health_check", "_cuda_graph_capture_health_check"), none)
        stack.enter_context(mock.patch.multiple(torch.optim.Optimizer, create=True, **checks))
        stack.enter_context(mock.patch.object(torch.export, "export", export))
        stack.enter_context(mock.patch.object(clip_grad, "_group_tensors_by_device_and_dtype", grouped))
        CURRENT.append(PretendedGpu())
        stack.callback(CURRENT.pop)
        stack.enter_context(NewTensors())
        yield CURRENT[-1]
