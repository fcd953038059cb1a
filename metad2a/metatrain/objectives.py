"""What meta-training minimises and how it validates, for the generator and the predictor (MetaD2A sections 3 and 4.1).

Dimensions: B or n tuples, T tasks, C classes, S images per class, D feature width, Z latent, V validation tuples;
N vertices, K vertex types, F features per vertex.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from generator.model import GeneratorModel
from metad2a.core.environment import random_generator
from metad2a.core.errors import UserError
from metad2a.data.features import draw_images
from metad2a.graphs.batch import GraphBatch
from metad2a.metatrain.draws import Batch, TaskDraws
from metad2a.metatrain.tuples import Tuples
from metad2a.spaces.base import SearchSpace
from predictor.model import AdditiveScore, PredictorModel
from set_encoder.encoder import RaggedSets

# Validation figures: over all tuples, and between tuples of the same task
CORRELATION, WITHIN_TASKS = "correlation", "correlation_within_tasks"
TARGET_SCALE = 100  # published: targets are z-scores / 100
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # candidates for the regression's share; validation tuples choose
PENALTIES = np.logspace(-3, 3, 13)  # candidates for ridge regression; leave-one-out errors choose


class Objective(ABC):
    """A model with its data, as `fit` trains and validates it; `graphs` are the tuples' graphs."""

    best_metric = ""  # the validation figure whose maximum `ckpt_max_corr.pt` keeps

    def __init__(self, model: Any, draws: TaskDraws, tuples: Tuples, graphs: GraphBatch, seed: int):
        self.model, self.draws, self.graphs = model, draws, graphs
        self.target: dict[str, float] = {}  # the scale of a predictor's accuracies, for the checkpoint
        self.training, self.validation = tuples.training, tuples.validation  # long, numbers of tuples
        # The same draws every epoch, so that the best epoch is not the luckiest draw
        self.validation_batches = draws.batches(self.validation, random_generator(seed, draws.device))

    @abstractmethod
    def loss(self, rows: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """Loss of a batch of tuples `rows` (B,), summed."""

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Validation figures."""


class GeneratorObjective(Objective):
    """Negative evidence lower bound of the tuples' graphs. Validation also decodes one graph per tuple."""

    def __init__(
        self, model: GeneratorModel, draws: TaskDraws, tuples: Tuples, graphs: GraphBatch, space: SearchSpace, seed: int
    ):
        super().__init__(model, draws, tuples, graphs, seed)
        self.space, self.seed = space, seed
        self.training_archs = {space.to_text(tuples.archs[i]) for i in tuples.training.tolist()}

    def _loss(self, batch: Batch, rng: torch.Generator | None) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss, and the latents' means (B, Z)."""
        mu, logvar = self.model.set_encode(self.draws.images(batch.image_rows))
        mu, logvar = mu[batch.position], logvar[batch.position]
        return self.model.loss(mu, logvar, self.graphs[batch.rows], rng)[0], mu

    def loss(self, rows: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        return self._loss(self.draws.batch(rows, rng), rng)[0]

    @torch.inference_mode()
    def validate(self) -> dict[str, float]:
        self.model.eval()
        rng = random_generator(self.seed, self.draws.device)
        total, decoded = 0.0, []
        for batch in self.validation_batches:
            loss, mu = self._loss(batch, None)
            total += loss.item()
            decoded += self.space.decode(self.model.decode(mu, stochastic=True, rng=rng))
        valid = [self.space.to_text(arch) for arch in decoded if arch is not None]
        distinct = set(valid)
        return {
            "validation_loss": total / len(decoded),
            "valid": len(valid) / len(decoded),
            "distinct": len(distinct) / max(len(valid), 1),
            "novel": len(distinct - self.training_archs) / max(len(distinct), 1),
        }


class BenchmarkTask:
    """A benchmark's accuracies on classes of the meta-training images, as one more meta-training task.

    Each step draws C of these classes and as many architectures as the batch has tuples. The task leaves out the
    architectures of validation tuples, and architectures worse than 99 % of the training tuples. A least-squares line,
    fitted to the training tuples, converts the accuracies to the scale of the database. The benchmark measured them on
    all its classes together, so the loss compares only differences within a step. The `name` is a dataset, or for
    example imagenet16-120@12 for accuracies after 12 instead of 200 epochs.
    """

    def __init__(self, space: SearchSpace, name: str, draws: TaskDraws, tuples: Tuples):
        dataset, _, epochs = name.partition("@")
        num_classes = space.benchmark_classes.get(dataset)
        benchmark = space.known_accuracy(dataset, int(epochs or 200)) if (epochs or "200").isdigit() else None
        if benchmark is None or num_classes is None:
            names = ", ".join(space.benchmark_classes) or "none"
            raise UserError(f"--benchmark-task {name}: {space.name} has no such task; choose among: {names}.")
        if num_classes > draws.features.num_classes:
            raise UserError(
                f"--benchmark-task {dataset} needs ImageNet's first {num_classes} classes, but {draws.features.source} "
                f"has {draws.features.num_classes}."
            )
        if draws.ragged:
            raise UserError("--benchmark-task needs tasks with equal numbers of classes, which the database lacks.")
        self.draws, self.num_classes = draws, num_classes
        trained = np.array([benchmark[space.to_text(tuples.archs[row])] for row in tuples.training.tolist()])
        line = np.polyfit(trained, tuples.accuracy[tuples.training].numpy(), 1)
        lowest = np.percentile(trained, 1)
        held_out = {space.to_text(tuples.archs[row]) for row in tuples.validation.tolist()}
        good = {arch: value for arch, value in benchmark.items() if value >= lowest and arch not in held_out}
        self.graphs = space.encode([space.from_text(arch) for arch in good]).to(draws.device)
        self.accuracy = torch.from_numpy(np.polyval(line, list(good.values()))).float()  # (G,), %

    def draw(self, num_architectures: int, rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (1, C, S, D) of random classes, and random rows of `graphs` (num_architectures,)."""
        draws = self.draws
        order = torch.rand(self.num_classes, generator=rng, device=draws.device).argsort()
        classes = order[: draws.classes.shape[1]][None]
        images = draws.features.images[draw_images(draws.features, classes, draws.num_sample, rng)]
        return images, torch.randint(len(self.accuracy), (num_architectures,), generator=rng, device=draws.device)


class PredictorObjective(Objective):
    """The squared error, summed over a batch, of targets ((accuracy - mean) / std) / 100.

    The best epoch has the highest Pearson correlation of scores and targets on the validation tuples. With
    `within_task_loss` each task's mean is subtracted from both first.
    """

    def __init__(
        self, model: PredictorModel, draws: TaskDraws, tuples: Tuples, graphs: GraphBatch, seed: int,
        benchmarks: Sequence[BenchmarkTask] = (), within_task_loss: float = 0.0
    ):  # fmt: skip
        super().__init__(model, draws, tuples, graphs, seed)
        self.target = target_statistics(tuples)
        self.scaled = self._scale(tuples.accuracy).to(draws.device)  # (n,)
        self.benchmarks = benchmarks
        self.benchmark_scaled = [self._scale(benchmark.accuracy).to(draws.device) for benchmark in benchmarks]
        self.within_task_loss = within_task_loss
        self.best_metric = WITHIN_TASKS if within_task_loss else CORRELATION
        if within_task_loss:
            self.within_task_std = self._within_task_std(tuples)

    def fit_additive(self, tuples: Tuples, features: torch.Tensor) -> None:
        """Fit the model's additive score, if it has one, to the training tuples by `SearchSpace.vertex_features`."""
        if self.model.additive is not None:
            rows = tuples.training
            types, target = self.graphs.types.cpu()[rows], self._scale(tuples.accuracy[rows])
            task = tuples.task[rows] if self.draws.grouped else None
            fit_additive(self.model.additive, types, target, features, task)

    def loss(self, rows: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        rows, position, image_rows = self.draws.batch(rows, rng)
        images = self.draws.images(image_rows)  # (T, C, S, D) or ragged
        if not self.benchmarks or isinstance(images, RaggedSets):
            return self._loss(self.scores(images, rows, position), self.scaled[rows], position)
        extra = [benchmark.draw(len(rows), rng) for benchmark in self.benchmarks]
        set_vec = self.model.encode_set(torch.cat([images, *(sets for sets, _ in extra)]))  # (T + benchmarks, Z)
        extra_position = [torch.full_like(position, number) for number in range(len(images), len(set_vec))]
        set_vec = set_vec[torch.cat([position, *extra_position])]
        graphs = [benchmark.graphs[archs] for benchmark, (_, archs) in zip(self.benchmarks, extra, strict=True)]
        graph_vec = self.model.encode_graph(GraphBatch.cat([self.graphs[rows], *graphs]))
        scores, *others = self.model.predict(set_vec, graph_vec).split(len(rows))
        loss = self._loss(scores, self.scaled[rows], position)
        for scaled, (_, archs), other in zip(self.benchmark_scaled, extra, others, strict=True):
            offset = (other - scaled[archs]).mean()
            loss = loss + (other - offset - scaled[archs]).square().sum()
        return loss

    def _loss(self, scores: torch.Tensor, truth: torch.Tensor, task: torch.Tensor) -> torch.Tensor:
        """Sum the losses of scores (B,) against targets (B,). `task` (B,) numbers the tasks of their tuples."""
        error = scores - truth
        loss = error.square().sum()
        if self.within_task_loss:
            within = centered_by_task(error, task, len(error)).square().sum() / self.within_task_std**2
            loss = loss + self.within_task_loss * (within / TARGET_SCALE**2)
        return loss

    def _scale(self, accuracy: torch.Tensor) -> torch.Tensor:
        return (accuracy - self.target["mean"]) / self.target["std"] / TARGET_SCALE

    def _within_task_std(self, tuples: Tuples) -> float:
        """Standard deviation of the scaled training targets within their tasks."""
        if not self.draws.grouped:
            raise UserError(
                f"--within-task-loss compares architectures of the same task, but most tasks of {tuples.source} have "
                "only one. Leave the option out, or build a database with: "
                f"python main.py build-database --model predictor --num-arch 2"
            )
        task = tuples.task[tuples.training]
        degrees_of_freedom = len(task) - len(task.unique())
        within = centered_by_task(self._scale(tuples.accuracy[tuples.training]), task)
        return max((within.double().square().sum() / degrees_of_freedom).sqrt().item(), 1e-12)

    def scores(self, images: torch.Tensor | RaggedSets, rows: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        """Scores (B,) of tuples `rows` whose tasks are at `position` (B,) of `images`, (T, C, S, D) or ragged."""
        set_vec = self.model.encode_set(images)[position]  # (B, Z)
        return self.model.predict(set_vec, self.model.encode_graph(self.graphs[rows]))

    @torch.inference_mode()
    def validate(self) -> dict[str, float]:
        """Validation figures; also chooses the share of the additive score."""
        self.model.eval()
        additive = self.model.additive
        if additive is not None:
            additive.share.zero_()
        batches = self.validation_batches
        scores = torch.cat([self.scores(self.draws.images(b.image_rows), b.rows, b.position) for b in batches])
        rows = torch.cat([batch.rows for batch in batches])
        truth = self.scaled[rows]
        figures = {}
        if additive is not None:
            linear = additive(self.graphs.types[rows])
            share = self._best_share(scores, linear, truth)
            additive.share.fill_(share)
            scores, figures = torch.lerp(scores, linear, share), {"regression_share": share}
        figures |= self._correlations(scores, truth)
        return figures | {"validation_loss": (scores - truth).square().mean().item()}

    def _best_share(self, network: torch.Tensor, additive: torch.Tensor, truth: torch.Tensor) -> float:
        """The share of additive scores (V,) for the best correlation, within tasks if tuples are grouped."""
        name = WITHIN_TASKS if self.draws.grouped else CORRELATION
        return max(SHARES, key=lambda s: self._correlations(torch.lerp(network, additive, s), truth)[name])

    def _correlations(self, scores: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
        """Correlations of the validation tuples' scores and targets (V,); within tasks only if tuples are grouped."""
        figures = {CORRELATION: correlation(scores, truth)}
        if self.draws.grouped:
            task = self.draws.send(self.draws.task[self.validation])
            figures[WITHIN_TASKS] = correlation(centered_by_task(scores, task), centered_by_task(truth, task))
        return figures


@torch.no_grad()
def fit_additive(
    score: AdditiveScore, types: torch.Tensor, target: torch.Tensor, features: torch.Tensor,
    task: torch.Tensor | None = None,
) -> None:  # fmt: skip
    """Set the weights of `score` by ridge regression of the targets (n,) on features of the vertices.

    Args:
        types: (n, N) long, vertex types of the tuples' graphs.
        features: (N, K, F) float64, see `SearchSpace.vertex_features`.
        task: (n,) long, each tuple's task, to subtract the tasks' means first; None if tasks have single tuples.
    """
    from sklearn.linear_model import RidgeCV  # takes a second to import

    inputs = features[torch.arange(len(features)), types].flatten(1)  # (n, N * F)
    value = target.double()
    if task is not None:
        inputs, value = centered_by_task(inputs, task), centered_by_task(value, task)
    regression = RidgeCV(PENALTIES).fit(inputs.numpy(), value.numpy())
    weight = torch.from_numpy(regression.coef_).unflatten(0, (len(features), -1))  # (N, F)
    score.weight.copy_((features * weight[:, None]).sum(-1))
    score.constant.zero_()
    score.constant.copy_((target.to(score.weight) - score(types.to(score.weight.device))).mean())


def centered_by_task(values: torch.Tensor, task: torch.Tensor, num_tasks: int | None = None) -> torch.Tensor:
    """Subtract from each of `values` (B,) or (B, F) the mean of its `task` (B,) long.

    `num_tasks` exceeds every number in `task`; without it the host waits to look it up.
    """
    zeros = values.new_zeros(int(task.max()) + 1 if num_tasks is None else num_tasks, *values.shape[1:])
    mean = zeros.index_add(0, task, values) / zeros.index_add(0, task, torch.ones_like(values)).clamp(min=1)
    return values - mean[task]


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    """Pearson's correlation of two tensors (B,); 0 if all values of a tensor are equal."""
    both = torch.stack([a, b])
    constant = bool((both == both[:, :1]).all(dim=1).any())
    return 0.0 if constant else torch.corrcoef(both)[0, 1].item()


def target_statistics(tuples: Tuples) -> dict[str, float]:
    """Mean and standard deviation of the training tuples' accuracies, in %."""
    accuracy = tuples.accuracy[tuples.training].double()
    return {"mean": accuracy.mean().item(), "std": max(accuracy.std().item(), 1e-6)}


def to_percent(scores: torch.Tensor, target: dict[str, float]) -> torch.Tensor:
    """Convert the predictor's scores to accuracies in %, on the scale of the meta-training database."""
    return scores * TARGET_SCALE * target["std"] + target["mean"]


def standard_error(metrics: dict[str, float], target: dict[str, float]) -> float | None:
    """Root of the mean squared error on the validation tuples, in points; None if the checkpoint lacks it."""
    loss = metrics.get("validation_loss")
    return None if loss is None else loss**0.5 * TARGET_SCALE * target["std"]
