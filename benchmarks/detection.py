"""Measure how many planted label errors each signal puts at the top of the queue.

    python -m benchmarks.detection [--demos digits docs] [--seeds 5] [--output FILE]

Each seed plants other errors, and starts from other weights; data and splits stay. Every signal
comes from the same training and the same checkpoints. Prints a Markdown table: mean and standard
deviation over the seeds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from relabel.demos import load_demo
from relabel.features.encoding import fit_encoder
from relabel.features.records import DemoData
from relabel.models.build import build_model
from relabel.models.builtin import suggest_model
from relabel.training.config import suggest_training
from relabel.training.loop import train
from tests.relabel.features.in_memory import EncodedDataset, encode_examples
from tracin_core import Checkpoint, TracIn

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
COLUMNS = ("found in the top 10%", "found in the top 20%", "AUROC", "average precision")
DEFAULT_SIGNAL = "self-influence, last layer, rates ignored (default)"


def main() -> None:
    options = read_options()
    torch.set_num_threads(1)  # the networks are so small that two threads only wait for each other
    tables = []
    for name in options.demos:
        measured: dict[str, list[tuple[float, ...]]] = {}
        accuracies, seconds = [], []
        for seed in range(options.seeds):
            started = time.perf_counter()
            demo = load_demo(name, seed=seed, noise=options.noise)
            signals, accuracy = score(demo, seed)
            seconds.append(time.perf_counter() - started)
            accuracies.append(accuracy)
            wrong = demo.true_labels != demo.given_labels("train")
            for signal, values in signals.items():
                measured.setdefault(signal, []).append(measure(wrong, values))
            print(f"{name}, seed {seed}: {seconds[-1]:.1f} s", file=sys.stderr)
        tables.append(draw_table(demo, measured, accuracies, seconds))
    report = "\n\n".join(tables) + "\n"
    print(report)
    if options.output:
        options.output.write_text(report)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demos", nargs="+", default=["digits", "docs"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--noise", type=float, default=0.1, help="share of wrong labels")
    parser.add_argument("--output", type=Path, help="also write the table there")
    return parser.parse_args()


def score(demo: DemoData, seed: int) -> tuple[dict[str, FloatArray], float]:
    """Train on a demo and return every signal, high = suspect, and the last test accuracy."""
    encoder = fit_encoder(demo.kind, [e.content for e in demo.of_split("train")])
    train_set, test_set = (
        encode_examples(
            encoder, [e.content for e in demo.of_split(split)], demo.given_labels(split)
        )
        for split in ("train", "test")
    )
    model = build_model(suggest_model(encoder, len(demo.classes), seed=seed))
    with tempfile.TemporaryDirectory() as folder:
        config = suggest_training(demo.kind, seed=seed)
        records = train(model, train_set, test_set, config, Path(folder))
        checkpoints = [
            Checkpoint(
                weights=Path(folder) / record.file,
                learning_rate=record.learning_rate,
                step=record.step,
            )
            for record in records
        ]
        signals = collect_signals(model, checkpoints, train_set, seed)
    return signals, records[-1].test_accuracy


def collect_signals(
    model: torch.nn.Module, checkpoints: list[Checkpoint], train_set: EncodedDataset, seed: int
) -> dict[str, FloatArray]:
    """Return the signals by name, shape ``(N,)`` each."""
    capture = TracIn(model, checkpoints, layers="all", device="cpu").capture(train_set)
    rates = np.array([checkpoint.learning_rate for checkpoint in checkpoints])
    everywhere = capture.squared_norms_all.double().numpy()
    last = capture.squared_norms_last.double().numpy()
    return {
        DEFAULT_SIGNAL: last.mean(0),
        "self-influence, last layer, recorded rates": rates @ last,
        "self-influence, all layers, rates ignored": everywhere.mean(0),
        "self-influence, all layers, recorded rates": rates @ everywhere,
        "self-influence, last layer, last checkpoint only": last[-1],
        "mean loss": capture.losses.double().numpy().mean(0),
        "mean negative margin": -capture.margins.double().numpy().mean(0),
        "random": np.random.default_rng(seed).random(last.shape[1]),
    }


def measure(wrong: BoolArray, values: FloatArray) -> tuple[float, ...]:
    """Return the figures of ``COLUMNS`` for one signal."""
    order = np.argsort(-values, kind="stable")
    found = [wrong[order[: round(len(wrong) * share)]].sum() / wrong.sum() for share in (0.1, 0.2)]
    return (*found, roc_auc_score(wrong, values), average_precision_score(wrong, values))


def draw_table(
    demo: DemoData,
    measured: dict[str, list[tuple[float, ...]]],
    accuracies: list[float],
    seconds: list[float],
) -> str:
    """Return one demo's figures as Markdown, the best signal of each column in bold."""
    means = {signal: np.mean(rows, axis=0) for signal, rows in measured.items()}
    spreads = {signal: np.std(rows, axis=0, ddof=1) for signal, rows in measured.items()}
    best = np.max(list(means.values()), axis=0)
    lines = [
        f"**{demo.slug}**: {len(demo.true_labels):,} train examples, "
        f"{int((demo.true_labels != demo.given_labels('train')).sum())} wrong labels; "
        f"{len(accuracies)} seeds; test accuracy {np.mean(accuracies):.3f} "
        f"(lowest {min(accuracies):.3f}); data, training and scoring {np.median(seconds):.1f} s "
        f"a seed (median), torch {torch.__version__}, {torch.get_num_threads()} thread.",
        "",
        f"| signal | {' | '.join(COLUMNS)} |",
        f"|---|{'---|' * len(COLUMNS)}",
    ]
    for signal, mean in means.items():
        cells = []
        for value, spread, top in zip(mean, spreads[signal], best, strict=True):
            cell = f"{value:.3f} ± {spread:.3f}"
            cells.append(f"**{cell}**" if value >= top else cell)
        lines.append(f"| {signal} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
