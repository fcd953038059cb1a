"""Options of a command: a dataclass whose fields made by `option` can be given, on the command line or from Python.

A dataclass may declare `groups`, titles of its help with names of fields, and `rules`, when which fields may be given.
The command line and Python both go through `prepare`.
"""

import argparse
import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metad2a.core.cli import add_message_options, raise_errors
from metad2a.core.errors import UserError, did_you_mean
from metad2a.core.values import LabelledFolder, count_or_all, device_number, path, paths, width

if TYPE_CHECKING:
    import torch

MIRROR_VARIABLE = "METAD2A_MIRROR"
HELP_WIDTH = 110
# Options that memory grows with, those that it grows most with first.
SIZES = ("batch_size", "latency_batch", "image_size", "num_sample", "num_draws", "num_gen_arch", "hs", "nz",
         "num_tasks", "num_sampled", "num_calibration", "num_workers")  # fmt: skip


def option(
    default: Any,
    text: str,
    *names: str,
    type: Callable[[str], Any] | None = None,
    choices: Collection[Any] | None = None,
    default_text: str | None = None,
    positional: bool = False,
) -> Any:
    """Make a field that is an option, `--field-name` on the command line. A default of False makes a switch.

    Args:
        default: `MISSING` if the user must give a value.
        text: a sentence for the help, to which the default is added, as `default_text` or not at all if that is "".
        names: further names, for example "--bound".
        type: reads the value from a text and raises `argparse.ArgumentTypeError`.
        positional: whether the value needs no `--field-name` before it.
    """
    if default_text is None:
        default_text = "" if default is MISSING or default in (None, False, "") else str(default)
    if default_text:
        text = f"{text.removesuffix('.')} (default {default_text})."
    about = {"help": text, "names": names, "type": type, "choices": choices, "positional": positional}
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class Rule:
    """When some options may be given."""

    names: Collection[str]  # fields of the dataclass
    holds: Callable[[Any], bool]  # tells from all options whether these may be given
    text: str  # goes on after the option's name if not, for example "needs --budget, for example --budget 30m"


CLUSTER_NEEDS_WORKERS = Rule(
    ("ray_address",), lambda o: o.num_workers, "needs --num-workers: add the number of networks to train at once"
)


def flag(name: str) -> str:
    """A field's name on the command line."""
    return "--" + name.replace("_", "-")


def shown(spec: Field) -> str:
    """The name of an option in messages."""
    return spec.name.upper() if spec.metadata["positional"] else flag(spec.name)


def option_fields(*classes: type) -> dict[str, Field]:
    """The fields of dataclasses that are options, by name."""
    return {f.name: f for cls in classes for f in fields(cls) if "help" in f.metadata}


def prepare(cls: type, given: Mapping[str, Any]) -> Any:
    """Check values and make the options of a command, an instance of the dataclass `cls`.

    `given` are values by field name, as texts or as what they mean; None means "not given", or "all" where that is a
    value. The field `given` (the names of the given options) is filled in.

    Raises a UserError if an option does not exist, a value is wrong, or an option is missing or in the wrong place.
    """
    known = option_fields(cls)
    values = {}
    for name, value in given.items():
        if name not in known:
            raise UserError(f"There is no option {flag(name)}. {did_you_mean(name, known)}".strip())
        if value is not None or known[name].metadata["type"] is count_or_all:
            values[name] = _read(known[name], "all" if value is None else value)
    for name, spec in known.items():
        if spec.default is MISSING and name not in values:
            choices, text = spec.metadata["choices"], spec.metadata["help"]
            wanted = f"one of {', '.join(choices)}." if choices else text[0].lower() + text[1:]
            raise UserError(f"{shown(spec)} is missing: give {wanted}")
    filled: dict[str, Any] = {}
    if "given" in {f.name for f in fields(cls)}:
        filled["given"] = frozenset(values)
    options = cls(**values, **filled)
    for name in values:
        if rule := broken_rule(options, name):
            raise UserError(f"{flag(name)} {rule.text}.")
    if isinstance(options, DeviceOption) and values.get("gpu", "cpu") != "cpu":
        from metad2a.core.environment import choose_device

        choose_device(options.gpu)  # refuses a GPU that is not there
    return options


def _read(spec: Field, value: Any) -> Any:
    """The value of an option from a text or from Python."""
    details, name, choices = spec.metadata, shown(spec), spec.metadata["choices"]
    if details["type"] is paths and isinstance(value, list | tuple):
        return tuple(place for item in value for place in _read(spec, item))
    value = value.item() if hasattr(value, "item") else value  # a number of NumPy
    value = ",".join(map(str, value)) if isinstance(value, list | tuple) and details["type"] is not path else value
    value = str(value) if isinstance(value, Path) or (type(value) is int and details["type"] is None) else value
    if _is_switch(spec):
        if not isinstance(value, bool):
            raise UserError(f"{name} takes True or False, not {value!r}.")
        return value
    if details["type"] in (path, paths) and not isinstance(value, str):
        raise UserError(f"{name} takes one path, not {value!r}.")
    if isinstance(value, (str, int, float)) and details["type"] is not None:
        try:
            value = details["type"](str(value))
        except (argparse.ArgumentTypeError, ValueError) as error:
            message = str(error) if str(error).startswith(name) else f"{name} {error}"
            raise UserError(message.rstrip(".") + ".") from None
    if choices is not None and value not in choices:
        raise UserError(
            f"{name} takes {', '.join(choices)}, not {value!r}. {did_you_mean(str(value), choices)}".strip()
        )
    return value


def _is_switch(spec: Field) -> bool:
    return spec.default is False and spec.metadata["type"] is None


def broken_rule(options: Any, name: str) -> Rule | None:
    """The rule that forbids to give the option `name` with these options, if there is one."""
    rules: Iterable[Rule] = getattr(options, "rules", ())
    return next((rule for rule in rules if name in rule.names and not rule.holds(options)), None)


def smaller_options(options: Any, given: Collection[str]) -> list[str]:
    """The options that memory grows with and that this command takes: those that the user gave, else all."""
    sizes = [name for name in SIZES if name in option_fields(type(options)) and not broken_rule(options, name)]
    return [flag(name) for name in [name for name in sizes if name in given] or sizes]


def make_parser(program: str, description: str, cls: type) -> argparse.ArgumentParser:
    """Make the parser of a command, which leaves all values as texts for `prepare`."""
    options = option_fields(cls)
    words = [f"[{name.upper()}] " for name, spec in options.items() if spec.metadata["positional"]]
    usage = f"{program} {''.join(words)}[options]"
    how: dict[str, Any] = {"formatter_class": _formatter, "allow_abbrev": False, "add_help": False}
    parser = argparse.ArgumentParser(program, usage, description, **how)
    raise_errors(parser)
    groups: dict[str, Collection[str]] = getattr(cls, "groups", {})
    rest = set(options) - {name for names in groups.values() for name in names}
    for title, names in {**groups, "options": [name for name in options if name in rest]}.items():
        group = parser.add_argument_group(title)
        for name in names:
            _add(group, name, options[name])
    group.add_argument("-h", "--help", action="help", help="Show this help.")
    add_message_options(group)
    return parser


def _formatter(prog: str) -> argparse.HelpFormatter:
    columns = os.get_terminal_size().columns if sys.stdout.isatty() else HELP_WIDTH
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=34, width=min(columns, HELP_WIDTH))


def _add(group: Any, name: str, spec: Field) -> None:
    details = spec.metadata
    common = {"default": argparse.SUPPRESS, "help": details["help"].replace("%", "%%")}
    if details["positional"]:
        group.add_argument(name, nargs="?", **common)
    elif _is_switch(spec):
        group.add_argument(flag(name), dest=name, action="store_true", **common)
    else:
        numeric = any(kind in str(spec.type) for kind in ("int", "float"))
        is_path, nargs = details["type"] in (path, paths), "+" if details["type"] is paths else None
        metavar = "PATH" if is_path else "N" if numeric else name.rpartition("_")[2].upper()
        group.add_argument(flag(name), dest=name, metavar=metavar, nargs=nargs, **common)


def first_names(cls: type, words: Iterable[str]) -> list[str]:
    """Write synonyms by their first names, and `--batch_size=8`, as in some published commands, with hyphens."""
    firsts = {synonym: flag(name) for name, spec in option_fields(cls).items() for synonym in spec.metadata["names"]}
    written = []
    for word in words:
        name, equals, value = word.partition("=")
        name = name.replace("_", "-")
        written.append(firsts.get(name, name) + equals + value if word.startswith("--") else word)
    return written


# Name -> module:class of a search space; `spaces.get` imports it when it is asked for.
SEARCH_SPACES = {
    "nasbench201": "metad2a.spaces.nasbench201.space:NASBench201",
    "ofa_mbv3": "metad2a.spaces.ofa_mbv3.space:OFAMobileNetV3",
}


@dataclass(frozen=True, kw_only=True)
class GpuOption:
    """Where a command computes."""

    gpu: str | None = option(
        None, "CUDA device number, or cpu (default: GPU 0 if there is one).", type=device_number, default_text=""
    )


@dataclass(frozen=True, kw_only=True)
class DeviceOption(GpuOption):
    @cached_property
    def device(self) -> "torch.device":
        """The device of `gpu`. PyTorch, which takes seconds to import, is asked when a command first needs it."""
        from metad2a.core.environment import choose_device

        return choose_device(self.gpu, say=False)


@dataclass(frozen=True, kw_only=True)
class CommonOptions(DeviceOption):
    """What most commands take."""

    search_space: str = option(
        "nasbench201", "Search space, nasbench201 or ofa_mbv3.", "--graph-data-name", choices=SEARCH_SPACES
    )
    data_path: str = option("data", "Folder of features, databases and official files.", type=path)
    save_path: str = option("results", "Folder of logs, checkpoints and results.", type=path)


@dataclass(frozen=True, kw_only=True)
class DownloadOption:
    """A copy of the official files; None stands for what the environment names."""

    mirror: str | None = option(
        None, f"Address or folder of the official files (default: {MIRROR_VARIABLE}).", type=path
    )


@dataclass(frozen=True, kw_only=True)
class MirrorOption(DownloadOption):
    """Where a dataset comes from besides `image_folder`, which becomes a `LabelledFolder` if there is `labels`."""

    labels: str | None = option(
        None, "CSV file with the image and the class of each row, for a folder without class folders.", type=path
    )

    def __post_init__(self) -> None:
        if self.labels is None:
            return
        if not (folder := getattr(self, "image_folder", None)):
            raise UserError(
                "--labels needs a folder of images that is there: check its path, or name it with --image-folder."
            )
        object.__setattr__(self, "image_folder", LabelledFolder.of(folder, self.labels))


@dataclass(frozen=True, kw_only=True)
class ModelSizes:
    """Sizes of a model; None stands for the published ones, or those of its checkpoint."""

    hs: int | None = option(None, "Width of vertex states (default: the checkpoint's, or as published).", type=width)
    nz: int | None = option(None, "Width of dataset and graph vectors (default as above).", type=width)
