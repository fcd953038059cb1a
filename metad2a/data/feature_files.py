"""Which features files there are, and the classes of the shipped ones, read without PyTorch."""

from pathlib import Path

import numpy as np

from metad2a.core.arrays import ArrayOf, Schema, TextsOf, read_arrays
from metad2a.core.errors import UserError, did_you_mean
from metad2a.core.files import ASSETS
from metad2a.data.options import DATASETS

FORMAT = "metad2a-features-1"
WHAT = "a features file"


def process_command(name: str) -> str:
    """What to do about missing features, a sentence."""
    return f"Make it with: python process_dataset.py --dataset {name} --image-folder DIR"


def own_features(name: str, data_path: str | Path) -> Path | None:
    """The user's features file of dataset `name`, None if there is none."""
    return path if (path := Path(data_path) / f"{name}bylabel.pt").is_file() else None


def shipped_features(name: str) -> Path | None:
    """The shipped features file of dataset `name`, None if there is none."""
    return path if (path := ASSETS / "features" / f"{name}.npz").is_file() else None


def find_features(name: str, data_path: str | Path) -> Path:
    """The user's features file of dataset `name`, or the shipped one. Raises a UserError if there is neither."""
    if (found := own_features(name, data_path) or shipped_features(name)) is not None:
        return found
    shipped_names = sorted(path.stem for path in (ASSETS / "features").glob("*.npz"))
    own_names = [path.name.removesuffix("bylabel.pt") for path in Path(data_path).glob("*bylabel.pt")]
    guess = did_you_mean(name, [*DATASETS, *shipped_names, *own_names])
    raise UserError(
        f"No features of a dataset called {name!r}, and no such folder: {Path(data_path) / f'{name}bylabel.pt'} is "
        f"missing, and features are shipped for {', '.join(shipped_names)}. {guess}{process_command(name)}"
    )


def shipped_classes(path: Path, name: str) -> tuple[list[str], list[int]]:
    """The classes of a shipped features file, and how many images each has; the features themselves are not read."""
    hint = process_command(name)
    schema: Schema = {"counts": ArrayOf(np.integer, ("C",), low=1), "class_names": TextsOf()}
    names, counts = (
        read_arrays(path, schema, WHAT, hint, FORMAT, leave_out=("images",))[n] for n in ("class_names", "counts")
    )
    if len(names) != len(counts):
        raise UserError(f"{path} is inconsistent: it counts the images of {len(counts)} classes. {hint}")
    return names, counts.tolist()
