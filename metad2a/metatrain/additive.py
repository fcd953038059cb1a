"""Fit the linear score that a predictor blends in.

Dimensions: n tuples, N vertices, T vertex types, F features per vertex.
"""

import numpy as np
import torch

from predictor.additive import AdditiveScore

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # candidates for the regression's share; validation tuples choose
PENALTIES = np.logspace(-3, 3, 13)  # candidates for ridge regression; leave-one-out errors choose


@torch.no_grad()
def fit_additive(
    score: AdditiveScore, types: torch.Tensor, target: torch.Tensor, features: torch.Tensor,
    task: torch.Tensor | None = None,
) -> None:  # fmt: skip
    """Set the weights of `score` by ridge regression of the targets (n,) on features of the vertices.

    Args:
        types: (n, N) long, vertex types of the tuples' graphs.
        features: (N, T, F) float64, see `SearchSpace.vertex_features`.
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
