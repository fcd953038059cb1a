"""The one error that users see."""

import errno
import sys
from collections.abc import Collection
from difflib import get_close_matches
from typing import Any

REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your disk quota is used up",
    errno.EROFS: "the disk can only be read",
    errno.EACCES: "you may not use it",
}


class UserError(ValueError):
    """Bad input or a missing file. The message names the thing and, where there is one, the command that
    solves it; the command line prints it without a traceback and exits with code 2."""


def did_you_mean(name: str, known: Collection[str]) -> str:
    """A question that ends in a space, where `name` looks like one of those known; else, or if it is one, nothing."""
    close = [] if name in known else get_close_matches(name.lower(), sorted(set(known)), 1)
    return f"Did you mean {close[0]}? " if close else ""


def reason(error: OSError) -> str:
    """Why a file cannot be used, in words."""
    return REASONS.get(error.errno or 0) or error.strerror or str(error)


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type if that says nothing, like the number of a KeyError."""
    text = (str(error).splitlines() or [""])[0][:200]
    return text if any(map(str.isalpha, text)) else type(error).__name__


def describe(value: Any) -> str:
    """Describe any value in a few words."""
    if (numpy := sys.modules.get("numpy")) and isinstance(value, numpy.ndarray):
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
