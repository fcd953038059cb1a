"""Graphs as tensors, their encoder and their decoder."""

from graphs.batch import GraphBatch

__all__ = ["GraphBatch"]
