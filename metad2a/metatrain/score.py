"""Score architectures on a dataset (MetaD2A section 3.2, meta-test).

Dimensions: R draws of the dataset, B architectures, Z latent.
"""

from typing import Any

import torch

from metad2a.data.features import Features, draw_dataset
from metad2a.spaces.base import SearchSpace
from predictor.ensemble import Predictor
from set_encoder.encoder import SharedImages

SHARED_BATCH, PLAIN_BATCH = 16_384, 2_048  # graphs at a time, to bound the memory


@torch.inference_mode()
def encode_architectures(model: Predictor, space: SearchSpace, archs: list[Any]) -> torch.Tensor:
    """Graph vectors (B, Z) of architectures in their canonical form; on a CPU, graphs share equal vertex states."""
    model.eval()
    device = next(model.parameters()).device
    share = device.type == "cpu"
    size = SHARED_BATCH if share else PLAIN_BATCH
    batches = [archs[i : i + size] for i in range(0, len(archs), size)]
    return torch.cat([model.encode_graph(space.encode(b).to(device), share_states=share) for b in batches])


@torch.inference_mode()
def score(
    model: Predictor, space: SearchSpace, features: Features, archs: list[Any],
    num_draws: int, num_sample: int, rng: torch.Generator, num_class: int | None = None,
) -> torch.Tensor:  # fmt: skip
    """Score each architecture by its mean over R draws of the dataset. Features and `rng` are on the model's device.

    Returns (B,) on the CPU; `metad2a.metatrain.objectives.to_percent` converts the scores to %.
    """
    model.eval()
    index = draw_dataset(features, num_draws, num_sample, rng, num_class)  # (R, C, S)
    set_vec = model.encode_set(SharedImages(features.images, index))  # (R, Z)
    graph_vec = encode_architectures(model, space, archs)  # (B, Z)
    return model.predict_all(set_vec, graph_vec).mean(dim=0).cpu()
