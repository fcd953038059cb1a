"""Digests of what a training depends on: the content, wherever it lies and whatever its file is called."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from metad2a.core.errors import UserError
from metad2a.core.files import content_digest
from metad2a.data.features import Features
from metad2a.data.source import ImageSource


def features_digest(features: Features) -> str:
    """Compute the digest of features, their classes and the extractor that made them."""
    return content_digest(features.images, features.counts, features.class_names, features.extractor)


def images_digest(source: ImageSource, numbers: torch.Tensor) -> str:
    """Compute the digest of the images `numbers` (n,), their labels and their order.

    Raises:
        UserError: an image cannot be read.
    """

    def one(number: int) -> bytes:
        try:
            with source.open(number) as image:
                name = getattr(image, "filename", "")
                content = Path(name).read_bytes() if name else f"{image.mode} {image.size}".encode() + image.tobytes()
        except Exception as error:  # decoders raise exceptions of all kinds
            raise UserError(f"{source.describe(number)} cannot be read ({error}). Replace or remove it.") from error
        return hashlib.sha256(content).digest()

    with ThreadPoolExecutor() as pool:  # reading and hashing wait for no other thread
        images = b"".join(pool.map(one, numbers.tolist()))
    return content_digest(images.hex(), source.labels[numbers], source.class_names)
