"""Peers' own test cases, re-stated: how many of each family pass here, or are refused.

    python -m benchmarks.peer_cases
    python -m benchmarks.peer_cases --only kronfluence

The cases of captum 0.9, dattri 0.3 and kronfluence 1.0 were read for what they are about (network,
data, relation) and written anew; none of their code is used, and none of them is needed.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Mapping

import torch

from tests.tracin_core.peers.everything import CASES, FAMILIES
from tests.tracin_core.peers.families import Family, cases_of

Failed = Mapping[str, str]


def run_cases(only: str) -> Failed:
    """Run the cases of a peer, or of all, and return what failed, by case."""
    failed = {}
    for case in CASES:
        if only and case.family.peer != only:
            continue
        try:
            case.run()
        # Whatever it is: it is told, and the next one runs.
        except Exception as error:
            failed[str(case)] = f"{type(error).__name__}: {error}"
            print(f"{case}: {failed[str(case)][:300]}", file=sys.stderr, flush=True)
    return failed


def make_table(failed: Failed, only: str = "") -> str:
    """Return the families as a markdown table."""
    lines = [
        "| peer | what its cases are about | its cases | here | passed | refused | **failed** "
        "| no equivalent, because |",
        "|---|---|--:|--:|--:|--:|--:|---|",
    ]
    totals: Counter[str] = Counter()
    for family in FAMILIES:
        if only and family.peer != only:
            continue
        counts = _count(family, failed)
        totals += counts
        lines.append(_row(family.peer, family.name, counts, family.reason))
    lines.append(_row("all", "", totals, f"{totals['absent']:,} of its cases"))
    return "\n".join(lines)


def _count(family: Family, failed: Failed) -> Counter[str]:
    names = [str(case) for case in cases_of(family)]
    wrong = sum(name in failed for name in names)
    return Counter(
        {
            "theirs": family.theirs,
            "here": len(names),
            family.ending or "none": len(names) - wrong,
            "failed": wrong,
            "absent": 0 if family.ending else family.theirs,
        }
    )


def _row(peer: str, name: str, counts: Mapping[str, int], reason: str) -> str:
    numbers = [counts.get(key, 0) for key in ("theirs", "here", "passed", "refused", "failed")]
    return f"| {' | '.join([peer, name, *(f'{n:,}' if n else '' for n in numbers), reason])} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", choices=["", "captum", "dattri", "kronfluence"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    failed = run_cases(options.only)
    print(make_table(failed, options.only))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
