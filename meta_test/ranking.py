"""Score the candidates of a search and sort them; measure the latency of the first."""

from dataclasses import replace
from typing import Any

from engine.progress import progress
from engine.runs import random_generator
from meta_test.report import Ranking
from meta_test.session import Session
from meta_train.predictor_objective import to_percent
from networks.latency import latency
from predictor.score import score


def rank(session: Session, archs: list[Any], run: int) -> Ranking:
    """Score candidates and sort them, best first."""
    o = session.options
    rng = random_generator(o.seed + 1000 + run, o.device)
    scores = score(
        session.models["predictor"], session.space, session.features, archs, o.num_draws, o.num_sample, rng, o.num_class
    )
    predicted = to_percent(scores, session.checkpoints["predictor"].target)
    order = predicted.argsort(descending=True, stable=True).tolist()
    texts = [session.space.to_text(archs[i]) for i in order]
    known = session.space.known_accuracy(o.data_name)
    return Ranking(
        texts,
        predicted[order].tolist(),
        [known[text] for text in texts] if known else None,
        max(known.values()) if known else None,
        [session.space.cost(archs[i], session.features.num_classes) for i in order],
    )


def measure_latency(session: Session, ranking: Ranking) -> Ranking:
    """Add the latency of the first `--latency` candidates."""
    o = session.options
    texts = ranking.texts[: o.latency]
    if not texts:
        return ranking
    costs = [dict(cost) for cost in ranking.costs]
    for text, cost in zip(progress(texts, desc="latency", unit="network", leave=False), costs, strict=False):
        arch = session.space.from_text(text)
        cost["latency"] = latency(session.space, arch, session.features.num_classes, o.latency_batch, o.device)
    return replace(ranking, costs=costs)
