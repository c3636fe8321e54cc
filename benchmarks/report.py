"""Fill ``docs/benchmarks.md`` with what the benchmarks print.

    python -m benchmarks.report                        # everything; tens of minutes
    python -m benchmarks.report self_influence peers   # these parts

Each part of the page lies between two marks; what is between them is replaced and the rest of
the page is left alone. A part whose benchmark fails is left as it was, and the command fails.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.own_data import DATA_VARIABLE

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"

GPU_NETWORKS = ("CNN", "MLP", "resnet18", "VisionTransformer", "TransformerEncoder")

PARTS: dict[str, tuple[str, ...]] = {
    "peers": ("self_influence", "--networks", "CNN", "MLP"),
    "self_influence": (
        *("self_influence", "--networks", "resnet18", "VisionTransformer", "TransformerEncoder"),
    ),
    "influence": ("influence",),
    "retrieval": ("retrieval", "--million"),
    "scale": ("scale", "--million"),
    "detection": ("detection",),
    "queue": ("queue_page",),
    "review_keys": ("review_keys",),
    "photograph_pages": ("photograph_pages",),
    "million": ("million",),
    "real_errors": ("real_errors",),
    "own_data": ("own_data",),
    "gain": ("gain",),
    "architectures": ("architectures", "--errors"),
    "costs": ("costs",),
    "hostile_models": ("hostile_models", "--seeds", "300"),
    "moving_rows": ("moving_rows",),
    "peer_cases": ("peer_cases",),
    "fuzzing": ("fuzzing",),
    "gpu": (
        *("self_influence", "--networks", *GPU_NETWORKS, "--times", "8"),
        *("--device", "cuda", "--threads", "8", "--skip-peers"),
    ),
    "gpu_large": (
        *("self_influence", "--networks", "resnet50", "--times", "4", "--rounds", "3"),
        *("--device", "cuda", "--threads", "8", "--skip-peers"),
    ),
    "gpu_peers": (
        *("self_influence", "--networks", "CNN", "MLP", "--rounds", "3"),
        *("--device", "cuda", "--threads", "8"),
    ),
    "gpu_search": ("device_search", "--rounds", "3"),
}
# Without the data sets' files there is nothing to measure, and what stands there is kept.
NEEDS_DATA = ("real_errors", "own_data", "gain")
NEEDS_GPU = ("gpu", "gpu_large", "gpu_peers", "gpu_search")


def fill(page: str, part: str, content: str) -> str:
    """Return the page with one part's content replaced.

    Raises:
        ValueError: If the page has no marks for the part.
    """
    begin, end = f"<!-- begin {part} -->\n", f"<!-- end {part} -->"
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(
            f"Found no part {part!r} in {PAGE.name}; expected the lines {begin.strip()!r} and "
            f"{end!r}. Add both where the part belongs."
        )
    return f"{before}{begin}\n{content.strip()}\n\n{end}{after}"


def run_part(part: str) -> str:
    """Run a part's benchmark and return the markdown it printed."""
    module, *options = PARTS[part]
    command = [sys.executable, "-m", f"benchmarks.{module}", *options]
    print(f"{part}: python -m benchmarks.{module} {' '.join(options)}".rstrip(), flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"benchmarks.{module} ended with code {done.returncode}")
    print(done.stdout, flush=True)
    called = " ".join(["python -m", f"benchmarks.{module}", *options])
    return f"`{called}`\n\n{done.stdout}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    options = parser.parse_args()
    # Not by argparse's `choices`, which refuse an empty list.
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; choose from {', '.join(PARTS)}")
    failed = []
    for part in options.parts or PARTS:
        if part in NEEDS_DATA and DATA_VARIABLE not in os.environ:
            print(f"{part}: skipped; {DATA_VARIABLE} does not name a folder with its data sets")
            continue
        if part in NEEDS_GPU and not torch.cuda.is_available():
            print(f"{part}: skipped; there is no CUDA device")
            continue
        try:
            content = run_part(part)
        except RuntimeError as error:
            failed.append(str(error))
            continue
        # Read again each time: minutes pass, and the page may have been edited meanwhile.
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(fill(page, part, content), encoding="utf-8")
    if failed:
        sys.exit("; ".join(failed))


if __name__ == "__main__":
    main()
