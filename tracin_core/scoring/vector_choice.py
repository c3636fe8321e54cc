"""How a run keeps its vectors: exact where they are affordable, else projected. Without torch."""

from __future__ import annotations

from tracin_core.influence.exact_limit import EXACT_LAST_NUMBERS
from tracin_core.runs import ProjectionEntry

# An error of 6% in a dot product, relative to the product of the norms, for 2 KB an example.
PROJECTION = ProjectionEntry(dim=512, seed=0)
# For the exact last-layer vectors of all examples together. Twelve thousand examples of ten
# classes at eight checkpoints fit. What is larger is read from a disk's cache at best, and every
# search reads all of it: 60,000 such examples took 1.4 GB, and projected ones take 137 MB
# (docs/benchmarks.md).
EXACT_BYTES = 256 * 2**20
_NUMBER_BYTES = 4  # float32, as stored


def choose_last_projection(
    numbers: int, num_examples: int, exact_bytes: int = EXACT_BYTES
) -> ProjectionEntry | None:
    """Decide how the last layer's vectors are kept; a run records it and all follow the record.

    Args:
        numbers: Of an exact vector, over all checkpoints.
        num_examples: Of both splits.
        exact_bytes: What the exact vectors of all of them may take.

    Returns:
        The projection, or None for exact vectors.
    """
    if numbers <= PROJECTION.dim:  # projected ones would take as much
        return None
    fits = numbers * num_examples * _NUMBER_BYTES <= exact_bytes
    return None if fits and numbers <= EXACT_LAST_NUMBERS else PROJECTION
