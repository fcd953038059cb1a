"""MobileNetV3 subnets by ImageNet's measured accuracies: the process, its database for the generator, and searches."""

import csv
import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.authors import authors_features

from metad2a import spaces
from metad2a.core.arrays import save_arrays
from metad2a.core.errors import UserError
from metad2a.core.files import save_torch
from metad2a.data.feature_files import find_features
from metad2a.data.features import load_features
from metad2a.database.subnets import choose, draw_tasks
from metad2a.metatrain.tuples import load_tuples
from metad2a.rankings import fit_subnets as training
from metad2a.rankings import subnets
from metad2a.rankings.gaussian_process import anchor, matern
from metad2a.spaces.ofa_mbv3 import table
from metad2a.spaces.ofa_mbv3.layers import LARGEST, SMALLEST
from metad2a.spaces.ofa_mbv3.table import Measured, archs_to_operations, measured, operations_to_archs

ofa = spaces.get("ofa_mbv3")
PUBLISHED = (
    "--gpu 0 --model generator --graph-data-name ofa_mbv3 --hs 56 --nz 56 --test --load-epoch 120 --num-gen-arch"
)
SEARCH = "--model search --search-space ofa_mbv3 --data-name cifar10"


def part(count, image_size=224):
    """The first measured subnets with images of one side."""
    whole = measured()
    rows = whole.rows(image_size)[:count].tolist()
    archs, sources = [whole.archs[row] for row in rows], [whole.source[row] for row in rows]
    return Measured(archs, whole.image_size[rows], whole.accuracy[rows], sources)


def rows_of(path):
    with Path(path).open() as file:
        return list(csv.DictReader(file))


# The table


def test_the_shipped_table():
    whole = measured()
    assert len(whole) == len(whole.archs) == len(whole.source) == 4772
    assert {size: len(whole.rows(size)) for size in subnets.SIZES} == {128: 939, 160: 879, 192: 792, 224: 2162}
    assert 64 < whole.accuracy.min() < whole.accuracy.max() < 78
    assert archs_to_operations(operations_to_archs(archs_to_operations(whole.archs[:9]))).tolist() == (
        archs_to_operations(whole.archs[:9]).tolist()
    )


def test_a_table_from_csv_has_the_mean_of_repeated_measurements(tmp_path):
    digits = ["".join(map(str, SMALLEST[name])) for name in ("ks", "e", "d")]
    lines = ["source,image_size,ks,e,d,top1"]
    lines += [",".join(["a", "224", *digits, accuracy]) for accuracy in ("70.0", "71.0")]
    lines.append(",".join(["b", "128", *digits, "60.5"]))
    (tmp_path / "t.csv").write_text("\n".join(lines))
    table.make(tmp_path / "t.csv", tmp_path / "t.npz")
    found = measured(tmp_path / "t.npz")
    assert found.archs == [SMALLEST, SMALLEST]
    assert found.image_size.tolist() == [224, 128]
    assert found.accuracy.tolist() == pytest.approx([70.5, 60.5])
    assert found.source == ["a", "b"]


@pytest.mark.parametrize(
    "text", ["", "source,image_size,ks,e,d,top1\n", "source,image_size,ks,e,d,top1\na,1,9,9,9,1\n"]
)
def test_a_csv_that_is_no_table(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError, match=r"t\.csv"):
        table.make(tmp_path / "t.csv", tmp_path / "t.npz")


# The process


def test_features_of_inactive_layers_do_not_count():
    deep, other = ({**LARGEST, "d": [2] * 5, "ks": [3] * 20}, {**LARGEST, "d": [2] * 5, "ks": [3, 3, 7, 7] * 5})
    first, second = (subnets.subnet_features([arch], torch.tensor([224])) for arch in (deep, other))
    assert all(torch.equal(first[name], second[name]) for name in subnets.WIDTHS)
    assert {name: x.shape[1] for name, x in first.items()} == subnets.WIDTHS
    smaller = subnets.subnet_features([deep], torch.tensor([160]))
    assert smaller["size"].item() == -1
    assert smaller["cost"][0, 0] < first["cost"][0, 0]
    assert smaller["cost"][0, 1] == first["cost"][0, 1]


def test_with_every_subnet_an_anchor_it_is_the_textbooks_process():
    rng = torch.Generator().manual_seed(0)
    x, z = torch.randn(12, 3, generator=rng).double(), torch.randn(5, 3, generator=rng).double()
    value, noise = torch.randn(12, generator=rng).double(), torch.rand(12, generator=rng).double() + 0.1
    mean, deviation = anchor(matern(x, x), matern(x, x), value, noise).predict(matern(z, x), torch.ones(5))
    inverse = torch.linalg.inv(matern(x, x) + torch.diag(noise))
    assert torch.allclose(mean, matern(z, x) @ inverse @ value, atol=1e-4)
    variance = 1 - (matern(z, x) @ inverse @ matern(x, z)).diagonal()
    assert torch.allclose(deviation.square(), variance, atol=1e-4)


def learned(count):
    """A table and the features of its subnets."""
    return part(count), subnets.subnet_features(part(count).archs, torch.from_numpy(part(count).image_size))


def test_anchors_alone_lose_little():
    data = learned(300)
    rows, held_out = torch.arange(200), part(300).archs[200:]
    few, many = (training.fit(*data, rows, steps=5, anchors=count)[0].predict(held_out, 224)[0] for count in (100, 200))
    assert (few - many).abs().mean() < 0.2 * data[0].accuracy.std(ddof=1)


def test_learning_predicts_subnets_that_were_left_out():
    data = learned(150)
    figures = training.validate(*data, parts=3, steps=10)["224"]
    assert figures["pearson"] > 0.97
    assert figures["within_2_deviations"] > 0.85


def test_the_shipped_ranking_knows_what_it_has_not_seen():
    value = torch.load(subnets.SHIPPED, weights_only=True)
    assert value["validation"]["224"]["pearson"] > 0.998
    assert value["validation"]["192"]["pearson"] > 0.93
    for figures in value["validation"].values():
        assert 0.55 < figures["within_1_deviation"] < 0.85
        assert 0.9 < figures["within_2_deviations"] < 0.99


def test_the_shipped_ranking_is_of_the_table():
    whole, ranking = measured(), subnets.load()
    for size in subnets.SIZES:
        rows = whole.rows(size)
        mean, deviation = ranking.predict([whole.archs[row] for row in rows.tolist()], size)
        error = (mean - torch.from_numpy(whole.accuracy[rows])).abs()
        assert error.mean() < (0.06 if size == 224 else 0.35)
        assert (error < 3 * deviation).double().mean() > 0.98
    small, large = (ranking.predict([arch], 224) for arch in (SMALLEST, LARGEST))
    assert small[0] + 2 < large[0]
    far, near = (ranking.predict([arch], 224)[1] for arch in (SMALLEST, whole.archs[0]))
    assert far > near


def test_a_ranking_is_trained_written_and_read(tmp_path, capsys):
    training.train(tmp_path / "p.pt", part(60), steps=3, anchors=40)
    ranking = subnets.load(tmp_path / "p.pt")
    mean, deviation = ranking.predict(part(60).archs, 224)
    assert torch.corrcoef(torch.stack([mean, torch.from_numpy(part(60).accuracy)]))[0, 1] > 0.9
    assert bool((deviation > 0).all())
    assert training.main([str(tmp_path / "p.pt")]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_files_that_are_no_ranking_or_table(tmp_path):
    with pytest.raises(UserError, match=r"rankings\.fit_subnets"):
        subnets.load(tmp_path / "none.pt")
    save_torch(tmp_path / "other.pt", {"format": "other"})
    with pytest.raises(UserError, match="not a ranking of subnets"):
        subnets.load(tmp_path / "other.pt")
    save_arrays(tmp_path / "other.npz", {"format": "other"})
    with pytest.raises(UserError, match="not a table of subnets"):
        measured(tmp_path / "other.npz")
    value = torch.load(subnets.SHIPPED, weights_only=True)
    save_torch(tmp_path / "short.pt", value | {"weights": value["weights"][:5]})
    with pytest.raises(UserError, match="columns do not fit"):
        subnets.load(tmp_path / "short.pt")


# The generator's database


def test_tasks_are_all_classes_and_random_ones(rng):
    tasks = draw_tasks(10, 60, rng)
    assert tasks[:2] == [list(range(1, 61))] * 2
    assert all(10 <= len(task) <= 60 and len(set(task)) == len(task) for task in tasks)
    assert len({len(task) for task in tasks}) > 3
    assert draw_tasks(3, 4, rng)[-1] == [1, 2, 3, 4]


def test_the_best_within_a_bound_is_chosen(rng):
    flops = torch.linspace(100, 500, 50).double()
    chosen = {choose(flops, flops, 50, rng) for _ in range(40)}  # the largest is the best
    assert len(chosen) > 15
    assert max(chosen) <= 49
    assert choose(flops, -flops, 50, rng) == 0


def test_the_generators_database_is_built_without_a_predictor(command):
    code, _, err = command("--model build --search-space ofa_mbv3 --num-tasks 90 --num-sampled 50 --gpu cpu")
    assert code == 0, err
    assert "ImageNet top-1" in err
    tuples = load_tuples("generator", ofa, "data", 600)
    assert len(tuples.archs) == 90
    assert tuples.sizes == {"image_size": 224, "width_mult": 1.0}
    trained, held_out = ({*tuples.task[rows].tolist()} for rows in (tuples.training, tuples.validation))
    assert trained
    assert held_out
    assert not trained & held_out
    sampled = subnets.load().predict(ofa.sample(100, torch.Generator().manual_seed(0)), 224)[0]
    assert tuples.accuracy.mean() > sampled.mean()
    code, _, err = command("--model build --search-space ofa_mbv3 --num-tasks 90 --gpu cpu")
    assert code == 2
    assert "--overwrite" in err


def test_too_small_a_database(refuses):
    assert "60 or more are needed" in refuses("--model build --search-space ofa_mbv3 --num-tasks 20 --gpu cpu")


# Searches, with what is shipped


def test_the_published_meta_test_command_on_a_fresh_clone(command):
    code, out, err = command(f"{PUBLISHED} 12 --data-name cifar10 --num-runs 2")
    assert code == 0, err
    folder = Path("results/ofa_mbv3/meta_test/cifar10/12/best_arch")
    for text in (out, (folder / "accuracy.txt").read_text()):
        assert "ImageNet top-1 (all 1,000 classes) of the subnet with the published supernet's weights" in text
        assert "has seen no smaller task" in text
    ranked = rows_of(folder / "ranking_run_1.csv")
    assert len(ranked) == 12
    assert all(float(row["predicted_deviation"]) > 0 for row in ranked)
    mean, _ = subnets.load().predict([ofa.from_text(ranked[0]["architecture"])], 224)
    assert float(ranked[0]["predicted_accuracy"]) == pytest.approx(mean.item(), abs=1e-3)
    history = json.loads((folder / "summary.json").read_text())["history"]
    assert history["ranking"] == "metad2a/assets/ofa_mbv3/process.pt"
    assert history["generator"] == "metad2a/assets/checkpoints/ofa_mbv3/generator.pt"


def test_a_search_within_a_bound_finds_what_is_good_there(command):
    """As good as the best of the table within the bound, less a fifth of a point; far above random subnets."""
    code, out, err = command(f"{SEARCH} --bound 300 --num-gen-arch 200")
    assert code == 0, err
    assert "200 architectures ranked" in out
    assert "has seen no smaller task" in out
    ranked = rows_of("results/ofa_mbv3/search/cifar10/001/ranking_run_1.csv")
    assert max(float(row["mflops"]) for row in ranked) <= 300
    whole = measured()
    rows = whole.rows(224)
    flops = np.array([ofa.cost(whole.archs[row], 1000)["flops"] for row in rows.tolist()])
    best = whole.accuracy[rows][flops <= 300].max().item()
    assert float(ranked[0]["predicted_accuracy"]) > best - 0.2


def test_two_hundred_candidates_are_generated_and_ranked_within_a_second(one_thread):
    """Of processor time, which does not depend on what else the machine does; without loading the files."""
    from metad2a.metatrain.models import find_checkpoint, load_model
    from metad2a.searches.generate import generate

    path = find_checkpoint("generator", ofa, "results", None)
    model, _ = load_model("generator", ofa, path, torch.device("cpu"))
    features, ranking = load_features(find_features("cifar10", "data"), "cifar10"), subnets.load()
    features = features.to(torch.device("cpu"))
    start = time.process_time()
    archs = generate(model, ofa, features, 200, 20, torch.Generator().manual_seed(0)).archs
    assert len(ranking.predict(archs, 224)[0]) == 200
    assert time.process_time() - start < 1


def test_another_resolution(command, refuses):
    code, out, err = command(f"{SEARCH} --num-gen-arch 5 --image-size 160")
    assert code == 0, err
    assert "for 160x160 images" in out
    first = rows_of("results/ofa_mbv3/search/cifar10/001/ranking_run_1.csv")[0]
    mean, _ = subnets.load().predict([ofa.from_text(first["architecture"])], 160)
    assert float(first["predicted_accuracy"]) == pytest.approx(mean.item(), abs=1e-3)
    assert "128 to 224 pixels" in refuses(f"{SEARCH} --num-gen-arch 5 --image-size 96")
    assert not Path("results/ofa_mbv3/search/cifar10/002").exists()


def test_a_bound_below_the_smallest_subnet(refuses):
    smallest = ofa.smallest_cost(10)["flops"]
    for line in (f"{SEARCH} --bound 50", f"{PUBLISHED} 5 --data-name cifar10 --bound 50"):
        assert f"the smallest of ofa_mbv3 have {smallest:.6g} MFLOPs" in refuses(line)


def test_checkpoints_of_the_other_space(refuses):
    shipped = Path(subnets.SHIPPED).parents[1] / "checkpoints" / "nasbench201" / "generator.pt"
    assert "trained for nasbench201, not for ofa_mbv3" in refuses(f"{SEARCH} --generator-checkpoint {shipped}")
    assert "is not a checkpoint" in refuses(f"{SEARCH} --generator-checkpoint {subnets.SHIPPED}")
    assert "There is no predictor checkpoint" in refuses(f"{SEARCH} --ranking predictor")
    assert "belongs to --ranking predictor" in refuses(f"{SEARCH} --ranking universal --num-draws 3")


def test_features_of_another_extractor(refuses):
    Path("data").mkdir()
    torch.save(authors_features(10, 25), "data/cifar10bylabel.pt")
    message = refuses(f"{SEARCH} --num-gen-arch 5")
    assert "resnet18" in message
    assert "efficientnet_lite0" in message


def test_a_likelihood_that_learning_raises():
    data = learned(80)
    figures = [training.validate(*data, parts=2, steps=steps)["224"]["log_density"] for steps in (1, 15)]
    assert figures[1] > figures[0]
    assert not any(map(math.isnan, figures))
