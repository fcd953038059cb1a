"""Which device does what: the current GPU, workers of a cluster, worker processes by spawn."""

import multiprocessing
import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from metad2a.core.environment import choose_device
from metad2a.data.datasets import KNOWN, known_dataset
from metad2a.data.extractors import Extractor
from metad2a.data.image_source import image_folder
from metad2a.data.make_features import extract
from metad2a.data.options import DATASETS
from metad2a.database import workers
from metad2a.database.items import Item
from metad2a.database.workers import EvaluatorOptions, gpu_share, measure_with_ray


@pytest.fixture
def two_gpus(monkeypatch):
    """A machine with two GPUs, as far as PyTorch tells; returns the numbers that became current."""
    current = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: current.append(torch.device(device).index))
    return current


@pytest.mark.parametrize(("gpu", "index"), [(None, 0), ("0", 0), ("1", 1)])
def test_a_chosen_gpu_is_the_current_one(two_gpus, gpu, index):
    assert choose_device(gpu) == torch.device("cuda", index)
    assert two_gpus == [index]


def test_the_cpu_is_chosen_without_touching_a_gpu(two_gpus):
    assert choose_device("cpu") == torch.device("cpu")
    assert two_gpus == []


OPTIONS = EvaluatorOptions("nasbench201", "images", ("a", "b"), "", 10, 1, "cuda:1")


class FakeRay:
    """A cluster that measures at once; it records what its tasks are given."""

    exceptions = SimpleNamespace(RayTaskError=KeyError, WorkerCrashedError=KeyError, OutOfMemoryError=KeyError)

    def __init__(self, **resources):
        self.resources, self.demands, self.devices = resources, [], []

    def init(self, **_):
        pass

    def shutdown(self):
        pass

    def cluster_resources(self):
        return self.resources

    def remote(self, **demands):
        self.demands.append(demands)
        return lambda function: SimpleNamespace(remote=self._measured)

    def _measured(self, options, item):
        self.devices.append(options.device)
        return item.number

    def put(self, value):
        return value

    def wait(self, running, timeout=None):
        return running[:1], running[1:]

    def get(self, reference):
        return {"number": reference}


@pytest.mark.parametrize(
    ("resources", "use_gpus", "num_workers", "share", "device"),
    [
        ({"CPU": 8, "GPU": 2}, True, 4, 0.5, "cuda"),
        ({"CPU": 8, "GPU": 2}, True, 0, 0.25, "cuda"),
        ({"CPU": 8, "GPU": 2}, False, 4, 0, "cpu"),
        ({"CPU": 8}, True, 4, 0, "cpu"),
    ],
)
@pytest.mark.parametrize("here", ["cuda:1", "cpu"])
def test_ray_workers_share_the_clusters_gpus(monkeypatch, resources, use_gpus, num_workers, share, device, here):
    """Whatever the machine has that starts them."""
    ray = FakeRay(**resources)
    monkeypatch.setattr(workers, "load_ray", lambda: ray)
    items = [Item(0, number, [0], ["x"], 0) for number in range(3)]
    results = list(measure_with_ray(replace(OPTIONS, device=here), items, num_workers, None, use_gpus))
    assert [(item.number, result["number"]) for item, result in results] == [(n, n) for n in range(3)]
    assert ray.demands[0]["num_gpus"] == share
    assert ray.devices == [device] * 3  # a worker sees but one GPU, whose number is 0


class _TaskError(Exception):
    cause = ValueError("boom")


def test_an_error_of_a_workers_own_is_the_result_of_its_item(monkeypatch):
    """If the caller says what a failure gives; else it ends the measurement."""

    class FailingRay(FakeRay):
        exceptions = SimpleNamespace(RayTaskError=_TaskError, WorkerCrashedError=OSError, OutOfMemoryError=OSError)

        def get(self, reference):
            if reference == 1:
                raise _TaskError
            return reference

    monkeypatch.setattr(workers, "load_ray", lambda: FailingRay(CPU=2))
    items = [Item(0, number, [0], ["x"], 0) for number in range(3)]
    failed = {"watch": lambda: None, "failed": lambda item, error: f"{item.number} failed: {error}"}
    results = list(measure_with_ray(OPTIONS, items, 1, None, False, **failed))
    assert [result for _, result in results] == [0, "1 failed: boom", 2]
    with pytest.raises(ValueError, match="boom"):
        list(measure_with_ray(OPTIONS, items, 1, None, False))


@pytest.mark.parametrize("num_gpus", range(1, 5))
def test_every_worker_finds_a_place_on_a_gpu(num_gpus):
    for num_workers in range(1, 12):
        share = round(10_000 * gpu_share(num_workers, num_gpus))  # as Ray counts
        assert 0 < share <= 10_000
        assert num_gpus * (10_000 // share) >= num_workers


@pytest.fixture
def folder(tmp_path):
    """Two classes of two images."""
    for label, name in enumerate(("a", "b")):
        for i in range(2):
            path = tmp_path / "images" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), 60 * (2 * label + i), dtype=np.uint8)).save(path)
    return tmp_path / "images"


@pytest.fixture
def _spawn():
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    yield
    multiprocessing.set_start_method(before, force=True)


@pytest.mark.usefixtures("_spawn")
def test_workers_can_be_spawned(folder):
    """As on macOS and Windows, and on Linux from Python 3.14."""
    source = image_folder("mine", folder, None)
    alone, spawned = (
        extract(source, source.select(), Extractor("efficientnet_lite0", source.name), 4, workers) for workers in (0, 1)
    )
    assert torch.equal(alone.images, spawned.images)


class Images(list):
    @property
    def numbers(self):
        return list(range(len(self)))


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_known_datasets_can_be_sent_to_a_worker(tmp_path, monkeypatch, name):
    images = Images((Image.new("RGB", (4, 4), (n, 0, 0)), 0) for n in range(DATASETS[name]))
    known = replace(KNOWN[name], open=lambda root, split: images, labels="numbers")
    monkeypatch.setitem(KNOWN, name, known)
    (tmp_path / "raw-data" / known.folder).mkdir(parents=True)
    source = pickle.loads(pickle.dumps(known_dataset(name, tmp_path, "train")))
    assert source.open(3).getpixel((0, 0)) == (3, 0, 0)
    assert source.describe(3) == f"{name} train image 3"
