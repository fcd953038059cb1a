"""Meta-training of the predictor (MetaD2A sections 3.2 and 4.1).

Dimensions: B tuples, C classes, S images of a class, D feature width.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from metad2a.core.environment import random_generator
from metad2a.core.errors import UserError
from metad2a.data.features import draw_images
from metad2a.graphs.batch import GraphBatch
from metad2a.metatrain.additive import SHARES, centered_by_task, fit_additive
from metad2a.metatrain.draws import TaskDraws
from metad2a.metatrain.fit import Objective
from metad2a.metatrain.tuples import Tuples
from metad2a.spaces.base import SearchSpace
from predictor.model import PredictorModel
from set_encoder.encoder import RaggedSets

# Validation figures: over all tuples, and of the tuples of a task among themselves
CORRELATION, WITHIN_TASKS = "correlation", "correlation_within_tasks"
TARGET_SCALE = 100  # published: targets are z-scores over 100


class BenchmarkTask:
    """A benchmark's accuracies on classes of the meta-training images, as one more meta-training task.

    Each step draws one set of classes, and as many architectures as a batch has tuples. Left out are the architectures
    of validation tuples and of `fold`, and those below the first percentile of the training tuples' accuracies in the
    benchmark.
    A least-squares line, fitted to the training tuples, converts the benchmark's accuracies to the scale of the
    database. The benchmark's accuracies are of one dataset and not of the drawn classes, so the loss compares only
    differences between the architectures of a step.

    Args:
        name: of the dataset, with "@" and the epochs of the benchmark's trainings if not 200.
        fold: which fifth of the space is left out; None for no other than validation.

    Raises:
        UserError: the benchmark does not know the dataset or the epochs, or the features lack its classes.
    """

    def __init__(self, space: SearchSpace, name: str, draws: TaskDraws, tuples: Tuples, fold: int | None = None):
        dataset, _, epochs = name.partition("@")
        num_classes = space.benchmark_classes.get(dataset)
        known = space.known_accuracy(dataset, int(epochs or 200)) if (epochs or "200").isdigit() else None
        if known is None or num_classes is None:
            names = ", ".join(space.benchmark_classes) or "none"
            raise UserError(f"--benchmark-task {name}: {space.name} has no such task; choose among: {names}.")
        if num_classes > draws.features.num_classes:
            raise UserError(
                f"--benchmark-task {dataset} needs ImageNet's first {num_classes} classes, but {draws.features.source} "
                f"has {draws.features.num_classes}."
            )
        if draws.ragged:
            raise UserError("--benchmark-task needs tasks of one size, but those of the database differ.")
        self.draws = draws
        self.num_classes = num_classes
        trained = np.array([known[space.to_text(tuples.archs[row])] for row in tuples.training.tolist()])
        line = np.polyfit(trained, tuples.accuracy[tuples.training].numpy(), 1)
        lowest = np.percentile(trained, 1)
        held_out = {space.to_text(tuples.archs[row]) for row in tuples.validation.tolist()}
        held_out |= set() if fold is None else space.fold(fold)
        good = {arch: value for arch, value in known.items() if value >= lowest and arch not in held_out}
        self.graphs = space.encode([space.from_text(arch) for arch in good]).to(draws.device)
        self.accuracy = torch.from_numpy(np.polyval(line, list(good.values()))).float()  # (G,) in %

    def draw(self, num_architectures: int, rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw C classes and return features (1, C, S, D) of their images, and the rows of `graphs` that were drawn."""
        draws = self.draws
        order = torch.rand(self.num_classes, generator=rng, device=draws.device).argsort()
        classes = order[: draws.classes.shape[1]][None]
        images = draws.features.images[draw_images(draws.features, classes, draws.num_sample, rng)]
        return images, torch.randint(len(self.accuracy), (num_architectures,), generator=rng, device=draws.device)


class PredictorObjective(Objective):
    """Train on the squared error, summed over a batch, of targets ((accuracy - mean) / std) / 100.

    The best epoch is the one of the highest Pearson correlation of scores and targets of the validation tuples. With
    `within_task_loss` each task's mean is subtracted from both before.
    """

    def __init__(
        self,
        model: PredictorModel,
        draws: TaskDraws,
        tuples: Tuples,
        graphs: GraphBatch,
        seed: int,
        benchmarks: Sequence[BenchmarkTask] = (),
        rank_loss: float = 0.0,
        within_task_loss: float = 0.0,
    ):
        self.model = model
        self.draws = draws
        self.graphs = graphs
        self.target = target_statistics(tuples)
        device = draws.device
        self.scaled = self._scale(tuples.accuracy).to(device)  # (n,)
        self.rank_loss = rank_loss
        self.within_task_loss = within_task_loss
        self.best_metric = CORRELATION
        if within_task_loss:
            self.within_task_std = self._within_task_std(tuples)
            self.best_metric = WITHIN_TASKS
        self.benchmarks = benchmarks
        self.benchmark_scaled = [self._scale(benchmark.accuracy).to(device) for benchmark in benchmarks]
        self.training, self.validation = tuples.training, tuples.validation
        # Drawn once: the best epoch must not be the luckiest draw.
        self.validation_batches = draws.batches(self.validation, random_generator(seed, device))

    def fit_additive(self, tuples: Tuples, features: torch.Tensor) -> None:
        """Fit the regression that is a member of the model, where it has one, to the training tuples.

        Args:
            features: (N, T, F) float64, see `SearchSpace.vertex_features`.
        """
        if self.model.additive is None:
            return
        rows = tuples.training
        types, target = self.graphs.types.cpu()[rows], self._scale(tuples.accuracy[rows])
        fit_additive(self.model.additive, types, target, features, tuples.task[rows] if self.draws.grouped else None)

    def loss(self, rows: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """Draw images for the tuples `rows` (B,), predict, and return the summed loss, a scalar."""
        rows, position, chosen = self.draws.batch(rows, rng)
        images = self.draws.images(chosen)  # (T, C, S, D)
        if not self.benchmarks or isinstance(images, RaggedSets):  # a benchmark has tasks of one size beside it
            return self._loss(self.scores(images, rows, position), self.scaled[rows], position)
        drawn = [benchmark.draw(len(rows), rng) for benchmark in self.benchmarks]
        set_vec = self.model.encode_set(torch.cat([images, *(extra for extra, _ in drawn)]))  # (T + benchmarks, Z)
        extra_rows = [torch.full_like(position, number) for number in range(len(images), len(set_vec))]
        set_vec = set_vec[torch.cat([position, *extra_rows])]
        graphs = [benchmark.graphs[extra] for benchmark, (_, extra) in zip(self.benchmarks, drawn, strict=True)]
        graph_vec = self.model.encode_graph(GraphBatch.cat([self.graphs[rows], *graphs]))
        scores, *others = self.model.predict(set_vec, graph_vec).split(len(rows))
        loss = self._loss(scores, self.scaled[rows], position)
        for scaled, (_, extra), found in zip(self.benchmark_scaled, drawn, others, strict=True):
            offset = (found - scaled[extra]).mean()
            loss = loss + self._loss(found - offset, scaled[extra])
        return loss

    def _loss(self, scores: torch.Tensor, truth: torch.Tensor, task: torch.Tensor | None = None) -> torch.Tensor:
        """Sum the loss of scores (B,) against targets `truth` (B,). `task` (B,) numbers the tasks of their tuples."""
        error = scores - truth
        loss = error.square().sum()
        if self.within_task_loss and task is not None:
            within = (
                centered_by_task(error, task, len(error)).square().sum() / self.within_task_std**2 / TARGET_SCALE**2
            )
            loss = loss + self.within_task_loss * within
        if self.rank_loss:
            loss = loss + self.rank_loss * pairwise_ranking_loss(scores * TARGET_SCALE, truth) / TARGET_SCALE**2
        return loss

    def _scale(self, accuracy: torch.Tensor) -> torch.Tensor:
        return (accuracy - self.target["mean"]) / self.target["std"] / TARGET_SCALE

    def _within_task_std(self, tuples: Tuples) -> float:
        """Standard deviation of the scaled training targets within their tasks.

        Raises:
            UserError: most tasks have one architecture.
        """
        if not self.draws.grouped:
            raise UserError(
                f"--within-task-loss needs several architectures of a task, but {tuples.source} has one of most. Build "
                "a database with --num-arch 2 or more, or leave the option out."
            )
        task = tuples.task[tuples.training]
        free = len(task) - len(task.unique())  # degrees of freedom
        within = centered_by_task(self._scale(tuples.accuracy[tuples.training]), task)
        return max((within.double().square().sum() / free).sqrt().item(), 1e-12)

    def scores(self, images: torch.Tensor | RaggedSets, rows: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        """Predict the scores (B,) of the tuples `rows` (B,).

        Args:
            images: features (T, C, S, D) of T tasks.
            position: (B,) long, which of the T tasks each tuple belongs to.
        """
        set_vec = self.model.encode_set(images)[position]  # (T, Z) to (B, Z)
        return self.model.predict(set_vec, self.model.encode_graph(self.graphs[rows]))

    @torch.inference_mode()
    def validate(self) -> dict[str, float]:
        self.model.eval()
        additive = self.model.additive
        if additive is not None:
            additive.share.zero_()
        scores = torch.cat(
            [self.scores(self.draws.images(b.drawn), b.rows, b.position) for b in self.validation_batches]
        )
        rows = torch.cat([batch.rows for batch in self.validation_batches])
        truth = self.scaled[rows]
        figures = {}
        if additive is not None:
            alone = additive(self.graphs.types[rows])
            share = self._best_share(scores, alone, truth)
            additive.share.fill_(share)
            scores, figures = torch.lerp(scores, alone, share), {"regression_share": share}
        figures |= self._correlations(scores, truth)
        return figures | {"validation_loss": (scores - truth).square().mean().item()}

    def _best_share(self, network: torch.Tensor, additive: torch.Tensor, truth: torch.Tensor) -> float:
        """Of additive scores (V,) beside the network's: what correlates best, within tasks where they have several."""
        name = WITHIN_TASKS if self.draws.grouped else CORRELATION
        return max(SHARES, key=lambda s: self._correlations(torch.lerp(network, additive, s), truth)[name])

    def _correlations(self, scores: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
        """Of the validation tuples' scores (V,) with their targets, also within tasks where these have several."""
        figures = {CORRELATION: correlation(scores, truth)}
        if self.draws.grouped:
            task = self.draws.send(self.draws.task[self.validation])
            figures[WITHIN_TASKS] = correlation(centered_by_task(scores, task), centered_by_task(truth, task))
        return figures


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    """Compute Pearson's correlation of two tensors (B,); 0 where all values of one are equal."""
    both = torch.stack([a, b])
    constant = bool((both == both[:, :1]).all(dim=1).any())
    return 0.0 if constant else torch.corrcoef(both)[0, 1].item()


def pairwise_ranking_loss(scores: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """RankNet's logistic loss (Burges et al., ICML 2005), summed over scores (B,) and averaged over their pairs."""
    order = (truth[:, None] - truth).sign()  # (B, B), 0 where equal
    loss = F.softplus(-order * (scores[:, None] - scores)) * order.abs()
    return loss.sum() / max(len(scores) - 1, 1)


def target_statistics(tuples: Tuples) -> dict[str, float]:
    """Mean and standard deviation of the training part's accuracies, in %."""
    accuracy = tuples.accuracy[tuples.training].double()
    return {"mean": accuracy.mean().item(), "std": max(accuracy.std().item(), 1e-6)}


def to_percent(scores: torch.Tensor, target: dict[str, float]) -> torch.Tensor:
    """Scores of the predictor as accuracies in %, on the scale of the meta-training database."""
    return scores * TARGET_SCALE * target["std"] + target["mean"]


def standard_error(metrics: dict[str, float], target: dict[str, float]) -> float | None:
    """Root of the mean squared error on the validation tuples, in points; None where a checkpoint does not tell."""
    loss = metrics.get("validation_loss")
    return None if loss is None else loss**0.5 * TARGET_SCALE * target["std"]
