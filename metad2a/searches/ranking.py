"""Score the candidates of a search and sort them; measure the latency of the first.

Dimensions: A candidates.
"""

import time
from dataclasses import replace
from typing import Any

import numpy as np

from metad2a.core.environment import random_generator
from metad2a.core.progress import progress
from metad2a.rankings import length, universal
from metad2a.searches.options import PREDICTOR, UNIVERSAL
from metad2a.searches.planned import Planned
from metad2a.searches.report import Ranking
from metad2a.searches.session import Session


def explanation(session: Session, planned: Planned | None = None) -> str:
    """What the scores of the ranking mean."""
    if planned:
        return (
            "Equivalent cells are listed once, as the cheapest of them.\n"
            f"Score: {length.PREDICTS}, +- its standard deviation.\n"
            "The number of images and the length of the training decide this order; what the images show does not.\n"
            f"To rank with a model that sees your images, add --ranking {PREDICTOR}"
        )
    if "predictor" in session.checkpoints:
        task = (
            "Score: the accuracy (%) that the predictor expects on a task of ImageNet classes with images like these, "
            f"as in meta-training.\nAccuracies on {session.options.data_name} itself are others: only the order counts."
        )
        if _error(session) is None:
            return task
        return (
            f"{task}\n+- is the predictor's error on its validation tuples. Most of this error is task difficulty.\n"
            "It is the same for all candidates, so it says little about their order."
        )
    if session.space.architectures is not None:
        return (
            "Equivalent cells are listed once, as the cheapest of them.\n"
            f"Score: {universal.PREDICTS}, +- its standard deviation.\n"
            "The dataset does not change this order. To rank with a model that sees your images, add "
            f"--ranking {PREDICTOR}"
        )
    from metad2a.rankings import subnets  # imports PyTorch

    return (
        f"Score: {subnets.PREDICTS}, for {session.space.size_text}, +- its standard deviation.\n"
        "The ranking has seen no smaller task than all of ImageNet: the dataset shows the generator what to propose, "
        f"but does not change this order. To rank with your own predictor, add --ranking {PREDICTOR}"
    )


def predict(session: Session, archs: list[Any], run: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Accuracies (A,) in % and, if the ranking knows them, their standard deviations (A,) in points."""
    o = session.options
    if o.ranking == UNIVERSAL:
        from metad2a.rankings import subnets

        mean, deviation = subnets.load().predict(archs, session.space.image_size)
        return mean.numpy(), deviation.numpy()
    from metad2a.metatrain.objectives import to_percent
    from metad2a.metatrain.score import score

    rng = random_generator(o.seed + 1000 + run, o.device)
    scores = score(
        session.models["predictor"], session.space, session.features, archs, o.num_draws, o.num_sample, rng, o.num_class
    )
    error = _error(session)
    percent = to_percent(scores, session.checkpoints["predictor"].target).numpy(force=True)
    return percent, None if error is None else np.full_like(percent, error)


def _error(session: Session) -> float | None:
    """Standard error (points) of the session's predictor, if its checkpoint has it."""
    from metad2a.metatrain.objectives import standard_error

    checkpoint = session.checkpoints["predictor"]
    return standard_error(checkpoint.metrics, checkpoint.target)


def rank(session: Session, archs: list[Any], run: int) -> Ranking:
    """Score candidates and sort them, best first."""
    return sorted_ranking(session, archs, *predict(session, archs, run))


def rank_universally(session: Session, run: int, planned: Planned | None = None) -> Ranking:
    """The cheapest cell of each class of equivalent cells, in the order for a planned training or for a whole one on
    any photographs; every run gives the same ranking."""
    start = time.perf_counter()
    mean, deviation = planned.scores if planned else universal.load().of_classes()
    numbers = session.limits.listed()
    space, archs = session.space, session.space.all_architectures()
    classes, cells = space.classes_of_equals()[numbers], [archs[number] for number in numbers]
    ranking = sorted_ranking(session, cells, mean[classes], deviation[classes])
    if planned:
        ranking = replace(ranking, score=length.SCORE, unit="points")
    return replace(ranking, stages={"rank": time.perf_counter() - start})


def _score(session: Session) -> str:
    """What the predicted accuracies are, as the heading of a column."""
    if session.options.ranking != UNIVERSAL:
        return Ranking.score
    if session.space.architectures is not None:
        return universal.SCORE
    from metad2a.rankings import subnets  # imports PyTorch

    return subnets.SCORE


def sorted_ranking(
    session: Session, archs: list[Any], predicted: np.ndarray, deviation: np.ndarray | None = None
) -> Ranking:
    """Architectures sorted by their predicted accuracies (A,), best first."""
    order = np.argsort(-predicted, kind="stable").tolist()
    texts = [session.space.to_text(archs[i]) for i in order]
    benchmark = None if session.classes.own else session.space.known_accuracy(session.options.data_name)
    return Ranking(
        texts,
        predicted[order].tolist(),
        [benchmark[text] for text in texts] if benchmark else None,
        max(benchmark.values()) if benchmark else None,
        [session.limits.cost(archs[i]) for i in order],
        deviation=None if deviation is None else deviation[order].tolist(),
        score=_score(session),
    )


def measure_latency(session: Session, ranking: Ranking, count: int | None = None) -> Ranking:
    """Add the latency of the first `count` candidates; without `count`, as many as `--latency` says."""
    o = session.options
    texts = ranking.texts[: o.latency if count is None else count]
    if not texts:
        return ranking
    from metad2a.networks.latency import latency  # imports PyTorch

    costs = [dict(cost) for cost in ranking.costs]
    for text, cost in zip(progress(texts, desc="latency", unit="network", leave=False), costs, strict=False):
        arch = session.space.from_text(text)
        cost["latency"] = latency(session.space, arch, session.classes.number, o.latency_batch, o.device)
    return replace(ranking, costs=costs)
