"""An index in parts beside a single one: build, query, recall and memory.

    python -m benchmarks.parts                        # 10 x 1,000,000 x 64, and one of them alone
    python -m benchmarks.parts --rows 20000           # the same, small: to try it

Each index is built and searched by a process of its own, whose peak memory is counted with the
files that it maps and, beside it, what it holds itself. The vectors lie in one file a part and are
saved with no index. Prints markdown.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.retrieval import draw_like
from tracin_core.retrieval import (
    Index,
    IndexInParts,
    build_index,
    build_index_in_parts,
    open_index,
    open_index_in_parts,
)
from tracin_core.retrieval.calibration import measure_recall
from tracin_core.retrieval.exact import SIDES, Searcher

DIMENSIONS, K = 64, 10
NUM_QUERIES, EXACT_QUERIES = 100, 10
SIGMA, CLASSES, NOISE = 1.5, 10, 1.0
AnyIndex = Index | IndexInParts


def draw_centres() -> np.ndarray:
    centres = np.random.default_rng(0).standard_normal((CLASSES, DIMENSIONS)).astype(np.float32)
    return centres / np.linalg.norm(centres, axis=1, keepdims=True)


def write_vectors(folder: Path, parts: int, rows: int) -> None:
    for number in range(parts):
        generator = np.random.default_rng(1 + number)
        path = folder / f"vectors-{number:05d}.npy"
        if not path.exists():  # a stopped run may have begun
            temporary = folder / "begun.npy"
            np.save(temporary, draw_like(generator, draw_centres(), rows, SIGMA, NOISE))
            temporary.replace(path)


def open_vectors(folder: Path) -> list[np.ndarray]:
    return [np.load(path, mmap_mode="r") for path in sorted(folder.glob("vectors-*.npy"))]


@contextmanager
def watch_memory() -> Iterator[dict[str, int]]:
    """Yield a table that holds, after the block, the most bytes there were at a time of each kind.

    ``all`` is what is resident; ``own`` is that without the files that are mapped.
    """
    peaks, done = {"all": 0, "own": 0}, threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            lines = Path("/proc/self/status").read_text("utf-8").splitlines()
            fields = dict(line.split(":", 1) for line in lines)
            for name, field in (("all", "VmRSS"), ("own", "RssAnon")):
                peaks[name] = max(peaks[name], 1024 * int(fields[field].split()[0]))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peaks
    finally:
        done.set()
        watcher.join()


def time_call(call: Callable[[], object]) -> tuple[float, float]:
    """Return seconds by the clock and of the processor."""
    started, spent = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - started, time.process_time() - spent


def median_of(searcher: Searcher, queries: np.ndarray) -> tuple[float, float]:
    """Return the median of single searches for either side in ms: clock, processor."""
    times = [
        time_call(lambda query=query, side=side: searcher.search(query, K, side))
        for query in queries
        for side in SIDES
    ]
    clock, processor = 1000 * np.median(np.array(times), axis=0)
    return float(clock), float(processor)


def build(folder: Path, count: int, kind: str) -> None:
    """Build an index over so many parts and print what it took; one is built as a single index."""
    vectors = open_vectors(folder)[:count]
    place = folder / f"index-{count}"
    with watch_memory() as peaks:
        if count == 1:
            clock, processor = time_call(lambda: build_index(vectors[0], kind, place))
        else:
            clock, processor = time_call(lambda: build_index_in_parts(vectors, place, kind))
    size = sum(path.stat().st_size for path in place.rglob("*"))
    print(
        f"| {clock:,.0f} s | {processor:,.0f} s | {peaks['all'] / 1e9:.2f} GB "
        f"| {peaks['own'] / 1e9:.2f} GB | {size / 1e9:.2f} GB ",
        end="",
        flush=True,
    )


def search(folder: Path, count: int, memory_limit: int | None) -> None:
    """Search an index as another process would, and print what is found in what time."""
    vectors = open_vectors(folder)[:count]
    place = folder / f"index-{count}"
    generator = np.random.default_rng(99)
    fresh = draw_like(generator, draw_centres(), NUM_QUERIES, SIGMA, NOISE).astype(np.float64)
    opened: list[AnyIndex] = []

    def first() -> None:
        index: AnyIndex = (
            open_index(place, vectors[0])
            if count == 1
            else open_index_in_parts(place, vectors, memory_limit=memory_limit)
        )
        index.search(fresh[0], K)
        opened.append(index)

    with watch_memory() as peaks:
        opening, _ = time_call(first)
        index = opened[0]
        index.search(fresh, K)  # what is measured next is in memory, if it may be
        query, query_processor = median_of(index, fresh)
        exact, exact_processor = median_of(index.exact, fresh[:EXACT_QUERIES])
        truth = {side: index.exact.search(fresh, K, side) for side in SIDES}
        recalls = measure_recall(index, truth, fresh)
    print(
        f"| {opening:.1f} s | {query:.2f} ({query_processor:.2f}) ms "
        f"| {exact:.0f} ({exact_processor:.0f}) ms | {index.recall:.3f} "
        f"| {min(recalls.values()):.3f} | {peaks['all'] / 1e9:.2f} GB "
        f"| {peaks['own'] / 1e9:.2f} GB | {index.note} |",
        flush=True,
    )


def run_step(step: str, folder: Path, count: int, options: argparse.Namespace) -> None:
    """Run a step in a process of its own, whose memory nothing else has touched."""
    limit = [] if options.memory_limit is None else ["--memory-limit", str(options.memory_limit)]
    command = [sys.executable, "-m", "benchmarks.parts", "--step", step, "--folder", str(folder)]
    subprocess.run([*command, "--parts", str(count), "--kind", options.kind, *limit], check=True)


def compare(folder: Path, options: argparse.Namespace) -> None:
    """Print a row for one part alone and one for all parts."""
    write_vectors(folder, options.parts, options.rows)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, numpy {np.__version__}, load "
        f"{os.getloadavg()[0]:.0f}. Times of queries: median of single ones, in brackets that of "
        "the processor.\n\n"
        "| vectors | build | its processor | peak | its own | index | opening and first query "
        "| query | exact | recall, as built | recall | peak | its own | note |\n"
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|",
        flush=True,
    )
    for count in (1, options.parts):
        shape = f"{count} x " * (count > 1) + f"{options.rows:,} x {DIMENSIONS}"
        print(f"| {shape} ", end="", flush=True)
        run_step("build", folder, count, options)
        run_step("search", folder, count, options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="vectors of a part")
    parser.add_argument("--parts", type=int, default=10)
    parser.add_argument("--kind", choices=("auto", "exact", "annoy"), default="annoy")
    parser.add_argument("--memory-limit", type=int, metavar="BYTES", help="of the parts open")
    parser.add_argument("--folder", type=Path, help="made where missing, and kept")
    parser.add_argument("--step", choices=("build", "search"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step == "build":
        build(options.folder, options.parts, options.kind)
    elif options.step == "search":
        search(options.folder, options.parts, options.memory_limit)
    elif options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
        compare(options.folder, options)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            compare(Path(temporary), options)


if __name__ == "__main__":
    main()
