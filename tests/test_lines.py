"""Figures of rankings, and the cheap lines that are compared."""

import json

import numpy as np
import pytest
import torch

from benchmarks import dataset_effect, lines, pages
from metad2a.core.errors import UserError
from metad2a.spaces.nasbench201.cells import parse
from metad2a.spaces.nasbench201.classes import equivalence_classes
from metad2a.spaces.nasbench201.space import NASBench201

space = NASBench201()
accuracy = space.table["test_200"]["imagenet16-120"].astype(float)
classes = equivalence_classes()


def rng():
    return np.random.default_rng(0)


def test_figures_of_the_best_order():
    found = lines.figures(accuracy, accuracy, classes, rng())
    assert found["first_choice"] == found["oracle_of_30"] == pytest.approx(accuracy.max())
    assert found["mean_of_10"] == pytest.approx(np.sort(accuracy)[-10:].mean())
    assert found["until_best"] == 1
    assert [found[name] for name in ("spearman", "kendall", "ndcg")] == pytest.approx([1, 1, 1])
    assert found["spearman_class"] < 1  # the noise within classes is no merit there


def test_figures_of_a_constant_are_those_of_random_orders():
    found = [lines.figures(np.zeros(len(accuracy)), accuracy, classes, np.random.default_rng(n)) for n in range(2)]
    assert found[0]["first_choice"] != found[1]["first_choice"]
    assert all(abs(f["spearman"]) < 0.05 and np.isfinite(f["kendall"]) for f in found)


def test_ndcg_by_hand():
    truth = np.array([3.0, 1.0, 2.0, 0.0])
    ideal = 1 + 0.5 / np.log2(3)
    assert lines.ndcg(np.array([0, 2, 1, 3]), truth, top=2) == pytest.approx(1)
    assert lines.ndcg(np.array([1, 0, 2, 3]), truth, top=2) == pytest.approx((0.25 + 1 / np.log2(3)) / ideal)


def test_ridge_against_its_formula():
    x, y = rng().normal(size=(20, 3)), rng().normal(size=20)
    weights = lines.ridge(x, y, np.array([1.0, 2.0, 3.0]))
    gradient = x.T @ (x @ weights - (y - y.mean())) + np.array([1.0, 2.0, 3.0]) * weights
    assert np.allclose(gradient, 0)


def test_pairs_of_operations():
    features = lines.operations_and_pairs(np.array([[0, 1, 2, 3, 4, 0], [0, 1, 2, 3, 4, 1]]))
    assert features.shape == (2, 30 + 15 * 25)
    assert features.sum(1).tolist() == [6 + 15] * 2
    assert (features[0] != features[1]).sum() == 2 * (1 + 5)


def test_smoothing_takes_noise_out_and_keeps_the_others_place():
    operations = np.array([parse(arch) for arch in space.architectures])[::25]
    clean = (operations == 3).sum(1).astype(float)
    noisy = clean + rng().normal(size=len(clean)) * 0.5
    made = lines.smoothed(operations, noisy, rho=0.7, noise=0.25, upper=300)
    best = np.argsort(-noisy)[:300]
    assert np.abs(made[best] - clean[best]).mean() < np.abs(noisy[best] - clean[best]).mean()
    others = np.setdiff1d(np.arange(len(clean)), best)
    assert made[others].max() < made[best].min()
    assert (np.argsort(made[others]) == np.argsort(noisy[others])).all()


def options(*more):
    return lines.build_parser().parse_args(["--gpu", "cpu", *more])


def write_scores(folder, rows):
    text = "architecture,nwot,synflow,jacov,zen\n" + "".join(f"{arch},{v},{v},{v},{v}\n" for arch, v in rows)
    (folder / "cifar10.csv").write_text(text)


def test_missing_training_free_scores_take_their_classes(tmp_path):
    member, other = np.flatnonzero(classes == np.bincount(classes).argmax())[:2]
    lonely = int(np.flatnonzero(np.bincount(classes) == 1)[0])
    write_scores(tmp_path, [(space.architectures[member], 5.0)])
    found = lines.Lines(options("--zero-cost", str(tmp_path))).training_free("nwot", "cifar100")
    assert found[member] == found[other] == 5.0
    assert found[classes == lonely].item() < 5.0


def test_files_that_cannot_be_used(tmp_path):
    made = lines.Lines(options("--zero-cost", str(tmp_path)))
    with pytest.raises(UserError, match="cannot be read"):
        made.training_free("nwot", "cifar10")
    write_scores(tmp_path, [("|conv|", 1.0)])
    with pytest.raises(UserError, match="Not a NAS-Bench-201 architecture"):
        made.training_free("nwot", "cifar10")
    (tmp_path / "cifar10.csv").write_text("architecture,zen\n" + space.architectures[0] + ",1\n")
    with pytest.raises(UserError, match="needs the columns"):
        made.training_free("nwot", "cifar10")


def test_no_line_learns_from_the_table_it_is_judged_on(monkeypatch):
    monkeypatch.setitem(lines.SMOOTHED, "upper", 200)
    made = lines.Lines(options())
    assert "transfer" not in made.lines("imagenet16-120")
    before = made.smoothed_transfer.copy()
    again = lines.Lines(options())
    for name in ("cifar10", "cifar100"):
        again.tables[name] = again.tables[name][::-1].copy()
    assert (again.smoothed_transfer == before).all()


def test_committed_lines_are_whole():
    result = json.loads((pages.RESULTS / "lines.json").read_text())["result"]
    assert set(result["tables"]) == {"cifar10", "cifar100", "imagenet16-120", "ninapro", "darcy"}
    for name, found in result["tables"].items():
        assert {"random", "flops", "constant", "nwot", "smoothed_transfer", "predictor", "universal"} <= set(
            found["lines"]
        )
        for line in found["lines"].values():
            assert all(np.isfinite(figure["mean"]) for figure in line.values())
            assert line["first_choice"]["mean"] <= found["maximum"] + 1e-6, name


def interaction(strength):
    """Tuples of two operations and tasks with one component, with an interaction of a given strength."""
    generator = rng()
    study = dataset_effect.Interaction.__new__(dataset_effect.Interaction)
    study.rng = generator
    study.operations = generator.integers(0, 5, (2000, 6))
    study.task = np.arange(2000) // 2
    study.components = generator.normal(size=(1000, 2))[study.task]
    study.fold = generator.permutation(1000)[study.task] % dataset_effect.FOLDS
    effect = (study.operations[:, 0] == 3) * study.components[:, 0]
    study.residual = strength * effect + generator.normal(size=2000)
    return study


def test_an_interaction_is_found_where_there_is_one():
    with_one, without = interaction(2.0), interaction(0.0)
    assert with_one.correlation(with_one.residual, with_one.components) > 0.4
    assert abs(with_one.correlation(with_one.residual, with_one.shuffled())) < 0.15
    assert abs(without.correlation(without.residual, without.components)) < 0.15
    planted = without.planted(2.0)
    assert planted.std() > without.residual.std()
    assert without.correlation(planted, without.components) > 0.4


def test_tuples_of_a_task_are_held_out_together():
    study = interaction(0.0)
    assert (study.fold[::2] == study.fold[1::2]).all()
    assert len(np.unique(study.fold)) == dataset_effect.FOLDS


def test_components_of_tasks_are_standardised():
    generator = torch.Generator().manual_seed(0)
    classes_ = torch.randn(30, 8, generator=generator).double().numpy()
    tasks = np.stack([np.random.default_rng(number).permutation(30)[:5] for number in range(200)])
    made = dataset_effect.components(classes_, tasks, 3)
    assert made.shape == (200, 3)
    assert np.allclose(made.std(0), 1)
    assert np.allclose(np.corrcoef(made.T), np.eye(3), atol=1e-8)
