"""Turn the images of any source into features, in batches.

Dimensions: M images in all, D feature width.
"""

from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader

from metad2a.core.progress import progress
from metad2a.data.extractors import IMAGE_SIZE, Extractor, ExtractorSpec
from metad2a.data.features import Features
from metad2a.data.reading import Squares, check_readable, collate
from metad2a.data.source import ImageSource


@dataclass(frozen=True)
class ExtractOptions:
    """How images go through the network."""

    extractor: str
    device: torch.device
    batch_size: int
    num_workers: int
    spec: ExtractorSpec | None = None
    first_size: int | None = None


def extract(source: ImageSource, numbers: torch.Tensor, options: ExtractOptions) -> Features:
    """Features of the images `numbers`, class after class; unreadable ones are named and left out.

    Raises:
        UserError: more than 5 % of the images, or all of a class, cannot be read.
    """
    network = Extractor(options.extractor, source.name, options.spec).to(options.device)
    images = torch.empty(len(numbers), network.spec.feature_dim, dtype=torch.float16)  # (M, D)
    sizes = (options.first_size, IMAGE_SIZE) if options.first_size else (IMAGE_SIZE,)
    pixels = Squares(source, numbers, sizes)
    loader = DataLoader(pixels, options.batch_size, num_workers=options.num_workers, collate_fn=collate)
    readable, filled = [], 0
    with torch.inference_mode(), progress(total=len(numbers), desc=f"{source.name} features", unit="img") as bar:
        for batch, ok in loader:
            images[filled : filled + len(batch)] = network.embed(batch)
            filled += len(batch)
            readable.append(ok)
            bar.update(len(ok))
    kept = torch.cat(readable)
    counts = check_readable(source, numbers, kept)
    images = images[:filled].clone() if filled < len(images) else images
    return Features(source.name, images, counts, source.class_names, network.spec.identity, source.origin)
