"""Where a batch's examples lie in a tensor: in groups along one axis, or row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple


class Place(NamedTuple):
    """Number ``i`` of a tensor, in its logical order, belongs to example ``(i // after) % B``.

    Attributes:
        before: Groups of B examples one after the other.
        after: Numbers that each example has together.
    """

    before: int
    after: int


class ListedRows(NamedTuple):
    """Each row along the first axis belongs to an example of its own, as after a sort.

    Attributes:
        owners: The example of each row.
    """

    owners: tuple[int, ...]


@dataclass(frozen=True)
class Axis:
    """A place as seen along one axis, of size ``outer * B * inner``.

    Attributes:
        index: The axis.
        outer: Groups of B examples along it.
        inner: Neighbours that each example has along it.
        rows: Whose the rows are one by one; the two numbers then say nothing.
    """

    index: int
    outer: int
    inner: int
    rows: ListedRows | None = None

    def place(self, shape: Sequence[int], index: int) -> Place | ListedRows | None:
        """Return the place in another tensor, whose axis ``index`` is this one."""
        if self.rows is not None:
            return self.rows if index == 0 else None
        before, after = prod(shape[:index]), prod(shape[index + 1 :])
        return Place(before * self.outer, after * self.inner)


def find_axis(shape: Sequence[int], place: Place | ListedRows, batch_size: int) -> Axis | None:
    """Return the axis along which examples lie; ``None`` if no single one holds them."""
    if isinstance(place, ListedRows):
        return Axis(0, 0, 0, place) if shape and shape[0] == len(place.owners) else None
    before, after = 1, prod(shape)
    if not after:
        return None  # a part that no example goes through
    for index, size in enumerate(shape):
        after //= size
        if place.before % before == 0 and place.after % after == 0:
            axis = Axis(index, place.before // before, place.after // after)
            if axis.outer * batch_size * axis.inner == size:
                return axis
        before *= size
    return None
