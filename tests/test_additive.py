"""Predictors of which a regression on vertices is a member, and that know how many classes a task has."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from metad2a import spaces
from metad2a.core.errors import UserError
from metad2a.data.features import Features
from metad2a.metatrain.checkpoints import Checkpoint, read_checkpoint
from metad2a.metatrain.draws import TaskDraws
from metad2a.metatrain.ensemble import join
from metad2a.metatrain.models import load_model
from metad2a.metatrain.objectives import PredictorObjective, fit_additive
from metad2a.metatrain.tuples import Tuples
from predictor.ensemble import PredictorEnsemble
from predictor.model import AdditiveScore, PredictorConfig, PredictorModel
from set_encoder.encoder import RaggedSets, SharedImages

ofa, nasbench201 = (spaces.get(name) for name in ("ofa_mbv3", "nasbench201"))
SIZES = {"max_n": ofa.max_n, "num_vertex_type": ofa.num_vertex_type, "hs": 12, "nz": 8, "feature_dim": 6}


def model(seed=0, **more):
    """An untrained predictor whose additive score, where it has one, is not zero."""
    torch.manual_seed(seed)
    made = PredictorModel(PredictorConfig(**SIZES, **more)).eval()
    if made.additive is not None:
        torch.nn.init.normal_(made.additive.weight)
        made.additive.share.fill_(0.5)
    return made


def checkpoint(made, **metrics):
    target = {"mean": 70.0, "std": 5.0}
    return Checkpoint("predictor", "ofa_mbv3", asdict(made.config), made.state_dict(), "toy", target, 3, metrics)


@pytest.mark.parametrize("space", [ofa, nasbench201], ids=lambda space: space.name)
def test_what_adds_up_is_learned(space, rng):
    types = space.encode(space.sample(900, rng)).types
    features = space.vertex_features()
    weight = torch.randn(features.shape[0], features.shape[2], generator=rng, dtype=torch.float64)
    value = torch.stack(
        [sum(features[n, t] @ weight[n] for n, t in enumerate(row)) for row in types.tolist()]
    ).float()  # fmt: skip
    score = AdditiveScore(space.max_n, space.num_vertex_type)
    fit_additive(score, types[:800], value[:800] + 50, features)
    assert (score(types[800:]) - value[800:] - 50).abs().max() < 0.02 * value.std()


def test_inactive_layers_add_nothing(rng):
    """Encodings of one network have one score, whatever is learned."""
    archs = ofa.sample(50, rng)
    features = ofa.vertex_features()
    seen, canonical = (
        features[torch.arange(ofa.max_n), ofa.encode(several).types]
        for several in (archs, [ofa.canonical(arch) for arch in archs])
    )
    assert torch.equal(seen, canonical)
    assert not torch.equal(ofa.encode(archs).types, ofa.encode([ofa.canonical(arch) for arch in archs]).types)


def test_how_hard_a_task_is_is_no_merit_of_its_architectures(rng):
    """The better networks happen to be measured on the harder task."""
    types = ofa.encode(ofa.sample(300, rng)).types
    merit = (types[:, 1] - 2) % 3 - 1.0  # expansion of the first layer
    task = (merit > 0).long()
    value = merit - 5 * task
    apart, pooled = (AdditiveScore(ofa.max_n, ofa.num_vertex_type) for _ in range(2))
    fit_additive(apart, types, value, ofa.vertex_features(), task)
    fit_additive(pooled, types, value, ofa.vertex_features())
    low, high = (task == 0) & (merit < 0), (task == 0) & (merit == 0)
    assert apart(types[high]).mean() - apart(types[low]).mean() > 0.9
    assert pooled(types[task == 1]).mean() < pooled(types[task == 0]).mean() < apart(types[task == 1]).mean() + 5


def test_a_score_is_the_share_of_both(rng):
    made, plain = model(additive=True), model()
    made.additive.share.fill_(0.25)
    assert all(torch.equal(tensor, made.state_dict()[name]) for name, tensor in plain.state_dict().items())
    graphs = ofa.encode(ofa.sample(5, rng))
    sets = torch.randn(3, 8, generator=rng)
    vectors = made.encode_graph(graphs)
    assert vectors.shape == (5, made.graph_width) == (5, 9)
    network = plain.predict(sets[:1].expand(5, -1), plain.encode_graph(graphs))
    expected = 0.75 * network + 0.25 * made.additive(graphs.types)
    torch.testing.assert_close(made.predict(sets[:1].expand(5, -1), vectors), expected)
    torch.testing.assert_close(made.predict_all(sets, vectors)[0], expected)


def test_an_ensemble_is_the_mean_of_members_with_regressions(rng):
    members = [model(seed, additive=True) for seed in (1, 2)]
    made = [checkpoint(m, validation_loss=loss) for m, loss in zip(members, (1e-5, 3e-5), strict=True)]
    joined = join(made, ["a.pt", "b.pt"])
    ensemble = PredictorEnsemble(PredictorConfig(**joined.config)).eval()
    ensemble.load_state_dict(joined.state)
    graphs, images = ofa.encode(ofa.sample(4, rng)), torch.randn(2, 3, 5, 6, generator=rng)
    each = [m.predict_all(m.encode_set(images), m.encode_graph(graphs)) for m in members]
    assert joined.metrics == {"validation_loss": pytest.approx(2e-5)}
    found = ensemble.predict_all(ensemble.encode_set(images), ensemble.encode_graph(graphs))
    torch.testing.assert_close(found, torch.stack(each).mean(0))


def test_how_many_classes_is_seen_where_it_should_be(rng):
    """Attention pools the same class twice to the same vector."""
    once = torch.randn(1, 1, 5, 6, generator=rng)
    twice = once.expand(1, 2, 5, 6)
    blind, seeing = model(), model(class_count=True)
    torch.testing.assert_close(blind.encode_set(once), blind.encode_set(twice))
    assert (seeing.encode_set(once) - seeing.encode_set(twice)).abs().max() > 0.01
    ragged = RaggedSets(
        torch.cat([once[0], twice[0]]), torch.tensor([[True, False], [True, True]]), torch.tensor([0, 2, 3])
    )
    torch.testing.assert_close(seeing.encode_set(ragged), torch.cat([seeing.encode_set(x) for x in (once, twice)]))
    images, index = once[0, 0], torch.arange(5)[None, None].expand(1, 2, 5)
    torch.testing.assert_close(seeing.encode_set(SharedImages(images, index)), seeing.encode_set(twice))


def test_the_share_is_the_one_that_validates_best(rng):
    """Of the network alone, of the regression alone and of blends; a search never uses the worse one."""
    for truth, share in (("network", 0.0), ("additive", 1.0), ("both", 0.5)):
        found = validated(truth, rng)
        assert found["regression_share"] == share
        assert found["correlation"] == pytest.approx(1, abs=1e-5)


def validated(truth, rng):
    """Validation figures where the accuracies are the network's scores, the additive ones, or their mean."""
    made = model(additive=True)
    torch.nn.init.normal_(made.score[2].weight)
    made.additive.share.zero_()
    archs = ofa.sample(40, rng)
    graphs, classes = ofa.encode(archs), torch.zeros(40, 1, dtype=torch.long)
    images = torch.randn(3, 6, generator=rng)
    features = Features("toy", images, torch.tensor([3]), ["a"], "resnet18-32px", "toy.pt")
    with torch.inference_mode():
        vectors = made.encode_graph(graphs)
        network = made.predict(made.encode_set(images[None, None]).expand(40, -1), vectors)
        made.additive.weight *= network.std() / vectors[:, -1].std()
        share = {"network": 0.0, "additive": 1.0, "both": 0.5}[truth]
        accuracy = torch.lerp(network, made.additive(graphs.types), share)
    tuples = Tuples(archs, accuracy, torch.arange(40), classes, torch.arange(40), "toy", num_validation=30)
    draws = TaskDraws(features, tuples, 3, torch.device("cpu"))
    objective = PredictorObjective(made, draws, tuples, graphs, 0)
    made.additive.share.fill_(0.3)  # an earlier epoch's
    return objective.validate()


def test_training_does_not_see_the_share(rng):
    made = model(additive=True)
    made.additive.share.fill_(0.5)
    sets, vectors = torch.randn(4, 8, generator=rng), made.encode_graph(ofa.encode(ofa.sample(4, rng)))
    assert not torch.equal(made.train().predict(sets, vectors), made.eval().predict(sets, vectors))
    torch.testing.assert_close(made.train().predict(sets, vectors), model().predict(sets, vectors[:, :8]))


def test_a_checkpoint_of_another_kind_of_predictor_is_refused(tmp_path):
    file = checkpoint(model(additive=True))
    file.config["additive"] = False
    file.save(tmp_path / "a.pt")
    with pytest.raises(UserError, match="unknown additive"):
        load_model("predictor", ofa, tmp_path / "a.pt", torch.device("cpu"))
    file.config["additive"] = 3
    file.save(tmp_path / "a.pt")
    with pytest.raises(UserError, match="configuration"):
        load_model("predictor", ofa, tmp_path / "a.pt", torch.device("cpu"))


LINE = "--model predictor --allow-pickle --hs 12 --nz 8 --num-sample 2 --batch-size 8"


def trained(name="ckpt_last"):
    return read_checkpoint(f"results/predictor/model/{name}.pt", "predictor", "")


def test_the_published_form_has_no_regression(command, authors_data):
    assert command(f"{LINE} --max-epoch 1")[0] == 0
    assert not trained().config["additive"]
    assert "regression_share" not in trained().metrics
    assert not any(name.startswith("additive") for name in trained().state)


def test_a_run_has_the_regression_and_can_be_resumed(command, authors_data):
    code, _, err = command(f"{LINE} --regression yes --ema 0.9 --max-epoch 3")
    assert code == 0, err
    whole = trained()
    assert whole.config["additive"]
    assert whole.state["additive.weight"].any()
    assert "regression_share" in Path("results/predictor/log.txt").read_text()
    assert command(f"{LINE} --regression yes --ema 0.9 --max-epoch 1 --overwrite")[0] == 0
    assert torch.equal(trained().state["additive.weight"], whole.state["additive.weight"])
    assert "regression" in command(f"{LINE} --ema 0.9 --max-epoch 3 --resume")[2]
    assert command(f"{LINE} --regression yes --ema 0.9 --max-epoch 3 --resume")[0] == 0
    assert all(torch.equal(tensor, trained().state[name]) for name, tensor in whole.state.items())


def test_the_generator_has_no_regression(refuses, authors_data):
    assert "--regression" in refuses(f"{LINE} --max-epoch 1 --regression yes".replace("predictor", "generator"))
