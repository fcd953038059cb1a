"""The one error that users see."""

import errno
from collections.abc import Collection
from difflib import get_close_matches

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
