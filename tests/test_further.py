"""The shipped figures beyond the benchmark's table, and the script that makes them."""

import csv

import pytest
import torch

from metad2a.spaces.nasbench201 import extra_tables as further
from metad2a.spaces.nasbench201 import make_extra_tables as make_further
from metad2a.spaces.nasbench201.classes import equivalence_classes


def write(path, names, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["architecture", *names], *rows])


def test_the_shipped_table_has_the_published_maxima(space):
    for name, best in (("ninapro", 94.3854), ("darcy", 98.48)):
        known = space.known_accuracy(name)
        assert max(known.values()) == pytest.approx(best, abs=0.005)
        assert list(known) == space.architectures


def test_the_table_is_made_from_rows_in_any_order(space, tmp_path):
    scores = further.nasbench360()
    order = torch.randperm(space.size, generator=torch.Generator().manual_seed(0)).tolist()
    rows = [[space.architectures[i], scores["ninapro"][i].item(), scores["darcy"][i].item() / 100] for i in order]
    write(tmp_path / "table.csv", ["ninapro", "darcy"], rows)
    assert make_further.main(["--nasbench360", str(tmp_path / "table.csv"), "--output", str(tmp_path)]) == 0
    made = torch.load(tmp_path / "nasbench360.pt", weights_only=True)
    for name in further.NASBENCH360_NAMES:
        torch.testing.assert_close(made["score"][name], scores[name], rtol=0, atol=1e-4)


def test_equal_cells_share_a_score_and_the_rest_has_none(space, tmp_path):
    classes = equivalence_classes()
    first = int((classes.bincount() > 1).nonzero()[0])
    members = (classes == first).nonzero()[:2].flatten().tolist()
    other = int((classes != first).nonzero()[0])
    rows = [[space.architectures[i], value] for i, value in ((members[0], 1.0), (members[1], 4.0), (other, -1e8))]
    for name in make_further.SCORED:
        write(tmp_path / f"{name}.csv", ["nwot"], rows)
    made = make_further.make_nwot(tmp_path, space)["cifar10"]
    assert made[first] == 2.5
    assert made[classes[other]] == further.NO_SCORE
    assert (made > further.NO_SCORE).sum() == 1


def test_the_shipped_scores_follow_the_accuracies(space):
    score = further.nwot()["cifar10"]
    known = torch.tensor(list(space.known_accuracy("cifar10").values()))
    there = score.isfinite()
    assert there.float().mean() > 0.9
    ranks = [values[there].argsort().argsort().float() for values in (score, known)]
    assert torch.corrcoef(torch.stack(ranks))[0, 1] > 0.7  # published: 0.76


@pytest.mark.parametrize("text", ["", "architecture,ninapro\nx,1\n", "architecture,ninapro,darcy\nx,1,1\n"])
def test_other_files_are_refused(tmp_path, capsys, text):
    (tmp_path / "table.csv").write_text(text)
    assert make_further.main(["--nasbench360", str(tmp_path / "table.csv"), "--output", str(tmp_path)]) == 2
    assert "table.csv" in capsys.readouterr().err
    assert not (tmp_path / "nasbench360.pt").exists()


def test_the_latencies_are_made_from_rows_in_any_order(space, tmp_path):
    known = further.device_latency()
    order = torch.randperm(space.size, generator=torch.Generator().manual_seed(0)).tolist()
    names = ["raspi4", "pixel3"]
    rows = [[space.architectures[i], *(known[name][i].item() for name in names)] for i in order]
    write(tmp_path / "table.csv", names, rows)
    assert make_further.main(["--latency", str(tmp_path / "table.csv"), "--output", str(tmp_path)]) == 0
    made = torch.load(tmp_path / "latency.pt", weights_only=True)["ms"]
    assert all(torch.equal(made[name], known[name]) for name in names)
    assert list(made) == names


def test_the_shipped_latencies_are_of_27_devices_and_small(space):
    known = further.device_latency()
    assert len(known) == 27
    assert further.LATENCY.stat().st_size < 10**6
    cell = space.from_text(
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"
    )
    assert space.device_latency("pixel3")[cell] == pytest.approx(17.24, rel=1e-3)
    assert space.device_latency("titan_rtx_256")[cell] == pytest.approx(26.51, rel=1e-3)


@pytest.mark.parametrize(
    "text", ["", "architecture\n", "architecture,a,a\n", "architecture,a\nx,1\n", "architecture,a\n"]
)
def test_other_files_are_no_latencies(tmp_path, capsys, text):
    (tmp_path / "table.csv").write_text(text)
    assert make_further.main(["--latency", str(tmp_path / "table.csv"), "--output", str(tmp_path)]) == 2
    assert "table.csv" in capsys.readouterr().err
    assert not (tmp_path / "latency.pt").exists()
