"""Names that a user gives and that become parts of paths."""

import argparse
import re

from metad2a.core.errors import UserError

MAX_LENGTH = 100
PATTERN = re.compile(r"\w[\w .+-]*")  # letters of any alphabet, digits, _ . + - and spaces inside


def check_name(name: str, what: str) -> str:
    """A name that is safe as a file's or folder's: nothing that leads elsewhere, hides it or cannot be written.

    Args:
        what: the option or thing that it names, for the message.

    Raises:
        UserError: it is empty, too long or has other characters than letters, digits and `_ . + -`.
    """
    if not PATTERN.fullmatch(name) or name.endswith((" ", ".")) or len(name) > MAX_LENGTH:
        raise UserError(
            f"{what} {name!r} cannot be a name: it becomes part of file names, so use letters, digits, '_', '-' and "
            f"'.', beginning with a letter or digit, at most {MAX_LENGTH} of them."
        )
    return name


def name_type(text: str) -> str:
    """The argparse type of options such as `--data-name`."""
    try:
        return check_name(text, "")
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error).strip()) from error
