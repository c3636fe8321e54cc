"""How a run keeps its vectors: exact where they are affordable, else projected. Without torch."""

from __future__ import annotations

from tracin_core.influence.exact_limit import EXACT_LAST_NUMBERS
from tracin_core.runs import ProjectionEntry

# An error of 6% in a dot product, relative to the product of the norms, for 2 KB an example.
PROJECTION = ProjectionEntry(dim=512, seed=0)
# For the exact last-layer vectors of all examples together: 12,300 examples of ten classes at eight
# checkpoints. A search through all of them takes 36 ms on one core, within what an exact search
# may take (EXACT_SECONDS of retrieval); beyond that an index is built, as large as the vectors.
# With 60,000 train and 10,000 test examples the run took 2.9 GB on the disk, half of it the index,
# 2.8 GB of memory and 48 s for the index; with projected vectors 0.3 GB, 0.4 GB and 2 s.
EXACT_BYTES = 256_000_000
NUMBER_BYTES = 4  # float32, as stored


def choose_last_projection(
    numbers: int, num_examples: int, exact_bytes: int | None = None
) -> ProjectionEntry | None:
    """Decide how the last layer's vectors are kept; a run records it and all follow the record.

    Args:
        numbers: Of an exact vector, over all checkpoints.
        num_examples: Of both splits.
        exact_bytes: What the exact vectors of all of them may take; None for ``EXACT_BYTES``.

    Returns:
        The projection, or None for exact vectors.
    """
    if numbers <= PROJECTION.dim:  # projected ones would take as much
        return None
    budget = EXACT_BYTES if exact_bytes is None else exact_bytes
    fits = numbers * num_examples * NUMBER_BYTES <= budget
    return None if fits and numbers <= EXACT_LAST_NUMBERS else PROJECTION
