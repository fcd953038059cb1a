"""The types that pydantic checks in files, and `check`, which names the first wrong field in a sentence.

A schema is a dataclass or another type built from the types below. pydantic's own types would accept "8" or True for 1.
Types of tensors are in `metad2a.core.tensors`, so that commands without tensors start without PyTorch.
"""

import json
import math
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le, MinLen
from pydantic import AfterValidator, AllowInfNan, ConfigDict, JsonValue, Strict, TypeAdapter, ValidationError
from pydantic_core import core_schema

from metad2a.core.errors import UserError

LARGEST = float(np.finfo(np.float32).max)
KINDS = {np.floating: "floating-point numbers", np.integer: "integers", np.uint8: "8-bit integers"}

CLOSED = ConfigDict(arbitrary_types_allowed=True, extra="forbid")  # a dataclass that allows no further fields
OPEN = ConfigDict(arbitrary_types_allowed=True, extra="ignore")

Text = Annotated[str, Strict()]
Integer = Annotated[int, Strict(), Ge(0), Le(2**63 - 1)]
Size = Annotated[int, Strict(), Ge(1), Le(2**31 - 1)]
Number = Annotated[float, Strict(), AllowInfNan(False)]
Percent = Annotated[float, Strict(), Ge(0), Le(100)]
Facts = dict[Text, JsonValue]  # text, numbers, lists and dictionaries


def _distinct(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError(f"has {next(name for name in names if names.count(name) > 1)!r} twice")
    return names


Names = Annotated[list[Text], MinLen(1), AfterValidator(_distinct)]


@dataclass(frozen=True)
class Numbers:
    """Metadata of an `Annotated` array or tensor: with finite values, as many as its shape says."""

    dtypes: Any
    dims: tuple[int | str, ...] | None = None  # sizes; a letter stands for any size of at least 1, None for any shape
    low: float = -math.inf  # bounds of the values
    high: float = math.inf

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self.validate)

    def validate(self, value: Any) -> Any:
        """Return the value. Raises a ValueError that says what it should be."""
        raise NotImplementedError

    def shape_text(self) -> str:
        return "" if self.dims is None else " (" + ", ".join(map(str, self.dims)) + ")"

    def has_shape(self, shape: tuple[int, ...]) -> bool:
        dims = shape if self.dims is None else self.dims
        same = [isinstance(dim, str) or size == dim for size, dim in zip(shape, dims, strict=False)]
        return len(shape) == len(dims) and all(same)

    def check_bounds(self, smallest: float, largest: float) -> None:
        """Raise a ValueError if a value is out of bounds."""
        if smallest < self.low or largest > self.high:
            raise ValueError(f"has values from {smallest:g} to {largest:g}, beyond {self.low:g} to {self.high:g}")


def not_finite(finite: np.ndarray) -> ValueError:
    """The error that names the first value that is not finite."""
    place = tuple(np.argwhere(~finite)[0].tolist())
    return ValueError(f"has values that are not finite (NaN or infinite; the first is number {place})")


@dataclass(frozen=True)
class ArrayOf(Numbers):
    """Metadata of an `Annotated` array of NumPy, whose `dtypes` are one of `KINDS`."""

    def __str__(self) -> str:
        return f"an array{self.shape_text()} of {KINDS[self.dtypes]}"

    def validate(self, value: Any) -> np.ndarray:
        if type(value) is not np.ndarray or not np.issubdtype(value.dtype, self.dtypes):
            raise ValueError(f"Input should be {self}")
        if not self.has_shape(value.shape):
            raise ValueError(f"Input should be {self}")
        if value.size == 0:
            raise ValueError("Input should not be empty")
        smallest, largest = value.min().item(), value.max().item()  # NaN if any value is NaN
        if not -LARGEST <= smallest <= largest <= LARGEST:
            raise not_finite(np.abs(value.astype(np.float64)) <= LARGEST)
        self.check_bounds(smallest, largest)
        return value


@cache
def _adapter(schema: Any) -> TypeAdapter:
    return TypeAdapter(schema)


def check(path: str | Path, value: Any, schema: Any, what: str, hint: str, format: str | None = None) -> Any:
    """Return the content `value` of a file as an instance of `schema`.

    Args:
        what: what the file should be, such as "a features file".
        hint: what the user can do about a wrong file, a sentence.
        format: the required content of the field `format`, which the schema lacks; None for files without this field.

    Raises a UserError if the content does not fit, which names the first wrong field and what it should be.
    """
    if format is not None:
        actual = value.get("format") if isinstance(value, dict) else value
        if not isinstance(actual, str) or actual != format:
            raise UserError(f"{path} is not {what}: its format is {describe(actual)}, but should be {format!r}. {hint}")
        value = {name: field for name, field in value.items() if name != "format"}
    try:
        return _adapter(schema).validate_python(value)
    except ValidationError as error:
        raise UserError(f"{path} is not {what}: {_sentence(error.errors(include_url=False))}. {hint}") from error


def read_json(path: str | Path, schema: Any, what: str, hint: str) -> Any:
    """Read a JSON file and `check` it. Raises a UserError if that fails or the file cannot be read."""
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not {what} ({type(error).__name__}: {error}). {hint}") from error
    return check(path, value, schema, what, hint)


def _sentence(errors: list[Any]) -> str:
    """Put the first error into words; missing fields come before wrong fields."""
    first = min(errors, key=lambda error: error["type"] != "missing")
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
    if isinstance(value, np.ndarray):
        return f"an array {value.shape} of {value.dtype}"
    if (torch := sys.modules.get("torch")) and isinstance(value, torch.Tensor):
        dense = value.layout == torch.strided and value.device.type == "cpu" and not value.is_nested
        unusual = "" if dense else f", {value.layout} on the device {value.device}"
        return f"a tensor {tuple(value.shape)} of {value.dtype}{unusual}"
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a very long number"
    if value is None or isinstance(value, int | float | complex | str):
        text = repr(value)
        return text if len(text) <= 60 else text[:57] + "..."
    length = f" of {len(value)}" if isinstance(value, list | tuple | dict | set) else ""
    return f"a {type(value).__name__}{length}"
