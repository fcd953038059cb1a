"""`predict`: classify image files."""

from typing import Any

from metad2a.commands.base import Command
from metad2a.networks.options import PredictOptions


def run(options: PredictOptions) -> Any:
    """Classify, and print and return the predictions."""
    from metad2a.networks.predict import predict, text

    predictions = predict(options)
    print(text(predictions, options.output))
    return predictions


COMMAND = Command(
    "predict",
    "Classify image files with a trained network.",
    "predict --network results/train_arch/photos/<key> --images photos --output classes.csv",
    PredictOptions,
    run,
)
