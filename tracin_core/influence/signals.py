"""What one pass over the examples gives, for each checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Capture:
    """Signals and vectors of N examples at C checkpoints; all tensors are on the CPU.

    Norms, losses and margins are per checkpoint and not multiplied by learning rates. Rows
    are examples in the order they were given.

    Attributes:
        squared_norms_all: Squared gradient norm over the chosen layers, shape ``(C, N)``.
        squared_norms_last: The same over the last layer, shape ``(C, N)``.
        losses: Loss (nats for cross-entropy), shape ``(C, N)``; NaN without a label.
        margins: Logit of the given label minus the best other, ``(C, N)``; NaN for regression,
            and for a label that a loss of one's own ignores.
        predicted: Predicted class, shape ``(C, N)``, int64; the output itself for regression.
            Under a loss of one's own the first output where targets are numbers, and NaN where
            they are neither numbers nor class indices.
        given_probability: Probability of the given label, ``(C, N)``; NaN where margins are.
        probabilities: Class probabilities at the last checkpoint, shape ``(N, K)``; the outputs
            themselves where they are no classes.
        vectors: Projected gradients of the chosen layers, shape ``(N, D)``, if asked for.
        last_vectors: Exact last-layer gradients of all checkpoints end to end, shape
            ``(N, C * P_last)``, or projected ones, shape ``(N, D)``, if asked for.
        rates: Rates the vectors are weighted with, shape ``(C,)``; NaN at a checkpoint whose
            parameters have different rates.
        rated_norms_all: ``sum_p rate_p |gradient_p|^2`` over the chosen layers, shape
            ``(C, N)``, where at some checkpoint parameters have different rates; else ``None``,
            because ``rates`` times the norms says it.
        rated_norms_last: The same over the last layer.
    """

    squared_norms_all: Tensor
    squared_norms_last: Tensor
    losses: Tensor
    margins: Tensor
    predicted: Tensor
    given_probability: Tensor
    probabilities: Tensor
    vectors: Tensor | None
    last_vectors: Tensor | None
    rates: Tensor
    rated_norms_all: Tensor | None = None
    rated_norms_last: Tensor | None = None

    def self_influence(self, layers: str = "all") -> Tensor:
        """Return ``sum_i sum_p rate_ip |gradient_ip|^2``, shape ``(N,)``.

        Args:
            layers: Over "all" chosen layers, or the "last" one.
        """
        is_last = layers == "last"
        rated = self.rated_norms_last if is_last else self.rated_norms_all
        if rated is not None:
            return rated.sum(0, dtype=torch.float64).to(rated.dtype)
        norms = self.squared_norms_last if is_last else self.squared_norms_all
        return (self.rates.double().unsqueeze(1) * norms).sum(0).to(norms.dtype)
