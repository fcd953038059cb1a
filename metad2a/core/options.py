"""A command's options as a dataclass: from its fields argparse takes names, help and defaults.

A field made by `option` is an option of the command line; any other field is filled by the program.
"""

import argparse
from collections.abc import Callable, Collection
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

from metad2a.core.cli import MIRROR_VARIABLE, gpu_option, width


def option(
    default: Any,
    text: str,
    *names: str,
    type: Callable[[str], Any] | None = None,
    choices: Collection[Any] | None = None,
    default_text: str | None = None,
) -> Any:
    """A field that is an option, `--field-name` on the command line.

    Args:
        default: of the field; `MISSING` where it must be given. A default of False makes it a switch.
        text: the help, to which the default is added.
        names: further names, for example "--bound".
        type: of argparse, from text to the value.
        default_text: how the help shows the default, where that is not its text.
    """
    if default_text is None and default is not MISSING and default not in (None, False, ""):
        default_text = str(default)
    metadata = {"help": f"{text} (default {default_text})" if default_text else text, "names": names, "type": type}
    return field(default=default, metadata=metadata | {"choices": choices})


def flag(name: str) -> str:
    """A field's name on the command line."""
    return "--" + name.replace("_", "-")


def option_fields(*classes: type) -> dict[str, Field]:
    """The fields of dataclasses that are options, by name."""
    return {f.name: f for cls in classes for f in fields(cls) if "help" in f.metadata}


def add_options(parser: argparse._ActionsContainer, *classes: type, leave_out: set[str] | None = None) -> set[str]:
    """Add the options of dataclasses to a parser or group, each once; returns the names of all that it has now.

    What is not given on the command line is not in the parsed arguments, so that `fill` can tell.
    """
    have = set(leave_out or ())
    for name, spec in option_fields(*classes).items():
        if name in have:
            continue
        have.add(name)
        details: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS, "help": spec.metadata["help"]}
        if spec.default is False and spec.metadata["type"] is None:
            details["action"] = "store_true"
        else:
            details |= {"type": spec.metadata["type"], "choices": spec.metadata["choices"]}
            details["required"] = spec.default is MISSING
        parser.add_argument(flag(name), *spec.metadata["names"], **details)
    return have


def options_parser(description: str, cls: type) -> argparse.ArgumentParser:
    """Make a parser of the options of the dataclass `cls` and of `--gpu`; its help begins with `description`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, cls)
    gpu_option(parser)
    return parser


def fill(cls: type, args: argparse.Namespace, **values: Any) -> Any:
    """An instance of the dataclass `cls`: the options given in `args`, `values`, and the defaults for the rest."""
    given = {name: getattr(args, name) for name in option_fields(cls) if hasattr(args, name)}
    return cls(**given | values)


# Name -> module:class of a search space; `spaces.get` imports it when it is asked for.
SEARCH_SPACES = {
    "nasbench201": "metad2a.spaces.nasbench201.space:NASBench201",
    "ofa_mbv3": "metad2a.spaces.ofa_mbv3.space:OFAMobileNetV3",
}


@dataclass(frozen=True, kw_only=True)
class CommonOptions:
    """What every mode of `main.py` takes."""

    search_space: str = option("nasbench201", "search space", "--graph-data-name", choices=SEARCH_SPACES)
    data_path: str = option("data", "folder of features and databases")
    save_path: str = option("results", "folder of logs, checkpoints and results")


@dataclass(frozen=True, kw_only=True)
class MirrorOption:
    """Where official files are fetched from instead; None for what the environment names."""

    mirror: str | None = option(None, "address or folder of the official files", default_text=MIRROR_VARIABLE)


@dataclass(frozen=True, kw_only=True)
class ModelSizes:
    """Sizes of a model; None for the published ones, or those of its checkpoint."""

    hs: int | None = option(None, "width of vertex states (default: generator 56, predictor 512)", type=width)
    nz: int | None = option(None, "width of dataset and graph vectors (default 56)", type=width)
