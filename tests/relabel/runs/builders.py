"""A small, complete run folder made of random numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from relabel.runs.config import CheckpointEntry, IndexEntry, ProjectionEntry, RunConfig
from relabel.runs.folder import RunFolder
from relabel.runs.signals import Signals
from tracin_core.files import atomic_file

COUNTS = {"train": 5_000, "test": 40}
NUM_CHECKPOINTS = 3
CLASSES = ("null", "eins", "zwei")


def write_array(path: Path, values) -> None:
    """Write float32 numbers in place of a file, whose old content stays mapped where it is."""
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.ascontiguousarray(values, dtype=np.float32))


def make_config(**changes) -> RunConfig:
    values = {
        "key": "20260102-1a2b3c4d",
        "kind": "image",
        "classes": CLASSES,
        "model": {"name": "small_cnn"},
        "encoder": {"size": 8},
        "training": {"seed": 0},
        "checkpoints": tuple(
            CheckpointEntry(file=f"checkpoints/step-{i}.pt", step=i, epoch=i, learning_rate=0.1)
            for i in range(NUM_CHECKPOINTS)
        ),
        "counts": COUNTS,
        "layers": {"all": ("conv", "head"), "last": ("head",)},
        "rates": "ones",
        "projection": {"all": ProjectionEntry(dim=8), "last": None},
        "indexes": {
            "all": IndexEntry(kind="exact", recall=1.0),
            "last": IndexEntry(kind="exact", recall=1.0),
        },
    }
    return RunConfig(**(values | changes))


def make_signals(num_examples: int, num_checkpoints: int = NUM_CHECKPOINTS) -> Signals:
    rng = np.random.default_rng(num_examples)
    shape = (num_checkpoints, num_examples)
    return Signals(
        scores={
            "self_influence_all": rng.random(shape, dtype=np.float32),
            "self_influence_last": rng.random(shape, dtype=np.float32),
        },
        loss=rng.random(shape, dtype=np.float32),
        margin=rng.standard_normal(shape, dtype=np.float32),
        predicted=rng.integers(0, 3, shape, dtype=np.int16),
        given_probability=rng.random(shape, dtype=np.float32),
    )


def make_run_folder(root: Path) -> RunFolder:
    folder, config = RunFolder(root), make_config()
    folder.checkpoints_folder.mkdir(parents=True)
    for entry in config.checkpoints:
        (root / entry.file).write_bytes(b"weights")
    rng = np.random.default_rng(0)
    for split, count in COUNTS.items():
        folder.write_signals(split, make_signals(count))
        write_array(folder.probabilities_path(split), rng.dirichlet(np.ones(len(CLASSES)), count))
        for layers, dim in (("all", 8), ("last", 6)):
            write_array(folder.vectors_path(layers, split), rng.standard_normal((count, dim)))
    for layers in ("all", "last"):
        folder.index_path(layers).mkdir()
    folder.write_config(config)
    return folder
