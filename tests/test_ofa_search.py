"""The meta-test of the MobileNetV3 space: the same commands, one step, a folder for each number of candidates."""

import json
from pathlib import Path

import pytest
import torch
from helpers.ofa import TEST, ofa, rows

pytestmark = pytest.mark.usefixtures("authors_data", "ofa_checkpoints")


@pytest.mark.parametrize(("data_name", "runs"), [("cifar10", 10), ("pets", 1)])
def test_the_published_command_generates_and_ranks(command, data_name, runs):
    code, _, err = command(f"{TEST} --hs 56 --nz 56 --load-epoch 120 --data-name {data_name}")
    assert code == 0, err
    folder = Path("results/ofa_mbv3/meta_test") / data_name / "12"
    assert len(list((folder / "generated_arch").glob("run_*.txt"))) == runs
    best = (folder / "best_arch" / "architecture.txt").read_text().splitlines()
    assert len(best) == runs
    for run in range(1, runs + 1):
        generated = (folder / "generated_arch" / f"run_{run}.txt").read_text().splitlines()[1:]
        ranked = rows(folder, run)
        assert sorted(row["architecture"] for row in ranked) == sorted(generated)
        assert len(set(generated)) == 12
        predicted = [float(row["predicted_accuracy"]) for row in ranked]
        assert predicted == sorted(predicted, reverse=True)
        assert ranked[0]["architecture"] == best[run - 1]
        cost = ofa.cost(ofa.from_text(best[run - 1]), {"cifar10": 10, "pets": 5}[data_name])
        assert float(ranked[0]["mflops"]) == pytest.approx(cost["flops"], rel=1e-4)
    summary = json.loads((folder / "best_arch" / "summary.json").read_text())
    assert summary["history"]["predictor"].endswith("ofa_mbv3/predictor/model/ckpt_max_corr.pt")


def test_candidates_in_their_canonical_form_alone(command):
    assert command(f"{TEST} --data-name pets")[0] == 0
    texts = Path("results/ofa_mbv3/meta_test/pets/12/generated_arch/run_1.txt").read_text().splitlines()[1:]
    assert all(ofa.to_text(ofa.from_text(text)) == text for text in texts)


def test_a_bound_on_the_flops(command):
    assert command(f"{TEST} --data-name pets --bound 150")[0] == 0
    assert all(float(row["mflops"]) <= 150 for row in rows(Path("results/ofa_mbv3/meta_test/pets/12")))


def test_an_impossible_bound_says_the_smallest_possible(refuses):
    smallest = ofa.smallest_cost(5)["flops"]
    message = refuses(f"{TEST} --data-name pets --bound 20")
    assert f"the smallest of ofa_mbv3 have {smallest:.6g} MFLOPs" in message
    sampled = ofa.costs(ofa.sample(500, torch.Generator().manual_seed(0)), 5)
    assert smallest < sampled[0].min()


def test_a_bound_between_the_smallest_and_what_is_generated(refuses, command):
    bound = ofa.smallest_cost(5)["flops"] + 0.01
    assert command(f"{TEST} --data-name pets")[0] == 0
    folder = Path("results/ofa_mbv3/meta_test/pets/12")
    before = sorted(path.name for path in folder.iterdir())
    message = refuses(f"{TEST} --data-name pets --bound {bound}")
    assert "generated architectures meets this limit. Raise the limit" in message
    assert f"the smallest of ofa_mbv3 have {bound - 0.01:.6g} MFLOPs" in message
    assert sorted(path.name for path in folder.iterdir()) == before


def test_earlier_results_stay_where_the_predictor_does_not_fit(refuses, command, toy_checkpoints):
    assert command(f"{TEST} --data-name pets")[0] == 0
    folder = Path("results/ofa_mbv3/meta_test/pets/12")
    before = {path: path.read_bytes() for path in folder.rglob("*.txt")}
    refuses(f"{TEST} --data-name pets --predictor-checkpoint {toy_checkpoints['predictor']}")
    assert {path: path.read_bytes() for path in folder.rglob("*.txt")} == before


def test_a_search_in_one_go(command):
    code, out, err = command("--model search --search-space ofa_mbv3 --data-name pets --num-gen-arch 9")
    assert code == 0, err
    assert "9 architectures ranked for pets" in out
    assert Path("results/ofa_mbv3/search/pets/001/best_architecture.svg").is_file()


def test_a_checkpoint_of_the_other_space(refuses, toy_checkpoints):
    for kind, path in toy_checkpoints.items():
        message = refuses(f"{TEST} --data-name pets --{kind}-checkpoint {path}")
        assert "was trained for nasbench201, not for ofa_mbv3" in message


def test_a_space_too_large_to_be_ranked_whole(refuses):
    assert "cannot be ranked whole" in refuses(f"{TEST.replace('12', 'all')} --data-name pets")
