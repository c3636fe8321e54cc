"""Published architectures against one example at a time: error, rules, and the last layer.

    python -m benchmarks.architectures
    python -m benchmarks.architectures --only levit ViT --verbose
    python -m benchmarks.architectures --errors

Then what common ones cost at real widths, by `python -m benchmarks.costs`, unless ``--errors``.

Architectures of torchvision, transformers and timm with random weights, made small by their own
options: nothing is downloaded. Ten examples in batches of four and two checkpoints. The engine's
self-influence is compared with autograd on one example at a time, in float64 and in float32. In
float32 an activation within rounding of a kink (ReLU, max-pooling) lands on the other side: what
is off there and right in float64 is shown beside what a rounding of the weights does to the exact
value. Each runs in a child process, so that one that ends its process is shown as that.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from benchmarks.apart import run_apart, run_here
from benchmarks.published.everything import ARCHITECTURES, HAS_TIMM
from benchmarks.published.measure import SINGLE, Result, measure

SECONDS = 240


def measure_all(names: Sequence[str], jobs: int, verbose: bool) -> list[Result]:
    """Measure each architecture in a child process, some at a time."""
    with ThreadPoolExecutor(jobs) as pool:
        parts = pool.map(lambda first: measure_some(names[first::jobs], verbose), range(jobs))
        found = {result.name: result for part in parts for result in part}
    return [found[name] for name in names]


def measure_some(names: Sequence[str], verbose: bool) -> list[Result]:
    """Measure one architecture after the other."""
    results = []
    for name, found in run_apart(["-m", "benchmarks.architectures", "--here"], names, SECONDS):
        source = ARCHITECTURES[name][0]
        if isinstance(found, str):
            result = Result(name, source, ending="crashed", detail=found)
        else:
            result = Result(**found)
        results.append(result)
        if verbose or result.ending not in ("right", "kinks"):
            print(
                f"{name}: {result.ending}, {result.error:.1e} and {result.single:.1e} "
                f"({result.inherent:.1e}), {result.seconds} s {result.detail[:400]}",
                file=sys.stderr,
                flush=True,
            )
    return results


def make_table(results: Sequence[Result]) -> str:
    """Return the results as a markdown table, with what they come to."""
    endings = Counter(result.ending for result in results)
    told = ", ".join(f"{count} {ending}" for ending, count in endings.most_common())
    lines = [
        f"{len(results)} architectures: {told}.",
        "",
        "| architecture | from | parameters | float64 | float32 | rounding | ending | by rules "
        "| the rest | last layer | its parameters | rank correlation with the head |",
        "|---|---|--:|--:|--:|--:|---|--:|---|---|--:|--:|",
    ]
    return "\n".join([*lines, *(_row(result) for result in results)])


def _row(result: Result) -> str:
    measured = result.ending not in ("refused", "crashed")
    cells = [
        result.name,
        result.source,
        f"{result.parameters:,}",
        f"{result.error:.0e}" if measured else "–",
        f"{result.single:.0e}" if measured else "–",
        f"{result.inherent:.0e}" if result.single > SINGLE else "",
        result.ending if measured else f"{result.ending}: {_first_sentence(result.detail)}",
        f"{result.rules:.0%}" if measured else "–",
        result.fallback,
        f"`{result.last}`" if result.last else "",
        f"{result.last_size:,}" if result.last_size else "",
        f"{result.correlation:.3f}" if result.last else "",
    ]
    return f"| {' | '.join(cells)} |"


def _first_sentence(detail: str) -> str:
    return detail.partition(". ")[0].replace("|", "/").replace("\n", " ")[:160]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", help="architectures whose name holds one of these")
    parser.add_argument("--source", choices=["torchvision", "transformers", "timm"])
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time (2)")
    parser.add_argument("--verbose", action="store_true", help="each on a line as it is done")
    parser.add_argument("--errors", action="store_true", help="only these, not the costs")
    parser.add_argument("--here", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        torch.set_num_threads(1)
        run_here(options.here, lambda name: measure(name).as_dict())
        return 0
    if not HAS_TIMM:
        print("timm is not installed; its architectures are left out.", file=sys.stderr)
    wanted = options.only or [""]
    names = [
        name
        for name, (source, _) in ARCHITECTURES.items()
        if any(part.lower() in name.lower() for part in wanted) and options.source in (None, source)
    ]
    results = measure_all(names, options.jobs, options.verbose)
    print(make_table(results))
    status = int(any(result.ending not in ("right", "kinks", "refused") for result in results))
    if not options.errors and not options.source:
        print()
        only = ["--only", *options.only] if options.only else []
        status |= subprocess.run([sys.executable, "-m", "benchmarks.costs", *only]).returncode
    return status


if __name__ == "__main__":
    sys.exit(main())
