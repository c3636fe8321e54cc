"""Whether scoring holds its pace and its memory as the number of examples grows.

Run: ``python -m benchmarks.scale [--million] [--folder DIR]``. Each size is scored in a process
of its own, on one thread, through the same shards as any project: squared norms, losses,
margins and predictions to Parquet, projected vectors of all layers and of the last layer to
memory-mapped arrays. Examples are made when they are read, seeded by their position, so that
none of the memory is the data's. Building a search index afterwards is measured by
``benchmarks.retrieval``.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from relabel.fitting.data import SplitSource
from relabel.runs.config import ProjectionEntry
from relabel.runs.folder import DIGEST_BYTES, RunFolder
from relabel.runs.shards import UnfinishedRun
from relabel.scoring.shards import ShardScorer
from tracin_core import Checkpoint, TracIn
from tracin_core.attribution import DEFAULT_METHOD, AttributionSetup, get_method

FEATURES, WIDE, NARROW, CLASSES, CHECKPOINTS = 64, 128, 32, 10, 3
DIMENSIONS = 64
MILLION, SMALLEST = 1_000_000, 256
# How often each size is scored, interleaved; medians are reported. A run of a second is
# at the mercy of what else the machine does, one of minutes is not.
ROUNDS = {10_000: 5, 100_000: 3, MILLION: 1}
PACE_LIMIT, MEMORY_LIMIT = 0.15, 0.20


class SyntheticExamples:
    """Noisy class prototypes, one label in ten wrong, made batch by batch."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._prototypes = torch.randn(
            CLASSES, FEATURES, generator=torch.Generator().manual_seed(0)
        )

    def __len__(self) -> int:
        return self._count

    def read_batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Make inputs ``(B, 64)`` and labels ``(B,)``."""
        draw = torch.Generator().manual_seed(int(indices[0]))
        labels = torch.randint(CLASSES, (len(indices),), generator=draw)
        noise = torch.randn(len(indices), FEATURES, generator=draw)
        inputs = self._prototypes[labels] * 0.3 + noise
        wrong = torch.rand(len(indices), generator=draw) < 0.1
        other = torch.randint(CLASSES, (len(indices),), generator=draw)
        return inputs, torch.where(wrong, other, labels)


def build_mlp(seed: int) -> nn.Module:
    """About 13 thousand parameters; a million last-layer vectors take 4 GB."""
    torch.manual_seed(seed)
    return nn.Sequential(
        *(nn.Linear(FEATURES, WIDE), nn.ReLU()),
        *(nn.Linear(WIDE, NARROW), nn.ReLU(), nn.Linear(NARROW, CLASSES)),
    )


def score(count: int, folder: Path) -> dict[str, float]:
    """Score ``count`` examples and return seconds, and peak memory in bytes."""
    torch.set_num_threads(1)
    checkpoints = [
        Checkpoint(build_mlp(seed).state_dict(), learning_rate=0.1) for seed in range(CHECKPOINTS)
    ]
    tracin = TracIn(build_mlp(0), checkpoints, device="cpu", rates="ones")
    # A project's last-layer vectors are exact only up to 256 MB. Here they always are, so that
    # the same is measured at every size.
    method = get_method(DEFAULT_METHOD)
    scorer = ShardScorer(
        tracin=tracin,
        attributor=method.make(AttributionSetup(tracin=tracin, rates="ones")),
        score_names=method.scores,
        projection={"all": ProjectionEntry(dim=DIMENSIONS), "last": None},
    )
    # torch, Arrow and pandas load parts of themselves on first use, whatever the size: 0.4 s.
    scorer.score(open_run(folder / "warm-up"), make_source(SMALLEST))
    run, source = open_run(folder / str(count)), make_source(count)
    libraries = read_peak()
    wall, processor = time.perf_counter(), time.process_time()
    scorer.score(run, source)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return {
        "wall": wall,
        "processor": processor,
        "libraries": libraries,
        "peak": read_peak(),
        "disk": measure(run.folder),
    }


def open_run(folder: Path) -> UnfinishedRun:
    shutil.rmtree(folder, ignore_errors=True)
    return UnfinishedRun.open(folder, "benchmark", lambda _: None)


def make_source(count: int) -> SplitSource:
    # Nothing is compared here; a view of one row takes no memory.
    digests = np.broadcast_to(np.zeros(DIGEST_BYTES, np.uint8), (count, DIGEST_BYTES))
    return SplitSource(split="train", examples=SyntheticExamples(count), digests=digests)


def read_peak() -> int:
    """Return the largest resident memory so far, in bytes."""
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def measure(folder: RunFolder) -> int:
    """Return the bytes that a run takes on the disk."""
    return sum(path.stat().st_size for path in folder.root.rglob("*") if path.is_file())


def score_apart(count: int, folder: Path) -> dict[str, float]:
    """Score in a process of its own, so that its peak memory is its own."""
    command = [sys.executable, "-m", "benchmarks.scale", "--one", str(count), "--folder", folder]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    shutil.rmtree(folder / str(count))
    return json.loads(done.stdout)


def score_all(sizes: list[int], folder: Path) -> dict[int, dict[str, float]]:
    """Score every size as often as it deserves, and return the medians."""
    rounds: dict[int, list[dict[str, float]]] = {count: [] for count in sizes}
    for number in range(max(ROUNDS[count] for count in sizes)):
        for count in sizes:
            if number < ROUNDS[count]:
                rounds[count].append(score_apart(count, folder))
    return {
        count: {name: statistics.median(one[name] for one in found) for name in found[0]}
        for count, found in rounds.items()
    }


def print_table(results: dict[int, dict[str, float]]) -> None:
    print("| examples | processor time | wall time | peak memory | of it before scoring | disk |")
    print("|---|---|---|---|---|---|")
    for count, found in results.items():
        print(
            f"| {count:,} | {found['processor'] / count * 1e6:.0f} µs each "
            f"| {found['wall'] / count * 1e6:.0f} µs each | {found['peak'] / 1e6:.0f} MB "
            f"| {found['libraries'] / 1e6:.0f} MB | {found['disk'] / 1e6:.0f} MB |"
        )
    paces = [found["processor"] / count for count, found in results.items()]
    spread = max(paces) / min(paces) - 1
    *_, before, last = results
    growth = results[last]["peak"] / results[before]["peak"] - 1
    print(f"\nTime an example: {spread:.0%} between the fastest and the slowest size ", end="")
    print(f"(promised: at most {PACE_LIMIT:.0%}).")
    print(f"Peak memory from {before:,} to {last:,}: {growth:+.0%} ", end="")
    print(f"(promised: at most +{MEMORY_LIMIT:.0%}).")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--million", action="store_true", help="also a million examples")
    parser.add_argument("--folder", type=Path, help="where to write; temporary by default")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(score(options.one, options.folder)))
        return
    sizes = [count for count in ROUNDS if count < MILLION or options.million]
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        results = score_all(sizes, Path(folder))
    print(f"torch {torch.__version__}, {platform.machine()}, one thread, ", end="")
    print(
        f"{CHECKPOINTS} checkpoints, vectors of {DIMENSIONS} numbers (all layers, projected) ",
        end="",
    )
    print(f"and {CHECKPOINTS * CLASSES * (NARROW + 1)} (last layer, exact)\n")
    print_table(results)


if __name__ == "__main__":
    main()
