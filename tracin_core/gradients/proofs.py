"""Where the examples of a batch were proved to lie, and which batches were looked at closer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from tracin_core.gradients.bare import Layouts
from tracin_core.gradients.layouts import Layout

# More are forgotten at once: whoever meets so many meets each of them rarely.
MOST_KINDS = 4096
# Of batches of one kind the first is looked at, and then each whose number is so many times that
# of the one before: what a batch does with its examples may depend on their numbers alone.
SPACING = 4


@dataclass(frozen=True)
class Placement:
    """Where the examples of a batch are.

    Attributes:
        uses: In the output of each call of a layer; ``None`` where nothing reaches it.
        reads: By parameter, in the result of each operation that reads it.
    """

    uses: Sequence[Layout | None]
    reads: Mapping[str, Layouts]


class Proofs:
    """Which batches were seen, by their size and the ways their rows move.

    Attributes:
        notes: Why a parameter went one example at a time in some batch, by its name.
    """

    def __init__(self) -> None:
        self._seen: Counter[tuple[int, Hashable]] = Counter()
        self.notes: dict[str, str] = {}

    def is_due(self, batch_size: int, signature: Hashable | None) -> bool:
        """Whether a batch is to be compared with its halves; it is counted as seen."""
        if signature is None:
            return True
        if len(self._seen) >= MOST_KINDS:
            self._seen.clear()
        self._seen[batch_size, signature] += 1
        count = self._seen[batch_size, signature]
        while count % SPACING == 0:
            count //= SPACING
        return count == 1
