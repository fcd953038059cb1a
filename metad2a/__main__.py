"""The program: the first word names the command, and the command's parser reads the rest."""

import os
import sys
from collections.abc import Collection, Sequence
from typing import Any

from metad2a.commands.base import Command
from metad2a.commands.registry import COMMANDS
from metad2a.core.cli import guarded, note_beginning, program
from metad2a.core.errors import UserError, did_you_mean
from metad2a.core.messages import log
from metad2a.core.options import smaller_options
from metad2a.core.version import __version__

# The published `--model NAME`, with the words that it stands for
MODELS = {
    "search": ["search"],
    "train_arch": ["train"],
    "predict": ["predict"],
    "compare": ["compare"],
    "build": ["build-database", "--model", "generator"],
    "generator": ["meta-train", "--model", "generator"],
    "predictor": ["meta-train", "--model", "predictor"],
}


def overview() -> str:
    """The help that lists the commands, a line and an example each."""
    start = program()
    commands = [f"  {c.name:16} {c.summary}\n  {'':16} {start} {c.example}" for c in COMMANDS.values()]
    return (
        f"MetaD2A {__version__}: show it an image-classification dataset, and it proposes neural networks.\n\n"
        f"{start} COMMAND [options]; {start} COMMAND --help shows the options of a command.\n\n"
    ) + "\n".join(commands)


def find_command(words: Sequence[str]) -> tuple[Command, list[str]]:
    """Find the command that words name; returns it with the words for its parser. No such command is a UserError."""
    words = list(words)
    if words and not words[0].startswith("-"):
        name = words.pop(0).replace("_", "-")
        if name not in COMMANDS:
            raise UserError(f"There is no command {name!r}. {did_you_mean(name, COMMANDS)}{_choices(COMMANDS)}")
        return COMMANDS[name], words
    name, rest = _take_model(words)
    if name not in MODELS:
        raise UserError(f"There is no --model {name}. {did_you_mean(name, MODELS)}{_choices(MODELS)}")
    stands_for = MODELS[name]
    if "--test" in rest:
        rest.remove("--test")
        if stands_for[0] != "meta-train":
            raise UserError(f"--test belongs to --model generator or predictor, not to --model {name}: leave it out.")
        stands_for = ["meta-test", *stands_for[1:]]
    return COMMANDS[stands_for[0]], [*stands_for[1:], *rest]


def _take_model(words: list[str]) -> tuple[str, list[str]]:
    """The value of `--model NAME` or `--model=NAME`, and the other words."""
    for i, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option.replace("_", "-") in ("--model", "--model-name") and (equals or words[i + 1 :]):
            rest = words[i + 1 :] if equals else words[i + 2 :]
            return (value if equals else words[i + 1]).replace("-", "_"), words[:i] + rest
    raise UserError(f"The first word names the command. {_choices(COMMANDS)}")


def _choices(names: Collection[str]) -> str:
    return f"There are {', '.join(names)}; {program()} --help explains them."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` names, by default the words of the command line; returns the exit code."""
    if argv is None:
        note_beginning()
        os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "true")  # else it looks through all installed packages
    words = list(sys.argv[1:] if argv is None else argv)
    parsed: list[Any] = []  # the options and the values that the user gave, once they are read

    def work() -> None:
        if words[:1] in (["--help"], ["-h"]):
            print(overview())
        elif "--version" in words:
            print(f"MetaD2A {__version__}")
        else:
            command, rest = find_command(words)
            given = command.read(rest, COMMANDS.values())
            parsed[:] = [command.prepare(given), given]
            from metad2a.core.environment import keep_freed_memory

            keep_freed_memory()
            if places := command.new_places(parsed[0]):
                log.info(f"Files go to {' and '.join(places)}.")
            command.run(parsed[0])

    return guarded(work, lambda: smaller_options(*parsed) if parsed else [])


if __name__ == "__main__":
    sys.exit(main())
