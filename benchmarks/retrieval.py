"""Retrieval by dot product: norm-banded Annoy beside exact search and Annoy's own ``dot``.

    python -m benchmarks.retrieval              # 100,000 x 256, several shapes of data
    python -m benchmarks.retrieval --million    # also 1,000,000 x 128, with peak memory

Prints markdown. Times are medians over single queries, exact and banded search taking turns on
each query; the ratio is the median of the pairs' ratios. Recall is that of ten neighbours.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tracin_core.retrieval import Index, build_index
from tracin_core.retrieval.calibration import measure_recall
from tracin_core.retrieval.exact import SIDES, Numbers, Side

NUM_QUERIES = 50
K = 10
# name -> (log-normal sigma of the norms, number of classes, noise beside a class direction)
SHAPES = {
    "sigma 1.5, 10 classes": (1.5, 10, 1.0),
    "sigma 2.5, 10 classes": (2.5, 10, 1.0),
    "sigma 0.5, 10 classes": (0.5, 10, 1.0),
    "sigma 1.5, 1,000 clusters": (1.5, 1000, 0.5),
    "sigma 1.5, no classes": (1.5, 0, 1.0),
    "sigma 0.5, no classes": (0.5, 0, 1.0),
}


def draw_like(
    generator: np.random.Generator, centres: Numbers, count: int, sigma: float, noise: float
) -> np.ndarray:
    """Draw vectors around unit class directions (none: isotropic), with log-normal norms."""
    dimensions = centres.shape[1]
    vectors = generator.standard_normal((count, dimensions), dtype=np.float32)
    vectors *= noise / dimensions**0.5
    if len(centres):
        # In parts, so that a million rows need no second matrix.
        classes = generator.integers(0, len(centres), count)
        for start in range(0, count, 10_000):
            vectors[start : start + 10_000] += centres[classes[start : start + 10_000]]
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    vectors *= (generator.lognormal(0, sigma, count) / norms)[:, None].astype(np.float32)
    return vectors


def draw_queries(
    generator: np.random.Generator, train: np.ndarray, fresh: np.ndarray
) -> dict[str, np.ndarray]:
    """Return queries of each kind that is asked."""
    kinds = {
        "new, like train": fresh,
        "train vectors": train[generator.integers(0, len(train), NUM_QUERIES)],
        "cold (norm 1e-6)": fresh / np.linalg.norm(fresh, axis=1, keepdims=True) * 1e-6,
        "unlike any train vector": generator.standard_normal(fresh.shape),
    }
    return {name: queries.astype(np.float64) for name, queries in kinds.items()}


def time_call(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def time_both(index: Index, queries: Numbers, side: Side) -> tuple[float, float, float]:
    """Return median seconds of exact and of banded search, and the median ratio."""
    pairs = []
    for turn, query in enumerate(queries):
        searches = [
            lambda query=query: index.exact.search(query, K, side),
            lambda query=query: index.search(query, K, side),
        ]
        order = (0, 1) if turn % 2 else (1, 0)
        seconds = {which: time_call(searches[which]) for which in order}
        pairs.append((seconds[0], seconds[1]))
    exact, banded = np.array(pairs).T
    return float(np.median(exact)), float(np.median(banded)), float(np.median(exact / banded))


def measure_shape(name: str, count: int, dimensions: int, folder: Path) -> Iterator[str]:
    """Yield the table's rows for one shape of data."""
    sigma, classes, noise = SHAPES[name]
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((classes, dimensions)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    train = draw_like(generator, centres, count, sigma, noise)
    np.save(folder / "vectors.npy", train)
    del train
    mapped = np.load(folder / "vectors.npy", mmap_mode="r")
    started = time.perf_counter()
    index = build_index(mapped, "annoy", folder / "index")
    build = time.perf_counter() - started
    fresh = draw_like(generator, centres, NUM_QUERIES, sigma, noise)
    for kind, queries in draw_queries(generator, mapped, fresh).items():
        truth = {side: index.exact.search(queries, K, side) for side in SIDES}
        recalls = measure_recall(index, truth, queries)
        for side in SIDES:
            exact, banded, ratio = time_both(index, queries, side)
            yield (
                f"| {name} | {kind} | {side} | {index.kind} {index.recall:.3f} | {build:.1f} s "
                f"| {exact * 1e3:.2f} ms | {banded * 1e3:.2f} ms | {ratio:.1f} "
                f"| {recalls[side]:.3f} |"
            )


def measure_annoy_dot(count: int, dimensions: int) -> Iterator[str]:
    """Yield rows for Annoy's own ``dot`` metric on the first shape: what it does by itself."""
    from annoy import AnnoyIndex

    name = next(iter(SHAPES))
    sigma, classes, noise = SHAPES[name]
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((classes, dimensions)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    train = draw_like(generator, centres, count, sigma, noise)
    queries = draw_like(generator, centres, NUM_QUERIES, sigma, noise)
    truth = np.argsort(-(queries @ train.T), axis=1)[:, :K]
    peer = AnnoyIndex(dimensions, "dot")
    peer.set_seed(0)
    started = time.perf_counter()
    for position, vector in enumerate(train.tolist()):
        peer.add_item(position, vector)
    peer.build(20)
    build = time.perf_counter() - started
    for search_k in (-1, 20_000):
        seconds, hits = [], 0
        for query, best in zip(queries.tolist(), truth.tolist(), strict=True):
            started = time.perf_counter()
            found = peer.get_nns_by_vector(query, K, search_k)
            seconds.append(time.perf_counter() - started)
            hits += len(set(found) & set(best))
        shown = "default" if search_k < 0 else f"{search_k:,}"
        yield (
            f"| {name} | {shown} | {build:.1f} s | {np.median(seconds) * 1e3:.2f} ms "
            f"| {hits / truth.size:.3f} |"
        )


def peak_memory_gib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)


def print_banded(names: list[str], count: int, dimensions: int) -> None:
    print(f"\n### {count:,} x {dimensions}, bands of norms\n")
    print(
        "| data | queries | side | index, its recall | build | exact | query | ratio | recall@10 |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            for row in measure_shape(name, count, dimensions, Path(folder)):
                print(row, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--million", action="store_true", help="also 1,000,000 x 128")
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--rows", type=int, default=100_000)
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, numpy {np.__version__}")
    if options.million:
        # First, because the peak of a process never falls.
        print_banded(list(SHAPES)[:1], 1_000_000, 128)
        print(f"\nPeak memory of building and querying: {peak_memory_gib():.2f} GiB")
    print_banded(options.shapes, options.rows, 256)
    print(f"\n### {options.rows:,} x 256, Annoy's own `dot`, 20 trees, proponents\n")
    print("| data | search_k | build | query | recall@10 |\n|---|---|---|---|---|")
    for row in measure_annoy_dot(options.rows, 256):
        print(row, flush=True)


if __name__ == "__main__":
    main()
