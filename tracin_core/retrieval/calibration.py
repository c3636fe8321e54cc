"""How much of the truth an Annoy index finds: its recall, and the least effort that is enough.

Measured on a sample of queries like those that will be asked, against exact search.
"""

from __future__ import annotations

import numpy as np

from tracin_core.retrieval.annoy_bands import AnnoyBands, Effort
from tracin_core.retrieval.exact import SIDES, ExactSearch, Numbers, Searcher, SearchResult, Side

RECALL_K = 10
# Below this an index is not used. From the target on no harder search is tried; it lies above
# 0.99, because the sample's recall is that much off (128 queries for 10 neighbours: 0.003).
LOWEST_RECALL = 0.95
TARGET_RECALL = 0.995
SAMPLE_QUERIES = 128

# From easy to hard; the first that reaches the target is taken.
EFFORTS = (
    Effort(32, 600),
    Effort(50, 1500),
    Effort(75, 2500),
    Effort(100, 4000),
    Effort(150, 7000),
    Effort(200, 10_000),
    Effort(400, 30_000),
)


def draw_queries(exact: ExactSearch, seed: int, count: int = SAMPLE_QUERIES) -> Numbers:
    """Draw queries like those that will be asked, a third of each kind.

    Train vectors as they are, which is what a suspect asks; train vectors with noise of their
    own length added, so that their cosine with any train vector is at most about 0.7, which is
    what a test example asks; and directions unlike any train vector, for a new example that has
    nothing to do with the data. Zero vectors are not drawn, as every index answers them.

    Returns:
        Shape ``(count, D)``; fewer rows where there are fewer train vectors.
    """
    generator = np.random.default_rng(seed)
    alive = np.flatnonzero(exact.norms)
    chosen = generator.choice(alive, size=min(count, len(alive)), replace=False)
    queries: Numbers = exact.vectors[np.sort(chosen)].astype(np.float64)
    generator.shuffle(queries)
    third = len(queries) // 3
    noise = generator.standard_normal((2 * third, queries.shape[1]))
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    queries[:third] += noise[:third] * np.linalg.norm(queries[:third], axis=1, keepdims=True)
    queries[third : 2 * third] = noise[third:]
    return queries


def measure_recall(
    searcher: Searcher, truth: dict[Side, SearchResult], queries: Numbers
) -> dict[str, float]:
    """Measure which share of the true k best an index finds, on each side.

    A neighbour counts if its score reaches the true k-th score, so that ties are no misses.

    Args:
        searcher: The index.
        truth: What exact search finds for the same queries, by side.
        queries: Shape ``(M, D)``.
    """
    recalls: dict[str, float] = {}
    for side in SIDES:
        sign = 1 if side == "proponents" else -1
        found = searcher.search(queries, truth[side].scores.shape[1], side)
        reached = sign * found.scores >= sign * truth[side].scores[:, -1:]
        recalls[side] = float((reached & (found.indices >= 0)).mean()) if len(queries) else 1.0
    return recalls


def calibrate(bands: AnnoyBands, exact: ExactSearch, seed: int) -> dict[str, float]:
    """Set the least effort that reaches the target recall, or else the best one.

    Returns:
        The recall at that effort by side, measured on ``draw_queries``.
    """
    queries = draw_queries(exact, seed)
    truth = {side: exact.search(queries, RECALL_K, side) for side in SIDES}
    best: dict[str, float] = {}
    chosen = bands.effort
    for effort in EFFORTS:
        bands.effort = effort
        recalls = measure_recall(bands, truth, queries)
        if not best or min(recalls.values()) > min(best.values()):
            best, chosen = recalls, effort
        if min(best.values()) >= TARGET_RECALL:
            break
    bands.effort = chosen
    return best
