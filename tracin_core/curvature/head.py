"""The last layer's curvature from its features alone, where it is one Linear layer.

With outputs ``W a`` the Hessian of the mean loss is ``mean_n (H_n kron a_n a_n^T)``, where H_n is
the loss's Hessian at the outputs: ``diag(p) - p p^T`` for cross-entropy. It equals the
Gauss-Newton matrix. No backward pass is needed, and only ``N x I`` features are kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tracin_core.curvature.features import Features
from tracin_core.curvature.operator import Curvature

NAMED = ("cross_entropy", "mse", "binary_cross_entropy")
# Examples whose products are computed at once.
BLOCK = 4096


def append_one(inputs: Tensor, has_bias: bool) -> Tensor:
    """Return features with a one for the bias, shape ``(N, I + 1)``; as they are without."""
    return torch.cat([inputs, inputs.new_ones(len(inputs), 1)], 1) if has_bias else inputs


class OutputCurvature:
    """The Hessian of each example's loss at its K outputs, for the losses that have a name.

    Args:
        loss: Its name.
        outputs: Shape ``(N, K)``.
        targets: Class indices, probabilities or numbers; only the sum of probabilities counts.
    """

    def __init__(self, loss: str, outputs: Tensor, targets: Tensor | None) -> None:
        self._loss, self._width = loss, outputs.shape[1]
        self._scale = outputs.new_ones(len(outputs))
        if loss == "cross_entropy":
            self._values = outputs.softmax(1)
            if targets is not None and targets.shape == outputs.shape:
                self._scale = targets.to(outputs.dtype).sum(1)
        else:
            self._values = outputs.sigmoid()

    def multiply(self, vectors: Tensor, rows: slice = slice(None)) -> Tensor:
        """Return ``H_n v_n``, shape ``(B, K, ...)`` as ``vectors``."""
        p = self._values[rows].reshape(-1, self._width, *[1] * (vectors.dim() - 2))
        if self._loss == "cross_entropy":
            scale = self._scale[rows].reshape(-1, *[1] * (vectors.dim() - 1))
            return scale * p * (vectors - (p * vectors).sum(1, keepdim=True))
        if self._loss == "mse":
            return vectors * (2 / self._width)
        return p * (1 - p) * vectors / self._width

    @property
    def traces(self) -> Tensor:
        """The trace of each example's Hessian, shape ``(N,)``."""
        if self._loss == "cross_entropy":
            return self._scale * (1 - self._values.square().sum(1))
        if self._loss == "mse":
            return torch.full_like(self._scale, 2.0)
        return (self._values * (1 - self._values)).mean(1)


class HeadCurvature(Curvature):
    """Curvature of a last Linear layer, whose vectors hold its weight ``(K, I)`` and then its bias.

    Args:
        features: Of the N train examples, with ``is_head``.
        loss: Name of the loss.
        device: Where products are computed.
        batch_size: Examples in a minibatch of the stochastic solvers.
        seed: Of the order in which examples are put into minibatches.
    """

    def __init__(
        self,
        features: Features,
        loss: str,
        device: torch.device,
        batch_size: int = 256,
        seed: int = 0,
    ) -> None:
        # Data sets are often sorted by class, which makes consecutive minibatches unlike H.
        order = torch.randperm(len(features.inputs), generator=torch.Generator().manual_seed(seed))
        self._has_bias = features.bias is not None
        self._inputs = append_one(features.inputs, self._has_bias)[order].to(device)
        targets = None if features.targets is None else features.targets[order].to(device)
        self._at_outputs = OutputCurvature(loss, features.outputs[order].to(device), targets)
        self.num_examples, self._width_in = self._inputs.shape
        self._width = features.outputs.shape[1]
        self.size = self._width * self._width_in
        self.device, self.dtype = device, self._inputs.dtype
        self._batch_size = batch_size

    @property
    def batch_sizes(self) -> Sequence[int]:
        """Examples in each minibatch."""
        return [
            min(self._batch_size, self.num_examples - start)
            for start in range(0, self.num_examples, self._batch_size)
        ]

    def multiply(self, vectors: Tensor) -> Tensor:
        """Return ``H V``, shape ``(P, K)``; see ``Curvature``."""
        rows = self.num_examples
        parts = [
            self._multiply_rows(slice(start, min(start + BLOCK, rows)), vectors)
            for start in range(0, rows, BLOCK)
        ]
        return torch.stack(parts).sum(0) / rows

    def estimate_mean_eigenvalue(self, *, probes: int = 16, seed: int = 0) -> float:
        """Return ``trace(H) / P``, exactly."""
        lengths = self._inputs.square().sum(1)
        return float((self._at_outputs.traces * lengths).mean() / self.size)

    def _multiply_batch(self, index: int, vectors: Tensor) -> Tensor:
        start = index * self._batch_size
        return self._multiply_rows(slice(start, start + self._batch_size), vectors)

    def _multiply_rows(self, rows: slice, vectors: Tensor) -> Tensor:
        inputs = self._inputs[rows]
        matrices = split_head(vectors, self._width, self._has_bias)
        moved = torch.einsum("bi,oik->bok", inputs, matrices)
        curved = self._at_outputs.multiply(moved, rows)
        return join_head(torch.einsum("bi,bok->oik", inputs, curved), self._has_bias)


def split_head(vectors: Tensor, width: int, has_bias: bool) -> Tensor:
    """Return vectors ``(P, K)`` of a weight and its bias as matrices, shape ``(O, I + 1, K)``."""
    if not has_bias:
        return vectors.reshape(width, -1, vectors.shape[1])
    weights = vectors[:-width].reshape(width, -1, vectors.shape[1])
    return torch.cat([weights, vectors[-width:].unsqueeze(1)], 1)


def join_head(matrices: Tensor, has_bias: bool) -> Tensor:
    """Return matrices ``(O, I + 1, K)`` as vectors ``(P, K)``: the weight, then the bias."""
    columns = matrices.shape[2]
    if not has_bias:
        return matrices.reshape(-1, columns)
    return torch.cat([matrices[:, :-1].reshape(-1, columns), matrices[:, -1]])
