"""What has been proved of batches: where their examples lie in every gradient that is read."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from tracin_core.gradients.bare import Layouts
from tracin_core.gradients.layouts import Layout

# More are forgotten at once: whoever meets so many meets each of them rarely.
MOST_PROOFS = 4096


@dataclass(frozen=True)
class Placement:
    """Where the examples of a batch are.

    Attributes:
        uses: In the output of each call of a layer; ``None`` where nothing reaches it.
        reads: By parameter, in the result of each operation that reads it.
    """

    uses: Sequence[Layout | None]
    reads: Mapping[str, Layouts]

    @property
    def holds_elsewhere(self) -> bool:
        """Whether it holds for every batch of this size whose rows move in the same ways."""
        layouts = [*self.uses, *(layout for found in self.reads.values() for layout in found)]
        return all(layout is None or layout.holds_elsewhere for layout in layouts)


class Proofs:
    """Placements that were proved, by the size of the batch and the ways its rows move.

    Attributes:
        notes: Why a parameter went one example at a time in some batch, by its name.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, Hashable], Placement] = {}
        self.notes: dict[str, str] = {}

    def recall(self, batch_size: int, signature: Hashable | None) -> Placement | None:
        """Return what was proved of such a batch; ``None`` if it must be proved anew."""
        return None if signature is None else self._known.get((batch_size, signature))

    def remember(self, batch_size: int, signature: Hashable | None, placement: Placement) -> None:
        """Keep a placement for batches like this one, if it holds for them."""
        if signature is None or not placement.holds_elsewhere:
            return
        if len(self._known) >= MOST_PROOFS:
            self._known.clear()
        self._known[batch_size, signature] = placement
