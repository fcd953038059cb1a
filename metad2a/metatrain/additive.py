"""Fit the regression that is a member of a predictor.

Dimensions: n tuples, N vertices, T vertex types, F features of a vertex.
"""

import numpy as np
import torch

from predictor.additive import AdditiveScore

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the regression in a score; validation tuples choose
PENALTIES = np.logspace(-3, 3, 13)  # the best is chosen by leaving out one tuple at a time


@torch.no_grad()
def fit_additive(
    score: AdditiveScore,
    types: torch.Tensor,
    target: torch.Tensor,
    features: torch.Tensor,
    task: torch.Tensor | None = None,
) -> None:
    """Ridge regression on features of the vertices; its weights become those of `score`.

    Args:
        types: (n, N) long, vertex types of the tuples' graphs.
        target: (n,) float.
        features: (N, T, F) float64, see `SearchSpace.vertex_features`.
        task: (n,) long, the number of each tuple's task, where tasks have several: each task's mean is then taken out.
    """
    from sklearn.linear_model import RidgeCV  # takes a second to import

    seen = features[torch.arange(len(features)), types].flatten(1)  # (n, N * F)
    value = target.double()
    if task is not None:
        seen, value = centered_by_task(seen, task), centered_by_task(value, task)
    found = RidgeCV(PENALTIES).fit(seen.numpy(), value.numpy())
    weight = torch.from_numpy(found.coef_).unflatten(0, (len(features), -1))  # (N, F)
    score.weight.copy_((features * weight[:, None]).sum(-1))
    score.constant.zero_()
    score.constant.copy_((target.to(score.weight) - score(types.to(score.weight.device))).mean())


def centered_by_task(values: torch.Tensor, task: torch.Tensor, num_tasks: int | None = None) -> torch.Tensor:
    """Subtract from each of `values` (B,) or (B, F) the mean of all values of the same task.

    Args:
        task: (B,) long, the number of each value's task.
        num_tasks: larger than every number in `task`; None to look it up, for which the host waits.
    """
    zeros = values.new_zeros(int(task.max()) + 1 if num_tasks is None else num_tasks, *values.shape[1:])
    mean = zeros.index_add(0, task, values) / zeros.index_add(0, task, torch.ones_like(values)).clamp(min=1)
    return values - mean[task]
