"""A band of vectors with similar norms, scanned exactly or indexed by Annoy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tracin_core.retrieval.scan import Scan
from tracin_core.retrieval.vectors import Positions

# Candidates are asked for in proportion to k, from this k on.
CALIBRATED_K = 10


class AnnoyLike(Protocol):
    """What is used of ``annoy.AnnoyIndex``."""

    def set_seed(self, seed: int, /) -> None: ...  # noqa: D102
    def add_item(self, position: int, vector: list[float], /) -> None: ...  # noqa: D102
    def build(self, trees: int, n_jobs: int = -1) -> bool: ...  # noqa: D102
    def save(self, path: str, /) -> bool: ...  # noqa: D102
    def load(self, path: str, /) -> bool: ...  # noqa: D102
    def get_nns_by_vector(  # noqa: D102
        self, vector: list[float], n: int, search_k: int = -1
    ) -> list[int]: ...


@dataclass(frozen=True)
class Effort:
    """How hard each band is searched: candidates taken, and tree nodes looked at for them."""

    candidates: int
    search_k: int

    def scale_to(self, k: int) -> Effort:
        """Return the effort for k neighbours."""
        share = max(1.0, k / CALIBRATED_K)
        return Effort(int(self.candidates * share), int(self.search_k * share))


@dataclass(frozen=True)
class Band:
    """Train vectors of similar norms.

    Attributes:
        largest_norm: No vector of this or a later band is longer.
        positions: Their train positions, shape ``(n,)``.
        scan: What is looked at where the band is scanned exactly, else None.
        annoy: Their index where it is not; None for zero vectors too.
    """

    largest_norm: float
    positions: Positions
    scan: Scan | None = None
    annoy: AnnoyLike | None = None
