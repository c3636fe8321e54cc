"""Tensor sketch: a seeded random projection of per-example gradients to D numbers, by hashing.

A gradient that is an outer product is projected without ever being formed. Splitting D into
``sqrt(D) x sqrt(D)`` independent factors (paper arXiv:2002.08484v3, Appendix F) does that too, but
its relative variance on rank-one gradients is about ``2/r1 + 2/r2``: 0.18 at D = 512, an error of
43%. Instead each matrix-shaped parameter is hashed by ``row shift + column shift modulo D`` with
independent random factors for rows and columns: an ``AxisHash`` holds where the entries of an axis
go and by what they are multiplied. The projection of an outer product is then the circular
convolution of two short hashed vectors, a product of Fourier transforms (a tensor sketch), and of
a whole gradient a sum of shifted rows. Shifts are distinct as long as an axis has at most D
entries, which leaves the variance near that of a dense random matrix, ``2/D`` (an error of 6% at D
= 512).

Every parameter of every checkpoint has its own hash, and the results are summed: that is one
sparse random matrix ``G`` over all the gradients laid end to end, ``E[G^T G] = I``, so a dot
product of two projections estimates the dot product of the gradients without bias. D numbers
shared by all blocks are used better than D divided among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from tracin_core.gradients.factored import choose_chunks, sum_outer_products
from tracin_core.projection.config import Projection, make_generator


class AxisHash:
    """Where the entries of one axis of a parameter go, and by what they are multiplied.

    Attributes:
        starts: For a regular axis, the shift of each run of D consecutive entries.
        start_list: The same as numbers.
        run_sizes: How many entries each run has.
        positions: Target of each entry, int64, shape ``(n,)``, in ``[0, D)``.
        position_list: The same as numbers.
        factors: Multiplier of each entry, shape ``(n,)``.
    """

    def __init__(
        self, size: int, projection: Projection, generator: torch.Generator, *, regular: bool
    ) -> None:
        dim = projection.dim
        runs = -(-size // dim)
        self.dim = dim
        self.is_regular = regular
        if regular:
            self.starts = torch.randint(dim, (runs,), generator=generator)
            self.starts[:1] = 0  # the other axis's shifts are random already
            self.run_sizes = [min(dim, size - first) for first in range(0, size, dim)]
            offsets = torch.arange(dim).repeat(runs)[:size]
            self.positions = (offsets + self.starts.repeat_interleave(dim)[:size]) % dim
        else:
            shuffles = [torch.randperm(dim, generator=generator) for _ in range(runs)]
            self.positions = torch.cat([torch.empty(0, dtype=torch.int64), *shuffles])[:size]
        self.factors = torch.randint(2, (size,), generator=generator) * 2.0 - 1.0

    def to(self, device: torch.device, dtype: torch.dtype) -> AxisHash:
        """Move the tables to where gradients are, and prepare the inverse of the hash."""
        self.position_list = self.positions.tolist()
        if self.is_regular:
            self.start_list: list[int] = self.starts.tolist()
            self.starts = self.starts.to(device)
        self.positions = self.positions.to(device)
        self.factors = self.factors.to(device, dtype)
        return self

    def transform(self, values: Tensor) -> Tensor:
        """Return the Fourier transform of hashed values, ``(M, n)`` to ``(M, D // 2 + 1)``."""
        signed = values * self.factors
        if not self.is_regular:
            signed = self._scatter(signed)
        elif signed.shape[1] > self.dim:
            signed = self._add_runs(signed)
        # A single regular run begins at zero, where padding to D puts it.
        spectrum: Tensor = torch.fft.rfft(signed, n=self.dim)
        return spectrum

    def _scatter(self, signed: Tensor) -> Tensor:
        """Bring every entry to its place, ``(M, n)`` to ``(M, D)``."""
        hashed = signed.new_zeros(len(signed), self.dim)
        if signed.shape[1] <= self.dim:
            return hashed.scatter_(1, self.positions.expand_as(signed), signed)
        runs = torch.split(signed, self.dim, 1)
        for run, positions in zip(runs, torch.split(self.positions, self.dim), strict=True):
            hashed.scatter_add_(1, positions.expand_as(run), run)
        return hashed

    def _add_runs(self, signed: Tensor) -> Tensor:
        """Do the same for a regular axis, whose runs only begin elsewhere: in slices."""
        hashed = signed.new_zeros(len(signed), self.dim)
        for start, run in zip(self.start_list, torch.split(signed, self.dim, 1), strict=True):
            before_end = min(run.shape[1], self.dim - start)
            hashed[:, start : start + before_end] += run[:, :before_end]
            hashed[:, : run.shape[1] - before_end] += run[:, before_end:]
        return hashed


class ParameterHash:
    """The hash of one parameter of one checkpoint, seen as a matrix ``(R, K)``."""

    def __init__(
        self, name: str, shape: torch.Size, projection: Projection, checkpoint: int
    ) -> None:
        self.rows = shape[0] if len(shape) > 1 else 1
        self.columns = shape.numel() // max(1, self.rows)
        self.columns_are_long = self.columns >= self.rows
        generator = make_generator(name, projection, checkpoint)
        long = self.columns_are_long
        self.row_hash = AxisHash(self.rows, projection, generator, regular=not long)
        self.column_hash = AxisHash(self.columns, projection, generator, regular=long)

    def to(self, device: torch.device, dtype: torch.dtype) -> ParameterHash:
        """Move the tables to where gradients are."""
        self.row_hash.to(device, dtype)
        self.column_hash.to(device, dtype)
        return self

    def scale(self, factor: float) -> None:
        """Multiply all that is projected by a factor, such as the root of a learning rate."""
        vars(self).pop("matrix_factors", None)
        self.row_hash.factors = self.row_hash.factors * factor

    @cached_property
    def matrix_factors(self) -> Tensor:
        """Multiplier of every entry of a gradient, the shorter axis first, ``(1, short, long)``."""
        long, short = self.long_and_short
        return (long.factors * short.factors.unsqueeze(1)).unsqueeze(0)

    @property
    def long_and_short(self) -> tuple[AxisHash, AxisHash]:
        """The regular hash of the longer axis, and the shuffled one of the shorter."""
        if self.columns_are_long:
            return self.column_hash, self.row_hash
        return self.row_hash, self.column_hash


def make_hashes(
    projection: Projection,
    checkpoint: int,
    shapes: Mapping[str, torch.Size],
    device: torch.device,
    dtype: torch.dtype,
) -> dict[str, ParameterHash]:
    """Return the hash of every parameter of a checkpoint, the same on every device.

    Args:
        projection: Size, seed and kind.
        checkpoint: Index of the checkpoint; each has independent hashes.
        shapes: Shape of each parameter by name.
        device: Where the gradients are.
        dtype: Number type of the gradients.

    Returns:
        A hash for each name.
    """
    return {
        name: ParameterHash(name, shape, projection, checkpoint).to(device, dtype)
        for name, shape in shapes.items()
    }


# Nanoseconds on one processor core (measured, float32), to choose between the two ways of
# projecting sums of outer products: two transforms for each position cost D log2(D) of the
# first; forming the gradient costs each of its numbers the second for each position, and
# adding it up in shifted rows the third once.
TRANSFORM_COST, PRODUCT_COST, ADDITION_COST = 0.35, 0.04, 0.4


def _cut_runs(matrix: Tensor, dim: int) -> list[Tensor]:
    """Return the runs of D entries of every row, ``(b, short, long)`` to many ``(b, run)``."""
    rows = matrix.unbind(1)
    if matrix.shape[2] <= dim:
        return list(rows)
    return [run for row in rows for run in torch.split(row, dim, 1)]


class Sketch:
    """The projections of one batch at one checkpoint, as they are summed up."""

    def __init__(self, dim: int, hashes: Mapping[str, ParameterHash], batch_size: int) -> None:
        self._dim = dim
        self._hashes = hashes
        self._batch_size = batch_size
        self._folded: Tensor | None = None  # (B, 2 D): shifted rows run past D without a break
        self._spectrum: Tensor | None = None  # (B, D // 2 + 1), complex

    def add_dense(self, name: str, gradients: Tensor, first: int = 0) -> None:
        """Add whole gradients ``(b, *shape)`` of the examples from ``first`` on."""
        if not gradients.numel():
            return  # as of a layer without outputs
        hashes = self._hashes[name]
        matrix = gradients.reshape(len(gradients), hashes.rows, hashes.columns)
        if not hashes.columns_are_long:
            matrix = matrix.transpose(1, 2)
        long, short = hashes.long_and_short
        if matrix.device.type != "cpu":
            self._add_rotated(matrix, long, short, first)
            return
        folded = self._folded_sums(gradients)[first : first + len(gradients)]
        targets: list[Tensor] = []
        for shift in short.position_list:
            for start, size in zip(long.start_list, long.run_sizes, strict=True):
                targets.append(folded.narrow(1, (start + shift) % self._dim, size))
        runs, factors = _cut_runs(matrix, self._dim), _cut_runs(hashes.matrix_factors, self._dim)
        # All rows in one call: of rows of 64 numbers, what Python does for each takes half the
        # time. They are added one after the other, so targets may overlap.
        torch._foreach_addcmul_(targets, runs, factors)

    def _add_rotated(self, matrix: Tensor, long: AxisHash, short: AxisHash, first: int) -> None:
        """Add whole gradients ``(b, short, long)`` in few steps, as a GPU wants them.

        Every run of D numbers is rotated to its place, all of them at once, and then summed.
        """
        dim, size = self._dim, matrix.shape[2]
        runs = -(-size // dim)
        padding = runs * dim - size
        shifts = short.positions.unsqueeze(1) + long.starts
        sources = (torch.arange(dim, device=matrix.device) - shifts.reshape(-1, 1)) % dim
        factors = F.pad(long.factors, (0, padding)).reshape(1, runs, dim)
        factors = (factors * short.factors.reshape(-1, 1, 1)).reshape(-1, dim).gather(1, sources)
        if padding:
            matrix = F.pad(matrix, (0, padding))
        rotated = matrix.reshape(len(matrix), -1, dim).gather(
            2, sources.expand(len(matrix), *sources.shape)
        )
        sums = rotated.mul_(factors).sum(1)
        self._folded_sums(sums)[first : first + len(sums), :dim] += sums

    def add_outer(self, name: str, deltas: Tensor, inputs: Tensor, first: int = 0) -> None:
        """Add sums of outer products, ``(b, T, R)`` and ``(b, T, K)``, from ``first`` on."""
        hashes = self._hashes[name]
        if not self.prefers_transform(name, deltas.shape[1]):
            self.add_dense(name, sum_outer_products(deltas, inputs), first)
            return
        # Not all at once, so that long sequences stay within memory.
        most = choose_chunks(deltas.device).transforms
        step = max(1, most // (self._dim * deltas.shape[1]))
        parts = zip(torch.split(deltas, step), torch.split(inputs, step), strict=True)
        for part, part_inputs in parts:
            spectrum = hashes.row_hash.transform(part.flatten(0, 1))
            spectrum *= hashes.column_hash.transform(part_inputs.flatten(0, 1))
            if deltas.shape[1] > 1:
                spectrum = spectrum.reshape(len(part), deltas.shape[1], -1).sum(1)
            self._add_spectrum(spectrum, first)
            first += len(part)

    def prefers_transform(self, name: str, positions: int) -> bool:
        """Return whether T outer products cost less by Fourier transforms than by their sum."""
        if not positions:
            return False  # as of an expert that no example went through
        hashes = self._hashes[name]
        dense_cost = PRODUCT_COST * positions + ADDITION_COST
        transform_cost = TRANSFORM_COST * self._dim * self._dim.bit_length() * positions
        return hashes.rows * hashes.columns * dense_cost >= transform_cost

    def add_rows(self, name: str, indices: Tensor, deltas: Tensor) -> None:
        """Add rows of a table: ``indices`` ``(B, T)`` and what reaches them ``(B, T, K)``."""
        hashes = self._hashes[name]
        rows, columns = hashes.row_hash, hashes.column_hash
        # The sums are twice as wide as D, so the shifts need no remainder.
        targets = rows.positions[indices].unsqueeze(2) + columns.positions
        values = deltas * rows.factors[indices].unsqueeze(2) * columns.factors
        self._folded_sums(deltas).scatter_add_(1, targets.flatten(1), values.flatten(1))

    def add_bags(self, name: str, indices: Tensor, weights: Tensor, deltas: Tensor) -> None:
        """Add outer products of rows picked with ``weights``, ``(B, T)``, and ``(B, K)``."""
        hashes = self._hashes[name]
        rows = hashes.row_hash
        hashed = weights.new_zeros(len(weights), self._dim)
        hashed.scatter_add_(1, rows.positions[indices], weights * rows.factors[indices])
        self._add_spectrum(torch.fft.rfft(hashed) * hashes.column_hash.transform(deltas), 0)

    def finish(self) -> Tensor | None:
        """Return the projected vectors, shape ``(B, D)``; ``None`` if nothing was added.

        Sums are taken in place, so it is asked once.
        """
        folded, circular = self._folded, None
        if self._spectrum is not None:
            circular = torch.fft.irfft(self._spectrum, n=self._dim)
        if folded is None:
            return circular
        total = folded[:, : self._dim].add_(folded[:, self._dim :])
        return total if circular is None else circular.add_(total)

    def _add_spectrum(self, spectrum: Tensor, first: int) -> None:
        if self._spectrum is None and len(spectrum) == self._batch_size:
            self._spectrum = spectrum
            return
        if self._spectrum is None:
            self._spectrum = spectrum.new_zeros(self._batch_size, spectrum.shape[1])
        self._spectrum[first : first + len(spectrum)] += spectrum

    def _folded_sums(self, like: Tensor) -> Tensor:
        if self._folded is None:
            self._folded = like.new_zeros(self._batch_size, 2 * self._dim)
        return self._folded
