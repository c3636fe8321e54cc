"""Time and peak memory of each method on examples of 1,280 features and a linear head.

    python -m benchmarks.method_cost

All methods on 3,000 examples, and on 60,000 those that take ten minutes at most. Each runs in a
process of its own, on one thread, and may take 8 GB; what does not fit says so. ``--write`` puts
the tables into docs/methods.md.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

from benchmarks.method_page import print_part
from tracin_core import AttributionSetup, Checkpoint, TracIn, get_method
from tracin_core.errors import TracInError

NUM_TEST, WIDTH, NUM_CLASSES = 20, 1280, 10
FEW, MANY = 3_000, 60_000
GIGA = 10**9
LIMIT_BYTES, LIMIT_SECONDS = 8 * GIGA, 600
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "tracincp": ("tracincp", {}),
    "last_checkpoint": ("last_checkpoint", {}),
    "gradient_cosine": ("gradient_cosine", {}),
    "embedding_similarity": ("embedding_similarity", {}),
    "representer": ("representer", {}),
    "influence_functions, auto": ("influence_functions", {}),
    "influence_functions, arnoldi": ("influence_functions", {"solver": "arnoldi"}),
    "influence_functions, dense": ("influence_functions", {"solver": "dense"}),
    "feature_neighbours": ("feature_neighbours", {}),
    "tracin_adam": ("tracin_adam", {}),
    "word_gradients": ("word_gradients", {}),
}
# Arnoldi comes too near to the limit of time there.
AFFORDED = (
    *("tracincp", "last_checkpoint", "gradient_cosine", "embedding_similarity", "representer"),
    *("influence_functions, auto", "influence_functions, dense", "feature_neighbours"),
)


def make_subject(num_train: int) -> tuple[TracIn, TensorDataset, TensorDataset]:
    """Return a head at three checkpoints of plain SGD, and its examples."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(NUM_CLASSES, (num_train + NUM_TEST,), generator=draw)
    centres = 0.1 * torch.randn(NUM_CLASSES, WIDTH, generator=draw)
    inputs = torch.randn(num_train + NUM_TEST, WIDTH, generator=draw)
    inputs += centres[labels]
    torch.manual_seed(0)
    model = nn.Linear(WIDTH, NUM_CLASSES)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    checkpoints = []
    for _ in range(3):
        for batch in torch.randperm(num_train, generator=draw)[:6400].split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs[batch]), labels[batch]).backward()
            optimizer.step()
        state = {name: value.clone() for name, value in model.state_dict().items()}
        checkpoints.append(Checkpoint(state, 0.01))
    tracin = TracIn(model, checkpoints, layers="last", device="cpu", batch_size=512)
    train = TensorDataset(inputs[:num_train], labels[:num_train])
    return tracin, train, TensorDataset(inputs[num_train:], labels[num_train:])


def measure_alone(name: str, num_train: int) -> dict[str, Any]:
    """Return one method's processor seconds and peak bytes, or what it says instead."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    # Of memory that is written to; torch maps much more than it touches.
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT_BYTES, LIMIT_BYTES))
    tracin, train, test = make_subject(num_train)
    method_name, options = RUNS[name]
    found: dict[str, Any] = {}
    try:
        setup = AttributionSetup(tracin=tracin, options=options)
        method: Any = get_method(method_name).make(setup)
        for part, call in (
            ("fit", lambda: getattr(method, "fit", len)(train)),
            ("scores", lambda: method.scores(train)),
            ("influence", lambda: method.influence(train, test)),
        ):
            began = time.process_time()
            call()
            found[part] = time.process_time() - began
    except TracInError as error:
        found["says"] = f"refused: {str(error).split(';')[0]}"
    except (MemoryError, RuntimeError) as error:
        # torch has no exception of its own for memory of the processor.
        if isinstance(error, RuntimeError) and "allocate memory" not in str(error):
            raise
        found["says"] = f"does not fit in {LIMIT_BYTES // GIGA} GB"
    # In kibibytes.
    found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return found


def run_apart(name: str, num_train: int) -> dict[str, Any]:
    """Return what ``measure_alone`` does, from a process of its own."""
    command = [
        sys.executable,
        "-c",
        f"import {__spec__.name} as m; m.print_alone({name!r}, {num_train})",
    ]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (LIMIT_SECONDS, LIMIT_SECONDS))

    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        preexec_fn=limit,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        return {"says": f"ended with {done.returncode} within {LIMIT_SECONDS // 60} min"}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def print_alone(name: str, num_train: int) -> None:
    """Print one method's figures as JSON."""
    print(json.dumps(measure_alone(name, num_train)))


def describe_run(name: str, found: dict[str, Any], usual: dict[str, Any]) -> str:
    """Return one line of the table."""
    cells = []
    for part in ("scores", "influence"):
        if part not in found:
            cells += ["", ""]
            continue
        # What it learns from the whole set belongs to the first question that is asked.
        seconds = found[part] + (found["fit"] if part == "scores" else 0.0)
        base = usual[part] + (usual["fit"] if part == "scores" else 0.0)
        cells += [f"{seconds:.1f} s", f"{seconds / base:.1f}"]
    peak = f"{found['peak'] / GIGA:.1f} GB" if "peak" in found and "scores" in found else ""
    return f"| `{name}` | {' | '.join(cells)} | {peak} | {found.get('says', '')} |"


def describe_runs(names: Iterable[str], num_train: int) -> list[str]:
    """Return the table of some methods on so many examples."""
    lines = [
        f"{num_train:,} examples:",
        "",
        "| method | scores | ratio | influences | ratio | peak | |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    usual: dict[str, Any] = {}
    for name in names:
        found = run_apart(name, num_train)
        usual = usual or found
        lines.append(describe_run(name, found, usual))
        print(lines[-1], file=sys.stderr, flush=True)
    return lines


def describe() -> str:
    """Return the tables as Markdown."""
    lines = [
        f"`python -m benchmarks.method_cost`: {WIDTH:,} float32 features, a head of "
        f"{WIDTH * NUM_CLASSES + NUM_CLASSES:,} parameters, three checkpoints, one thread. "
        "Processor time of what a method learns first with the scores of all examples, and of "
        f"influences on {NUM_TEST} test examples, with their ratios to `tracincp` in the same run. "
        "The peak is that of the process, with torch and the features.",
        "",
        *describe_runs(AFFORDED, MANY),
        "",
        *describe_runs(RUNS, FEW),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print_part("method_cost", describe, __doc__)
