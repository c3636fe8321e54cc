"""What the engines cost that do the shards of a scoring, and whether the bits stay the same.

Run: ``python -m benchmarks.engines [--head] [--count N] [--engines pool dask ray] [--folder DIR]``.
The network and the examples are those of ``benchmarks.scale``, with both sorts of vectors
projected; ``--head`` takes one layer and one checkpoint instead, which is a tenth of the work.
Each scoring has a driver of its own, on two workers of one thread. Every engine scores once in
peace, and once while its driver is killed after a third, started again, and one of its workers is
killed after two thirds. What all leave is compared with the serial run, bit for bit.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from benchmarks.scale import (
    CHECKPOINTS,
    CLASSES,
    DIMENSIONS,
    FEATURES,
    SMALLEST,
    build_mlp,
    make_source,
    open_run,
)
from relabel.progress import Progress
from relabel.runs.config import ProjectionEntry
from relabel.runs.shards import UnfinishedRun
from relabel.scoring.engine import EngineChoice
from relabel.scoring.shards import SHARD_EXAMPLES, ShardScorer
from tracin_core import Checkpoint, TracIn
from tracin_core.attribution import DEFAULT_METHOD, AttributionSetup, get_method

WORKERS = 2
ENGINES = ("pool", "dask", "ray")
COUNT = 200_000


@dataclass
class KillAWorker:
    """Kills the busiest of this process's descendants, once, after two thirds of the shards."""

    pids: list[int] = field(default_factory=list)

    def __call__(self, report: Progress) -> None:
        """Take a report of the scoring."""
        if not self.pids and report.done >= report.total * 2 // 3:
            self.pids.append(find_busiest())
            os.kill(self.pids[0], signal.SIGKILL)


def find_busiest() -> int:
    """Return the descendant of this process that has computed for longest."""
    parents, seconds = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            columns = path.read_text().rsplit(")", 1)[1].split()
        except OSError:  # it has ended meanwhile
            continue
        pid = int(path.parent.name)
        parents[pid], seconds[pid] = int(columns[1]), int(columns[11])

    def descends(pid: int) -> bool:
        while pid in parents:
            pid = parents[pid]
            if pid == os.getpid():
                return True
        return False

    return max(filter(descends, parents), key=seconds.__getitem__)


def build_head(seed: int) -> nn.Module:
    """One layer, as on the features of a frozen network."""
    torch.manual_seed(seed)
    return nn.Linear(FEATURES, CLASSES)


def score(engine: str, options: argparse.Namespace) -> dict[str, float]:
    """Score, or go on, and return what it took."""
    torch.set_num_threads(1)
    count, folder = options.count, options.folder
    build, seeds = (build_head, range(1)) if options.head else (build_mlp, range(CHECKPOINTS))
    checkpoints = [Checkpoint(build(seed).state_dict(), learning_rate=0.1) for seed in seeds]
    layers = "last" if options.head else "all"
    tracin = TracIn(build(0), checkpoints, layers=layers, device="cpu", rates="ones")
    method = get_method(DEFAULT_METHOD)
    entry = ProjectionEntry(dim=DIMENSIONS)
    killer = KillAWorker()
    scorer = ShardScorer(
        tracin=tracin,
        attributor=method.make(AttributionSetup(tracin=tracin, rates="ones")),
        score_names=method.scores,
        projection={"last": entry} if options.head else {"all": entry, "last": entry},
        engine=EngineChoice(name=engine, workers=None if engine == "serial" else WORKERS),
        threads=1,
    )
    if engine == "serial":  # what is loaded on first use, which other drivers need less of
        scorer.score(open_run(folder.with_name("warm-up")), make_source(SMALLEST))
    if options.kill_a_worker:
        scorer = ShardScorer(**{**vars(scorer), "on_progress": killer})
    run = UnfinishedRun.open(folder, "benchmark", lambda _: None)
    wall, processor = time.perf_counter(), time.process_time()
    scorer.score(run, make_source(count))
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    shards = run.journal.of_split("train")
    return {
        "wall": wall,
        "driver": processor,
        "children": sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]),
        "shards": len(shards),
        "own_wall": sum(shard.seconds for shard in shards),
        "killed": len(killer.pids),
    }


def digest(folder: Path) -> str:
    """Return a digest of all that a run stores of its examples."""
    found = hashlib.sha256()
    for path in sorted(folder.glob("*-train.*")):
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()


def start(engine: str, size: list[str], folder: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.engines", "--one", engine, *size]
    return subprocess.Popen(
        [*command, "--folder", str(folder), *more], stdout=subprocess.PIPE, text=True
    )


def run_in_peace(engine: str, size: list[str], folder: Path) -> dict[str, float]:
    process = start(engine, size, folder)
    told, _ = process.communicate()
    assert process.returncode == 0, engine
    return json.loads(told.splitlines()[-1])


def run_through_kills(engine: str, size: list[str], folder: Path, third: int) -> dict[str, float]:
    """Kill the driver after a third, start it again, and let it kill a worker."""
    process = start(engine, size, folder)
    journal = folder / "shards" / "journal.jsonl"
    while not journal.exists() or len(journal.read_bytes().splitlines()) <= third:
        assert process.poll() is None, engine
        time.sleep(0.05)
    process.kill()
    process.communicate()
    found = len(journal.read_bytes().splitlines()) - 1
    process = start(engine, size, folder, "--kill-a-worker")
    told, _ = process.communicate()
    assert process.returncode == 0, engine
    return {**json.loads(told.splitlines()[-1]), "found": found}


def compare(options: argparse.Namespace, folder: Path) -> None:
    engines, expected, rows = options.engines, "", []
    size = ["--count", str(options.count), *(["--head"] if options.head else [])]
    for engine in ["serial", *engines]:
        place = folder / engine
        took = run_in_peace(engine, size, place)
        expected = expected or digest(place)
        same = digest(place) == expected
        shutil.rmtree(place)
        rows.append((engine, took, same))
        print_row(engine, took, same)
        if engine == "serial":
            continue
        took = run_through_kills(engine, size, place, options.count // SHARD_EXAMPLES // 3)
        same = digest(place) == expected
        shutil.rmtree(place)
        said = (
            f"{engine}, driver killed after {took['found']} shards, {took['killed']} worker killed"
        )
        print_row(said, took, same)
        rows.append((said, took, same))
    assert all(same for *_, same in rows), "an engine has other bits"


def print_row(title: str, took: dict[str, float], same: bool) -> None:
    shards = took["shards"]
    print(
        f"| {title} | {took['wall']:.1f} s | {took['own_wall'] / shards * 1e3:.0f} ms "
        f"| {took['driver'] / shards * 1e3:.0f} ms | {took['children']:.1f} s "
        f"| {'the same' if same else 'OTHER BITS'} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--head", action="store_true", help="a small network at one checkpoint")
    parser.add_argument("--count", type=int, default=COUNT, help="examples")
    parser.add_argument("--engines", nargs="*", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--folder", type=Path, help="where to write; temporary by default")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--kill-a-worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(score(options.one, options)))
        return
    print(f"torch {torch.__version__}, {platform.machine()}, {options.count:,} examples, ", end="")
    print(f"shards of {SHARD_EXAMPLES:,}, {WORKERS} workers of one thread\n")
    print("| engine | wall time | a shard's own | driver, a shard | children | bits |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        compare(options, Path(folder))


if __name__ == "__main__":
    main()
