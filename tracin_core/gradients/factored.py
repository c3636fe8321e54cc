"""Per-example gradients of a parameter, whole or factored: norms, dot products, projections.

A layer's per-example weight gradient is a sum of outer products over positions. Keeping the
factors is often far cheaper than the gradient itself; ``Dense``, ``Outer`` and the gradients of
tables of rows (embeddings), which reach only the rows that were looked up, each compute their
squared norm, sketch and whole gradient in the cheaper way for their shape. All uses of one
parameter are summed before a norm is taken.

``Chunks`` bounds how many numbers are held at once on the way. A processor wants them in its
cache: of convolutions from 28 x 28 down to 7 x 7, patches of 1 million numbers (4 MB) were fastest
of 0.25 to 8 million on two cores, a Fourier transform of 512 numbers took 0.8 microseconds among
256 and 2.1 among 2,000, and past the last-level cache of most processors larger chunks of gradients
gain nothing. A GPU wants long operations: its cache holds no batch anyway, and each one that it is
given costs some microseconds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tracin_core.gradients.precision import RUN, add_runs, multiply_wide, widen

if TYPE_CHECKING:
    from tracin_core.projection.sketch import Sketch


@dataclass(frozen=True)
class Chunks:
    """Numbers held at once, on one kind of device.

    Attributes:
        patches: Cut out of a convolution's inputs.
        gradients: In whole gradients.
        transforms: In hashed vectors on their way through a Fourier transform.
        sums: Of the weights of bags by row of the table.
    """

    patches: int
    gradients: int
    transforms: int
    sums: int


PROCESSOR = Chunks(patches=1_000_000, gradients=4_000_000, transforms=131_072, sums=1_000_000)
# 256 and 512 MB in single precision, of the 16 GB and more that GPUs for training have.
ACCELERATOR = Chunks(patches=1 << 26, gradients=1 << 27, transforms=1 << 26, sums=1 << 26)


def choose_chunks(device: torch.device) -> Chunks:
    """Return what suits a device."""
    return PROCESSOR if device.type == "cpu" else ACCELERATOR


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

    @property
    def is_plain(self) -> bool:
        """Whether its own tensors are all of it, so that it can be kept as it is."""
        return True

    @property
    def outer_sizes(self) -> tuple[int, int, int] | None:
        """Positions T, rows O and columns I of a sum of T outer products; ``None`` for others."""
        return None

    def as_outer(self) -> Outer:
        """Return it as a sum of outer products; only where ``outer_sizes`` says that it is one."""
        raise NotImplementedError

    def add_to_sketch(self, sketch: Sketch, name: str) -> None:
        """Add the projection of every example's gradient to ``sketch``."""
        start = 0
        for part in split(self):
            sketch.add_dense(name, part.instantiate(), start)
            start += part.batch_size

    def squared_norms(self) -> Tensor:
        """Return each example's squared norm, shape ``(B,)``."""
        norms = [compute_squared_norms(part.instantiate()) for part in split(self)]
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
        return compute_squared_norms(self.gradients)


@dataclass(frozen=True)
class Outer(Contribution):
    """A sum of outer products over T positions: ``sum_t deltas[b, t] inputs[b, t]^T``.

    Attributes:
        deltas: Gradients at the layer's outputs, shape ``(B, T, O)``.
        inputs: The layer's inputs, shape ``(B, T, I)``.
        shape: Shape of the parameter, ``(O, I)``.
        twin: Another sum with the same ``deltas``, whose products of them are taken once.
    """

    deltas: Tensor
    inputs: Tensor
    shape: torch.Size
    twin: Outer | None = field(default=None, kw_only=True)

    @property
    def positions(self) -> int:
        """Number of outer products T in each example's sum."""
        return self.deltas.shape[1]

    @property
    def is_factored(self) -> bool:
        """Whether ``T x T`` Gram matrices need less work than the ``O x I`` gradient."""
        rows, columns = self.shape[0], self.inputs.shape[2]
        return self.positions == 1 or self.positions * (rows + columns) < rows * columns

    @property
    def outer_sizes(self) -> tuple[int, int, int]:
        """Positions T, rows O and columns I."""
        return self.positions, self.deltas.shape[2], self.inputs.shape[2]

    def as_outer(self) -> Outer:
        """Return the factors alone, without what they share with other contributions."""
        return Outer(self.deltas, self.inputs, self.shape)

    def delta_norms(self) -> Tensor:
        """Return the squared norm of each example's ``deltas``, shape ``(B,)``, taken once."""
        return self._delta_norms

    @cached_property
    def _delta_norms(self) -> Tensor:
        return compute_squared_norms(self.deltas)

    @cached_property
    def _delta_gram(self) -> Tensor:
        """Products of the deltas of every two positions, shape ``(B, T, T)``."""
        if self.twin is not None:
            return self.twin._delta_gram
        return multiply_wide(self.deltas, self.deltas.transpose(1, 2))

    def narrow(self, start: int, stop: int) -> Outer:
        """Return the same for the examples ``start`` to ``stop``."""
        return Outer(self.deltas[start:stop], self.inputs[start:stop], self.shape)

    def instantiate(self) -> Tensor:
        """Return the whole gradients, shape ``(B, O, I)``."""
        return sum_outer_products(self.deltas, self.inputs)

    def squared_norms(self) -> Tensor:
        """Return each example's squared norm, shape ``(B,)``.

        One position: ``|delta|^2 |a|^2``. Several: through the two ``T x T`` Gram matrices
        where ``T^2 (O + I)`` is less work than the ``T O I`` of the gradient itself.
        """
        if self.positions == 1:
            return self.delta_norms() * compute_squared_norms(self.inputs)
        if self.is_factored:
            gram = multiply_wide(self.inputs, self.inputs.transpose(1, 2))
            # A squared norm cannot be negative; a Gram product can be, by rounding.
            return (self._delta_gram * gram).sum((1, 2)).clamp_min(0)
        return super().squared_norms()

    def add_to_sketch(self, sketch: Sketch, name: str) -> None:
        """Add the projection of every example's gradient to ``sketch``."""
        sketch.add_outer(name, self.deltas, self.inputs)


def sum_outer_products(deltas: Tensor, inputs: Tensor) -> Tensor:
    """Return ``sum_t deltas[b, t] inputs[b, t]^T``, shape ``(B, O, I)``."""
    if deltas.shape[1] == 1:
        # Nothing is added up, and a product of such matrices goes one example after the other.
        product: Tensor = widen(deltas).mT * widen(inputs)
        return product
    return multiply_wide(deltas.mT, inputs)


def split(contribution: Contribution) -> Iterator[Contribution]:
    """Yield the contribution in runs of examples whose whole gradients fit a chunk."""
    most = choose_chunks(contribution.device).gradients
    step = max(1, most // max(1, contribution.shape.numel()))
    for start in range(0, contribution.batch_size, step):
        yield contribution.narrow(start, min(start + step, contribution.batch_size))


def compute_squared_norms(values: Tensor) -> Tensor:
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


# Sums over equal rows are taken in one slot for each row of the table while it has at most
# this many rows a look-up, and in sorted slots beyond: one slot costs about 0.4 ns to clear and
# square, sorting 40 ns a look-up (one processor core).
ROWS_PER_LOOKUP = 64


@dataclass(frozen=True)
class SparseRows(Contribution):
    """Every look-up brings a gradient of its own to its row.

    Attributes:
        indices: Rows looked up by each example, int64, shape ``(B, T)``.
        deltas: Gradient that each look-up brings to its row, shape ``(B, T, E)``.
        shape: Shape of the table, ``(V, E)``.
    """

    indices: Tensor
    deltas: Tensor
    shape: torch.Size

    def narrow(self, start: int, stop: int) -> SparseRows:
        """Return the same for the examples ``start`` to ``stop``."""
        return SparseRows(self.indices[start:stop], self.deltas[start:stop], self.shape)

    def instantiate(self) -> Tensor:
        """Return the whole gradients, shape ``(B, V, E)``."""
        return _add_up(self.indices, self.deltas, self.shape[0])

    def squared_norms(self) -> Tensor:
        """Return each example's squared norm, shape ``(B,)``.

        A row looked up twice must be summed before it is squared.
        """
        slots = assign_slots(self.indices)
        return compute_squared_norms(_add_up(slots, self.deltas, slots.shape[1]))

    def add_to_sketch(self, sketch: Sketch, name: str) -> None:
        """Add the projection of every example's gradient to ``sketch``."""
        sketch.add_rows(name, self.indices, self.deltas)


@dataclass(frozen=True)
class BagGradients(Contribution):
    """All look-ups of an example share one gradient, each with its own weight.

    The gradient is an outer product, ``weights_by_row delta^T``, whose first factor is nearly
    all zeros.

    Attributes:
        indices: Rows looked up by each example, int64, shape ``(B, T)``.
        weights: Weight of each look-up, shape ``(B, T)``; 0 where there is none.
        deltas: Gradient at the bag's output, shape ``(B, E)``.
        shape: Shape of the table, ``(V, E)``.
    """

    indices: Tensor
    weights: Tensor
    deltas: Tensor
    shape: torch.Size

    def as_rows(self) -> SparseRows:
        """Return the same with every look-up's gradient written out."""
        deltas = self.weights.unsqueeze(2) * self.deltas.unsqueeze(1)
        return SparseRows(self.indices, deltas, self.shape)

    def narrow(self, start: int, stop: int) -> BagGradients:
        """Return the same for the examples ``start`` to ``stop``."""
        part = slice(start, stop)
        return BagGradients(self.indices[part], self.weights[part], self.deltas[part], self.shape)

    def instantiate(self) -> Tensor:
        """Return the whole gradients, shape ``(B, V, E)``."""
        weights = self.weights.new_zeros(self.batch_size, self.shape[0])
        weights.scatter_add_(1, self.indices, self.weights)
        return weights.unsqueeze(2) * self.deltas.unsqueeze(1)

    def squared_norms(self) -> Tensor:
        """Return ``|weights_by_row|^2 |delta|^2``, shape ``(B,)``."""
        slots, width = self.indices, self.shape[0]
        if width > ROWS_PER_LOOKUP * slots.shape[1]:
            slots, width = assign_slots(slots), slots.shape[1]
        # Of 256 bags over 50,000 rows: 8 ms in parts that stay in the cache, 30 ms in one.
        step = max(1, choose_chunks(self.device).sums // max(1, width))
        norms = []
        for part, weights in zip(
            torch.split(slots, step), torch.split(self.weights, step), strict=True
        ):
            by_row = weights.new_zeros(len(weights), width)
            norms.append(compute_squared_norms(by_row.scatter_add_(1, part, weights)))
        return torch.cat(norms) * compute_squared_norms(self.deltas)

    def add_to_sketch(self, sketch: Sketch, name: str) -> None:
        """Add the projection of every example's gradient to ``sketch``."""
        sketch.add_bags(name, self.indices, self.weights, self.deltas)


def assign_slots(indices: Tensor) -> Tensor:
    """Return one number below T for each look-up; those of an example that share a row share it.

    Sorting puts equal rows side by side, so the sums need T slots and not the table's V.

    Args:
        indices: Shape ``(B, T)``.

    Returns:
        Slots, int64, shape ``(B, T)``.
    """
    ordered, order = indices.sort(dim=1)
    slots = torch.zeros_like(indices)
    slots[:, 1:] = (ordered[:, 1:] != ordered[:, :-1]).cumsum(1)
    return torch.empty_like(slots).scatter_(1, order, slots)


def _add_up(slots: Tensor, deltas: Tensor, width: int) -> Tensor:
    """Add deltas ``(B, T, E)`` up by slot, to ``(B, width, E)``."""
    batch_size, _, columns = deltas.shape
    firsts = torch.arange(batch_size, device=slots.device).unsqueeze(1) * width
    # Whole rows of a two-dimensional table are added side by side, several numbers at once;
    # along any other axis it is one number after the other, at ten times the time.
    places = (slots + firsts).reshape(-1, 1).expand(-1, columns)
    sums = deltas.new_zeros(batch_size * width, columns)
    sums.scatter_add_(0, places, deltas.reshape(-1, columns))
    return sums.reshape(batch_size, width, columns)


def combine(contributions: Sequence[Contribution]) -> list[Contribution]:
    """Join a parameter's uses where that keeps them factored.

    Several sums of outer products are one longer sum, so a Linear used twice, or two tied
    ones, stay factored. The same holds for rows.

    Args:
        contributions: All uses of one parameter in one batch.

    Returns:
        Fewer contributions with the same total.
    """
    if len(contributions) == 1:
        return list(contributions)
    outers = [item for item in contributions if isinstance(item, Outer)]
    rows = [item for item in contributions if isinstance(item, SparseRows)]
    bags = [item for item in contributions if isinstance(item, BagGradients)]
    joined = [
        item for item in contributions if not isinstance(item, Outer | SparseRows | BagGradients)
    ]
    if len(bags) == 1 and not rows:
        joined += bags
    else:
        rows += [bag.as_rows() for bag in bags]
    if outers:
        deltas = _join([item.deltas for item in outers])
        joined.append(Outer(deltas, _join([item.inputs for item in outers]), outers[0].shape))
    if rows:
        indices = _join([item.indices for item in rows])
        joined.append(SparseRows(indices, _join([item.deltas for item in rows]), rows[0].shape))
    return joined


def measure(
    contributions: Sequence[Contribution], sketch: Sketch | None = None, name: str = ""
) -> Tensor:
    """Return the squared norm of the sum of a parameter's uses, shape ``(B,)``.

    The gradients are summed over the uses before the norm is taken; adding the norms of the
    uses would drop their cross terms. What must be instantiated is instantiated once, for the
    norm and for the sketch.

    Args:
        contributions: All uses of one parameter in one batch.
        sketch: Where the projections are added, if they are wanted.
        name: The parameter's name.
    """
    alone = contributions[0] if len(contributions) == 1 else None
    if alone is not None and alone.is_factored and not _forms_whole(alone, sketch, name):
        if sketch is not None:
            alone.add_to_sketch(sketch, name)
        return alone.squared_norms()
    norms, start = [], 0
    for gradients in instantiate_chunks(contributions):
        if sketch is not None:
            sketch.add_dense(name, gradients, start)
        norms.append(compute_squared_norms(gradients))
        start += len(gradients)
    return torch.cat(norms)


def _forms_whole(contribution: Contribution, sketch: Sketch | None, name: str) -> bool:
    """Return whether a sketch forms the sum of outer products, which then has its norm at hand."""
    if sketch is None or contribution.outer_sizes is None:
        return False
    positions = contribution.outer_sizes[0]
    return positions > 1 and not sketch.prefers_transform(name, positions)


def instantiate_chunks(contributions: Sequence[Contribution]) -> Iterator[Tensor]:
    """Yield whole gradients, summed over the uses, for a few examples at a time."""
    parts = zip(*(split(item) for item in contributions), strict=True)
    for uses in parts:
        gradients = uses[0].instantiate()
        for use in uses[1:]:
            gradients = gradients + use.instantiate()
        yield gradients


def _join(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors), dim=1)
