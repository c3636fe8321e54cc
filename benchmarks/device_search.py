"""Exact search for thousands of queries at once: the processor beside a GPU.

    python -m benchmarks.device_search [--rounds 5]

Prints markdown. Both give the same neighbours and the same scores, which is checked.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

import numpy as np
import torch

from tracin_core.retrieval import build_index

ROWS, DIMENSIONS = 100_000, 256
QUERIES, K = 4096, 10


def measure(rows: int, dimensions: int, rounds: int) -> None:
    """Print one row of the table."""
    generator = np.random.default_rng(0)
    norms = generator.lognormal(0, 1.5, (rows, 1)).astype(np.float32)
    vectors = generator.standard_normal((rows, dimensions), dtype=np.float32) * norms
    queries = generator.standard_normal((QUERIES, dimensions), dtype=np.float32)
    index = build_index(vectors, kind="exact")
    times: dict[str, list[float]] = {"cpu": [], "cuda": []}
    found = {device: index.search(queries, K, device=device) for device in times}
    same = all(
        np.array_equal(getattr(found["cpu"], part), getattr(found["cuda"], part))
        for part in ("indices", "scores")
    )
    for _ in range(rounds):
        for device, seconds in times.items():
            started = time.perf_counter()
            index.search(queries, K, device=device)
            seconds.append(time.perf_counter() - started)
    cpu, cuda = (1000 * statistics.median(seconds) for seconds in times.values())
    print(
        f"| {rows:,} x {dimensions} | {cpu:,.0f} ms | {cuda:,.0f} ms | {cpu / cuda:.1f} | "
        f"{'yes' if same else 'NO'} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(
        f"{torch.cuda.get_device_name()} beside {os.cpu_count()} processor cores; {QUERIES:,} "
        f"queries, {K} proponents each; medians of {options.rounds} interleaved rounds.\n"
    )
    print("| train vectors | processor | GPU | ratio | the same answers |\n|---|--:|--:|--:|---|")
    measure(ROWS, DIMENSIONS, options.rounds)


if __name__ == "__main__":
    main()
