"""`finetune`: fine-tune a MobileNetV3 subnet with the supernet's weights."""

from metad2a.commands.base import Command
from metad2a.finetuning.options import FinetuneOptions


def run(options: FinetuneOptions) -> None:
    """Fine-tune, and print the test accuracy."""
    from metad2a.finetuning.evaluate import evaluate

    print(evaluate(options))


COMMAND = Command(
    "finetune",
    "Fine-tune a MobileNetV3 architecture with the supernet's weights, and report its test accuracy.",
    "finetune --data-name cifar10 --num-gen-arch 200 --bound 300",
    FinetuneOptions,
    run,
)
