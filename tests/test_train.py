"""Meta-training through the command line."""

import json
import math
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.authors import authors_tuples
from helpers.meta_train import line, weights

from metad2a.core.training_run import TrainingRun
from metad2a.data.features import load_features
from metad2a.metatrain.checkpoints import read_checkpoint
from metad2a.metatrain.draws import TaskDraws
from metad2a.metatrain.tuples import load_tuples

pytestmark = pytest.mark.usefixtures("authors_data")


def authors_draws(space):
    """What the predictor is trained on, as read from `data`."""
    tuples = load_tuples("predictor", space, "data", 12, allow_pickle=True)
    features = load_features("data/imgnet32bylabel.pt", "imgnet32")
    return TaskDraws(features, tuples, 3, torch.device("cpu")), tuples


def predictor_objective(space, model=None, benchmarks=(), **losses):
    from metad2a.metatrain.objectives import PredictorObjective

    draws, tuples = authors_draws(space)
    return PredictorObjective(model, draws, tuples, space.encode(tuples.archs), 0, benchmarks, **losses)


def assert_same(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("kind", ["generator", "predictor"])
def test_published_command_as_typed(command, kind, monkeypatch):
    """The authors' files hold pickled graphs, so the environment gives the word that the line does not."""
    monkeypatch.setenv("METAD2A_ALLOW_PICKLE", "1")
    hs = {"generator": 56, "predictor": 512}[kind]
    code, _, err = command(f"--gpu 0 --model {kind} --hs {hs} --nz 56 --max-epoch 1")
    assert code == 0, err
    if not torch.cuda.is_available():
        assert "running on the CPU" in err
    checkpoint = read_checkpoint(f"results/{kind}/model/ckpt_1.pt", kind, "")
    sizes = {"max_n": 8, "num_vertex_type": 7, "hs": hs, "nz": 56, "feature_dim": 512}
    assert checkpoint.config == sizes | (
        {"members": 1, "class_count": False, "additive": False} if kind == "predictor" else {}
    )
    assert checkpoint.extractor == "resnet18-32px"
    assert checkpoint.history["seed"] == 333


def test_pickled_databases_need_a_word(refuses):
    assert "--allow-pickle" in refuses("--model predictor --hs 12 --nz 8 --max-epoch 1")


@pytest.mark.parametrize("kind", ["generator", "predictor"])
def test_training_lowers_the_loss_and_keeps_what_it_should(command, kind):
    code, _, err = command(line(kind, "--max-epoch 12 --save-epoch 5 --lr 0.01"))
    assert code == 0, err
    folder = Path("results") / kind
    epochs = [text.split() for text in (folder / "log.txt").read_text().splitlines() if "train_loss" in text]
    losses = [float(words[words.index("train_loss") + 1]) for words in epochs]
    assert len(losses) == 12
    assert losses[-1] < 0.8 * losses[0]
    expected = {"ckpt_5.pt", "ckpt_10.pt", "ckpt_12.pt", "ckpt_last.pt"}
    if kind == "predictor":
        expected.add("ckpt_max_corr.pt")
        correlations = [float(words[words.index("correlation") + 1]) for words in epochs]
        best = read_checkpoint(folder / "model" / "ckpt_max_corr.pt", kind, "")
        assert best.metrics["correlation"] == pytest.approx(max(correlations), rel=1e-4)
        assert best.epoch == correlations.index(max(correlations)) + 1
    assert {path.name for path in (folder / "model").iterdir()} == expected


def test_the_loss_is_the_published_one(command, space, monkeypatch):
    """The mean of the squared errors on ((accuracy - mean) / std) / 100: of scores of 0 their variance."""
    from metad2a.metatrain.objectives import PredictorObjective

    def zeros(objective, images, rows, position):
        return 0 * objective.model.score[2].bias.expand(len(rows))

    monkeypatch.setattr(PredictorObjective, "scores", zeros)
    assert command(line("predictor", "--max-epoch 1"))[0] == 0
    checkpoint = read_checkpoint("results/predictor/model/ckpt_1.pt", "predictor", "")
    tuples = load_tuples("predictor", space, "data", 12, allow_pickle=True)
    accuracy = tuples.accuracy[tuples.training]
    assert checkpoint.target == pytest.approx({"mean": accuracy.mean().item(), "std": accuracy.std().item()})
    assert checkpoint.metrics["train_loss"] == pytest.approx((1 - 1 / len(accuracy)) / 100**2, rel=1e-3)


@pytest.mark.parametrize("kind", ["generator", "predictor"])
def test_resuming_gives_the_weights_of_an_uninterrupted_run(command, kind):
    assert command(line(kind, "--max-epoch 4", "whole"))[0] == 0
    assert command(line(kind, "--max-epoch 2", "parts"))[0] == 0
    assert command(line(kind, "--max-epoch 4 --resume", "parts"))[0] == 0
    assert_same(weights(kind, "whole"), weights(kind, "parts"))
    a, b = (read_checkpoint(f"{f}/{kind}/model/ckpt_4.pt", kind, "").metrics for f in ("whole", "parts"))
    assert a == b


def test_interrupted_and_resumed(command, monkeypatch):
    """Ctrl-C in the middle of the third epoch."""
    from metad2a.metatrain import fit

    step, calls = fit._State.step, []

    def interrupted(state, loss):
        calls.append(loss)
        if len(calls) == 10:  # 4 batches an epoch
            raise KeyboardInterrupt
        step(state, loss)

    with monkeypatch.context() as patch:
        patch.setattr(fit._State, "step", interrupted)
        code, _, err = command(line("predictor", "--max-epoch 4", "parts"))
    assert code == 130
    assert "--resume" in err
    assert read_checkpoint("parts/predictor/model/ckpt_last.pt", "predictor", "").epoch == 2
    assert command(line("predictor", "--max-epoch 4 --resume", "parts"))[0] == 0
    assert command(line("predictor", "--max-epoch 4", "whole"))[0] == 0
    assert_same(weights("predictor", "whole"), weights("predictor", "parts"))


def test_an_earlier_run_is_not_overwritten(command, refuses):
    assert command(line("predictor", "--max-epoch 1"))[0] == 0
    before = weights("predictor")
    assert "--resume" in refuses(line("predictor", "--max-epoch 1 --seed 1"))
    assert_same(before, weights("predictor"))
    assert command(line("predictor", "--max-epoch 1 --seed 1 --overwrite"))[0] == 0
    assert not torch.equal(before["score.0.weight"], weights("predictor")["score.0.weight"])


def test_resuming_with_other_options(command, refuses):
    assert command(line("predictor", "--max-epoch 1"))[0] == 0
    assert "lr" in refuses(line("predictor", "--max-epoch 2 --resume --lr 0.5"))


def test_a_damaged_last_epoch_is_mended_by_an_earlier_one(command, refuses):
    last = Path("results/generator/model/ckpt_last.pt")
    assert command(line("generator", "--max-epoch 2 --save-epoch 1"))[0] == 0
    last.write_bytes(last.read_bytes()[:3000])
    assert "Copy results/generator/model/ckpt_2.pt over it" in refuses(line("generator", "--max-epoch 3 --resume"))
    search = "--model search --ranking predictor --data-name cifar10 --num-gen-arch 2"
    assert "--load-epoch, for example 2" in refuses(search)
    shutil.copy(last.with_name("ckpt_2.pt"), last)
    assert command(line("generator", "--max-epoch 3 --resume"))[0] == 0


def test_nothing_to_resume(refuses):
    assert "Nothing to resume" in refuses(line("predictor", "--resume"))


def test_a_loss_that_is_not_finite_stops_training(command, refuses):
    message = refuses(line("generator", "--max-epoch 50 --lr 1e30"))
    assert "smaller --lr" in message
    assert "saved" not in message  # it is the first epoch
    assert all(torch.isfinite(t).all() for t in weights("generator").values())


def test_unequal_widths_of_the_generator(refuses):
    assert "--hs equal to --nz" in refuses("--model generator --hs 512 --nz 56")


def test_an_unwritable_result_folder(refuses):
    Path("file").write_text("not a folder")
    assert "file" in refuses(line("predictor", "--max-epoch 1", "file/results"))


def test_missing_databases(refuses):
    Path("data/meta_train_tasks_predictor_idx.pt").unlink()
    assert "meta_train_tasks_predictor_idx.pt is missing" in refuses(line("predictor"))


def test_damaged_imagenet_features(refuses):
    path = Path("data/imgnet32bylabel.pt")
    path.write_bytes(path.read_bytes()[:5000])
    assert "imgnet32bylabel.pt is damaged" in refuses(line("predictor"))


def test_the_generators_database_is_built_from_the_predictor(command, refuses, space):
    assert command(line("predictor", "--max-epoch 1"))[0] == 0
    build = "--model build --num-tasks 5 --num-sampled 40 --num-sample 3 --num-draws 2"
    assert "--overwrite" in refuses(build)
    code, _, err = command(f"{build} --overwrite")
    assert code == 0, err
    tuples = load_tuples("generator", space, "data", 12)
    assert len(tuples.archs) == 5
    assert len(set(tuples.task.tolist())) == 5
    assert command(line("generator", "--max-epoch 1"))[0] == 0
    assert command(f"{build} --overwrite --num-tasks 8")[0] == 0
    tuples = load_tuples("generator", space, "data", 12)
    assert tuples.task_classes.shape == (8, 4)  # two new ones beside the six of the list


def test_the_database_holds_the_best_of_what_was_sampled(command, space):
    """With every architecture sampled, each tuple is the predictor's first choice for its task."""
    from metad2a.data.features import load_features
    from metad2a.metatrain.models import load_model

    assert command(line("predictor", "--max-epoch 1"))[0] == 0
    # All 7 images of a class in every draw: the order of a set does not matter, so the scores are fixed.
    options = "--num-sampled 15625 --num-sample 7 --num-draws 1 --num-tasks 3 --overwrite"
    assert command(f"--model build {options}")[0] == 0
    tuples = load_tuples("generator", space, "data", 12)
    model, checkpoint = load_model("predictor", space, "results/predictor/model/ckpt_max_corr.pt", torch.device("cpu"))
    features = load_features("data/imgnet32bylabel.pt", "imgnet32")
    graph_vec = model.encode_graph(space.encode(space.architectures))
    for arch, task, accuracy in zip(tuples.archs, tuples.task, tuples.accuracy, strict=True):
        images = features.images.view(12, 7, -1)[tuples.task_classes[task]][None]
        scores = model.predict(model.encode_set(images).expand(space.size, -1), graph_vec)
        percent = scores * 100 * checkpoint.target["std"] + checkpoint.target["mean"]
        assert accuracy.item() == pytest.approx(percent.max().item(), rel=1e-4)
        assert percent[space.architectures.index(arch)].item() == pytest.approx(percent.max().item(), rel=1e-5)


def change_file(name, change):
    path = Path("data", name)
    value = torch.load(path, weights_only=False)
    change(value)
    torch.save(value, path)


def test_resuming_on_other_data(command, refuses):
    """Numbers that have changed in files of the same name and shape."""
    assert command(line("predictor", "--max-epoch 1"))[0] == 0
    before = Path("results/predictor/model/ckpt_last.pt").read_bytes()
    resume = line("predictor", "--max-epoch 2 --resume")
    features = Path("data/imgnet32bylabel.pt").read_bytes()
    change_file("imgnet32bylabel.pt", lambda value: value[3][0].add_(1e-3))
    assert "features" in refuses(resume)
    Path("data/imgnet32bylabel.pt").write_bytes(features)
    change_file("meta_train_tasks_predictor.pt", lambda value: value["task"].reverse())  # no mean tells
    assert "tuples" in refuses(resume)
    assert Path("results/predictor/model/ckpt_last.pt").read_bytes() == before


def test_a_run_of_an_earlier_version_resumes_unless_it_used_an_option_that_is_gone(command, refuses):
    assert command(line("predictor", "--max-epoch 1"))[0] == 0
    path, checkpoint = Path("results/predictor/run.json"), Path("results/predictor/model/ckpt_last.pt")
    earlier = json.loads(path.read_text())
    assert earlier["identity"]["rank_loss"] == 0.0
    assert command(line("predictor", "--max-epoch 2 --resume"))[0] == 0
    earlier["identity"]["rank_loss"] = 1.0
    path.write_text(json.dumps(earlier))
    assert "a run with rank_loss 1.0" in refuses(line("predictor", "--max-epoch 3 --resume"))
    assert checkpoint.is_file()


def test_a_checkpoint_of_another_run_is_not_resumed(command, refuses):
    for folder, seed in (("one", 1), ("two", 2)):
        assert command(line("predictor", f"--max-epoch 1 --seed {seed}", folder))[0] == 0
    name = "predictor/model/ckpt_last.pt"
    Path("one", name).write_bytes(Path("two", name).read_bytes())
    assert "ckpt_last.pt belongs to a run with seed 2, this command has 1" in refuses(
        line("predictor", "--max-epoch 2 --seed 1 --resume", "one")
    )
    read_checkpoint(Path("one", name), "predictor", "").for_use().save(Path("one", name))
    assert "cannot be resumed" in refuses(line("predictor", "--max-epoch 2 --seed 1 --resume", "one"))


def test_the_first_command_is_kept(command, monkeypatch):
    for more in ("--max-epoch 1", "--max-epoch 2 --resume"):
        monkeypatch.setattr(sys, "argv", ["main.py", *more.split()])
        assert command(line("predictor", more))[0] == 0
    history = read_checkpoint("results/predictor/model/ckpt_2.pt", "predictor", "").history
    assert history["command"].endswith("main.py --max-epoch 1")
    assert [later["command"].split("main.py ")[1] for later in history["resumed"]] == ["--max-epoch 2 --resume"]


def test_two_processes_never_train_in_one_folder(refuses):
    with TrainingRun(Path("results/predictor"), (), False, False):
        assert "Another process trains" in refuses(line("predictor", "--max-epoch 1"))
    assert not Path("results/predictor/model").exists()


@pytest.mark.parametrize(("kind", "n", "needed"), [("predictor", 1, 2), ("predictor", 2, 2), ("generator", 1, 1)])
def test_databases_that_are_too_small(refuses, space, kind, n, needed):
    tuples, split = authors_tuples(space, n)
    torch.save(tuples, f"data/meta_train_tasks_{kind}.pt")
    torch.save(split, f"data/meta_train_tasks_{kind}_idx.pt")
    assert f"the {kind} needs {needed} of each" in refuses(line(kind, "--max-epoch 1"))


def test_accuracies_that_do_not_differ_have_no_correlation():
    from metad2a.metatrain.objectives import correlation

    assert correlation(torch.ones(3), torch.arange(3.0)) == correlation(torch.arange(3.0), torch.zeros(3)) == 0
    assert math.isnan(correlation(torch.full((3,), torch.nan), torch.arange(3.0)))
    assert correlation(torch.arange(3.0), -torch.arange(3.0)) == pytest.approx(-1)


def test_the_benchmarks_task_has_no_architecture_of_a_validation_tuple(space, monkeypatch):
    from metad2a.metatrain.objectives import BenchmarkTask

    draws, tuples = authors_draws(space)
    held_out = {space.to_text(tuples.archs[row]) for row in tuples.validation.tolist()}
    ours = set(map(space.to_text, tuples.archs))
    known = space.known_accuracy("imagenet16-120")
    known = {arch: known[arch] for number, arch in enumerate(known) if number % 50 == 0 or arch in ours}
    monkeypatch.setattr(type(space), "benchmark_classes", {"imagenet16-120": 8})
    monkeypatch.setattr(type(space), "known_accuracy", lambda self, dataset, epochs: known)
    task = BenchmarkTask(space, "imagenet16-120", draws, tuples)
    learned = {space.to_text(arch) for arch in space.decode(task.graphs)}
    assert len(learned) == len(task.accuracy) > 200
    lowest = min(known[arch] for arch in learned)
    assert learned == {arch for arch, accuracy in known.items() if accuracy >= lowest} - held_out


def test_a_run_that_was_stopped_early_is_used_by_a_search(command):
    assert command(line("generator", "--max-epoch 1"))[0] == 0
    Path("results/generator/model/ckpt_1.pt").unlink()
    last = Path("results/generator/model/ckpt_last.pt")
    value = torch.load(last, weights_only=True)
    value["state"]["decoder.add_edge.2.bias"].fill_(3)  # many edges, so that graphs are often valid
    value["state"]["decoder.add_vertex.2.bias"][:2] = -5
    torch.save(value, last)
    code, _, err = command("--model generator --test --data-name cifar10 --num-gen-arch 1 --num-runs 1")
    assert code == 0, err
    assert f"generator: {last}, epoch 1" in err


def test_averaged_weights_are_what_is_kept_and_resumed(command):
    """With no decay the average is the weights; with one, it is what a loop over the steps gives."""
    for folder, more in (("plain", ""), ("none", "--ema 0"), ("averaged", "--ema 0.5")):
        assert command(line("predictor", f"--max-epoch 2 --save-epoch 1 {more}", folder))[0] == 0
    assert_same(weights("predictor", "plain"), weights("predictor", "none"))
    last = read_checkpoint("averaged/predictor/model/ckpt_last.pt", "predictor", "")
    assert_same(last.training["raw"], weights("predictor", "plain"))
    assert not torch.equal(last.state["score.2.weight"], last.training["raw"]["score.2.weight"])
    assert command(line("predictor", "--max-epoch 4 --ema 0.5", "averaged") + " --resume")[0] == 0
    assert command(line("predictor", "--max-epoch 4 --ema 0.5", "whole"))[0] == 0
    assert_same(weights("predictor", "averaged"), weights("predictor", "whole"))


def test_the_average_equals_a_plain_loop():
    from metad2a.metatrain.fit import FitOptions, _State

    model = torch.nn.Linear(2, 1)
    state = _State(SimpleNamespace(model=model), FitOptions(ema=0.7, lr=0.1))
    expected = model.weight.detach().clone()
    for step in range(20):
        state.step(model(torch.ones(1, 2)).square().sum())
        decay = min(0.7, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.detach()
    with state.averaged():
        torch.testing.assert_close(model.weight.detach(), expected)
    assert not torch.allclose(model.weight.detach(), expected)


def test_a_benchmarks_accuracies_as_one_more_task(command, refuses, space, monkeypatch):
    monkeypatch.setattr(type(space), "benchmark_classes", {"imagenet16-120": 8})
    name = "--benchmark-task imagenet16-120"
    assert command(line("predictor", f"--max-epoch 1 {name},imagenet16-120@12"))[0] == 0
    assert "choose among: imagenet16-120" in refuses(line("predictor", f"{name}@13", "other"))
    assert "choose among: imagenet16-120" in refuses(line("predictor", "--benchmark-task cifar10", "other"))
    assert "--model predictor" in refuses(line("generator", name, "other"))
    monkeypatch.setattr(type(space), "benchmark_classes", {"imagenet16-120": 120})
    assert "first 120 classes" in refuses(line("predictor", name, "other"))


@pytest.mark.parametrize("offset", [0.0, 0.4])
@pytest.mark.parametrize("slope", [1.0, 1.5])
def test_only_differences_count_within_the_benchmarks_task(space, monkeypatch, offset, slope):
    """A model that is wrong by a constant on the benchmark's architectures has no loss there; one that is wrong by a
    factor has. Elsewhere it is right."""
    from metad2a.metatrain.objectives import BenchmarkTask

    monkeypatch.setattr(type(space), "benchmark_classes", {"imagenet16-120": 8})
    draws, tuples = authors_draws(space)
    benchmark = BenchmarkTask(space, "imagenet16-120", draws, tuples)
    model = SimpleNamespace(
        encode_set=lambda images: torch.arange(len(images))[:, None],  # the last is the benchmark's
        encode_graph=lambda graphs: graphs.adj.double() @ (1.5 ** graphs.types.double())[..., None],
    )
    objective = predictor_objective(space, model, [benchmark])
    known = torch.cat([model.encode_graph(objective.graphs), model.encode_graph(benchmark.graphs)]).flatten(1)
    truth = torch.cat([objective.scaled, objective.benchmark_scaled[0] * slope + offset])
    seen = []

    def predict(sets, graphs):
        ours = torch.tensor([int(s) < int(sets.max()) for s in sets])
        rows = [
            (known == graph).all(dim=1).nonzero()[-1 * (not mine), 0].item()
            for graph, mine in zip(graphs.flatten(1), ours, strict=True)
        ]
        seen.append(objective.benchmark_scaled[0][[row - len(objective.scaled) for row in rows if row >= 24]])
        return truth[rows]

    model.predict = predict
    loss = objective.loss(tuples.training[:6], torch.Generator().manual_seed(0)).item()
    [drawn] = seen
    assert len(drawn) == 6
    wanted = ((slope - 1) * (drawn - drawn.mean())).square().sum().item()
    assert loss == pytest.approx(wanted, rel=1e-3, abs=1e-9)


@pytest.mark.parametrize("kind", ["generator", "predictor"])
def test_a_compiled_step_trains_the_same_network(command, monkeypatch, kind):
    """As far as PyTorch is told to; what that makes of it is in tests/test_gpu.py."""
    compiled, called = [], []

    def compile_(function, **how):
        compiled.append((function.__name__, how))
        return lambda *args: called.append(function.__name__) or function(*args)

    monkeypatch.setattr(torch, "compile", compile_)
    assert command(line(kind, "--max-epoch 1", "plain"))[0] == 0
    assert compiled == []
    code, _, err = command(line(kind, "--max-epoch 1 --compile"))
    assert code == 0, err
    methods = {"generator": ["set_encode", "negative_log_likelihood"], "predictor": ["encode_set", "encode_graph"]}
    assert compiled == [(name, {}) for name in methods[kind]]
    assert set(called) == set(methods[kind])
    assert_same(weights(kind), weights(kind, "plain"))


def test_differences_within_tasks_equal_a_plain_loop(rng):
    from metad2a.metatrain.objectives import centered_by_task

    values, task = torch.randn(7, generator=rng), torch.tensor([2, 0, 2, 5, 0, 2, 5])
    means = {t: sum(v for v, u in zip(values.tolist(), task.tolist(), strict=True) if u == t) for t in (0, 2, 5)}
    count = {0: 2, 2: 3, 5: 2}
    expected = [v - means[t] / count[t] for v, t in zip(values.tolist(), task.tolist(), strict=True)]
    assert centered_by_task(values, task).tolist() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_a_loss_within_tasks_needs_several_architectures_of_a_task(refuses, authors_data):
    path = authors_data / "meta_train_tasks_predictor.pt"
    value = torch.load(path, weights_only=False)
    value["task"] = list(range(len(value["acc"])))
    torch.save(value, path)
    torch.save([[1, 2]] * len(value["acc"]), authors_data / "meta_train_task_lst.pt")
    assert "--num-arch 2" in refuses(line("predictor", "--max-epoch 1 --within-task-loss 1"))
    assert "--model predictor" in refuses(line("generator", "--max-epoch 1 --within-task-loss 1"))


def test_differences_between_tasks_do_not_count_within_tasks(space):
    """Scores that are wrong by a constant a task have the squared error alone; the rest is in units of its variance."""
    objective = predictor_objective(space, within_task_loss=2.0)
    objective.within_task_std = 0.01
    truth, task = torch.tensor([0.1, 0.3, 0.2, 0.0]), torch.tensor([0, 1, 0, 1])
    by_task = truth + torch.tensor([0.5, -0.2, 0.5, -0.2])
    assert objective._loss(by_task, truth, task).item() == pytest.approx(2 * 0.25 + 2 * 0.04, rel=1e-5)
    error = torch.tensor([0.03, 0.0, -0.03, 0.0])
    expected = 2 * 0.03**2 + 2.0 * 2 * 0.03**2 / 0.01**2 / 100**2
    assert objective._loss(truth + error, truth, task).item() == pytest.approx(expected, rel=1e-4)


def test_options_of_losses_reach_the_objective(command, monkeypatch):
    """And train with it: the objective that is made has them."""
    from metad2a.metatrain import train
    from metad2a.metatrain.objectives import PredictorObjective

    made = []

    class Recorded(PredictorObjective):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr(train, "PredictorObjective", Recorded)
    monkeypatch.setattr(type(train.spaces.get("nasbench201")), "benchmark_classes", {"imagenet16-120": 8})
    options = "--within-task-loss 2 --benchmark-task imagenet16-120"
    assert command(line("predictor", f"--max-epoch 1 {options}"))[0] == 0
    assert command(line("predictor", "--max-epoch 1", "plain"))[0] == 0
    assert [(o.within_task_loss, len(o.benchmarks)) for o in made] == [(2, 1), (0, 0)]
