"""Exact search for many queries at once on a GPU, or wherever torch can compute.

The device multiplies and picks the cells of each block that can be among the k best; their
scores are then computed in float64 as everywhere else, so the answer is that of exact search.
torch is imported when a search begins: who serves stored vectors never loads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from tracin_core.errors import RetrievalError
from tracin_core.retrieval.exact import (
    NEGLIGIBLE_NORM,
    Directions,
    ExactSearch,
    Measure,
    SearchResult,
    Side,
    TopK,
    compute_scores,
    rounding_error,
    scale_to_unit,
    search_in_batches,
)

if TYPE_CHECKING:
    import torch

# Train vectors stay on the device between searches up to this size; larger sets pass by in
# blocks. A quarter of the smallest GPU that is in use for training.
RESIDENT_BYTES = 2 * 1024**3
# Scores held on the device at a time: 64 MB in single precision.
BLOCK_SCORES = 1 << 24
# So many queries share one passing of the train vectors.
QUERIES_AT_ONCE = 4096


class DeviceSearch:
    """Exact search whose products are computed on a torch device.

    Args:
        exact: The train vectors and their norms.
        measure: ``"influence"`` (dot product) or ``"cosine"``.
        device: As torch names it.

    Raises:
        RetrievalError: If torch or the device is not there.
    """

    def __init__(self, exact: ExactSearch, measure: Measure, device: str) -> None:
        self._exact, self._measure = exact, measure
        self._device = open_device(device)
        self._resident: torch.Tensor | None = None

    def search(self, queries: ArrayLike, k: int = 10, side: Side = "proponents") -> SearchResult:
        """Find the k best train vectors for each query, as ``ExactSearch.search`` does."""
        if self._measure == "cosine":
            queries = scale_to_unit(queries)
        shape = self._exact.vectors.shape
        return search_in_batches(self, queries, k, side, shape=shape, at_once=QUERIES_AT_ONCE)

    def offer_best(self, directions: Directions, best: TopK, first: int = 0) -> None:
        """Offer the largest scores of some thousands of queries, as ``BatchSearch`` does."""
        queries = self._move(directions.narrow)
        for start, block in self._blocks(len(directions.narrow)):
            norms = self._exact.norms[start : start + len(block)]
            scores = _multiply(queries, block)
            margin = rounding_error(self._exact.vectors.shape[1])
            if self._measure == "cosine":
                norms = np.where(norms > NEGLIGIBLE_NORM, norms, np.inf)
                scores /= self._move(norms.astype(np.float32))
            else:
                margin *= float(norms.max())
            rows, columns = _pick(scores, self._move(best.floors), best.k, margin)
            positions = columns + start
            exact = compute_scores(self._exact.vectors, positions, directions.wide, rows)
            if self._measure == "cosine":
                exact = exact / norms[columns]
            best.offer(rows, positions + first, exact)

    def _blocks(self, num_queries: int) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield the first position and the vectors of each block, on the device."""
        vectors = self._exact.vectors
        step = max(1, BLOCK_SCORES // num_queries)
        if vectors.nbytes <= RESIDENT_BYTES and self._resident is None:
            self._resident = self._move(vectors)
        for start in range(0, len(vectors), step):
            if self._resident is not None:
                yield start, self._resident[start : start + step]
            else:
                yield start, self._move(vectors[start : start + step])

    def _move(self, array: np.ndarray) -> torch.Tensor:
        import torch

        # A copy, because torch warns of arrays that cannot be written, such as mapped ones.
        return torch.tensor(np.asarray(array, dtype=np.float32), device=self._device)


def open_device(name: str) -> Any:
    """Return a torch device.

    Raises:
        RetrievalError: If torch or the device is not there.
    """
    try:
        import torch

        device = torch.device(name)
        torch.empty(0, device=device)
    except (ImportError, RuntimeError, AssertionError, NotImplementedError) as error:
        raise RetrievalError(
            f"Cannot search on device {name!r} ({str(error).splitlines()[0]}); expected one that "
            "torch has, such as 'cuda'. Pass device='cpu', which needs no torch."
        ) from error
    return device


def find_gpu() -> str | None:
    """Return the name of a CUDA device; ``None`` where there is none, or no torch."""
    try:
        import torch
    except ImportError:
        return None
    return "cuda" if torch.cuda.is_available() else None


def _multiply(queries: torch.Tensor, block: torch.Tensor) -> torch.Tensor:
    """Return the products in full single precision, shape ``(M, B)``."""
    import torch

    settings: Any = torch.backends.cuda.matmul
    before = settings.fp32_precision
    settings.fp32_precision = "ieee"  # TF32 would err beyond the margin
    try:
        return queries @ block.T
    finally:
        settings.fp32_precision = before


def _pick(
    scores: torch.Tensor, floors: torch.Tensor, k: int, margin: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of the cells that can be among the k best of their rows.

    Such a cell reaches both the k-th score so far and, give or take twice the margin, the k-th
    largest of its own row in this block.
    """
    limits = floors - margin
    if scores.shape[1] > k:
        own = scores.topk(k, dim=1).values[:, -1] - 2 * margin
        limits = limits.maximum(own)
    # The floors were rounded to float32: a little more keeps a tie.
    limits = limits - limits.abs() * 2.0**-22
    rows, columns = (scores >= limits.unsqueeze(1)).nonzero(as_tuple=True)
    return rows.cpu().numpy(), columns.cpu().numpy()
