"""All commands by name."""

from collections.abc import Iterator, Mapping
from importlib import import_module

from metad2a.commands.base import Command

NAMES = ("search", "train", "predict", "compare", "meta-train", "meta-test", "build-database", "process-dataset",
         "get-files", "finetune", "train-supernet", "mobilenetv3")  # fmt: skip


class _Commands(Mapping[str, Command]):
    """Imports the file of a command when it is asked for."""

    def __init__(self) -> None:
        self.replaced: dict[str, Command] = {}  # commands that stand in for those of their files

    def __getitem__(self, name: str) -> Command:
        if name not in NAMES:
            raise KeyError(name)
        return self.replaced.get(name) or import_module(f"metad2a.commands.{name.replace('-', '_')}").COMMAND

    def __iter__(self) -> Iterator[str]:
        return iter(NAMES)

    def __len__(self) -> int:
        return len(NAMES)

    def __contains__(self, name: object) -> bool:
        return name in NAMES


COMMANDS = _Commands()
