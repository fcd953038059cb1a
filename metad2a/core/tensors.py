"""The types of tensors that pydantic checks in files, and checks of the states of models, optimizers and generators."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn as nn
from annotated_types import MinLen
from pydantic_core import core_schema

from metad2a.core.arrays import LARGEST, Numbers, not_finite
from metad2a.core.errors import UserError, describe
from metad2a.core.schema import Text

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
INTEGERS = (torch.int64, torch.int32, torch.int16)
BYTES = (torch.uint8,)
KINDS = {FLOATS: "floating-point numbers", INTEGERS: "integers", BYTES: "8-bit integers"}
# What an optimizer keeps of a parameter; True: a tensor like the parameter, False: a single number
ADAM = {"step": False, "exp_avg": True, "exp_avg_sq": True}
OPTIMIZER_VALUES = {torch.optim.Adam: ADAM, torch.optim.AdamW: ADAM, torch.optim.SGD: {"momentum_buffer": True}}


@dataclass(frozen=True)
class TensorOf(Numbers):
    """Metadata of an `Annotated` tensor, dense and on the CPU. `dtypes` are FLOATS, INTEGERS, BYTES, or their sum."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self.validate)

    def __str__(self) -> str:
        return f"a tensor{self.shape_text()} of {KINDS.get(self.dtypes, 'numbers')}"

    def validate(self, value: Any) -> torch.Tensor:
        """The tensor without a gradient; integers become 64-bit integers."""
        if type(value) not in (torch.Tensor, nn.Parameter) or not _is_dense(value) or not self._fits(value):
            raise ValueError(f"Input should be {self}")
        if value.numel() == 0:
            raise ValueError("Input should not be empty")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise ValueError("Input should hold as many values as its shape says")
        value = value.long() if self.dtypes == INTEGERS else value.detach()
        smallest, largest = (bound.item() for bound in value.aminmax())  # NaN if any value is NaN
        if value.is_floating_point() and not -LARGEST <= smallest <= largest <= LARGEST:
            raise not_finite((value.double().abs() <= LARGEST).numpy())
        self.check_bounds(smallest, largest)
        return value

    def _fits(self, value: torch.Tensor) -> bool:
        return value.dtype in self.dtypes and self.has_shape(tuple(value.shape))


@dataclass(frozen=True)
class NumbersOf(TensorOf):
    """Like `TensorOf`, but also accepts a list of numbers, as in the authors' files, and makes it a tensor (n,)."""

    dims: tuple[int | str, ...] = ("n",)

    def __str__(self) -> str:
        return f"{super().__str__()}, or a list"

    def validate(self, value: Any) -> torch.Tensor:
        return super().validate(self._tensor(value) if isinstance(value, list | tuple) else value)

    def _tensor(self, items: Sequence[Any]) -> torch.Tensor:
        types = (int,) if self.dtypes == INTEGERS else (int, float)
        try:
            values = [item.item() if isinstance(item, np.generic | torch.Tensor) else item for item in items]
            for place, value in enumerate(values):
                if type(value) not in types:
                    raise ValueError(f"holds {describe(value)} at {place}, but should be {self}")
            return torch.tensor(values, dtype=self.dtypes[0])
        except (OverflowError, RuntimeError) as error:
            raise ValueError(f"holds an item that is not a {self.dtypes[0]} number") from error


def _is_dense(value: torch.Tensor) -> bool:
    return value.layout == torch.strided and value.device.type == "cpu" and not value.is_nested


Parameter = Annotated[torch.Tensor, TensorOf(FLOATS + INTEGERS)]
State = Annotated[dict[Text, Parameter], MinLen(1)]  # the parameters of a model


def check_sizes(path: str | Path, state: dict[str, torch.Tensor], sizes: dict[str, float], hint: str) -> None:
    """Raise a UserError if a size exceeds all dimensions and the number of parameters, before a model is built."""
    largest = max(len(state), *(size for tensor in state.values() for size in tensor.shape))
    for name, size in sizes.items():
        if size > largest:
            raise UserError(f"{path} is damaged: its {name} is {size:g}, but its parameters are smaller. {hint}")


def check_state(path: str | Path, state: dict[str, torch.Tensor], model: nn.Module, whose: str, hint: str) -> None:
    """Raise a UserError if parameters differ from a model's (`whose`) in names, shapes or kinds."""
    wanted = model.state_dict()
    problems = [f"it has an unknown {name}" for name in state if name not in wanted]
    problems += [f"it lacks {name}" for name in wanted if name not in state]
    for name, tensor in state.items():
        like = wanted.get(name, tensor)
        if tensor.shape != like.shape or tensor.is_floating_point() != like.is_floating_point():
            problems.append(f"{name} is {describe(tensor)}, expected {tuple(like.shape)} of {like.dtype}")
        elif name.endswith("running_var") and bool((tensor < 0).any()):
            problems.append(f"{name} is negative")
    if problems:
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise UserError(f"{path} is damaged: its weights are not those of {whose} ({problems[0]}{more}). {hint}")


def without_memory(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a model on the meta device: its parameters have names and shapes, but no values."""
    with torch.device("meta"):
        return build()


def check_form(path: str | Path, saved: Any, expected: Any, name: str, hint: str) -> None:
    """Raise a UserError if a saved state differs from a new one in keys, lengths, shapes or kinds of values."""
    if not _same_form(saved, expected):
        wanted = describe(expected)
        raise UserError(f"{path} is damaged: {name} is {describe(saved)}, but should be like {wanted}. {hint}")
    if isinstance(expected, dict | list | tuple):
        for key in expected if isinstance(expected, dict) else range(len(expected)):
            check_form(path, saved[key], expected[key], f"{name}[{key!r}]", hint)


def _same_form(saved: Any, expected: Any) -> bool:
    """Compare two values, but not the parts of containers."""
    match expected:
        case torch.Tensor():
            dtypes = next(kind for kind in KINDS if expected.dtype in kind)
            try:
                return TensorOf(dtypes, tuple(expected.shape)).validate(saved) is not None
            except ValueError:
                return False
        case bool() | str():  # they say how an optimizer or scheduler works
            return type(saved) is type(expected) and saved == expected
        case int() | float():
            return type(saved) in (int, float) and not math.isnan(saved)
        case dict():
            return type(saved) is type(expected) and saved.keys() == expected.keys()
        case list() | tuple():
            return type(saved) is type(expected) and len(saved) == len(expected)
    return type(saved) is type(expected)


def check_progress(
    path: str | Path, saved: dict[str, Any], optimizer: torch.optim.Optimizer, scheduler: Any, rng: Any, hint: str
) -> None:
    """Raise a UserError unless optimizer, scheduler and random generator can load their states in `saved`."""
    check_optimizer(path, saved["optimizer"], optimizer, hint)
    check_form(path, saved["scheduler"], scheduler.state_dict(), "scheduler", hint)
    check_rng(path, saved["rng"], rng, hint)


def check_rng(path: str | Path, saved: Any, rng: torch.Generator, hint: str) -> None:
    """Raise a UserError unless a random generator can load the state `saved`."""
    check_form(path, saved, rng.get_state(), "rng", hint)
    try:
        torch.Generator(rng.device).set_state(saved)
    except RuntimeError as error:
        raise UserError(f"{path} is damaged: it holds an invalid random-generator state. {hint}") from error


def check_optimizer(path: str | Path, saved: Any, optimizer: torch.optim.Optimizer, hint: str) -> None:
    """Raise a UserError unless `optimizer`, which may not have made a step yet, can load the state `saved`."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    states = saved.get("state") if isinstance(saved, dict) else None
    numbers = states.keys() & range(len(parameters)) if isinstance(states, dict) else ()
    kept = OPTIMIZER_VALUES[type(optimizer)].items()
    shapes = {number: {name: parameters[number].shape if like else () for name, like in kept} for number in numbers}
    expected = {n: {name: torch.empty(s, device="meta") for name, s in each.items()} for n, each in shapes.items()}
    check_form(path, saved, optimizer.state_dict() | {"state": expected}, "optimizer", hint)
