"""Features files, meta-training tuples and draws."""

from collections import Counter
from itertools import product

import igraph
import pytest
import torch
from helpers.authors import authors_features, authors_tuples

from metad2a.core.environment import peak_gb
from metad2a.core.errors import UserError
from metad2a.data.feature_files import find_features
from metad2a.data.features import Features, draw_dataset, draw_images, load_features
from metad2a.metatrain.tuples import load_tuples, save_tuples


def toy_features(counts, dim=3):
    counts = torch.tensor(counts)
    images = torch.arange(int(counts.sum()), dtype=torch.float32)[:, None].expand(-1, dim).contiguous()
    return Features("toy", images, counts, [str(c) for c in range(len(counts))], "resnet18-32px", "toy.pt")


def test_draws_take_distinct_images_of_the_right_class(rng):
    features = toy_features([7, 5, 30])
    classes = torch.tensor([[0, 2], [1, 2], [2, 0]])
    index = draw_images(features, classes, 5, rng)
    assert index.shape == (3, 2, 5)
    labels = torch.arange(3).repeat_interleave(features.counts)
    assert torch.equal(labels[index], classes[..., None].expand(-1, -1, 5))
    assert all(len(set(row)) == 5 for row in index.flatten(0, 1).tolist())


def test_small_classes_are_drawn_with_replacement_and_keep_their_bounds(rng):
    features = toy_features([2, 9, 1])
    index = draw_images(features, torch.arange(3).expand(200, -1), 6, rng)
    labels = torch.arange(3).repeat_interleave(features.counts)
    assert torch.equal(labels[index], torch.arange(3)[None, :, None].expand(200, -1, 6))
    assert all(len(set(row)) == 6 for row in index[:, 1].tolist())
    assert set(index[:, 0].flatten().tolist()) == {0, 1}


def test_draws_are_even(rng):
    index = draw_images(toy_features([10, 4]), torch.zeros(4000, 1, dtype=torch.long), 3, rng)
    counts = torch.bincount(index.flatten(), minlength=10).float()
    assert ((counts - 1200).abs() < 5 * (1200 * 0.7) ** 0.5).all()


def test_every_subset_of_a_class_is_as_likely(rng):
    index = draw_images(toy_features([6]), torch.zeros(20_000, 1, dtype=torch.long), 3, rng)[:, 0]
    found = Counter(tuple(sorted(row)) for row in index.tolist())
    assert len(found) == 20
    assert sum((n - 1000) ** 2 / 1000 for n in found.values()) < 60  # chi-squared of 19 degrees: 1 in 4 million


def test_draws_equal_floyds_algorithm(monkeypatch, rng):
    counts = [4, 30, 7]
    random = torch.rand(4, 50, 3, generator=rng)
    monkeypatch.setattr(torch, "rand", lambda *size, **_: random)
    index = draw_images(toy_features(counts), torch.arange(3).expand(50, -1), 4, rng)
    for b, label in product(range(50), range(3)):
        expected = []
        for j in range(4):
            last = counts[label] - 4 + j
            pick = int(random[j, b, label] * (last + 1))
            expected.append(sum(counts[:label]) + (last if sum(counts[:label]) + pick in expected else pick))
        assert index[b, label].tolist() == expected


def test_drawing_takes_no_more_memory_from_a_large_class(rng):
    features = Features("toy", torch.empty(0, 3), torch.tensor([10**9, 2]), ["a", "b"], "resnet18-32px", "toy.pt")
    index = draw_images(features, torch.tensor([[0, 1]]).expand(1000, -1), 20, rng)
    assert index.shape == (1000, 2, 20)
    assert all(len(set(row)) == 20 for row in index[:, 0].tolist())


def test_some_classes_of_a_dataset(rng):
    features = toy_features([4, 4, 4, 4, 4])
    index = draw_dataset(features, 50, 2, rng, num_class=3)
    assert index.shape == (50, 3, 2)
    assert all(len(set(row)) == 3 for row in (index // 4)[:, :, 0].tolist())
    with pytest.raises(UserError, match="5 classes"):
        draw_dataset(features, 1, 2, rng, num_class=6)


def test_authors_features(tmp_path):
    value = authors_features(3, 4)
    torch.save(value, tmp_path / "f.pt")
    features = load_features(tmp_path / "f.pt", "pets")
    assert features.extractor == "resnet18-32px"
    assert features.counts.tolist() == [4, 4, 4]
    assert torch.equal(features.images[4:8], value[1][0])


def test_own_features_survive_the_file(tmp_path):
    features = toy_features([2, 3])
    features.save(tmp_path / "f.pt")
    read = load_features(tmp_path / "f.pt", "toy")
    assert torch.equal(read.images, features.images)
    assert (read.extractor, read.class_names) == (features.extractor, features.class_names)


def damage(value, how):
    if how == "nan":
        value[1][0][2, 5] = float("nan")
    elif how == "empty":
        value[1] = []
    elif how == "empty tensor":
        value[1] = [torch.empty(0, 512)]
    elif how == "width":
        value[1] = [torch.zeros(4, 256)]
    elif how == "flat":
        value[1] = [torch.zeros(4)]
    return value


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("nan", "NaN or infinite"),
        ("empty", "class 1 has no images"),
        ("empty tensor", "class 1 has no images"),
        ("width", "differ in feature width"),
        ("flat", r"should be a tensor \(n, D\)"),
    ],
)
def test_bad_features(tmp_path, how, message):
    torch.save(damage(authors_features(3, 4), how), tmp_path / "f.pt")
    with pytest.raises(UserError, match=message) as error:
        load_features(tmp_path / "f.pt", "pets")
    assert "process_dataset.py --dataset pets" in str(error.value)


@pytest.mark.parametrize("content", [b"", b"<html>Not found</html>", b"PK\x03\x04 truncated"])
def test_files_that_are_not_features(tmp_path, content):
    (tmp_path / "f.pt").write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        load_features(tmp_path / "f.pt", "pets")


def test_a_truncated_features_file(tmp_path):
    torch.save(authors_features(), tmp_path / "f.pt")
    whole = (tmp_path / "f.pt").read_bytes()
    (tmp_path / "f.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"f\.pt is damaged"):
        load_features(tmp_path / "f.pt", "pets")


def test_shipped_features_serve_where_the_user_has_none(tmp_path):
    assert find_features("cifar10", tmp_path).is_file()
    torch.save(authors_features(), tmp_path / "cifar10bylabel.pt")
    assert find_features("cifar10", tmp_path) == tmp_path / "cifar10bylabel.pt"
    with pytest.raises(UserError, match="cifar10, imagenet16-120, imgnet32, mnist"):
        find_features("food101", tmp_path)


def test_shipped_tuples_are_the_authors_split(space, tmp_path):
    tuples = load_tuples("predictor", space, tmp_path, num_classes=600)
    assert len(tuples.archs) == 4630
    assert (len(tuples.training), len(tuples.validation)) == (4230, 400)
    assert tuples.task_classes.shape == (5000, 20)
    assert 40 < tuples.accuracy.min() < tuples.accuracy.max() < 87


def test_pickled_graphs_need_a_word(space, authors_data):
    with pytest.raises(UserError, match="--allow-pickle"):
        load_tuples("predictor", space, authors_data, 12)
    tuples = load_tuples("predictor", space, authors_data, 12, allow_pickle=True)
    expected, _ = authors_tuples(space)
    assert tuples.accuracy.tolist() == pytest.approx(expected["acc"])
    assert tuples.archs == space.sample(len(tuples.archs), torch.Generator().manual_seed(0))


def test_republished_layout(space, authors_data):
    value, _ = authors_tuples(space)
    archs = space.sample(len(value["acc"]), torch.Generator().manual_seed(0))
    torch.save({**value, "g": value.pop("graph"), "str": archs}, authors_data / "meta_train_tasks_predictor.pt")
    assert load_tuples("predictor", space, authors_data, 12, allow_pickle=True).archs == archs


def test_other_pickles_are_refused_even_then(space, authors_data, tmp_path):
    class Harmful:
        def __reduce__(self):
            return (open, (str(tmp_path / "harm"), "w"))

    torch.save({"acc": [1.0], "task": [0], "graph": Harmful()}, authors_data / "meta_train_tasks_predictor.pt")
    with pytest.raises(UserError, match="was not read"):
        load_tuples("predictor", space, authors_data, 12, allow_pickle=True)
    assert not (tmp_path / "harm").exists()


def test_a_pickled_graph_that_claims_a_billion_vertices_takes_no_memory(space, authors_data):
    class Huge:
        def __reduce__(self):
            return igraph.Graph, (10**9, [], False, {}, {}, {})

    torch.save({"acc": [1.0], "task": [0], "graph": [Huge()]}, authors_data / "meta_train_tasks_predictor.pt")
    before = peak_gb()
    with pytest.raises(UserError, match="a graph of 1000000000 vertices"):
        load_tuples("predictor", space, authors_data, 12, allow_pickle=True)
    assert peak_gb() - before < 0.5


def test_own_tuples_survive_the_file(space, tmp_path, rng):
    archs = space.sample(8, rng)
    accuracy, task, split = torch.rand(8), torch.arange(8), torch.randperm(8)
    save_tuples("generator", tmp_path, archs, accuracy, task, split)
    tuples = load_tuples("generator", space, tmp_path, 600)
    assert tuples.archs == archs
    assert torch.equal(tuples.accuracy, accuracy)
    assert torch.equal(torch.cat([tuples.validation, tuples.training]), split)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"acc": [float("nan")] * 8}, "NaN"),
        ({"task": [9999] * 8}, "refers to task 9999"),
        ({"acc": [1.0] * 7}, "inconsistent"),
        ({"str": ["|what~0|"] * 8}, "Not a NAS-Bench-201"),
    ],
)
def test_bad_tuples(space, tmp_path, rng, change, message):
    value = {"acc": [1.0] * 8, "task": [0] * 8, "str": space.sample(8, rng)}
    torch.save({**value, **change}, tmp_path / "meta_train_tasks_predictor.pt")
    torch.save(torch.randperm(8), tmp_path / "meta_train_tasks_predictor_idx.pt")
    with pytest.raises(UserError, match=message):
        load_tuples("predictor", space, tmp_path, 600)


def test_a_task_beyond_the_features(space, authors_data):
    with pytest.raises(UserError, match="classes 1 to 5"):
        load_tuples("predictor", space, authors_data, 5, allow_pickle=True)


def test_a_split_that_is_no_permutation(space, authors_data):
    torch.save(torch.zeros(24, dtype=torch.long), authors_data / "meta_train_tasks_predictor_idx.pt")
    with pytest.raises(UserError, match="not a permutation"):
        load_tuples("predictor", space, authors_data, 12, allow_pickle=True)


@pytest.mark.usefixtures("authors_data", "toy_checkpoints")
def test_all_draws_of_the_generators_database_follow_the_seed(command, monkeypatch):
    from metad2a.database import generator

    seeds, make = [], generator.random_generator

    def noted(seed, *device):
        seeds.append(seed)
        return make(seed, *device)

    monkeypatch.setattr(generator, "random_generator", noted)
    line = "build-database --model generator --num-tasks 3 --num-sampled 4 --num-sample 2 --num-draws 1 --overwrite"
    drawn = {}
    for seed in (333, 334, 1):
        code, _, err = command(f"{line} --seed {seed}")
        assert code == 0, err
        drawn[seed] = set(seeds)
        assert len(drawn[seed]) == 4
        seeds.clear()
    assert drawn[333] <= {333, *range(10)}  # as in the shipped database
    assert not drawn[333] & (drawn[334] | drawn[1])
