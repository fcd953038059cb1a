"""Files of every format, changed at random in type, rank, value, size and keys: used, or refused in a sentence."""

import json
import math
import zlib
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.authors import authors_features, authors_tuples
from helpers.fuzzing import fuzzed
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from generator import model as generator_model
from metad2a import spaces
from metad2a.core.arrays import load_arrays, save_arrays
from metad2a.core.errors import UserError
from metad2a.core.published_weights import published_name
from metad2a.core.training_run import RECORD, TrainingRun
from metad2a.data.features import Features, draw_dataset, load_features
from metad2a.data.image_data import load_image_data
from metad2a.finetuning.architectures import read_model_config
from metad2a.metatrain import checkpoints, ensemble, fit
from metad2a.metatrain.checkpoints import Checkpoint, read_checkpoint
from metad2a.metatrain.draws import TaskDraws
from metad2a.metatrain.models import load_model
from metad2a.metatrain.objectives import target_statistics
from metad2a.metatrain.tuples import load_tuples
from metad2a.networks.trained import TrainedNetwork, load_network
from metad2a.spaces.nasbench201 import tables
from metad2a.spaces.nasbench201.cells import to_string
from metad2a.spaces.nasbench201.network import NASBench201Network
from metad2a.spaces.nasbench201.space import NASBench201
from metad2a.training.classifier import Run, published_protocol
from predictor import model as predictor_model

SPACE = spaces.get("nasbench201")
OFA = spaces.get("ofa_mbv3")
CPU = torch.device("cpu")
SIZES = {"max_n": SPACE.max_n, "num_vertex_type": SPACE.num_vertex_type, "hs": 8, "nz": 8, "feature_dim": 6}
ARCH = SPACE.architectures[0]


JUNK = [None, True, -1, 0, 7, 2**70, 1.5, math.nan, math.inf, "x", "", "8", [], [1], ["x"], {}, {"a": 1}, (1, 2)]
JUNK_TENSORS = [
    lambda: torch.zeros(()),
    lambda: torch.zeros(0, 3),
    lambda: torch.zeros(2, 3, 4),
    lambda: torch.arange(3),
    lambda: torch.zeros(3, dtype=torch.bool),
    lambda: torch.zeros(3, 2).to_sparse(),
    lambda: torch.zeros(3, 2, device="meta"),
    lambda: torch.zeros(1).expand(10**9, 6),
]
TENSOR_CHANGES = [
    lambda t: t.long(),
    lambda t: t.bool(),
    lambda t: t.to(torch.uint8),
    lambda t: t.to(torch.complex64),
    lambda t: t.double() * 1e300,
    lambda t: t.to_sparse() if t.ndim else t[None],
    lambda t: t.to("meta"),
    lambda t: t[None],
    lambda t: t.flatten(),
    lambda t: t[:-1].clone() if t.ndim else t[None],
    lambda t: -t - 1,
    lambda t: torch.full(t.shape, math.nan),
    lambda t: t.tolist(),
]


@st.composite
def changed(draw, value, junk=(*JUNK, *JUNK_TENSORS)):
    """`value` with one change somewhere within it."""
    inside = draw(st.integers(0, 5)) > 0
    if isinstance(value, dict) and value and inside:
        key = draw(st.sampled_from(sorted(value, key=str)))
        how = draw(st.sampled_from(["within"] * 5 + ["without", "renamed", "more"]))
        if how == "within":
            return value | {key: draw(changed(value[key], junk))}
        rest = value if how == "more" else {name: item for name, item in value.items() if name != key}
        return rest if how == "without" else rest | {f"{key}_": value[key]}
    if isinstance(value, list | tuple) and value and inside:
        place = draw(st.integers(0, len(value) - 1))
        how = draw(st.sampled_from(["within"] * 3 + ["without", "twice"]))
        middle = {"within": lambda: [draw(changed(value[place], junk))], "without": list}.get(
            how, lambda: [value[place]] * 2
        )
        return type(value)([*value[:place], *middle(), *value[place + 1 :]])
    if isinstance(value, torch.Tensor) and inside:
        return draw(st.sampled_from(TENSOR_CHANGES))(value)
    found = draw(st.sampled_from(junk))
    return found() if callable(found) else found


def used_or_refused(call, *arguments):
    """Whether the call works; a refusal must be a paragraph and everything else fails the test."""
    try:
        call(*arguments)
        return True
    except UserError as error:
        message = str(error)
    assert "\n" not in message
    assert len(message) < 1500
    return False


# Features


@cache
def own_features():
    images, counts = torch.randn(9, 6, generator=torch.Generator().manual_seed(0)), torch.tensor([4, 2, 3])
    fields = {"images": images, "counts": counts, "class_names": ["a", "b", "c"], "extractor": "toy-32px"}
    return {"format": "metad2a-features-1", "name": "toy", **fields}


def use_features(path):
    features = load_features(path, "toy").to(CPU)
    index = draw_dataset(features, 2, 3, torch.Generator())
    assert torch.isfinite(features.images[index]).all()


@fuzzed(60)
@given(changed(own_features()) | changed(authors_features(3, 4, 6)))
def test_features(tmp_path, value):
    torch.save(value, tmp_path / "f.pt")
    used_or_refused(use_features, tmp_path / "f.pt")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"counts": torch.tensor([-1, 7, 3])}, "counts"),
        ({"counts": torch.tensor([4.0, 2, 3])}, "counts is a tensor (3,) of torch.float32"),
        ({"counts": torch.tensor([4, 2, 3], dtype=torch.uint8)}, "torch.uint8"),
        ({"counts": torch.tensor([[4, 2, 3]])}, "counts is a tensor (1, 3)"),
        ({"counts": [4, 2, 3]}, "counts is a list of 3"),
        ({"counts": torch.tensor([2**62, 2**62, 2**62])}, "do not add up"),
        ({"images": torch.zeros(9, 6, dtype=torch.long)}, "images is a tensor (9, 6) of torch.int64"),
        ({"images": torch.zeros(9, 6, dtype=torch.bool)}, "torch.bool"),
        ({"images": torch.zeros(9, 6, dtype=torch.complex64)}, "torch.complex64"),
        ({"images": torch.zeros(9, 6).to_sparse()}, "torch.sparse_coo"),
        ({"images": torch.zeros(9, 6, device="meta")}, "on the device meta"),
        ({"images": torch.zeros(1).expand(10**9, 6)}, "as many values as its shape says"),
        ({"images": torch.full((9, 6), 1e300, dtype=torch.float64)}, "not finite"),
        ({"images": torch.full((9, 6), torch.inf, dtype=torch.float16)}, "not finite"),
        ({"class_names": 3}, "class_names is 3"),
        ({"class_names": ["a", 2, "c"]}, "class_names[1] is 2"),
        ({"class_names": []}, "class_names"),
        ({"extractor": None}, "extractor is None"),
    ],
)
def test_what_is_wrong_with_features_is_named(tmp_path, change, found):
    torch.save(own_features() | change, tmp_path / "f.pt")
    with pytest.raises(UserError) as error:
        load_features(tmp_path / "f.pt", "toy")
    assert found in str(error.value)
    assert "process_dataset.py --dataset toy" in str(error.value)


def test_classes_of_the_authors_are_in_the_order_of_their_numbers(tmp_path):
    torch.save({str(c): [torch.full((1, 6), float(c))] for c in range(12)}, tmp_path / "f.pt")
    assert load_features(tmp_path / "f.pt", "toy").images[:, 0].tolist() == list(range(12))


# Checkpoints


@cache
def models():
    torch.manual_seed(0)
    generator = generator_model.GeneratorModel(generator_model.GeneratorConfig(**SIZES))
    return {
        "generator": generator,
        "predictor": predictor_model.PredictorModel(predictor_model.PredictorConfig(**SIZES)),
    }


@cache
def checkpoint_fields(kind):
    model, target = models()[kind], {"mean": 70.0, "std": 5.0} if kind == "predictor" else {}
    checkpoint = Checkpoint(kind, SPACE.name, asdict(model.config), model.state_dict(), "toy", target, 3, {"x": 1.0})
    return {"format": checkpoints.FORMAT} | {
        name: getattr(checkpoint, name) for name in Checkpoint.__dataclass_fields__
    }


@cache
def published(kind):
    renames = {"generator": generator_model, "predictor": predictor_model}[kind].PUBLISHED_NAMES
    state = {published_name(name, renames): tensor for name, tensor in models()[kind].state_dict().items()}
    return {"grue_forward.weight_hh": torch.zeros(24, 8), **state}


def use_model(kind, path):
    model, checkpoint = load_model(kind, SPACE, path, CPU)
    images = torch.zeros(1, 2, 3, model.config.feature_dim)
    (model.set_encode if kind == "generator" else model.encode_set)(images)
    if kind == "predictor":
        assert checkpoint.target["mean"] * checkpoint.target["std"] < math.inf


@pytest.mark.parametrize("kind", ["generator", "predictor"])
@fuzzed(40)
@given(st.data())
def test_checkpoints(tmp_path, kind, data):
    value = data.draw(changed(checkpoint_fields(kind)) | changed(published(kind)))
    torch.save(value, tmp_path / "c.pt")
    used_or_refused(use_model, kind, tmp_path / "c.pt")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"config": [1, 2]}, "config is a list of 2"),
        ({"config": SIZES | {"hs": 10**6, "nz": 10**6}}, "its hs is 1e+06"),
        ({"config": SIZES | {"members": 10**9}}, "its members is 1e+09"),
        ({"config": SIZES | {"hs": "8"}}, "hs is '8'"),
        ({"config": SIZES | {"depth": 3}}, "unknown 'depth'"),
        ({"config": {"hs": 8}}, "it lacks 'max_n'"),
        ({"config": SIZES | {"nz": 12}}, "its weights"),
        ({"state": [1]}, "state is a list of 1"),
        ({"state": {}}, "state"),
        ({"target": {"mean": math.nan, "std": 1.0}}, "is nan"),
        ({"target": {"mean": "x", "std": 1.0}}, "is 'x'"),
        ({"target": {"mean": 1.0}}, "it lacks 'std'"),
        ({"more": 1}, "unknown 'more'"),
    ],
)
def test_what_is_wrong_with_a_checkpoint_is_named(tmp_path, change, found):
    torch.save(checkpoint_fields("predictor") | change, tmp_path / "c.pt")
    with pytest.raises(UserError) as error:
        load_model("predictor", SPACE, tmp_path / "c.pt", CPU)
    assert found in str(error.value)


@pytest.mark.parametrize("change", [torch.Tensor.long, torch.Tensor.to_sparse, lambda t: t.to("meta")])
def test_parameters_that_are_no_dense_floating_point_numbers(tmp_path, change):
    fields = checkpoint_fields("predictor")
    for value in (fields | {"state": {n: change(t) for n, t in fields["state"].items()}},
                  {n: change(t) for n, t in published("predictor").items()}):  # fmt: skip
        torch.save(value, tmp_path / "c.pt")
        assert not used_or_refused(use_model, "predictor", tmp_path / "c.pt")


def strip(line):
    return checkpoints.main(line.split())


def test_stripping_a_checkpoint_replaces_nothing(tmp_path, capsys):
    torch.save(checkpoint_fields("predictor"), "c.pt")
    before = Path("c.pt").read_bytes()
    Path("kept.pt").write_text("kept")
    Path("link.pt").symlink_to("c.pt")
    for target in ("c.pt", "./c.pt", "link.pt", "c.pt --overwrite", "kept.pt"):
        assert strip(f"predictor c.pt {target}") == 2
        assert "error: " in capsys.readouterr().err
    assert (Path("c.pt").read_bytes(), Path("kept.pt").read_text()) == (before, "kept")
    assert strip("predictor c.pt kept.pt --overwrite") == 0
    assert read_checkpoint("kept.pt", "predictor", "").state["score.0.weight"].dtype == torch.float16


def join(line):
    return ensemble.main(line.split())


def test_only_what_makes_an_ensemble_is_joined(tmp_path, capsys):
    fields = checkpoint_fields("predictor")
    torch.save(fields, "a.pt")
    torch.save(fields | {"state": {n: t for n, t in fields["state"].items() if n != "score.0.weight"}}, "lacking.pt")
    torch.save(published("predictor"), "published.pt")
    for line, found in (
        ("a.pt out.pt", "two or more"),
        ("a.pt published.pt out.pt", "checkpoint of the authors"),
        ("a.pt lacking.pt out.pt", "it lacks score.0.weight"),
        ("a.pt a.pt a.pt --overwrite", "is also read"),
    ):
        assert join(line) == 2
        assert found in capsys.readouterr().err
        assert not Path("out.pt").exists()
    assert join("a.pt a.pt out.pt") == 0
    assert used_or_refused(use_model, "predictor", "out.pt")


# Meta-training databases


@cache
def tuples():
    rng = torch.Generator().manual_seed(0)
    tasks = [[1, 2], [3, 4, 5], [2, 5], [1, 4]]
    texts = SPACE.sample(8, rng)
    return {
        "database": {
            "format": "metad2a-tuples-1",
            "acc": torch.rand(8, generator=rng) * 100,
            "task": torch.arange(8) % 4,
            "str": texts,
        },
        "split": torch.randperm(8, generator=rng),
        "tasks": tasks,
    } | {"own tasks": {"tasks": tasks, "num_validation": 2}}


@cache
def five_classes():
    return Features("imgnet32", torch.zeros(15, 6), torch.full((5,), 3), list("abcde"), "toy", "toy.pt")


def save_database(folder, database, split, tasks):
    torch.save(database, folder / "meta_train_tasks_predictor.pt")
    torch.save(split, folder / "meta_train_tasks_predictor_idx.pt")
    torch.save(tasks, folder / "meta_train_task_lst.pt")


def use_tuples(folder):
    found = load_tuples("predictor", SPACE, folder, 5, allow_pickle=True)
    draws = TaskDraws(five_classes(), found, 2, CPU)
    draws.images(draws.index(draws.task[found.training], torch.Generator()))
    SPACE.encode(found.archs)
    assert math.isfinite(target_statistics(found)["mean"])


@fuzzed(60)
@given(st.data())
def test_databases(tmp_path, data):
    parts = {name: tuples()[name] for name in ("database", "split", "tasks")}
    if data.draw(st.booleans()):
        parts["database"] = parts["database"] | tuples()["own tasks"]
    name = data.draw(st.sampled_from(sorted(parts)))
    save_database(tmp_path, **parts | {name: data.draw(changed(parts[name]))})
    used_or_refused(use_tuples, tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda graph: graph.vs.__setitem__("type", ["x"] * 8),
        lambda graph: graph.vs.__setitem__("type", [99] * 8),
        lambda graph: graph.vs.__setitem__("type", [1.0] * 8),
        lambda graph: graph.vs.__delitem__("type"),
        lambda graph: graph.add_vertices(3),
        lambda graph: graph.delete_vertices(range(8)),
        lambda graph: graph.delete_edges(range(4)),
        lambda graph: graph.add_edges([(5, 2)]),
    ],
)
def test_graphs_that_are_no_architectures(tmp_path, change):
    database, split = authors_tuples(SPACE, 8)
    change(database["graph"][3])
    save_database(tmp_path, database | {"task": [0] * 8}, split, tuples()["tasks"])
    with pytest.raises(UserError, match="graph 3 is"):
        use_tuples(tmp_path)


# Shards


@cache
def shard_lines():
    header = {"format": "metad2a-shard-1", "shard": 0, "search_space": "nasbench201", "supernet": "", "seed": 1}
    header |= {"class_names": ["a", "b"], "num_tasks": 3, "num_archs": 1, "num_calibration": 1, "epochs": 1}
    record = {"classes": [1, 2], "archs": [ARCH], "accuracy": [50.0], "peak_gb": 0.1}
    return [header, *({"number": number, **record} for number in range(3))]


def collect_shards(folder):
    from metad2a.database.build import collect

    collect("nasbench201", str(folder), overwrite=True)


@fuzzed(60)
@given(changed(shard_lines(), junk=JUNK))
def test_shards(tmp_path, value):
    path = tmp_path / "predictor_shards" / "shard_0000.jsonl"
    path.parent.mkdir(exist_ok=True)
    texts = [json.dumps(line) for line in (value if isinstance(value, list) else [value])]
    path.write_text("".join(f"{zlib.crc32(text.encode()):08x} {text}\n" for text in texts))
    used_or_refused(collect_shards, tmp_path)


# Trained networks and their training


@cache
def trained_fields():
    network = NASBench201Network(ARCH, 2)
    trained = TrainedNetwork("nasbench201", ARCH, ["a", "b"], (0.5,) * 3, (0.5,) * 3, network.state_dict())
    return {"format": "metad2a-network-1"} | {name: getattr(trained, name) for name in trained.__dataclass_fields__}


@torch.no_grad()
def use_network(path):
    assert torch.isfinite(load_network(path)(torch.zeros(1, 3, 32, 32))).all()


@fuzzed(30)
@given(changed(trained_fields()))
def test_trained_networks(tmp_path, value):
    torch.save(value, tmp_path / "network.pt")
    used_or_refused(use_network, tmp_path / "network.pt")


@pytest.mark.parametrize(
    "damage",
    [
        lambda fields: [1],
        lambda fields: fields | {"state": {n: t * math.nan for n, t in fields["state"].items()}},
        lambda fields: fields | {"architecture": to_string([3] * 6)},
        lambda fields: fields | {"class_names": list("abc")},
        lambda fields: fields | {"accuracy": {"x-test": 50.0}},
    ],
)
def test_a_damaged_network_is_not_taken_for_a_finished_one(tmp_path, damage):
    from metad2a.networks.train_arch import Job

    job = SimpleNamespace(identity={}, folder=tmp_path)
    good = trained_fields() | {"accuracy": {"x-test": 50.0, "x-valid": 50.0}}
    torch.save(good, tmp_path / "network.pt")
    assert Job._finished(job, tmp_path / "network.pt", 0).architecture == ARCH
    torch.save(damage(good), tmp_path / "network.pt")
    with pytest.raises(UserError, match=r"network\.pt (is|belongs to) "):
        Job._finished(job, tmp_path / "network.pt", 0)


def new_run(path):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.BatchNorm2d(2))
    return Run(network, published_protocol("toy", epochs=2), {"dataset": "toy"}, 1, path)


def step(module, optimizer):
    module(torch.ones(2, 3, 2, 2)).sum().backward()
    optimizer.step()


def resume_run(path):
    run = new_run(path)
    run.restore()
    step(run.network, run.optimizer)


@fuzzed(60)
@given(st.data())
def test_training_states_of_networks(tmp_path, data):
    run = new_run(tmp_path / "ckpt.pt")
    step(run.network, run.optimizer)
    run.save()
    assert used_or_refused(resume_run, run.checkpoint)
    value = torch.load(run.checkpoint, weights_only=True)
    torch.save(data.draw(changed(value)), run.checkpoint)
    used_or_refused(resume_run, run.checkpoint)


def new_state():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1))
    return fit._State(SimpleNamespace(model=model), fit.FitOptions(ema=0.9))


def template():
    history = {"command": "x", "tuples": "y"}
    return Checkpoint("generator", "nasbench201", {"hs": 8}, {}, "toy", history=history)


def resume_fit(path):
    state = new_state()
    checkpoint = read_checkpoint(path, "generator", "")
    state.restore(checkpoint, path)
    state.step(state.model(torch.ones(2, 3, 2, 2)).sum())
    state.scheduler.step(1.0)


@fuzzed(60)
@given(st.data())
def test_training_states_of_the_models(tmp_path, data):
    state, path = new_state(), tmp_path / "ckpt_last.pt"
    state.step(state.model(torch.ones(2, 3, 2, 2)).sum())
    training = state.training_state() | {"identity": {"seed": 333}}
    checkpoint = replace(template(), state=state.model.state_dict(), training=training)
    checkpoint.save(path)
    assert used_or_refused(resume_fit, path)
    replace(checkpoint, training=data.draw(changed(training))).save(path)
    used_or_refused(resume_fit, path)


def use_best(path):
    from metad2a.finetuning.finetune import read_best

    run = new_run(path)
    run.network.load_state_dict(read_best(run, path)["network"])


@fuzzed(30)
@given(st.data())
def test_best_epochs_of_a_fine_tuning(tmp_path, data):
    value = {"valid": 50.0, "epoch": 1, "network": new_run(tmp_path).network.state_dict()}
    torch.save(value, tmp_path / "best.pt")
    assert used_or_refused(use_best, tmp_path / "best.pt")
    torch.save(data.draw(changed(value)), tmp_path / "best.pt")
    used_or_refused(use_best, tmp_path / "best.pt")


def test_a_record_of_a_run_that_is_no_text_is_refused(tmp_path):
    (tmp_path / RECORD).write_bytes(b"\xff\xfe\x00")
    (tmp_path / "network.pt").touch()
    with (
        TrainingRun(tmp_path, ("network.pt",), resume=True, overwrite=False) as run,
        pytest.raises(UserError, match=r"run\.json is not what an earlier run depends on"),
    ):
        run.begin({"seed": 1}, {"command": "x", "date": "y"})


# Images


@pytest.fixture
def images(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(6):
            Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(
                tmp_path / "images" / name / f"{i}.png"
            )
    load_image_data("toy", "images", "data", 333)
    [path] = Path("data/pixels").glob("*.pt")
    return path, torch.load(path, weights_only=True)


def use_images():
    data = load_image_data("toy", "images", "data", 333)
    assert len(data.train) + len(data.valid) + len(data.test) <= 13


@fuzzed(40)
@given(st.data())
def test_decoded_images(images, data):
    path, value = images
    torch.save(data.draw(changed(value)), path)
    used_or_refused(use_images)
    torch.save(value, path)


TEXTS = [
    "",
    "<html>",
    "[" * 100_000,
    "9" * 5000,
    '{"xvalid": ["int", [' + "9" * 5000 + "]]}",
    "NaN",
    '"' + "\\ud800" + '"',
]
SPLIT = {"xvalid": ["int", [0, "1"]], "xtest": ["int", [2, 3]]}


@fuzzed(40)
@given(text=changed(SPLIT, junk=JUNK).map(json.dumps) | st.sampled_from(TEXTS))
def test_test_splits(images, text):
    Path("data/toy-test-split.txt").write_text(text)
    used_or_refused(use_images)


# The MobileNetV3 space


CONFIGURATIONS = [
    {"ks": [3] * 20, "e": [4] * 20, "d": [2] * 5, "r": 160, "w": 1.0},
    {"ks": [3] * 10, "e": [4] * 10, "d": [2] * 5},
    {"blocks": [{"shortcut": None, "conv": {"kernel_size": 3, "expand_ratio": 4}}] * 3
     + [{"shortcut": {}, "mobile_inverted_conv": {"kernel_size": 3, "expand_ratio": 4}}] * 8},
]  # fmt: skip


def use_configuration(path):
    chosen = read_model_config(path, 1.0)
    OFA.sized(chosen.image_size).cost(chosen.arch, 10)


@fuzzed(60)
@given(
    text=st.sampled_from(CONFIGURATIONS).flatmap(lambda v: changed(v, JUNK)).map(json.dumps) | st.sampled_from(TEXTS)
)
def test_network_configurations(tmp_path, text):
    (tmp_path / "net.config").write_text(text)
    used_or_refused(use_configuration, tmp_path / "net.config")


@pytest.mark.parametrize(
    "change",
    [{"ks": [3.0] * 20}, {"ks": [[3]] * 20}, {"r": -1}, {"r": 1.5}, {"r": "224"}, {"d": [True] * 5}, {"w": math.nan}],
)
def test_wrong_network_configurations_are_refused(tmp_path, change):
    (tmp_path / "net.config").write_text(json.dumps(CONFIGURATIONS[0] | change))
    assert not used_or_refused(use_configuration, tmp_path / "net.config")


@pytest.mark.parametrize("text", ["[" * 100_000, "-" * 100_000 + "1", "{[]: 1}", "{'ks': [[3]] * 20}", "9" * 5000])
def test_texts_that_are_no_architecture(text):
    for space in (SPACE, OFA):
        with pytest.raises(UserError):
            space.from_text(text)


@cache
def supernet_fields():
    pytest.importorskip("ofa")
    from metad2a.spaces.ofa_mbv3.supernet import SupernetConfig, build_supernet

    config = SupernetConfig(2, 0.1, 16, ["a", "b"])
    state = build_supernet(config).state_dict()
    return {"format": "metad2a-supernet-1", "state_dict": state, "config": asdict(config)}


@fuzzed(12)
@given(st.data())
def test_supernets(tmp_path, data):
    from metad2a.spaces.ofa_mbv3.supernet import read_supernet

    value = supernet_fields()
    if data.draw(st.booleans()):
        value = {"state_dict": value["state_dict"]}
    torch.save(data.draw(changed(value)), tmp_path / "supernet.pt")
    used_or_refused(read_supernet, tmp_path / "supernet.pt")


@pytest.mark.parametrize(
    "change",
    [{"width_mult": 1e9}, {"num_classes": 10**9}, {"width_mult": math.nan}, {"width_mult": 0.2}, {"image_size": 10**9},
     {"num_classes": 2.0}, {"class_names": ["a"]}],
)  # fmt: skip
def test_supernets_whose_sizes_are_not_those_of_their_weights(tmp_path, change):
    from metad2a.spaces.ofa_mbv3.supernet import load_supernet

    value = supernet_fields()
    torch.save(value | {"config": value["config"] | change}, tmp_path / "supernet.pt")
    assert not used_or_refused(load_supernet, tmp_path / "supernet.pt")


def test_a_supernet_is_resumed_from_a_good_training_state_alone(tmp_path):
    pytest.importorskip("ofa")
    from metad2a.spaces.ofa_mbv3.supernet_training import SupernetOptions, _Run

    fields = {
        "imgnet": "images",
        "save_path": "out",
        "epochs": 2,
        "largest_epochs": 0,
        "batch_size": 2,
        "num_random": 1,
        "num_workers": 0,
    }
    more = {"lr": 0.1, "weight_decay": 0.0, "seed": 1, "resume": True, "overwrite": False, "gpu": "cpu"}
    options = SupernetOptions(class_names=["a", "b"], width_mult=0.1, image_size=16, **fields, **more)
    path = tmp_path / "supernet.pt"
    run, training = _Run(options, 4), TrainingRun(tmp_path, (), resume=False, overwrite=False)
    training.begin({"seed": 1}, {"command": "x", "date": "y"})
    run.save(path, training)
    run.restore(path, training)
    value = torch.load(path, weights_only=True)
    for name, junk in (("rng", torch.zeros(3)), ("optimizer", {"state": [1]}), ("scheduler", {}), ("identity", None)):
        torch.save(value | {"training": value["training"] | {name: junk}}, path)
        assert not used_or_refused(run.restore, path, training)


# The benchmark


def as_arrays(value):
    if isinstance(value, dict):
        return {name: as_arrays(part) for name, part in value.items()}
    return value.clone().numpy() if isinstance(value, torch.Tensor) else value


@fuzzed(30)
@given(st.data())
def test_tables_of_accuracies(tmp_path, data):
    columns = load_arrays(tables.ACCURACY, "")
    table = {name: {key: torch.from_numpy(part) for key, part in each.items()} for name, each in columns.items()}
    try:
        save_arrays(tmp_path / "table.npz", as_arrays(data.draw(changed(table))))
    except (TypeError, ValueError, AttributeError, RuntimeError, NotImplementedError, MemoryError):
        assume(False)  # nothing that such a file can hold
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "ACCURACY", tmp_path / "table.npz")
        used_or_refused(NASBench201().known_accuracy, "cifar10")
