"""Sizes of a model."""

from dataclasses import dataclass, fields

from metad2a.core.errors import UserError
from metad2a.core.schema import CLOSED, Size
from set_encoder.modules import NUM_HEADS


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of a generator or predictor; saved with the weights, so that loading needs nothing else.

    Raises:
        UserError: a size is not a positive integer, or `nz` is not a multiple of the attention heads.
    """

    __pydantic_config__ = CLOSED

    max_n: Size  # N, vertices of a graph
    num_vertex_type: Size  # T, vertex types
    hs: Size  # H, width of vertex states
    nz: Size  # Z, width of dataset and graph vectors
    feature_dim: Size = 512  # D, width of image features

    def __post_init__(self):
        for field in fields(self):
            if field.type is bool:
                continue
            value = getattr(self, field.name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UserError(f"{field.name} must be a positive integer, not {value!r}.")
        if self.nz % NUM_HEADS:
            raise UserError(f"--nz must be a multiple of {NUM_HEADS} (attention heads), not {self.nz}.")
