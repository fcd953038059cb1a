"""Generate distinct valid architectures for a dataset (MetaD2A section 3.1, meta-test).

Dimensions: R draws of the dataset, B graphs decoded at a time, C classes, S images of a class, Z latent.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from generator.model import GeneratorModel
from metad2a.core.progress import progress
from metad2a.data.features import Features, draw_dataset
from metad2a.spaces.base import SearchSpace
from set_encoder.encoder import SharedImages

DRAWS_PER_ROUND = 50
GRAPHS_PER_ROUND = 1000
PATIENCE = 20  # rounds without a new architecture before the generator counts as exhausted


@dataclass(frozen=True)
class Generated:
    """Distinct accepted architectures in the order they appeared, and counts of all the graphs it took."""

    archs: list[Any]
    num_decoded: int
    num_valid: int
    num_distinct: int


@torch.inference_mode()
def generate(
    model: GeneratorModel,
    space: SearchSpace,
    features: Features,
    num_arch: int,
    num_sample: int,
    rng: torch.Generator,
    num_class: int | None = None,
    accept: Callable[[Any], bool] = lambda arch: True,
) -> Generated:
    """Draw the dataset, encode, decode stochastically, until `num_arch` distinct valid architectures are accepted.

    Fewer are returned when 20 rounds of 1,000 graphs in a row bring nothing new.

    Args:
        features: on the model's device.
        num_sample: S, images of each class in a draw.
        rng: random generator on the model's device.
        num_class: draw so many classes at random; all of them when None.
        accept: whether a valid architecture may become a candidate.
    """
    model.eval()
    seen: set[str] = set()
    found: list[Any] = []
    num_decoded = num_valid = idle = 0
    with progress(total=num_arch, desc="candidates", leave=False, delay=1, miniters=0) as bar:
        while len(found) < num_arch and idle < PATIENCE:
            archs = decode_round(model, space, features, num_sample, rng, num_class)
            before = len(found)
            for arch in archs:
                if arch is not None and (text := space.to_text(arch)) not in seen:
                    seen.add(text)
                    if accept(arch):
                        found.append(arch)
            num_decoded += len(archs)
            num_valid += sum(arch is not None for arch in archs)
            idle = idle + 1 if len(found) == before else 0
            bar.set_postfix(graphs=num_decoded, refresh=False)
            bar.update(len(found) - before)
    return Generated(found[:num_arch], num_decoded, num_valid, len(seen))


@torch.inference_mode()
def decode_round(
    model: GeneratorModel,
    space: SearchSpace,
    features: Features,
    num_sample: int,
    rng: torch.Generator,
    num_class: int | None = None,
) -> list[Any]:
    """1,000 graphs of 50 draws of the dataset, decoded stochastically; None where a graph is not valid."""
    index = draw_dataset(features, DRAWS_PER_ROUND, num_sample, rng, num_class)  # (R, C, S)
    mu, _ = model.set_encode(SharedImages(features.images, index))  # (R, Z), z = mu at test
    z = mu.repeat_interleave(GRAPHS_PER_ROUND // DRAWS_PER_ROUND, 0)  # (B, Z)
    return space.decode(model.decode(z, stochastic=True, rng=rng))
