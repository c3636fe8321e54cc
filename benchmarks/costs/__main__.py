"""What self-influence costs on common architectures at real widths: ratios to a training pass.

    python -m benchmarks.costs
    python -m benchmarks.costs --only LSTM Swin --skip-peers --verbose

Every network goes over the same examples at one checkpoint; processor time of one thread, ours and
the training pass in turns. captum's TracInCP, in the mode that is right for every layer, is timed
on four examples at the better of two batch sizes, since it goes through one example at a time.
Each network runs in a child process.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence

import torch

from benchmarks.apart import run_apart, run_here
from benchmarks.costs.everything import NETWORKS
from benchmarks.costs.measure import Cost, measure_cost
from benchmarks.machine import describe_machine

SECONDS = 900
# What no common network is to cost.
LIMIT = 2.0


def measure_all(names: Sequence[str], peers: bool, verbose: bool) -> list[Cost]:
    """Measure each network in a child process, one after the other."""
    options = [] if peers else ["--skip-peers"]
    costs = []
    for name, found in run_apart(["-m", "benchmarks.costs", *options, "--here"], names, SECONDS):
        source = NETWORKS[name][0]
        cost = Cost(name, source, detail=found) if isinstance(found, str) else Cost(**found)
        costs.append(cost)
        if verbose:
            print(_row(cost), file=sys.stderr, flush=True)
    return costs


def make_table(costs: Sequence[Cost]) -> str:
    """Return the costs as a markdown table, with what they come to."""
    above = [cost.name for cost in costs if not cost.later <= LIMIT]
    told = f"above {LIMIT:g}: {', '.join(above)}" if above else f"none above {LIMIT:g}"
    lines = [
        f"{describe_machine()}, one thread, processor time.",
        f"{len(costs)} networks, {told}.",
        "",
        "| network | from | parameters | examples | by rules | the rest | first call "
        "| **later calls** | captum | error | captum's |",
        "|---|---|--:|--:|--:|---|--:|--:|--:|--:|--:|",
    ]
    return "\n".join([*lines, *(_row(cost) for cost in costs)])


def _row(cost: Cost) -> str:
    cells = [
        cost.name,
        cost.source,
        f"{cost.parameters:,}",
        f"{cost.examples} in {cost.batch}s",
        _show(cost.rules, ".0%"),
        cost.fallback,
        _show(cost.first, ".1f"),
        f"**{_show(cost.later, '.2f')}**",
        _show(cost.captum, ".1f"),
        _show(cost.error, ".0e"),
        _show(cost.captum_error, ".0e") + (f" {cost.detail}" if cost.detail else ""),
    ]
    return f"| {' | '.join(cells)} |"


def _show(value: float, form: str) -> str:
    return "–" if math.isnan(value) else format(value, form)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", help="networks whose name holds one of these")
    parser.add_argument("--skip-peers", action="store_true")
    parser.add_argument("--verbose", action="store_true", help="each on a line as it is done")
    parser.add_argument("--here", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        torch.set_num_threads(1)
        run_here(options.here, lambda name: measure_cost(name, not options.skip_peers).as_dict())
        return 0
    wanted = options.only or [""]
    names = [name for name in NETWORKS if any(part.lower() in name.lower() for part in wanted)]
    costs = measure_all(names, not options.skip_peers, options.verbose)
    print(make_table(costs))
    return int(any(math.isnan(cost.later) for cost in costs))


if __name__ == "__main__":
    sys.exit(main())
