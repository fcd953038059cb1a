"""Shipped tables: `.npz` files of NumPy's arrays, which are written, read and checked without PyTorch and pydantic."""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metad2a.core.cli import is_out_of_memory
from metad2a.core.errors import UserError, describe
from metad2a.core.files import atomic_write, check_is_file, damage_of, display_path

ABOUT = "about"  # the key of all that is no array, as JSON
LARGEST = float(np.finfo(np.float32).max)
KINDS = {np.floating: "floating-point numbers", np.integer: "integers", np.uint8: "8-bit integers"}


@dataclass(frozen=True)
class Numbers:
    """What an array or a tensor should be: finite values, as many as its shape says, within bounds."""

    dtypes: Any
    dims: tuple[int | str, ...] | None = None  # sizes; a letter stands for any size of at least 1, None for any shape
    low: float = -math.inf  # bounds of the values
    high: float = math.inf

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
    """What an array should be; its `dtypes` are one of `KINDS`."""

    def __str__(self) -> str:
        return f"an array{self.shape_text()} of {KINDS[self.dtypes]}"

    def validate(self, value: Any) -> None:
        """Raise a ValueError that says what is wrong with a value."""
        fits = type(value) is np.ndarray and np.issubdtype(value.dtype, self.dtypes) and self.has_shape(value.shape)
        if not fits:
            raise ValueError(f"is {describe(value)}, but should be {self}")
        if value.size == 0:
            raise ValueError(f"is {describe(value)}, but should not be empty")
        smallest, largest = value.min().item(), value.max().item()  # NaN if any value is NaN
        if not -LARGEST <= smallest <= largest <= LARGEST:
            raise not_finite(np.abs(value.astype(np.float64)) <= LARGEST)
        self.check_bounds(smallest, largest)


@dataclass(frozen=True)
class ColumnsOf:
    """A dictionary of one or more arrays of this kind."""

    kind: ArrayOf


class TextsOf:
    """A list of one or more different texts, which is part of `ABOUT`."""


Schema = Mapping[str, ArrayOf | ColumnsOf | TextsOf]


def save_arrays(path: str | Path, value: Mapping[str, Any]) -> None:
    """Write arrays, dictionaries of arrays, and values that JSON can hold to an `.npz` file, atomically."""
    arrays, about = {}, {}
    for name, item in value.items():
        if isinstance(item, np.ndarray):
            arrays[name] = item
        elif isinstance(item, Mapping) and all(isinstance(part, np.ndarray) for part in item.values()):
            arrays |= {f"{name}/{key}": part for key, part in item.items()}
        else:
            about[name] = item
    arrays[ABOUT] = np.array(json.dumps(about))

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    atomic_write(path, write)


def load_arrays(path: str | Path, hint: str, leave_out: Collection[str] = ()) -> dict[str, Any]:
    """Read what `save_arrays` wrote, but the arrays that `leave_out` names; nothing is unpickled.

    Args:
        hint: what the user can do about a missing or damaged file, a sentence.

    Raises a UserError if the file is missing or damaged.
    """
    path = Path(path)
    check_is_file(path, hint)
    arrays: dict[str, Any] = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(str(file[ABOUT]))
            for key in file.files:
                name, _, part = key.partition("/")
                if part:
                    arrays.setdefault(name, {})[part] = file[key]
                elif key not in (ABOUT, *leave_out):
                    arrays[name] = file[key]
        return dict(about) | arrays
    except Exception as error:  # NumPy raises many types for damaged files, and some texts advise to unpickle them
        damage = "it asks for more memory than there is" if is_out_of_memory(error) else damage_of(path)
        raise UserError(f"{display_path(path)} is damaged: {damage}. {hint}") from error


def read_arrays(
    path: str | Path, schema: Schema, what: str, hint: str, format: str | None = None, leave_out: Collection[str] = ()
) -> dict[str, Any]:
    """`load_arrays`, checked: the fields of a schema. Further fields are left out.

    Args:
        what: what the file should be, such as "a features file".
        format: the required content of the field `format`; None for files without this field.

    Raises a UserError as `load_arrays`, or if the content does not fit, which names the first wrong field.
    """
    value = load_arrays(path, hint, leave_out)
    if format is not None and value.get("format") != format:
        actual = describe(value.get("format"))
        raise UserError(f"{path} is not {what}: its format is {actual}, but should be {format!r}. {hint}")
    if missing := [name for name in schema if name not in value]:
        raise UserError(f"{path} is not {what}: it lacks {missing[0]!r}. {hint}")
    for name, kind in schema.items():
        try:
            _check(value[name], kind, name)
        except ValueError as error:
            raise UserError(f"{path} is not {what}: {error}. {hint}") from error
    return {name: value[name] for name in schema}


def _check(value: Any, kind: ArrayOf | ColumnsOf | TextsOf, name: str) -> None:
    """Raise a ValueError that begins with the name of the first wrong field."""
    if isinstance(kind, TextsOf):
        if not (isinstance(value, list) and value and all(isinstance(text, str) for text in value)):
            raise ValueError(f"{name} is {describe(value)}, but should be a list of texts")
        if len(set(value)) < len(value):
            raise ValueError(f"{name} has {next(text for text in value if value.count(text) > 1)!r} twice")
        return
    columns = {name: value}
    if isinstance(kind, ColumnsOf):
        if not (isinstance(value, dict) and value):
            raise ValueError(f"{name} is {describe(value)}, but should be several arrays")
        columns, kind = {f"{name}[{key!r}]": column for key, column in value.items()}, kind.kind
    for place, column in columns.items():
        try:
            kind.validate(column)
        except ValueError as error:
            raise ValueError(f"{place} {error}") from error
