"""Values of options: argparse types, whose errors go on after the option's name."""

import argparse
import math
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from metad2a.core.errors import UserError

ALLOW_PICKLE_VARIABLE = "METAD2A_ALLOW_PICKLE"  # in the environment
LARGEST = 10**7  # of any count: more is a slip of the keyboard
NUMBER = re.compile(r"[+-]?\d{1,25}")
NAME = re.compile(r"\w[\w .+-]*")  # letters of any alphabet, digits, _ . + - and spaces inside


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Make a reader of whole numbers from `low` to `high`."""

    def parse(text: str) -> int:
        if not NUMBER.fullmatch(text.strip()):
            raise argparse.ArgumentTypeError(f"takes a whole number, not {text[:40]!r}")
        if not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"must be at least {low} and at most {high}, not {int(text)}")
        return int(text)

    return parse


positive_int = whole_number(1, LARGEST)  # counts and sizes
not_negative_int = whole_number(0, LARGEST)  # counts that may be 0
seed_number = whole_number(0, 2**32 - 1)  # small enough that the numbers derived from a seed are seeds too
width = whole_number(1, 8192)  # of a model's vectors
image_side = whole_number(1, 4096)  # pixels


def real_number(allowed: Callable[[float], bool], wanted: str) -> Callable[[str], float]:
    """Make a reader of finite numbers that `allowed` accepts; `wanted` describes them."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"takes a number, not {text[:40]!r}") from None
        if not math.isfinite(value) or not allowed(value):
            raise argparse.ArgumentTypeError(f"must be {wanted}, not {text[:40]}")
        return value

    return parse


not_negative_float = real_number(lambda value: value >= 0, "a finite number that is not negative")
positive_float = real_number(lambda value: value > 0, "above 0 and finite")
fraction = real_number(lambda value: 0 <= value < 1, "at least 0 and below 1")


def true_or_false(text: str) -> bool:
    """Read a word, as in the published `--train-arch true`."""
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"takes true or false, not {text[:40]!r}")
    return words[text.lower()]


def count_or_all(text: str) -> int | None:
    """Read a count, or None for `all`."""
    return None if text == "all" else positive_int(text)


def device_number(text: str) -> str:
    """Read the number of a CUDA device, or `cpu`."""
    if text != "cpu" and not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"takes a device number or cpu, not {text!r}")
    return text


def rising(text: str) -> tuple[int, ...]:
    """Read counts separated by commas, each greater than the one before it."""
    values = tuple(positive_int(part) for part in text.split(","))
    if list(values) != sorted(set(values)):
        raise argparse.ArgumentTypeError(f"takes numbers that rise, for example 1,3,9, not {text[:40]!r}")
    return values


def seeds(text: str) -> tuple[int, ...]:
    """Read different seeds separated by commas."""
    values = tuple(seed_number(part) for part in text.split(","))
    if len(set(values)) < len(values):
        raise argparse.ArgumentTypeError(f"takes different seeds, for example 777,888,999, not {text[:40]!r}")
    return values


def path(text: str) -> str:
    """Read a path; `~` is the user's home. A pipe or a device is refused: reading it might never end."""
    place = os.path.expanduser(text)
    if os.path.exists(place) and not os.path.isfile(place) and not os.path.isdir(place):
        raise argparse.ArgumentTypeError(f"takes a file or a folder, but {text} is a pipe or a device")
    return place


def check_writable(folder: str | Path, what: str) -> None:
    """Raise a UserError that begins with `what` if no file can be written in a folder, which need not exist yet."""
    folder = Path(folder).absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):  # os.access says of some file systems what does not hold
            return
    except OSError as error:
        problem = "may not be written by you" if folder.is_dir() else "is no folder"
        shown = os.fsencode(folder).decode(errors="backslashreplace")
        raise UserError(f"{what} cannot be written: {shown} {problem}. Give another place.") from error


def paths(text: str) -> tuple[str, ...]:
    """Read one path of an option that takes several."""
    return (path(text),)


class LabelledFolder(str):
    """The path of a folder of images whose classes are in the file `labels`, and not the names of sub-folders."""

    labels: str = ""

    @staticmethod
    def of(folder: str, labels: str) -> "LabelledFolder":
        """The folder and the file."""
        value = LabelledFolder(folder)
        value.labels = labels
        return value


def folder_words(folder: "str | os.PathLike[str]") -> list[str]:
    """What follows `--image-folder` on a command line for a folder of images."""
    labels = ["--labels", folder.labels] if isinstance(folder, LabelledFolder) else []
    return [os.fsencode(folder).decode(errors="backslashreplace"), *labels]


def check_name(name: str, what: str) -> str:
    """Return the name of a `what` if it is safe as a file's or folder's name. Otherwise raise a UserError."""
    if not NAME.fullmatch(name) or name.endswith((" ", ".")) or len(name) > 100:
        raise UserError(
            f"{what} {name!r} cannot be a name, because it becomes part of file names. Use letters, digits, '_', '-' "
            f"and '.', begin with a letter or digit, and use at most 100 characters.".strip()
        )
    return name


def safe_name(text: str) -> str:
    """Read a name that becomes part of file names."""
    try:
        return check_name(text, "")
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error).strip()) from error
