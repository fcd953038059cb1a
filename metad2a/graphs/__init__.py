"""Graphs as tensors, their encoder and their decoder."""

from metad2a.graphs.batch import GraphBatch

__all__ = ["GraphBatch"]
