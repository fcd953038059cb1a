"""What the command-line programs share."""

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from engine.errors import UserError

USER_ERROR_CODE = 2
INTERRUPTED_CODE = 130
BROKEN_PIPE_CODE = 141
MIRROR_VARIABLE = "METAD2A_MIRROR"


def positive_int(text: str) -> int:
    """An argparse type."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def not_negative_int(text: str) -> int:
    """An argparse type, for seeds and counts that may be 0."""
    value = int(text)
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError(f"must be at least 0 and below 2^63, not {value}")
    return value


def not_negative_float(text: str) -> float:
    """An argparse type."""
    value = float(text)
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"must be a finite number that is not negative, not {text}")
    return value


def fraction(text: str) -> float:
    """An argparse type."""
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 0 and below 1, not {text}")
    return value


def true_or_false(text: str) -> bool:
    """An argparse type for options that take a word, as `--train-arch true`."""
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"takes true or false, not {text!r}")
    return words[text.lower()]


def gpu_option(parser: argparse.ArgumentParser) -> None:
    """Add `--gpu`."""
    parser.add_argument("--gpu", help="CUDA device number, or cpu (default: GPU 0 where there is one, else the CPU)")


def default_mirror() -> str | None:
    """Where official files are fetched from instead, by the environment."""
    return os.environ.get(MIRROR_VARIABLE)


def mirror_option(parser: argparse.ArgumentParser) -> None:
    """Add `--mirror`."""
    parser.add_argument(
        "--mirror",
        default=default_mirror(),
        help=f"an address or a folder that has the same files under the same paths (default: {MIRROR_VARIABLE})",
    )


def run(
    parser: argparse.ArgumentParser, command: Callable[[argparse.Namespace], None], argv: Sequence[str] | None = None
) -> int:
    """Parse, run, and turn errors that users can mend into one paragraph and exit code 2."""
    args = parser.parse_args(argv)
    try:
        command(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR_CODE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED_CODE
    except BrokenPipeError:  # the reader of our output has gone, as in `... | head`
        sys.stderr.close()
        return BROKEN_PIPE_CODE
    except OSError as error:
        print(f"error: {error.filename or 'A file'} cannot be used: {error.strerror or error}.", file=sys.stderr)
        return USER_ERROR_CODE
    return 0


def not_a_program(command: str) -> NoReturn:
    """End a module that was started as if it were a program, naming the command that is meant."""
    print(f"error: {sys.argv[0]} is a part of main.py and does nothing alone. Use: {command}", file=sys.stderr)
    sys.exit(USER_ERROR_CODE)
