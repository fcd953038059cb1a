"""What all programs share: errors as one paragraph, exit codes and messages."""

import argparse
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from metad2a.core.errors import UserError, first_line, reason
from metad2a.core.messages import log
from metad2a.core.version import __version__

USER_ERROR_CODE, INTERRUPTED_CODE, BROKEN_PIPE_CODE = 2, 130, 141
NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "unable to allocate",
             "not enough memory", "invalid buffer size", "storage size calculation overflowed")  # fmt: skip
# What `get-files` fetches; in a clone each has a script, get_files/get_<name>.py
FETCHED = ("preprocessed-data", "generator-checkpoint", "predictor-checkpoint", "generator-database",
           "predictor-database", "mnist", "aircraft", "pets", "nasbench201", "ofa-supernet")  # fmt: skip


def gpu_option(parser: argparse.ArgumentParser) -> None:
    """Add `--gpu`."""
    parser.add_argument("--gpu", help="CUDA device number, or cpu (default: GPU 0 if there is one, else the CPU)")


def add_message_options(group: "argparse._ActionsContainer") -> None:
    """Add `--quiet` and `--debug`."""
    levels = group.add_mutually_exclusive_group()
    texts = {"quiet": "Print only results and errors.", "debug": "Print tracebacks of errors."}
    for name, text in texts.items():
        levels.add_argument(f"--{name}", action="store_true", default=argparse.SUPPRESS, help=text)


def set_messages(args: argparse.Namespace) -> None:
    """Take the options of messages out of `args` and follow them."""
    quiet, debug = (vars(args).pop(name, False) for name in ("quiet", "debug"))
    log.setLevel(logging.WARNING if quiet else logging.DEBUG if debug else logging.INFO)


def run(
    parser: argparse.ArgumentParser, command: Callable[[argparse.Namespace], None], argv: Sequence[str] | None = None
) -> int:
    """Run a program with its own parser; returns the exit code."""
    parser.add_argument("--version", action="version", version=f"MetaD2A {__version__}")
    add_message_options(parser)
    raise_errors(parser)

    def work() -> None:
        args = parser.parse_args(argv)
        set_messages(args)
        command(args)

    return guarded(work)


_began: list[float] = []  # when the process of this command began, as `time.monotonic` counts


def note_beginning() -> None:
    """Note when this process began, for commands that count their seconds."""
    now = time.monotonic()
    try:  # Linux says it, in ticks after the start of the machine
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        age = float(Path("/proc/uptime").read_text().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        age = 0.0
    _began[:] = [now - max(0.0, age)]


def command_began() -> float:
    """When this command began: with its process, or now if it is called from Python."""
    return _began.pop() if _began else time.monotonic()


def raise_errors(parser: argparse.ArgumentParser) -> None:
    """Have a parser raise a UserError where argparse would end the program."""

    def refuse(message: str) -> None:
        raise UserError(f"{message.rstrip('.')}. --help lists the options.")

    parser.error = refuse  # type: ignore[method-assign, assignment]


def write_command(
    write: Callable[[argparse.Namespace], str], description: str | None, argv: Sequence[str] | None, **arguments: Any
) -> int:
    """Run a program that writes `args.target`, but replaces an existing file only with --overwrite.

    `write` returns a line to print. `arguments` are names and argparse details of the arguments before the target.
    Returns the exit code.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, details in arguments.items():
        parser.add_argument(name, **details)
    parser.add_argument("target", help="file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the target")

    def command(args: argparse.Namespace) -> None:
        target = Path(args.target)
        values = [getattr(args, name) for name in arguments]
        sources = [path for value in values for path in (value if isinstance(value, list) else [value])]
        if target.resolve() in (Path(source).resolve() for source in sources):
            raise UserError(f"{target} is also read: give another file to write.")
        if target.exists() and not args.overwrite:
            raise UserError(f"{target} exists; add --overwrite to replace it.")
        print(f"{target}: {write(args)}")

    return run(parser, command, argv)


def guarded(work: Callable[[], None], smaller: Callable[[], Sequence[str]] = tuple) -> int:
    """Do the work of a program, and turn errors that users can solve into one paragraph and exit code 2.

    `smaller` names the options to make smaller if memory is short.
    """
    _open_standard_streams()
    try:
        _check_current_folder()  # before PyTorch, which ends the process without one
        work()
    except UserError as error:
        if log.level == logging.DEBUG:
            traceback.print_exc()
        return report_error(str(error))
    except KeyboardInterrupt as error:  # whoever was interrupted may have noted what is left to do
        print(*getattr(error, "__notes__", ["Interrupted."]), sep="\n", file=sys.stderr)
        return INTERRUPTED_CODE
    except BrokenPipeError:  # the reader of our output has gone, as in `... | head`
        sys.stderr.close()
        return BROKEN_PIPE_CODE
    except (MemoryError, RuntimeError, OSError) as error:
        if is_out_of_memory(error):
            names = ", ".join(smaller())
            advice = f"Make smaller: {names}." if names else "Close other programs, or use a machine with more memory."
            return report_error(f"Memory is not enough ({first_line(error)}). {advice}")
        if not isinstance(error, OSError):
            raise
        return report_error(f"{error.filename or 'A file'} cannot be used: {reason(error)}.")
    return 0


def _open_standard_streams() -> None:
    """Give output and errors a place, also in a service that has closed them, and show the codes of letters that a
    terminal lacks."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:  # else the next file that is opened gets the number
        os.set_inheritable(number, True)
    os.close(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        if hasattr(stream := getattr(sys, name), "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _check_current_folder() -> None:
    try:
        os.getcwd()
    except OSError as error:
        raise UserError("The current folder has been removed. Change to another: cd") from error


def report_error(text: str) -> int:
    """Print an error as one paragraph; returns the exit code."""
    paragraph = " ".join(line.strip() for line in text.strip().splitlines())
    print(f"error: {as_started(paragraph)}", file=sys.stderr)
    return USER_ERROR_CODE


def program() -> str:
    """What starts the program: `python main.py` in a clone, else `metad2a`."""
    typed = Path(sys.argv[0]).stem == "metad2a" or not (Path(__file__).parents[2] / "main.py").is_file()
    return "metad2a" if typed else "python main.py"


def as_started(text: str) -> str:
    """Write commands in a message as the user can type them: a clone has scripts, an installed program has not."""
    if program() != "metad2a":
        return text
    text = text.replace("python main.py ", "metad2a ").replace("python process_dataset.py ", "metad2a process-dataset ")
    for name in FETCHED:
        text = text.replace(f"python get_files/get_{name.replace('-', '_')}.py", f"metad2a get-files {name}")
    return text


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception means that memory, of the machine or of a GPU, was not enough."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(part in words for part in NO_MEMORY)
