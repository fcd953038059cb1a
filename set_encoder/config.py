"""Sizes of a model."""

from dataclasses import dataclass

from metad2a.core.errors import UserError
from metad2a.core.schema import CLOSED, Size
from set_encoder.modules import NUM_HEADS


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of a generator or predictor, kept in checkpoints. Impossible sizes raise a UserError."""

    __pydantic_config__ = CLOSED

    max_n: Size  # N, vertices of a graph
    num_vertex_type: Size  # T, vertex types
    hs: Size  # H, width of vertex states
    nz: Size  # Z, width of dataset and graph vectors
    feature_dim: Size = 512  # D, width of image features

    def __post_init__(self):
        for name, value in vars(self).items():
            if type(value) is not bool and (type(value) is not int or value < 1):
                raise UserError(f"{name} must be a positive integer, not {value!r}.")
        if self.nz % NUM_HEADS:
            raise UserError(f"--nz must be a multiple of {NUM_HEADS} (attention heads), not {self.nz}.")
