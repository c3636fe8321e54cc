"""Random networks that move their examples about, against one example at a time.

    python -m benchmarks.hostile_models --seeds 300
    python -m benchmarks.hostile_models --only 17 --verbose

Networks route rows to experts, pack, sort, flip, unpad, cut and recompute their batches, keep
weights in evaluation mode, or mix their examples. Each seed makes one, with random sizes, batch
and order of examples, two checkpoints and a short last batch; self-influence, influence and
vectors are compared in float64 with autograd on one example at a time. "wrong" is what may never
be: other numbers without a word. The seeds run in a child process, so that one that ends its
process is counted as crashed.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

import torch

from benchmarks.apart import run_apart, run_here
from benchmarks.hostile.judge import ENDINGS, Verdict, judge
from benchmarks.hostile.kinds import KINDS


def judge_all(seeds: Sequence[int], dtype: str) -> Iterator[Verdict]:
    """Yield each seed's verdict; where one ends its process, go on behind it."""
    command = ["-m", "benchmarks.hostile_models", "--here", "--dtype", dtype, "--only"]
    for seed, found in run_apart(command, [str(seed) for seed in seeds]):
        if isinstance(found, str):
            name = list(KINDS)[int(seed) % len(KINDS)]
            yield Verdict(int(seed), name, KINDS[name][0], "crashed", detail=found)
        else:
            yield Verdict(**found)


def make_table(verdicts: Sequence[Verdict]) -> str:
    """Return endings by kind and family as a markdown table."""
    rows: dict[tuple[str, str], list[Verdict]] = {}
    for name, (family, _) in KINDS.items():
        rows[family, name] = []
    for verdict in verdicts:
        rows[verdict.family, verdict.kind].append(verdict)
    head = " | ".join("**wrong**" if ending == "wrong" else ending for ending in ENDINGS)
    lines = [
        f"| family | kind | networks | {head} | largest error where right | by rules |",
        "|---|---|--:|" + "--:|" * (len(ENDINGS) + 2),
    ]
    for (family, name), group in rows.items():
        if group:
            lines.append(_row(family, name, group))
    lines.append(_row("all", "", verdicts))
    return "\n".join(lines)


def _row(family: str, name: str, group: Sequence[Verdict]) -> str:
    counts = Counter(verdict.ending for verdict in group)
    right = [verdict for verdict in group if verdict.ending == "right"]
    largest = f"{max(verdict.error for verdict in right):.1e}" if right else "–"
    rules = f"{sum(verdict.rules for verdict in right) / len(right):.0%}" if right else "–"
    cells = [family, name, str(len(group)), *(str(counts[e] or "") for e in ENDINGS)]
    return f"| {' | '.join([*cells, largest, rules])} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=300, help="how many, from 0 (300)")
    parser.add_argument("--only", type=int, nargs="+", help="these seeds instead")
    parser.add_argument("--kinds", nargs="+", help="only kinds whose name holds one of these")
    parser.add_argument("--dtype", default="float64", choices=["float64", "float32"])
    parser.add_argument("--verbose", action="store_true", help="each network on a line")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    seeds = options.only or list(range(options.seeds))
    if options.kinds:
        names = list(KINDS)
        seeds = [s for s in seeds if any(part in names[s % len(names)] for part in options.kinds)]
    if options.here:
        torch.set_num_threads(1)
        dtype = getattr(torch, options.dtype)
        run_here([str(seed) for seed in seeds], lambda seed: judge(int(seed), dtype).as_dict())
        return 0
    verdicts = []
    for verdict in judge_all(seeds, options.dtype):
        verdicts.append(verdict)
        if options.verbose or verdict.ending in ("wrong", "crashed"):
            print(
                f"{verdict.seed} {verdict.kind}: {verdict.ending}, batches of {verdict.batch} of "
                f"{verdict.count}, {verdict.order}, rules {verdict.rules:.0%} {verdict.method}, "
                f"{verdict.seconds:.1f} s: {verdict.detail[:300]}",
                file=sys.stderr,
                flush=True,
            )
    print(make_table(verdicts))
    return int(any(verdict.ending in ("wrong", "crashed") for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
