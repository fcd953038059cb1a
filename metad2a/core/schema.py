"""What a file must hold: types that pydantic checks, and `check`, which says in a sentence what is wrong.

A schema is a dataclass or another type whose parts are the types below; pydantic's own would take "8" or True for a 1.
"""

import json
import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn as nn
from annotated_types import Ge, Le, MinLen
from pydantic import AllowInfNan, ConfigDict, JsonValue, Strict, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError, core_schema
from torch.overrides import TorchFunctionMode

from metad2a.core.errors import UserError

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
INTEGERS = (torch.int64, torch.int32, torch.int16)
BYTES = (torch.uint8,)
KINDS = {FLOATS: "floating-point numbers", INTEGERS: "integers", BYTES: "8-bit integers"}
LARGEST = torch.finfo(torch.float32).max
PLAIN_TENSORS = (torch.Tensor, nn.Parameter)
STEP, MOMENTUM = (), None  # forms of an optimiser's values: a single number, or one for each of a parameter
OPTIMIZER_VALUES = {
    torch.optim.Adam: {"step": STEP, "exp_avg": MOMENTUM, "exp_avg_sq": MOMENTUM},
    torch.optim.AdamW: {"step": STEP, "exp_avg": MOMENTUM, "exp_avg_sq": MOMENTUM},
    torch.optim.SGD: {"momentum_buffer": MOMENTUM},
}

CLOSED = ConfigDict(arbitrary_types_allowed=True, extra="forbid")  # of a dataclass whose fields are all there are
OPEN = ConfigDict(arbitrary_types_allowed=True, extra="ignore")

Text = Annotated[str, Strict()]
Integer = Annotated[int, Strict(), Ge(0), Le(2**63 - 1)]
Size = Annotated[int, Strict(), Ge(1), Le(2**31 - 1)]
Number = Annotated[float, Strict(), AllowInfNan(False)]
Percent = Annotated[float, Strict(), Ge(0), Le(100)]
Facts = dict[Text, JsonValue]  # text, numbers, and lists and dictionaries of these
Names = Annotated[list[Text], MinLen(1)]


def _wrong(text: str) -> PydanticCustomError:
    return PydanticCustomError("form", "{text}", {"text": text})


@dataclass(frozen=True)
class TensorOf:
    """Metadata of an `Annotated` tensor: dense, in memory or mapped, with as many values as its shape says.

    Attributes:
        dtypes: FLOATS, INTEGERS, BYTES, or a sum of these.
        dims: its sizes, a number or a letter for any of at least one; None for any shape.
        low, high: bounds of the values, which are finite in any case.
    """

    dtypes: tuple[torch.dtype, ...]
    dims: tuple[int | str, ...] | None = None
    low: float = -math.inf
    high: float = math.inf

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self.validate)

    def __str__(self) -> str:
        shape = "" if self.dims is None else " (" + ", ".join(map(str, self.dims)) + ")"
        return f"a tensor{shape} of {KINDS.get(self.dtypes, 'numbers')}"

    def validate(self, value: Any) -> torch.Tensor:
        """The tensor without a gradient, of integers as 64-bit ones."""
        if type(value) not in PLAIN_TENSORS or not _is_dense(value) or value.dtype not in self.dtypes:
            raise _wrong(f"Input should be {self}")
        if self.dims is not None:
            fits = [found == size if isinstance(size, int) else True for found, size in zip(value.shape, self.dims)]  # noqa: B905
            if value.ndim != len(self.dims) or not all(fits):
                raise _wrong(f"Input should be {self}")
        if value.numel() == 0:
            raise _wrong("Input should not be empty")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise _wrong("Input should hold as many values as its shape says")
        return self._within_bounds(value.long() if self.dtypes == INTEGERS else value.detach())

    def _within_bounds(self, value: torch.Tensor) -> torch.Tensor:
        smallest, largest = (bound.item() for bound in value.aminmax())  # NaN where a value is
        if value.is_floating_point() and not -LARGEST <= smallest <= largest <= LARGEST:
            number = (~(value.double().abs() <= LARGEST)).flatten().nonzero()[0]
            place = tuple(int(i) for i in np.unravel_index(int(number), value.shape))
            raise _wrong(f"has values that are not finite (NaN or infinite; the first is number {place})")
        if smallest < self.low or largest > self.high:
            raise _wrong(f"has values from {smallest:g} to {largest:g}, beyond {self.low:g} to {self.high:g}")
        return value


@dataclass(frozen=True)
class NumbersOf(TensorOf):
    """Like `TensorOf`; takes a list of numbers too, as the authors' files have them, and makes it a tensor (n,)."""

    dims: tuple[int | str, ...] = ("n",)

    def __str__(self) -> str:
        return f"{super().__str__()}, or a list"

    def validate(self, value: Any) -> torch.Tensor:
        if isinstance(value, list | tuple):
            value = self._tensor([_plain_number(item) for item in value])
        return super().validate(value)

    def _tensor(self, items: list[Any]) -> torch.Tensor:
        kind = numbers.Integral if self.dtypes == INTEGERS else numbers.Real
        for place, item in enumerate(items):
            if isinstance(item, bool) or not isinstance(item, kind):
                raise _wrong(f"holds {describe(item)} at {place}, but should be {self}")
        try:
            return torch.tensor(items, dtype=self.dtypes[0])
        except (OverflowError, RuntimeError) as error:
            raise _wrong(f"holds a number that is too large for {self.dtypes[0]}") from error


def _plain_number(value: Any) -> Any:
    is_number = isinstance(value, np.generic) or (type(value) is torch.Tensor and _is_dense(value) and value.ndim == 0)
    return value.item() if is_number else value


def _is_dense(value: torch.Tensor) -> bool:
    return value.layout == torch.strided and value.device.type == "cpu" and not value.is_nested


Parameter = Annotated[torch.Tensor, TensorOf(FLOATS + INTEGERS)]
State = Annotated[dict[Text, Parameter], MinLen(1)]  # of a model


@cache
def _adapter(schema: Any) -> TypeAdapter:
    return TypeAdapter(schema)


def check(path: str | Path, value: Any, schema: Any, what: str, hint: str, format: str | None = None) -> Any:
    """The content `value` of a file as its schema has it.

    Args:
        schema: a type that pydantic knows, a dataclass for example, which is then what is returned.
        what: the file should be, such as "a features file".
        hint: what to do when it is not, a sentence.
        format: what the file's field `format` must be, which is no field of the schema; None where it has none.

    Raises:
        UserError: it is not; the message names the first wrong field, what was found and what was expected.
    """
    if format is not None:
        found = value.get("format") if isinstance(value, dict) else value
        if not isinstance(found, str) or found != format:
            raise UserError(f"{path} is not {what}: its format is {describe(found)}, but should be {format!r}. {hint}")
        value = {name: field for name, field in value.items() if name != "format"}
    try:
        return _adapter(schema).validate_python(value)
    except ValidationError as error:
        raise UserError(f"{path} is not {what}: {_sentence(error.errors(include_url=False))}. {hint}") from error


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is none, or nested too deeply, or has a number too long to be read.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_json(path: str | Path, schema: Any, what: str, hint: str) -> Any:
    """Read a JSON file, and `check` it. Raises a UserError as that does, or when it cannot be read or is no JSON."""
    try:
        value = parse_json(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not {what} ({type(error).__name__}: {error}). {hint}") from error
    return check(path, value, schema, what, hint)


def _sentence(errors: list[Any]) -> str:
    """The first error in words; what is missing comes before what is wrong."""
    first = next((error for error in errors if error["type"] == "missing"), errors[0])
    *parents, last = first["loc"] or ("",)
    place = f" in {_place(parents)}" if parents else ""
    if first["type"] == "missing":
        return f"it lacks {last!r}{place}"
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden", "invalid_key"):
        return f"it has an unknown {describe(last)}{place}"
    name = _place(first["loc"]) or "its content"
    text = first["msg"].removeprefix("Value error, ")
    if not text.startswith("Input should "):
        return f"{name}: {text}" if text[:1].isupper() or text[:2] == "--" else f"{name} {text}"
    wanted = text.removeprefix("Input should ").replace("be a dictionary or an instance of", "be the fields of")
    return f"{name} is {describe(first['input'])}, but should {wanted}"


def _place(names: Any) -> str:
    return "".join(name if not i and isinstance(name, str) else f"[{name!r}]" for i, name in enumerate(names))


def describe(value: Any) -> str:
    """Describe any value in a few words."""
    if isinstance(value, torch.Tensor):
        unusual = "" if _is_dense(value) else f", {value.layout} on the device {value.device}"
        return f"a tensor {tuple(value.shape)} of {value.dtype}{unusual}"
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a very long number"
    if value is None or isinstance(value, bool | int | float | complex | str):
        text = repr(value)
        return text if len(text) <= 60 else text[:57] + "..."
    if isinstance(value, list | tuple | dict | set):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"


def check_sizes(path: str | Path, state: dict[str, torch.Tensor], sizes: dict[str, float], hint: str) -> None:
    """Refuse sizes of a model that parameters `state` cannot have, before a model of such sizes is built.

    Raises:
        UserError: a size is larger than every dimension and than the number of parameters.
    """
    largest = max(len(state), *(size for tensor in state.values() for size in tensor.shape))
    for name, size in sizes.items():
        if size > largest:
            raise UserError(f"{path} is damaged: its {name} is {size:g}, but its parameters are smaller. {hint}")


def check_state(path: str | Path, state: dict[str, torch.Tensor], model: nn.Module, whose: str, hint: str) -> None:
    """Compare parameters with a model's, which may be on the meta device: names, shapes, and whether integers.

    Args:
        whose: the model, in messages.

    Raises:
        UserError: they differ.
    """
    wanted = model.state_dict()
    problems = [f"it lacks {name}" for name in wanted if name not in state]
    problems += [f"it has an unknown {name}" for name in state if name not in wanted]
    problems += [
        f"{name} is {describe(tensor)}, expected {tuple(wanted[name].shape)} of {wanted[name].dtype}"
        for name, tensor in state.items()
        if name in wanted
        and (tensor.shape != wanted[name].shape or tensor.is_floating_point() != wanted[name].is_floating_point())
    ]
    variances = {name: tensor for name, tensor in state.items() if name.endswith("running_var")}
    problems += [f"{name} is negative" for name, tensor in variances.items() if bool((tensor < 0).any())]
    if problems:
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise UserError(f"{path} is damaged: its weights are not those of {whose} ({problems[0]}{more}). {hint}")


class _NoInitialization(TorchFunctionMode):
    """Leaves initial values out: on the meta device some PyTorch releases import their compiler to draw them."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init" or func in (torch.Tensor.uniform_, torch.Tensor.normal_):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def without_memory(build: Callable[[], nn.Module]) -> nn.Module:
    """The model that `build` makes, on the meta device: names and shapes alone."""
    with torch.device("meta"), _NoInitialization():
        return build()


def check_form(path: str | Path, found: Any, wanted: Any, name: str, hint: str) -> None:
    """Compare a saved state with one that a program has made: keys, lengths, shapes and kinds of values.

    Args:
        name: of the value, in messages.

    Raises:
        UserError: they differ.
    """
    if not _same_form(found, wanted):
        expected = describe(wanted)
        raise UserError(f"{path} is damaged: {name} is {describe(found)}, but should be like {expected}. {hint}")
    if isinstance(wanted, dict):
        for key, value in wanted.items():
            check_form(path, found[key], value, f"{name}[{key!r}]", hint)
    elif isinstance(wanted, list | tuple):
        for place, (item, value) in enumerate(zip(found, wanted, strict=True)):
            check_form(path, item, value, f"{name}[{place}]", hint)


def _same_form(found: Any, wanted: Any) -> bool:
    """Tell whether two values are alike, their parts aside."""
    if isinstance(wanted, torch.Tensor):
        dtypes = next(kind for kind in KINDS if wanted.dtype in kind)
        try:
            return TensorOf(dtypes, tuple(wanted.shape)).validate(found).shape == wanted.shape
        except PydanticCustomError:
            return False
    if isinstance(wanted, int | float) and not isinstance(wanted, bool):
        return isinstance(found, int | float) and not isinstance(found, bool) and found == found
    if type(found) is not type(wanted):
        return False
    if isinstance(wanted, bool | str):  # they say how an optimiser or scheduler works
        return found == wanted
    if isinstance(wanted, dict):
        return found.keys() == wanted.keys()
    return not isinstance(wanted, list | tuple) or len(found) == len(wanted)


def check_progress(
    path: str | Path, found: dict[str, Any], optimizer: torch.optim.Optimizer, scheduler: Any, rng: Any, hint: str
) -> None:
    """Raise a UserError unless optimiser, scheduler and random generator can take their states in `found`."""
    check_optimizer(path, found["optimizer"], optimizer, hint)
    check_form(path, found["scheduler"], scheduler.state_dict(), "scheduler", hint)
    check_rng(path, found["rng"], rng, hint)


def check_rng(path: str | Path, found: Any, rng: torch.Generator, hint: str) -> None:
    """Raise a UserError unless a random generator can take the state `found`."""
    check_form(path, found, rng.get_state(), "rng", hint)
    try:
        torch.Generator(rng.device).set_state(found)
    except RuntimeError as error:
        raise UserError(f"{path} is damaged: its state of the random generator is none. {hint}") from error


def check_optimizer(path: str | Path, found: Any, optimizer: torch.optim.Optimizer, hint: str) -> None:
    """Compare a saved optimiser's state with that of `optimizer`, which may not have made a step yet.

    Raises:
        UserError: they differ.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    kinds = OPTIMIZER_VALUES[type(optimizer)]
    made = found.get("state") if isinstance(found, dict) else None
    wanted = {
        number: {
            name: torch.zeros(tuple(parameters[number].shape) if form is None else form, device="meta")
            for name, form in kinds.items()
        }
        for number in (made if isinstance(made, dict) else {})
        if type(number) is int and 0 <= number < len(parameters)
    }
    check_form(path, found, optimizer.state_dict() | {"state": wanted}, "optimizer", hint)
