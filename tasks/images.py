"""Image folders to features, in batches (SPEC of a features file: `tasks.features.Features`)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import functional as TF
from tqdm import tqdm

from engine.errors import UserError
from engine.runs import say
from tasks.extractors import IMAGE_SIZE, Extractor
from tasks.features import Features

EXTENSIONS = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}
MAX_UNREADABLE = 0.05  # share of images that may be unreadable before processing stops


@dataclass(frozen=True)
class ImageFolder:
    """Files of each class of a folder with one sub-folder a class."""

    class_names: list[str]
    files: list[list[Path]]


def list_image_folder(
    folder: str | Path, class_order: str | Path | None, max_per_class: int | None, seed: int
) -> ImageFolder:
    """List the images of `folder`, classes in alphabetical order or in that of a file.

    Args:
        class_order: a text file whose lines start with a sub-folder's name.
        max_per_class: at most so many images of a class, chosen at random with `seed`.

    Raises:
        UserError: the folder or a class is missing, or a class has no images.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"--image-folder {folder} is not a folder.")
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if class_order is not None:
        names = _read_class_order(class_order)
    if not names:
        raise UserError(f"{folder} has no sub-folders: it needs one for each class, with the images inside.")
    rng = np.random.default_rng(seed)
    files = []
    for name in names:
        if not (folder / name).is_dir():
            raise UserError(f"{folder} has no sub-folder {name!r}, which {class_order} lists.")
        found = sorted(path for path in (folder / name).rglob("*") if path.suffix.lower() in EXTENSIONS)
        if not found:
            raise UserError(f"Class {name!r} has no images: {folder / name} is empty. Add some or remove the folder.")
        if max_per_class is not None and len(found) > max_per_class:
            found = [found[i] for i in sorted(rng.choice(len(found), max_per_class, replace=False))]
        files.append(found)
    return ImageFolder(names, files)


def _read_class_order(path: str | Path) -> list[str]:
    try:
        return [line.split()[0] for line in Path(path).read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--class-order {path} cannot be read: {error}.") from error


class _Files(Dataset):
    """Images at 32 x 32, or None where a file cannot be read."""

    def __init__(self, files: list[Path]):
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor | None:
        try:
            with Image.open(self.files[index]) as image:
                pixels = torch.from_numpy(np.array(to_rgb(image))).permute(2, 0, 1)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return None
        return TF.resize(pixels, [IMAGE_SIZE, IMAGE_SIZE], antialias=True)


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode to RGB: 16-bit gray is scaled and not clipped, transparency is laid on white."""
    if image.mode.startswith("I;16") or image.mode == "I":
        image = Image.fromarray((np.asarray(image, dtype=np.float64) / 256).clip(0, 255).astype(np.uint8))
    if "transparency" in image.info or image.mode in ("LA", "PA", "RGBA", "La", "RGBa"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _collate(items: list[torch.Tensor | None]) -> tuple[torch.Tensor, torch.Tensor]:
    """The readable images (n, 3, 32, 32), and which of the batch were readable (B,)."""
    readable = torch.tensor([item is not None for item in items])
    images = [item for item in items if item is not None]
    return torch.stack(images) if images else torch.empty(0, 3, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8), readable


def extract_folder(
    name: str, folder: ImageFolder, extractor: str, device: torch.device, batch_size: int, num_workers: int
) -> Features:
    """Features of an image folder; unreadable images are named and left out.

    Raises:
        UserError: more than 5 % of the images, or all of a class, cannot be read.
    """
    network = Extractor(extractor, name).to(device)
    files = [path for paths in folder.files for path in paths]
    labels = torch.arange(len(folder.files)).repeat_interleave(torch.tensor([len(p) for p in folder.files]))
    loader = DataLoader(_Files(files), batch_size, num_workers=num_workers, collate_fn=_collate)
    parts, readable_parts = [], []
    with torch.inference_mode(), tqdm(total=len(files), desc=f"{name} through {extractor}", unit="img") as bar:
        for images, readable in loader:
            parts.append(network(images.to(device).float() / 255).half().cpu())
            readable_parts.append(readable)
            bar.update(len(readable))
    readable = torch.cat(readable_parts)
    _report_unreadable(name, files, readable)
    counts = torch.bincount(labels[readable], minlength=len(folder.files))
    if not bool(counts.all()):
        lost = folder.class_names[int((counts == 0).nonzero()[0])]
        raise UserError(f"No image of class {lost!r} can be read.")
    source = str(folder.files[0][0].parent.parent)
    return Features(name, torch.cat(parts), counts, folder.class_names, network.spec.identity, source)


def _report_unreadable(name: str, files: list[Path], readable: torch.Tensor) -> None:
    bad = [files[i] for i in (~readable).nonzero().flatten().tolist()]
    if not bad:
        return
    listed = ", ".join(str(path) for path in bad[:5]) + (" ..." if len(bad) > 5 else "")
    if len(bad) > MAX_UNREADABLE * len(files):
        raise UserError(
            f"{len(bad)} of {len(files)} images of {name} cannot be read: {listed}. Remove or replace them; up to "
            f"{MAX_UNREADABLE:.0%} are skipped."
        )
    say(f"Skipped {len(bad)} of {len(files)} images that cannot be read: {listed}.")
