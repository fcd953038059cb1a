"""What a command is, and how its words become options."""

import argparse
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from metad2a.core.cli import program, set_messages
from metad2a.core.errors import UserError
from metad2a.core.options import first_names, flag, make_parser, option_fields, prepare
from metad2a.core.values import check_writable


@dataclass(frozen=True)
class Command:
    """A job of the program."""

    name: str  # the first word on the command line
    summary: str  # what the command does, a sentence
    example: str  # words to type after the program's name
    options: type  # a dataclass of options, see `metad2a.core.options`
    run: Callable[[Any], Any]  # does the job; what it returns is for use from Python
    rename: Callable[[Mapping[str, Any]], dict[str, Any]] = dict  # changes given values before they are checked
    writes: Collection[str] = ("save_path", "output")  # options that name where files go, if it has them

    def prepare(self, given: Mapping[str, Any]) -> Any:
        """Check given values and make the command's options, as `metad2a.core.options.prepare` does.

        Raises a UserError also if nothing can be written where the command's files go.
        """
        options = prepare(self.options, self.rename(given))
        for name in self.writes:
            if place := getattr(options, name, None):
                check_writable(place if name != "output" else os.path.dirname(place), f"{flag(name)} {place}")
        return options

    def new_places(self, options: Any) -> list[str]:
        """The folders that the command makes, with the option that names another."""
        places = {name: getattr(options, name, None) for name in self.writes if name != "output"}
        new = {name: os.path.abspath(place) for name, place in places.items() if place and not os.path.exists(place)}
        return [f"{place} ({flag(name)})" for name, place in new.items()]

    def read(self, words: Sequence[str], others: Collection["Command"]) -> dict[str, Any]:
        """Turn the words after the command's name into values by option.

        Raises a UserError if a word is not understood; if one of `others` has that option, the message names it.
        """
        args, extra = self.parser().parse_known_args(first_names(self.options, words))
        if extra:
            self._refuse(extra, others)
        set_messages(args)
        return vars(args)

    def parser(self) -> argparse.ArgumentParser:
        """The parser of this command only."""
        description = f"{self.summary}\nExample: {program()} {self.example}"
        return make_parser(f"{program()} {self.name}", description, self.options)

    def _refuse(self, extra: Sequence[str], others: Collection["Command"]) -> None:
        word = next((word for word in extra if word.startswith("-")), extra[0])
        if not word.startswith("-"):
            raise UserError(f"{self.name} does not know what to do with {word!r}: leave it out, or name its option.")
        name = word.lstrip("-").partition("=")[0].replace("-", "_")
        own = option_fields(self.options)
        renamed = ["split_seed"] if (self.name, name) == ("train", "seed") else []  # as the option was called before
        guess = renamed or get_close_matches(name, own, 1, cutoff=0.65)
        instead = f" Did you mean {flag(guess[0])}?" if guess else ""
        owners = [command.name for command in others if name in option_fields(command.options)]
        if owners:
            raise UserError(f"{flag(name)} belongs to {', '.join(owners)}, not to {self.name}: leave it out.{instead}")
        raise UserError(f"{self.name} has no option {word.partition('=')[0]}.{instead or ' --help lists the options.'}")
