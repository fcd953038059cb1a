"""The types that pydantic checks in files, and `check`, which names the first wrong field in a sentence.

A schema is a dataclass or another type built from the types below. pydantic's own types would accept "8" or True for 1.
Types of tensors are in `metad2a.core.tensors`, so that commands without tensors start without PyTorch.
"""

import json
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Le, MinLen
from pydantic import AfterValidator, AllowInfNan, ConfigDict, JsonValue, Strict, TypeAdapter, ValidationError

from metad2a.core.errors import UserError, describe

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
