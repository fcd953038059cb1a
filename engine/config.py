"""Sizes of a model."""

from dataclasses import dataclass, fields

from engine.errors import UserError
from set_encoder.modules import NUM_HEADS


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of a generator or predictor; saved with the weights, so that loading needs nothing else.

    Raises:
        UserError: a size is not a positive integer, or `nz` is not a multiple of the attention heads.
    """

    max_n: int  # N, vertices of a graph
    num_vertex_type: int  # T, vertex types
    hs: int  # H, width of vertex states
    nz: int  # Z, width of dataset and graph vectors
    feature_dim: int = 512  # D, width of image features

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UserError(f"{field.name} must be a positive integer, not {value!r}.")
        if self.nz % NUM_HEADS:
            raise UserError(f"--nz must be a multiple of {NUM_HEADS} (attention heads), not {self.nz}.")
