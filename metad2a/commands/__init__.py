"""The commands, one file each: its options and its run."""

from metad2a.commands import (
    build_database,
    compare,
    finetune,
    get_files,
    meta_test,
    meta_train,
    mobilenetv3,
    predict,
    process_dataset,
    search,
    train,
    train_supernet,
)
from metad2a.commands.base import Command

COMMANDS: dict[str, Command] = {
    module.COMMAND.name: module.COMMAND
    for module in (
        search,
        train,
        predict,
        compare,
        meta_train,
        meta_test,
        build_database,
        process_dataset,
        get_files,
        finetune,
        train_supernet,
        mobilenetv3,
    )
}
