"""Seeded random projection of per-example gradients from P to D numbers.

A gradient that is an outer product is projected without ever being formed. Splitting D into
``sqrt(D) x sqrt(D)`` independent factors (paper arXiv:2002.08484v3, Appendix F) does that too,
but its relative variance on rank-one gradients is about ``2/r1 + 2/r2``: 0.18 at D = 512, an
error of 43%. Instead each matrix-shaped parameter is hashed by ``row shift + column shift
modulo D`` with independent random factors for rows and columns. The projection of an outer
product is then the circular convolution of two short hashed vectors, a product of Fourier
transforms (a tensor sketch), and of a whole gradient a sum of shifted rows. Shifts are
distinct as long as an axis has at most D entries, which leaves the variance near that of a
dense random matrix, ``2/D`` (an error of 6% at D = 512).

Every parameter of every checkpoint has its own hash, and the results are summed: that is one
sparse random matrix ``G`` over all the gradients laid end to end, ``E[G^T G] = I``, so a dot
product of two projections estimates the dot product of the gradients without bias. D numbers
shared by all blocks are used better than D divided among them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tracin_core.errors import ConfigurationError

# Nanoseconds on one processor core (measured, float32), to choose between the two ways of
# projecting sums of outer products: two transforms for each position cost D log2(D) of the
# first; forming the gradient costs each of its numbers the second for each position, and
# adding it up in shifted rows the third once.
TRANSFORM_COST, PRODUCT_COST, ADDITION_COST = 0.35, 0.04, 0.4

# Numbers transformed at once, 16 MB of float32, so that long sequences stay within memory.
TRANSFORM_NUMBERS = 4_000_000


_FORMS = ("sketch", "dense", "factored")


@dataclass(frozen=True)
class Projection:
    """How gradients are projected; equal settings give the same map for train and test.

    Attributes:
        dim: Numbers D in a projected vector.
        seed: Seed of all random choices.
        kind: The random numbers: "rademacher", plus or minus one, or "gaussian".
        form: "sketch", which is fast for layers of every size; "dense", one matrix ``(P, D)``
            for small layers; or "factored", two matrices as in the paper, with an error several
            times as large. A sketch of Gaussian numbers is not offered: on gradients that a few
            classes dominate their squares add variance, an error of 22% where signs have 6%
            (D = 512, a small CNN).
    """

    dim: int = 512
    seed: int = 0
    kind: Literal["rademacher", "gaussian"] = "rademacher"
    form: Literal["sketch", "dense", "factored"] = "sketch"

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ConfigurationError(
                f"Found a projection to {self.dim} numbers; expected at least 1. "
                "Use Projection(dim=512), which keeps errors near 6%."
            )
        if self.kind not in ("rademacher", "gaussian") or self.form not in _FORMS:
            raise ConfigurationError(
                f"Found projection kind {self.kind!r} and form {self.form!r}; expected "
                f"'rademacher' or 'gaussian', and one of {', '.join(_FORMS)}. Leave both out."
            )
        if self.kind == "gaussian" and self.form == "sketch":
            raise ConfigurationError(
                "Found a sketch of Gaussian numbers; expected signs, which estimate far better "
                "there. Leave the kind out, or pass form='dense' or form='factored' with it."
            )

    @classmethod
    def for_error(
        cls,
        error: float,
        *,
        seed: int = 0,
        kind: Literal["rademacher", "gaussian"] = "rademacher",
        form: Literal["sketch", "dense", "factored"] = "sketch",
    ) -> Projection:
        """Return the smallest projection whose ``expected_error`` is at most ``error``.

        Of factored ones the smallest whose two factors have the same size.

        Args:
            error: Standard error of an estimated dot product, relative to the product of the two
                gradients' norms (not to the dot product, which may be near zero): between 0 and 1.
            seed: As in the class.
            kind: As in the class.
            form: As in the class.

        Raises:
            ConfigurationError: If the error is not between 0 and 1.
        """
        if not 0 < error < 1:
            raise ConfigurationError(
                f"Found a projection error of {error}; expected a share of the product of the "
                "norms, above 0 and below 1. Use 0.06, which takes about 560 numbers."
            )
        if form == "factored":
            rows = math.ceil(2 / (math.sqrt(1 + error**2) - 1))
            return cls(rows**2, seed, kind, form)
        return cls(math.ceil(2 / error**2), seed, kind, form)

    @property
    def expected_error(self) -> float:
        """Standard error of an estimated dot product, relative to the product of the norms.

        That of a gradient with itself; of two that are nearly orthogonal it is smaller by
        ``sqrt(2)``. Factored: of gradients of rank one, such as a linear layer's.
        """
        if self.form != "factored":
            return float((2 / self.dim) ** 0.5)
        first, second = self.factor_sizes
        return float(((1 + 2 / first) * (1 + 2 / second) - 1) ** 0.5)

    @property
    def factor_sizes(self) -> tuple[int, int]:
        """The two sizes, as equal as possible, whose product is D."""
        first = next(n for n in range(math.isqrt(self.dim), 0, -1) if self.dim % n == 0)
        return first, self.dim // first


class AxisHash:
    """Where the entries of one axis of a parameter go, and by what they are multiplied.

    Attributes:
        starts: For a regular axis, the shift of each run of D consecutive entries.
        positions: Target of each entry, int64, shape ``(n,)``, in ``[0, D)``.
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
            offsets = torch.arange(dim).repeat(runs)[:size]
            self.positions = (offsets + self.starts.repeat_interleave(dim)[:size]) % dim
        else:
            shuffles = [torch.randperm(dim, generator=generator) for _ in range(runs)]
            self.positions = torch.cat(shuffles)[:size]
        self.factors = torch.randint(2, (size,), generator=generator) * 2.0 - 1.0

    def to(self, device: torch.device, dtype: torch.dtype) -> AxisHash:
        """Move the tables to where gradients are, and prepare the inverse of the hash."""
        self.position_list = self.positions.tolist()
        self.positions = self.positions.to(device)
        self.factors = self.factors.to(device, dtype)
        return self

    def transform(self, values: Tensor) -> Tensor:
        """Return the Fourier transform of hashed values, ``(M, n)`` to ``(M, D // 2 + 1)``."""
        signed = values * self.factors
        if signed.shape[1] > self.dim or not self.is_regular:
            hashed = signed.new_zeros(len(signed), self.dim)
            if signed.shape[1] <= self.dim:
                signed = hashed.scatter_(1, self.positions.expand_as(signed), signed)
            else:
                runs = torch.split(signed, self.dim, 1)
                for run, positions in zip(runs, torch.split(self.positions, self.dim), strict=True):
                    hashed.scatter_add_(1, positions.expand_as(run), run)
                signed = hashed
        # A single regular run begins at zero, where padding to D puts it.
        spectrum: Tensor = torch.fft.rfft(signed, n=self.dim)
        return spectrum


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
        self.row_hash.factors = self.row_hash.factors * factor

    @property
    def long_and_short(self) -> tuple[AxisHash, AxisHash]:
        """The regular hash of the longer axis, and the shuffled one of the shorter."""
        if self.columns_are_long:
            return self.column_hash, self.row_hash
        return self.row_hash, self.column_hash


def make_generator(name: str, projection: Projection, checkpoint: int) -> torch.Generator:
    """Return the source of a parameter's random numbers, of its own at every checkpoint."""
    key = f"{projection.seed}/{checkpoint}/{name}".encode()
    # A digest, not hash(): the seed must be the same in every process and on every machine.
    seed = int.from_bytes(hashlib.blake2b(key, digest_size=7).digest())
    return torch.Generator().manual_seed(seed)


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
        hashes = self._hashes[name]
        matrix = gradients.reshape(len(gradients), hashes.rows, hashes.columns)
        if not hashes.columns_are_long:
            matrix = matrix.transpose(1, 2)
        long, short = hashes.long_and_short
        folded = self._folded_sums(gradients)[first : first + len(gradients)]
        if self._dim >= matrix.shape[2]:  # one run, which begins at zero
            factors = long.factors * short.factors.unsqueeze(1)
            for index, shift in enumerate(short.position_list):
                target = folded.narrow(1, shift, matrix.shape[2])
                target.addcmul_(matrix[:, index], factors[index])
            return
        starts = long.starts.tolist()
        for index, shift in enumerate(short.position_list):
            factors = long.factors * short.factors[index]
            runs = zip(
                starts,
                torch.split(matrix[:, index], self._dim, 1),
                torch.split(factors, self._dim),
                strict=True,
            )
            for start, run, run_factors in runs:
                target = folded.narrow(1, (start + shift) % self._dim, run.shape[1])
                target.addcmul_(run, run_factors)

    def add_outer(self, name: str, deltas: Tensor, inputs: Tensor, first: int = 0) -> None:
        """Add sums of outer products, ``(b, T, R)`` and ``(b, T, K)``, from ``first`` on."""
        hashes = self._hashes[name]
        if not self.prefers_transform(name, deltas.shape[1]):
            self.add_dense(name, torch.bmm(deltas.mT, inputs), first)
            return
        step = max(1, TRANSFORM_NUMBERS // (self._dim * deltas.shape[1]))
        parts = zip(torch.split(deltas, step), torch.split(inputs, step), strict=True)
        for part, part_inputs in parts:
            spectrum = hashes.row_hash.transform(part.flatten(0, 1))
            spectrum *= hashes.column_hash.transform(part_inputs.flatten(0, 1))
            if deltas.shape[1] > 1:
                spectrum = spectrum.reshape(len(part), deltas.shape[1], -1).sum(1)
            self._add_spectrum(spectrum, first)
            first += len(part)

    def prefers_transform(self, name: str, positions: int) -> bool:
        """Whether T outer products cost less by Fourier transforms than by their sum."""
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
        """Return the projected vectors, shape ``(B, D)``; ``None`` if nothing was added."""
        total: Tensor | None = None
        if self._folded is not None:
            total = self._folded[:, : self._dim] + self._folded[:, self._dim :]
        if self._spectrum is not None:
            circular = torch.fft.irfft(self._spectrum, n=self._dim)
            total = circular if total is None else total + circular
        return total

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
