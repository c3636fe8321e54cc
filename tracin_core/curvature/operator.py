"""Products of the mean train loss's Hessian or Gauss-Newton matrix with vectors.

Pearlmutter 1994: a Hessian-vector product is the gradient of ``gradient . vector``. The
Gauss-Newton matrix ``J^T H_out J`` (Schraudolph 2002) leaves out the curvature of the network
itself, is never negative, and equals the Hessian for the last layer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from tracin_core.capture.batching import Batch
from tracin_core.curvature.frozen import FrozenModel, hold_batches, twice_differentiable
from tracin_core.errors import ConfigurationError, GradientError
from tracin_core.losses import find_logits
from tracin_core.tracin import TracIn

CurvatureKind = Literal["hessian", "gauss_newton"]
# Vectors that go through a backward pass together.
COLUMNS = 64


class Curvature(ABC):
    """The matrix H of the mean loss over N train examples and P parameters.

    Attributes:
        size: Number of parameters P.
        num_examples: Number of train examples N.
        device: Where products are computed.
        dtype: Their number type.
    """

    size: int
    num_examples: int
    device: torch.device
    dtype: torch.dtype

    @property
    @abstractmethod
    def batch_sizes(self) -> Sequence[int]:
        """Examples in each batch."""

    @abstractmethod
    def _multiply_batch(self, index: int, vectors: Tensor) -> Tensor:
        """Return the product of one batch's **summed** loss, shape ``(P, K)``."""

    def multiply(self, vectors: Tensor) -> Tensor:
        """Return ``H V`` of the mean loss over all train examples.

        Args:
            vectors: Shape ``(P, K)``.

        Returns:
            Shape ``(P, K)``.

        Raises:
            GradientError: If the product is not finite.
        """
        total = torch.zeros_like(vectors)
        for index in range(len(self.batch_sizes)):
            total += self._multiply_batch(index, vectors)
        return _check_finite(total / self.num_examples)

    def multiply_random(self, vectors: Tensor, generator: torch.Generator) -> Tensor:
        """Return an unbiased estimate of ``H V`` from one batch drawn by its size.

        Args:
            vectors: Shape ``(P, K)``.
            generator: Draws the batch.
        """
        sizes = torch.tensor(self.batch_sizes, dtype=torch.float64)
        index = int(torch.multinomial(sizes, 1, generator=generator))
        return self._multiply_batch(index, vectors) / self.batch_sizes[index]

    def estimate_largest(self, *, steps: int = 30, seed: int = 0) -> float:
        """Return the largest absolute eigenvalue, by power iteration (from below)."""
        vector = self.draw(1, seed)
        norm = vector.norm()
        for _ in range(steps):
            vector = self.multiply(vector / norm)
            norm = vector.norm()
            if not norm > 0:
                return 0.0
        return float(norm)

    def estimate_mean_eigenvalue(self, *, probes: int = 16, seed: int = 0) -> float:
        """Return ``trace(H) / P`` by Hutchinson's estimator with random signs."""
        signs = torch.where(self.draw(probes, seed) > 0, 1.0, -1.0).to(self.dtype)
        return float((signs * self.multiply(signs)).sum() / (probes * self.size))

    def draw(self, columns: int, seed: int) -> Tensor:
        """Return standard normal numbers, shape ``(P, K)``, the same on every device."""
        generator = torch.Generator().manual_seed(seed)
        numbers = torch.randn(self.size, columns, generator=generator, dtype=torch.float64)
        return numbers.to(self.device, self.dtype)


class NetworkCurvature(Curvature):
    """Curvature over any parameters of a network, by automatic differentiation.

    Args:
        tracin: The engine; its last checkpoint and its loss are taken.
        names: The parameters, in the order of the vectors.
        train: The train examples, which stay in memory.
        kind: Which matrix.

    Raises:
        ConfigurationError: If the train set is empty or too large, or the Gauss-Newton matrix is
            asked for of a model whose outputs are no tensor.
    """

    def __init__(
        self, tracin: TracIn, names: Sequence[str], train: Any, kind: CurvatureKind = "gauss_newton"
    ) -> None:
        self._batches = hold_batches(train, tracin.batch_size)
        self._frozen = FrozenModel(tracin, names, self._batches[0])
        self._kind = kind
        self.device, self.dtype = tracin.device, self._frozen.dtype
        self._sizes = [shape.numel() for shape in self._frozen.shapes]
        self.size = sum(self._sizes)
        self.num_examples = sum(batch.size for batch in self._batches)

    @property
    def batch_sizes(self) -> list[int]:
        """Examples in each batch."""
        return [batch.size for batch in self._batches]

    def _multiply_batch(self, index: int, vectors: Tensor) -> Tensor:
        batch = self._frozen.prepare(self._batches[index])
        product = self._multiply_hessian if self._kind == "hessian" else self._multiply_gauss_newton
        with torch.enable_grad(), twice_differentiable():
            return product(batch, vectors)

    def _multiply_hessian(self, batch: Batch, vectors: Tensor) -> Tensor:
        parameters = self._frozen.parameters
        loss = self._frozen.loss(self._frozen.run(batch), batch.targets).sum()
        gradients = torch.autograd.grad(
            loss, parameters, create_graph=True, allow_unused=True, materialize_grads=True
        )
        return self._join(_differentiate(gradients, parameters, self._cut(vectors)), vectors)

    def _multiply_gauss_newton(self, batch: Batch, vectors: Tensor) -> Tensor:
        parameters = self._frozen.parameters
        raw = self._frozen.run(batch)
        outputs = find_logits(raw)
        if outputs is None:
            raise ConfigurationError(
                f"The model returned {type(raw).__name__}; expected a tensor for the Gauss-Newton "
                "matrix. Choose curvature='hessian'."
            )
        # J v by two backward passes: J^T u is linear in u, and its derivative along v is J v.
        dummy = torch.zeros_like(outputs, requires_grad=True)
        transposed = torch.autograd.grad(
            outputs, parameters, dummy, create_graph=True, allow_unused=True, materialize_grads=True
        )
        moved = _differentiate(transposed, [dummy], self._cut(vectors))[0]
        at = outputs.detach().requires_grad_()
        slopes = torch.autograd.grad(
            self._frozen.loss(at, batch.targets).sum(), at, create_graph=True
        )
        curved = _differentiate(slopes, [at], [moved])[0]
        return self._join(_differentiate([outputs], parameters, [curved]), vectors)

    def _cut(self, vectors: Tensor) -> list[Tensor]:
        """Return columns in the parameters' shapes, shape ``(K, ...)`` each."""
        parts = torch.split(vectors.t(), self._sizes, dim=1)
        shapes = self._frozen.shapes
        return [p.reshape(-1, *shape) for p, shape in zip(parts, shapes, strict=True)]

    def _join(self, parts: Sequence[Tensor], vectors: Tensor) -> Tensor:
        return torch.cat([part.reshape(vectors.shape[1], -1) for part in parts], dim=1).t()


def _differentiate(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], columns: Sequence[Tensor]
) -> list[Tensor]:
    """Return ``sum_o d(outputs_o . columns_o)/d inputs`` for K columns, shape ``(K, ...)`` each."""
    pairs = [(o, c) for o, c in zip(outputs, columns, strict=True) if o.requires_grad]
    count = len(columns[0])
    if not pairs:
        return [value.new_zeros(count, *value.shape) for value in inputs]
    found: list[list[Tensor]] = []
    for start in range(0, count, COLUMNS):
        chosen = [c[start : start + COLUMNS] for _, c in pairs]
        found.append(_differentiate_some([o for o, _ in pairs], inputs, chosen))
    return [torch.cat([part[i] for part in found]).detach() for i in range(len(inputs))]


def _differentiate_some(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], columns: Sequence[Tensor]
) -> list[Tensor]:
    options: dict[str, Any] = {
        "retain_graph": True,
        "allow_unused": True,
        "materialize_grads": True,
    }
    if len(columns[0]) > 1:
        try:
            return list(
                torch.autograd.grad(outputs, inputs, columns, is_grads_batched=True, **options)
            )
        except RuntimeError:
            # An operation without a batching rule (recurrent layers): one column at a time.
            pass
    rows = [
        torch.autograd.grad(outputs, inputs, [c[k] for c in columns], **options)
        for k in range(len(columns[0]))
    ]
    return [torch.stack(parts) for parts in zip(*rows, strict=True)]


def _check_finite(values: Tensor) -> Tensor:
    if not bool(values.isfinite().all()):
        raise GradientError(
            "A product with the curvature is not finite (NaN, or too large); expected finite "
            "numbers. Look at the losses of the train examples at the last checkpoint, or choose "
            "an earlier one."
        )
    return values
