"""On a GPU the host never waits for the device within a training step.

The device is PyTorch's "meta": tensors without values, so whatever would have to read one raises.
"""

import pytest
import torch
from helpers.meta_train import EQUAL, META, NUM_CLASSES, RAGGED, objective_of, toy_draws

from metad2a import spaces
from metad2a.metatrain.draws import MAX_IMAGES
from metad2a.metatrain.score import encode_architectures
from predictor.model import PredictorConfig, PredictorModel


@pytest.mark.parametrize("task_of_tuple", [[0, 1, 2, 3], [0, 0, 1, 1, 2, 2, 3, 3]], ids=["alone", "grouped"])
@pytest.mark.parametrize("tasks", [EQUAL, RAGGED], ids=["equal", "ragged"])
@pytest.mark.parametrize("kind", ["generator", "predictor"])
def test_a_training_step(monkeypatch, kind, tasks, task_of_tuple):
    monkeypatch.setattr("metad2a.metatrain.objectives.random_generator", lambda seed, device: None)  # meta has none
    space = spaces.get("ofa_mbv3")
    draws, tuples = toy_draws(space, tasks, task_of_tuple)
    losses = {"within_task_loss": float(draws.grouped)} if kind == "predictor" else {}
    objective = objective_of(kind, space, draws, tuples, **losses)
    loss = objective.loss(tuples.training, None)
    loss.backward()
    assert loss.is_meta
    assert all(p.grad.is_meta for p in objective.model.parameters() if p.grad is not None)


def test_scoring():
    space = spaces.get("nasbench201")
    sizes = {"max_n": space.max_n, "num_vertex_type": space.num_vertex_type, "nz": 8, "feature_dim": 6}
    model = PredictorModel(PredictorConfig(hs=12, **sizes)).to(META)
    archs = space.sample(5, torch.Generator().manual_seed(0))
    assert encode_architectures(model, space, archs).shape == (5, 8)


def test_a_validation_batch_is_as_small_for_large_tasks():
    """Tasks of 10 to 990 classes, as published for MobileNetV3, and tuples that share them."""
    space = spaces.get("ofa_mbv3")
    sizes = [990, 10, 990, 500, 20, 990, 10, 30]
    tasks = [[c % NUM_CLASSES for c in range(size)] for size in sizes]
    for task_of_tuple in (list(range(8)) * 15, list(range(8))):
        draws, tuples = toy_draws(space, tasks, task_of_tuple, torch.device("cpu"))
        rows = torch.arange(len(task_of_tuple))
        batches = draws.batches(rows, torch.Generator().manual_seed(0))
        assert torch.cat([batch.rows for batch in batches]).tolist() == rows.tolist()
        for batch in batches:
            assert batch.image_rows.images.numel() <= MAX_IMAGES
            found = batch.image_rows.mask.sum(dim=1)[batch.position]
            assert found.tolist() == [sizes[tuples.task[row]] for row in batch.rows]
    draws.num_sample = 20  # one task of 990 classes has half of the images of a batch
    assert [len(b.rows) for b in draws.batches(rows, torch.Generator().manual_seed(0))] == [3, 5]
