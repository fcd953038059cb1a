"""The one error that users see."""

from collections.abc import Collection
from difflib import get_close_matches


class UserError(ValueError):
    """Bad input or a missing file. The message names the thing and, where there is one, the command that
    solves it; the command line prints it without a traceback and exits with code 2."""


def did_you_mean(name: str, known: Collection[str]) -> str:
    """A question that ends in a space, where `name` looks like one of those known; else, or if it is one, nothing."""
    close = [] if name in known else get_close_matches(name.lower(), sorted(set(known)), 1)
    return f"Did you mean {close[0]}? " if close else ""


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type if that says nothing, like the number of a KeyError."""
    text = (str(error).splitlines() or [""])[0][:200]
    return text if any(map(str.isalpha, text)) else type(error).__name__
