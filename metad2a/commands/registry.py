"""All commands by name."""

from importlib import import_module

from metad2a.commands.base import Command

MODULES = ("search", "train", "predict", "compare", "meta_train", "meta_test", "build_database", "process_dataset",
           "get_files", "finetune", "train_supernet", "mobilenetv3")  # fmt: skip
COMMANDS: dict[str, Command] = {
    name.replace("_", "-"): import_module(f"metad2a.commands.{name}").COMMAND for name in MODULES
}
