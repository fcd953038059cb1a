"""Ray Tune, which only searches with `--num-workers` need."""

import logging
import os
from typing import Any

from metad2a.core.errors import UserError

NEEDED = 'pip install "ray[tune]"'


def load_tune() -> Any:
    """Ray Tune, silent.

    Raises:
        UserError: it is not installed.
    """
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    try:
        from ray import tune
    except ImportError as error:
        raise UserError(
            f"--num-workers needs Ray Tune, which is not installed: {NEEDED}. Without it leave the option out, and "
            "networks are trained one after the other."
        ) from error
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    return tune
