"""Changed imports, backups and addresses: how many, and what became of them.

    python -m benchmarks.fuzzing              # as the slow test does
    python -m benchmarks.fuzzing --times 5    # five times as many cases

Sound files of every kind are changed as accidents and enemies change them, by a fixed seed, and
imported or restored; the served app is asked for changed addresses. Each part runs in a process of
its own whose memory is limited. A fault is anything but a result or one of our messages: another
exception, an error of the server's own, a case past its time, a file outside the workspace, what
is left behind, or a process that ends.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.fuzz.watching import LIMIT, SECONDS

ROOT = Path(__file__).resolve().parent.parent
# Eight seconds of computing together.
CASES = {"imports": 150, "backups": 150, "addresses": 800}
# For all cases of a part, at most.
PATIENCE = 300


def fuzz(part: str, cases: int, folder: Path, *, seconds: float = PATIENCE) -> dict[str, Any]:
    """Fuzz one part in a process of its own and return its figures.

    Args:
        part: "imports", "backups" or "addresses".
        cases: How many.
        folder: A folder that does not exist yet.
        seconds: When the process is ended at the latest; that is a fault, too.
    """
    command = [sys.executable, "-m", "tests.fuzz", part, str(folder), "--cases", str(cases)]
    figures: dict[str, Any] = {"part": part, "accepted": 0, "refused": 0, "faults": []}
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return {**figures, "faults": [f"{part}: not done in {seconds:.0f} seconds"]}
    if done.returncode:
        told = done.stderr[-1500:]
        return {**figures, "faults": [f"{part}: ended with code {done.returncode}: {told}"]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def make_table(results: list[dict[str, Any]]) -> str:
    """Return the figures as a markdown table."""
    lines = [
        f"At most {SECONDS} seconds a case and {LIMIT // 10**9} GB of addresses a process.",
        "",
        "| changed | cases | taken | refused in words | different messages | faults | time "
        "| peak memory |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for found in results:
        cells = [
            found["part"],
            f"{found['accepted'] + found['refused'] + len(found['faults']):,}",
            f"{found['accepted']:,}",
            f"{found['refused']:,}",
            str(found.get("messages", "–")),
            str(len(found["faults"])),
            f"{found.get('seconds', 0):.0f} s",
            f"{found.get('peak', 0) / 1e6:.0f} MB",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=float, default=1, help="so many times the cases")
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for part, cases in CASES.items():
            place = Path(folder) / part
            patience = PATIENCE * max(1, options.times)
            found = fuzz(part, int(cases * options.times), place, seconds=patience)
            results.append(found)
            for fault in found["faults"]:
                print(fault, file=sys.stderr, flush=True)
    print(make_table(results))
    return int(any(found["faults"] for found in results))


if __name__ == "__main__":
    sys.exit(main())
