"""One use of a parameter, as its per-example gradient: whole or factored.

A layer's per-example weight gradient is a sum of outer products over positions. Keeping the
factors is often far cheaper than the gradient itself; each class below knows how to give its
squared norm, its sketch and the whole gradient, and picks the cheaper way for its own shape.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tracin_core.gradients.chunks import choose_chunks
from tracin_core.gradients.precision import RUN, add_runs, multiply_wide, widen

if TYPE_CHECKING:
    from tracin_core.gradients.sketch import Sketch

# Up to so many numbers an example, or where they do not lie side by side, a product and its sum
# are faster than ``vector_norm``; with more they take two to four times as long.
FEW_NUMBERS = 16


class Contribution(ABC):
    """The per-example gradient that one use of a parameter contributes.

    Attributes:
        shape: Shape of the parameter.
        deltas: Gradients that it is made from, examples first; ``Dense`` alone has none.
    """

    shape: torch.Size
    deltas: Tensor

    @property
    def batch_size(self) -> int:
        """Number of examples B."""
        return self.deltas.shape[0]

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        return self.deltas.device

    @abstractmethod
    def narrow(self, start: int, stop: int) -> Contribution:
        """Return the same for the examples ``start`` to ``stop``."""

    @abstractmethod
    def instantiate(self) -> Tensor:
        """Return the whole gradients, shape ``(B, *shape)``."""

    @property
    def is_factored(self) -> bool:
        """Whether norms and sketches need less work than the whole gradient."""
        return True

    def add_to_sketch(self, sketch: Sketch, name: str) -> None:
        """Add the projection of every example's gradient to ``sketch``."""
        start = 0
        for part in split(self):
            sketch.add_dense(name, part.instantiate(), start)
            start += part.batch_size

    def squared_norms(self) -> Tensor:
        """Return each example's squared norm, shape ``(B,)``."""
        norms = [take_squared_norms(part.instantiate()) for part in split(self)]
        return torch.cat(norms)


@dataclass(frozen=True)
class Dense(Contribution):
    """Gradients held whole.

    Attributes:
        gradients: Shape ``(B, *shape)``.
        shape: Shape of the parameter.
        shared_norms: Returns the squared norms, where another contribution has taken them too.
    """

    gradients: Tensor
    shape: torch.Size
    shared_norms: Callable[[], Tensor] | None = None

    @property
    def batch_size(self) -> int:
        """Number of examples B."""
        return self.gradients.shape[0]

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        return self.gradients.device

    def narrow(self, start: int, stop: int) -> Dense:
        """Return the same for the examples ``start`` to ``stop``."""
        return Dense(self.gradients[start:stop], self.shape)

    def instantiate(self) -> Tensor:
        """Return the gradients as they are, shape ``(B, *shape)``."""
        return self.gradients

    def squared_norms(self) -> Tensor:
        """Return each example's squared norm, shape ``(B,)``."""
        if self.shared_norms is not None:
            return self.shared_norms()
        return take_squared_norms(self.gradients)


@dataclass(frozen=True)
class Outer(Contribution):
    """A sum of outer products over T positions: ``sum_t deltas[b, t] inputs[b, t]^T``.

    Attributes:
        deltas: Gradients at the layer's outputs, shape ``(B, T, O)``.
        inputs: The layer's inputs, shape ``(B, T, I)``.
        shape: Shape of the parameter, ``(O, I)``.
    """

    deltas: Tensor
    inputs: Tensor
    shape: torch.Size

    @property
    def positions(self) -> int:
        """Number of outer products T in each example's sum."""
        return self.deltas.shape[1]

    @property
    def is_factored(self) -> bool:
        """Whether ``T x T`` Gram matrices need less work than the ``O x I`` gradient."""
        rows, columns = self.shape[0], self.inputs.shape[2]
        return self.positions == 1 or self.positions * (rows + columns) < rows * columns

    def delta_norms(self) -> Tensor:
        """Return the squared norm of each example's ``deltas``, shape ``(B,)``, taken once."""
        return self._delta_norms

    @cached_property
    def _delta_norms(self) -> Tensor:
        return take_squared_norms(self.deltas)

    def narrow(self, start: int, stop: int) -> Outer:
        """Return the same for the examples ``start`` to ``stop``."""
        return Outer(self.deltas[start:stop], self.inputs[start:stop], self.shape)

    def instantiate(self) -> Tensor:
        """Return the whole gradients, shape ``(B, O, I)``."""
        return multiply_wide(self.deltas.transpose(1, 2), self.inputs)

    def squared_norms(self) -> Tensor:
        """Return each example's squared norm, shape ``(B,)``.

        One position: ``|delta|^2 |a|^2``. Several: through the two ``T x T`` Gram matrices
        where ``T^2 (O + I)`` is less work than the ``T O I`` of the gradient itself.
        """
        if self.positions == 1:
            return self.delta_norms() * take_squared_norms(self.inputs)
        if self.is_factored:
            grams = [
                multiply_wide(factor, factor.transpose(1, 2))
                for factor in (self.deltas, self.inputs)
            ]
            # A squared norm cannot be negative; a Gram product can be, by rounding.
            return (grams[0] * grams[1]).sum((1, 2)).clamp_min(0)
        return super().squared_norms()

    def add_to_sketch(self, sketch: Sketch, name: str) -> None:
        """Add the projection of every example's gradient to ``sketch``."""
        sketch.add_outer(name, self.deltas, self.inputs)


def split(contribution: Contribution) -> Iterator[Contribution]:
    """Yield the contribution in runs of examples whose whole gradients fit a chunk."""
    most = choose_chunks(contribution.device).gradients
    step = max(1, most // max(1, contribution.shape.numel()))
    for start in range(0, contribution.batch_size, step):
        yield contribution.narrow(start, min(start + step, contribution.batch_size))


def take_squared_norms(values: Tensor) -> Tensor:
    """Return the squared norm of each example's numbers, shape ``(B,)``."""
    flat = widen(values.reshape(len(values), -1))
    if flat.shape[1] <= FEW_NUMBERS or not flat.is_contiguous():
        squares: Tensor = (flat * flat).sum(1)
        return squares
    # One pass over the numbers instead of two. It adds up one number after the other, in single
    # precision; so only runs are added up that way.
    length = flat.shape[1]
    whole = length - length % RUN
    norms: Tensor = torch.linalg.vector_norm(flat[:, whole:], dim=1)
    rest = norms.square()
    if not whole:
        return rest
    runs: Tensor = torch.linalg.vector_norm(flat[:, :whole].unflatten(1, (-1, RUN)), dim=2)
    return (add_runs(runs.square(), 1) + rest).to(flat.dtype)
