"""What attributions are held against: leaving examples out and training again.

Leave-one-out is clear on convex models only: of a network the seed changes more than one example.
There the linear datamodeling score (Park et al. 2023, arXiv:2303.14186, Sec. 2, definition 2.3)
asks whether sums of influences rank models that were trained on random parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tracin_core.errors import ConfigurationError

# From the positions of the train examples that a model is trained on to M test losses.
Retrain = Callable[[Tensor], Tensor]


def leave_one_out(retrain: Retrain, num_train: int, chosen: Sequence[int] | None = None) -> Tensor:
    """Return how much each test loss rises when a train example is left out.

    A weight decay beside a mean loss is to be multiplied by N / n where n examples are left: else
    the others count for more than before, and the decay for less, which no influence tells.

    Args:
        retrain: Trains on the train examples at the given positions, int64 ``(n,)``, and returns
            the losses of M test examples, shape ``(M,)``.
        num_train: Number of train examples N.
        chosen: Which are left out, one at a time; None for all.

    Returns:
        Shape ``(len(chosen), M)``, in loss units: positive for proponents, as influences are.

    Raises:
        ConfigurationError: If a position does not exist.
    """
    left_out = list(range(num_train)) if chosen is None else list(chosen)
    if any(not 0 <= place < num_train for place in left_out):
        raise ConfigurationError(
            f"Found positions from {min(left_out)} to {max(left_out)}; expected 0 to "
            f"{num_train - 1}. Choose among the train examples."
        )
    everything = torch.arange(num_train)
    whole = retrain(everything).double()
    rows = [retrain(everything[everything != place]).double() - whole for place in left_out]
    return torch.stack(rows) if rows else whole.new_zeros(0, len(whole))


def draw_halves(num_train: int, count: int, *, share: float = 0.5, seed: int = 0) -> Tensor:
    """Return random parts of the train examples as rows of yes and no, shape ``(S, N)``.

    Args:
        num_train: Number of train examples N.
        count: How many parts S.
        share: Share of the examples in each, above 0 and below 1.
        seed: Of the draw.

    Raises:
        ConfigurationError: If the share leaves no example in, or none out.
    """
    size = round(share * num_train)
    if not 0 < size < num_train:
        raise ConfigurationError(
            f"Found a share of {share} of {num_train} train examples; expected some in and some "
            "out. Use 0.5 with two examples or more."
        )
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(count, num_train, dtype=torch.bool)
    for row in masks:
        row[torch.randperm(num_train, generator=generator)[:size]] = True
    return masks


def retrain_parts(retrain: Retrain, masks: Tensor) -> Tensor:
    """Return test losses of models trained on each part, shape ``(S, M)``.

    Args:
        retrain: As in ``leave_one_out``.
        masks: Who belongs to each part, shape ``(S, N)``.
    """
    return torch.stack([retrain(mask.nonzero().flatten()).double() for mask in masks])


@dataclass(frozen=True)
class DatamodelingScore:
    """How well influences rank retrained models.

    Attributes:
        mean: Mean of the rank correlations over the test examples, -1 to 1.
        low: Lower end of its 95% interval, by drawing parts and test examples again.
        high: Upper end.
        by_example: Of each test example, shape ``(M,)``; NaN where nothing varies.
    """

    mean: float
    low: float
    high: float
    by_example: Tensor


def score_datamodel(
    influence: Tensor, masks: Tensor, losses: Tensor, *, draws: int = 200, seed: int = 0
) -> DatamodelingScore:
    """Return the linear datamodeling score (LDS) of an attribution.

    For each test example the Spearman correlation, over parts, between the sum of influences of the
    part's members and minus the loss of the model trained on it.

    Args:
        influence: Shape ``(N, M)``, positive for proponents.
        masks: Who belonged to each part, shape ``(S, N)``.
        losses: Of the models trained on them, shape ``(S, M)``.
        draws: For the interval.
        seed: Of the draws.

    Raises:
        ConfigurationError: If the shapes do not belong together, or there are fewer than 3 parts.
    """
    num_parts = len(masks)
    if influence.shape != (masks.shape[1], losses.shape[1]) or len(losses) != num_parts:
        raise ConfigurationError(
            f"Found influences {tuple(influence.shape)}, parts {tuple(masks.shape)} and losses "
            f"{tuple(losses.shape)}; expected (N, M), (S, N) and (S, M)."
        )
    if num_parts < 3:
        raise ConfigurationError(
            f"Found {num_parts} retrained parts; expected three or more to rank. Retrain on 30."
        )
    sums = masks.double() @ influence.double()
    gains = -losses.double()
    by_example = rank_correlation(sums, gains)
    generator = torch.Generator().manual_seed(seed)
    means = []
    for _ in range(draws):
        parts = torch.randint(num_parts, (num_parts,), generator=generator)
        columns = torch.randint(losses.shape[1], (losses.shape[1],), generator=generator)
        found = rank_correlation(sums[parts][:, columns], gains[parts][:, columns])
        means.append(found.nanmean())
    spread = torch.stack(means)
    spread = spread[~spread.isnan()]
    low, high = (
        (float(spread.quantile(0.025)), float(spread.quantile(0.975)))
        if len(spread)
        else (float("nan"), float("nan"))
    )
    return DatamodelingScore(float(by_example.nanmean()), low, high, by_example)


def rank_correlation(left: Tensor, right: Tensor) -> Tensor:
    """Return Spearman's correlation of each pair of columns, shape ``(M,)``; NaN without variation.

    Args:
        left: Shape ``(S, M)``.
        right: Shape ``(S, M)``.
    """
    one, other = (_rank(values) - (len(values) - 1) / 2 for values in (left, right))
    found: Tensor = (one * other).sum(0) / (one.norm(dim=0) * other.norm(dim=0))
    return found


def _rank(values: Tensor) -> Tensor:
    """Return ranks in each column from 0, ties at their mean, shape as ``values``."""
    below = (values[:, None] > values[None]).sum(1)
    alike = (values[:, None] == values[None]).sum(1)
    return below.double() + (alike - 1).double() / 2


def fit_ridge(features: Tensor, targets: Tensor, decay: float) -> Tensor:
    """Return W that minimises ``mean over examples and outputs (W a - y)^2 + decay |W|^2``.

    Args:
        features: Shape ``(N, I)``.
        targets: Shape ``(N, K)``.
        decay: Above 0.

    Returns:
        Shape ``(K, I)``, in closed form.
    """
    inputs, numbers = features.double(), targets.double()
    scale = 1 / numbers.numel()
    matrix = scale * inputs.t() @ inputs
    matrix = matrix + decay * torch.eye(len(matrix), dtype=torch.float64)
    weight: Tensor = torch.linalg.solve(matrix, scale * inputs.t() @ numbers).t()
    return weight


def fit_logistic(features: Tensor, labels: Tensor, num_classes: int, decay: float) -> Tensor:
    """Return W that minimises ``mean cross-entropy of W a + decay |W|^2``, by Newton's method.

    Args:
        features: Shape ``(N, I)``.
        labels: Class indices, shape ``(N,)``.
        num_classes: K.
        decay: Above 0, which makes the minimum unique.

    Returns:
        Shape ``(K, I)``, stationary to rounding.

    Raises:
        ConfigurationError: If Newton's method does not come to rest.
    """
    inputs, one_hot = features.double(), F.one_hot(labels.long(), num_classes).double()
    size = num_classes * inputs.shape[1]
    weight = torch.zeros(num_classes, inputs.shape[1], dtype=torch.float64)

    def objective(at: Tensor) -> float:
        entropy = -(one_hot * F.log_softmax(inputs @ at.t(), 1)).sum(1).mean()
        return float(entropy + decay * at.square().sum())

    slope = torch.full_like(weight, torch.inf)
    for _ in range(100):
        shares = (inputs @ weight.t()).softmax(1)
        slope = (shares - one_hot).t() @ inputs / len(inputs) + 2 * decay * weight
        if float(slope.norm()) < 1e-12:
            return weight
        curved = torch.diag_embed(shares) - shares[:, :, None] * shares[:, None]
        hessian = torch.einsum("nkl,ni,nj->kilj", curved, inputs, inputs).reshape(size, size)
        hessian = hessian / len(inputs) + 2 * decay * torch.eye(size, dtype=torch.float64)
        step = torch.linalg.solve(hessian, slope.flatten()).reshape(weight.shape)
        length, start = 1.0, objective(weight)
        while objective(weight - length * step) > start and length > 1e-8:
            length /= 2
        if length <= 1e-8:
            break
        weight = weight - length * step
    if not float(slope.norm()) < 1e-8:
        raise ConfigurationError(
            f"Newton's method ended with a gradient of {float(slope.norm()):.2g}; expected less "
            "than 1e-8. Choose a larger decay, or features of like scale."
        )
    return weight
