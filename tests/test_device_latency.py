"""`--device-latency` and `--max-latency` of a search."""

import csv
from pathlib import Path

import pytest

from metad2a.spaces.nasbench201.classes import equivalence_classes


def rows(folder):
    with (Path(folder) / "ranking_run_1.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("ranking", ["universal", "predictor --num-gen-arch 12"])
def test_the_candidates_are_within_the_limit_and_their_latency_is_the_devices(
    command, authors_data, toy_checkpoints, space, ranking
):
    line = f"--model search --data-name cifar10 --ranking {ranking} --device-latency pixel3 --max-latency 10"
    code, out, err = command(line)
    assert code == 0, err
    assert "dev. ms: measured on pixel3" in out
    known = space.device_latency("pixel3")
    found = {row["architecture"]: float(row["device_latency_ms"]) for row in rows("results/search/cifar10/001")}
    assert found == pytest.approx({text: known[text] for text in found}, abs=1e-5)
    assert 0 < max(found.values()) <= 10


def test_of_equal_cells_one_that_is_fast_enough_is_ranked(command, authors_data, space):
    """None of the cheapest of their classes takes 5 ms on this device."""
    code, _, err = command("--model search --data-name cifar10 --device-latency essential_ph_1 --max-latency 5")
    assert code == 0, err
    classes, known = equivalence_classes().tolist(), space.device_latency("essential_ph_1")
    fast = {
        classes[i]
        for i, arch in enumerate(space.architectures)
        if known[space.to_text(arch)] <= 5 and space.can_learn(arch)
    }
    found = rows("results/search/cifar10/001")
    assert max(float(row["device_latency_ms"]) for row in found) == 5
    numbers = {space.to_text(arch): number for arch, number in zip(space.architectures, classes, strict=True)}
    assert sorted(numbers[row["architecture"]] for row in found) == sorted(fast)


def test_without_a_limit_every_cell_is_there(command, authors_data, space):
    assert command("--model search --data-name pets --device-latency eyeriss")[0] == 0
    found = rows("results/search/pets/001")
    assert len(found) == 4852
    assert float(found[0]["device_latency_ms"]) > 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--max-latency 10", "--device-latency pixel3"),
        ("--device-latency pixl3", "Did you mean pixel3?"),
        ("--device-latency titanx_1 --max-latency 0.5", "the smallest of nasbench201 have 5.19922"),
        ("--device-latency titanx_1 --max-latency 8 --max-flops 7", "--max-flops"),
    ],
)
def test_bad_limits(refuses, authors_data, line, message):
    assert message in refuses(f"--model search --data-name cifar10 {line}")
    assert not Path("results/search").exists()


def test_a_space_without_measured_latencies(refuses, authors_data, monkeypatch, space):
    from metad2a.spaces.base import SearchSpace

    monkeypatch.setattr(type(space), "device_latency", SearchSpace.device_latency)
    message = refuses("--model search --data-name cifar10 --device-latency pixel3")
    assert "no measured latencies of nasbench201" in message
