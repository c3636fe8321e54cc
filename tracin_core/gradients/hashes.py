"""Where every entry of a parameter goes in a sketch, and by what it is multiplied."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tracin_core.gradients.projection import Projection, make_generator


class AxisHash:
    """Where the entries of one axis of a parameter go, and by what they are multiplied.

    Attributes:
        starts: For a regular axis, the shift of each run of D consecutive entries.
        start_list: The same as numbers.
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
            offsets = torch.arange(dim).repeat(runs)[:size]
            self.positions = (offsets + self.starts.repeat_interleave(dim)[:size]) % dim
        else:
            shuffles = [torch.randperm(dim, generator=generator) for _ in range(runs)]
            self.positions = torch.cat(shuffles)[:size]
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
