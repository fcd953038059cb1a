"""Tasks of different sizes in one batch equal the same tasks one at a time."""

from itertools import pairwise

import pytest
import torch
from helpers.meta_train import NUM_CLASSES, toy_draws

from generator.model import GeneratorConfig, GeneratorModel
from metad2a import spaces
from metad2a.core.errors import UserError
from metad2a.data.features import Features
from metad2a.database.generator import choose_tasks
from metad2a.metatrain.draws import MAX_IMAGES, TaskDraws
from metad2a.metatrain.tuples import Tuples, load_tuples, save_tuples
from predictor.model import PredictorConfig, PredictorModel
from set_encoder.encoder import RaggedSets

pytestmark = pytest.mark.numeric

ofa = spaces.get("ofa_mbv3")
SIZES = {"max_n": ofa.max_n, "num_vertex_type": ofa.num_vertex_type, "nz": 8, "feature_dim": 6}
TASKS = [[0, 4, 2], [1], [5, 3, 2, 1, 0], [4, 5]]


def ragged_tuples(rng):
    classes = torch.full((len(TASKS), 5), -1)
    for row, task in zip(classes, TASKS, strict=True):
        row[: len(task)] = torch.tensor(task)
    archs = ofa.sample(len(TASKS), rng)
    return Tuples(archs, torch.rand(len(TASKS)), torch.arange(len(TASKS)), classes, torch.arange(len(TASKS)), "toy")


@pytest.fixture
def draws(rng):
    counts = torch.tensor([4, 9, 5, 7, 6, 8])
    images = torch.randn(int(counts.sum()), 6, generator=rng)
    features = Features("toy", images, counts, list("abcdef"), "resnet18-32px", "toy.pt")
    return TaskDraws(features, ragged_tuples(rng), 4, torch.device("cpu"))


def test_draws_take_images_of_each_tasks_own_classes(draws, rng):
    index = draws.index(torch.tensor([2, 0]), rng)
    assert index.mask.tolist() == [[True] * 5, [True] * 3 + [False] * 2]
    assert index.place.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    labels = torch.arange(6).repeat_interleave(draws.features.counts)
    assert labels[index.images].tolist() == [[c] * 4 for c in TASKS[2] + TASKS[0]]


def test_padding_ends_where_the_largest_task_of_the_batch_does(draws, rng):
    images = draws.images(draws.index(torch.tensor([0, 1]), rng))
    assert isinstance(images, RaggedSets)
    assert images.images.shape == (4, 4, 6)
    assert images.mask.tolist() == [[True] * 3, [True, False, False]]


@pytest.mark.parametrize("kind", ["generator", "predictor"])
def test_a_padded_batch_equals_one_task_at_a_time(draws, rng, kind):
    """Values and gradients."""
    torch.manual_seed(0)
    if kind == "generator":
        model = GeneratorModel(GeneratorConfig(hs=8, **SIZES))
    else:
        model = PredictorModel(PredictorConfig(hs=12, **SIZES))
    encode = model.encode_set if kind == "predictor" else (lambda x: torch.cat(model.set_encode(x), dim=1))
    rows = torch.arange(4)
    index = draws.index(rows, rng)
    weight = torch.randn(4, 16 if kind == "generator" else 8, generator=rng)

    together = encode(draws.images(index))
    (together * weight).sum().backward()
    gradient = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    each = index.images.split([len(task) for task in TASKS])
    alone = torch.cat([encode(draws.features.images[rows][None]) for rows in each])
    (alone * weight).sum().backward()

    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
    for a, b in zip(gradient, [p.grad for p in model.parameters() if p.grad is not None], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_tuples_of_a_task_stay_together_and_share_a_draw(draws, rng):
    tuples = ragged_tuples(rng)
    task = torch.tensor([3, 1, 0, 1, 3, 1, 0, 3])
    several = Tuples(ofa.sample(8, rng), torch.rand(8), task, tuples.task_classes, torch.arange(8), "toy")
    grouped = TaskDraws(draws.features, several, 4, torch.device("cpu"))
    orders = [grouped.shuffled(torch.arange(1, 8), rng).tolist() for _ in range(20)]
    for order in orders:
        assert sorted(order) == list(range(1, 8))
        changes = sum(a != b for a, b in pairwise(task[order].tolist()))
        assert changes == 2  # three tasks, one after the other
    assert len({tuple(order) for order in orders}) > 10
    tasks, position = grouped.distinct(torch.tensor([0, 1, 2, 3]))
    assert tasks[position].tolist() == [3, 1, 0, 1]
    assert len(tasks) == 3

    rows = torch.tensor([2, 0])
    assert not draws.grouped
    assert sorted(draws.shuffled(torch.arange(4), rng).tolist()) == [0, 1, 2, 3]
    assert [t.tolist() for t in draws.distinct(rows)] == [[2, 0], [0, 1]]


def test_what_a_padded_class_holds_does_not_matter(rng):
    torch.manual_seed(0)
    pool = PredictorModel(PredictorConfig(hs=12, **SIZES)).dataset_encoder.inter_setpool
    x = torch.randn(2, 5, 8, generator=rng)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    other = torch.where(mask[..., None], x, torch.full_like(x, 1e6))
    assert torch.equal(pool(x, mask), pool(other, mask))


def test_ragged_tuples_survive_the_file(tmp_path, rng):
    archs = [ofa.to_text(arch) for arch in ofa.sample(4, rng)]
    tasks = [[c + 1 for c in task] for task in TASKS]
    folder = tmp_path / "ofa_mbv3"
    more = {"tasks": tasks, "num_validation": 3}
    save_tuples("generator", folder, archs, torch.rand(4), torch.arange(4), torch.arange(4), **more)
    tuples = load_tuples("generator", ofa, tmp_path, 6)
    assert tuples.task_classes.tolist() == ragged_tuples(rng).task_classes.tolist()
    assert (len(tuples.validation), len(tuples.training)) == (3, 1)
    with pytest.raises(UserError, match="classes 1 to 5"):
        load_tuples("generator", ofa, tmp_path, 5)


def test_a_list_gives_its_tasks_and_then_new_ones_like_them(rng):
    listed = ragged_tuples(rng).task_classes
    chosen = choose_tasks(listed, 10, rng)
    assert {number: chosen[number].tolist() for number in range(4)} == dict(enumerate(TASKS))
    assert len(chosen) == 10
    assert all(1 <= len(c) <= 5 and len(set(c.tolist())) == len(c) for c in chosen.values())
    assert len(choose_tasks(listed, 2, rng)) == 2


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
