"""A person's whole way from data to a queue, on public data sets: time, memory, errors found.

Run: ``python -m benchmarks.own_data --data DIR [fashion] [photographs] [news] [housing] [texts]``,
where DIR (or the variable TRACIN_BENCHMARK_DATA) holds ``fashion_mnist.npz`` (x_train, y_train,
x_test, y_test), ``cifar10n_dev.npz`` (x_train, truth_train, x_test, y_test),
``noisy_ag_news.parquet`` (split, text, given_label, true_label) and ``california_housing.csv.gz``.
A data set whose file is missing is skipped, and said so; ``texts`` makes its own rows.
Every step is the command of the terminal in a process of its own, so that its wall time, its
processor time and its peak memory are what a person would see. On a busy machine the processor time
is the one to compare.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FASHION = (
    "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"  # by class index
)
NEWS = "World,Sports,Business,Sci/Tech"
DATA_VARIABLE = "TRACIN_BENCHMARK_DATA"
CLASSES_OF_PHOTOGRAPHS = "airplane,automobile,bird,cat,deer,dog,frog,horse,ship,truck"
PHOTOGRAPHS = 60_000
ROWS_OF_TEXT = 200_000
WORDS_OF_TEXT = 30
MEBI = 2**20


@dataclass(frozen=True)
class Step:
    """One command and what it took.

    Attributes:
        name: The command.
        wall: Seconds.
        processor: Seconds of all cores, of the processes that it started, too.
        peak: Largest resident memory of the process, in bytes.
        output: What it printed.
    """

    name: str
    wall: float
    processor: float
    peak: int
    output: str


def run_step(workspace: Path, *words: str) -> Step:
    """Run one command of the terminal and measure its process."""
    command = [sys.executable, "-m", "relabel", *words, "--workspace", str(workspace)]
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as printed:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - began
        printed.seek(0)
        output = printed.read()
    if child.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {child.returncode}:\n{output[-3000:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    processor = usage.ru_utime + usage.ru_stime
    return Step(words[0], wall, processor, usage.ru_maxrss * unit, output)


def read_detection(workspace: Path, name: str) -> dict[str, object]:
    """Return what ``evaluate`` says as JSON."""
    command = [sys.executable, "-m", "relabel", "evaluate", name, "--format", "json"]
    done = subprocess.run(
        [*command, "--workspace", str(workspace)], check=True, stdout=subprocess.PIPE, text=True
    )
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def measure(workspace: Path, name: str, source: Path, *options: str) -> Iterator[str]:
    """Yield the tables of one data set: steps, then errors found by each signal."""
    yield from describe_steps(
        [
            run_step(workspace, "import", name, str(source), "--yes", *options),
            run_step(workspace, "train", name, "--no-score"),
            run_step(workspace, "score", name),
            run_step(workspace, "queue", name, "--top", "20"),
        ]
    )
    yield from describe_detection(read_detection(workspace, name))


def describe_steps(steps: Sequence[Step]) -> Iterator[str]:
    """Yield the table of what the steps took."""
    yield "| step | wall time | processor time | peak memory |\n|---|--:|--:|--:|"
    for step in steps:
        yield (
            f"| {step.name} | {step.wall:.1f} s | {step.processor:.1f} s "
            f"| {step.peak / MEBI:,.0f} MiB |"
        )


def describe_detection(found: dict[str, object]) -> Iterator[str]:
    """Yield the table of what the signals find."""
    yield f"\n{found['wrong']:,} of {found['examples']:,} train examples are wrong.\n"
    yield "| ranked by | in 10% | in 20% | in 30% | AUROC | average precision |"
    yield "|---|--:|--:|--:|--:|--:|"
    for entry in found["signals"]:  # type: ignore[attr-defined]
        tenth, fifth, third = entry["found"][-3:]
        yield (
            f"| {entry['signal']} | {tenth:.1%} | {fifth:.1%} | {third:.1%} "
            f"| {entry['auroc']:.3f} | {entry['average_precision']:.3f} |"
        )


def measure_fashion(data: Path, workspace: Path) -> Iterator[str]:
    """Fashion-MNIST, all 60,000, a tenth of the train labels flipped."""
    source = data / "fashion_mnist.npz"
    yield from measure(workspace, "fashion", source, "--plant", "0.1", "--classes", FASHION)


def measure_news(data: Path, workspace: Path) -> Iterator[str]:
    """NoisyAG-News: headlines labelled by people, two in ten of the labels wrong."""
    columns = ("--text", "text", "--label", "given_label", "--truth", "true_label")
    splits = ("--split", "split", "--train-values", "noisy", "--test-values", "clean_test")
    source = data / "noisy_ag_news.parquet"
    yield from measure(workspace, "news", source, *columns, *splits, "--classes", NEWS)


def measure_housing(data: Path, workspace: Path) -> Iterator[str]:
    """California housing: a regression with a twentieth of the targets made wrong."""
    source = data / "california_housing.csv.gz"
    yield from measure(
        workspace, "housing", source, "--target", "median_house_value", "--plant", "0.05"
    )


def measure_texts(data: Path, workspace: Path) -> Iterator[str]:
    """Made texts, 200,000 rows, a twentieth of the train labels flipped."""
    source = workspace / "texts.csv"
    draw = random.Random(0)  # noqa: S311 - data, not a secret
    words = [f"word{number}" for number in range(20_000)]
    with source.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("text", "label"))
        for number in range(ROWS_OF_TEXT):
            topic = number % 4
            chosen = draw.choices(words[topic * 5000 :], k=WORDS_OF_TEXT)
            rows.writerow((" ".join(chosen), f"topic {topic}"))
    size = source.stat().st_size / MEBI
    yield f"{ROWS_OF_TEXT:,} rows in a file of {size:.0f} MiB.\n"
    yield from measure(workspace, "texts", source, "--plant", "0.05")


def measure_photographs(data: Path, workspace: Path) -> Iterator[str]:
    """Photographs, 60,000 train: 8,000 of CIFAR-10, shifted; a tenth of the labels flipped."""
    source = workspace / "photographs.npz"
    with np.load(data / "cifar10n_dev.npz") as held:
        train, labels = held["x_train"], held["truth_train"]
        rest = {"x_test": held["x_test"], "y_test": held["y_test"]}
    draw = np.random.default_rng(0)
    chosen = np.arange(PHOTOGRAPHS) % len(train)
    shifts = draw.integers(-4, 5, size=(PHOTOGRAPHS, 2))
    shifted = np.stack(
        [
            np.roll(train[index], tuple(shift), axis=(0, 1))
            for index, shift in zip(chosen, shifts, strict=True)
        ]
    )
    np.savez(source, x_train=shifted, y_train=labels[chosen], **rest)
    named = ("--plant", "0.1", "--classes", CLASSES_OF_PHOTOGRAPHS)
    yield from measure(workspace, "photographs", source, *named)
    yield "\nOnce more on the features that are kept: the head alone, and with new folds.\n"
    again = ("train", "photographs", "--no-score", "--seed", "1")
    yield from describe_steps(
        [
            run_step(workspace, *again, "--model", "linear_head", "--folds", "0"),
            run_step(workspace, *again),
        ]
    )


Measurement = Callable[[Path, Path], Iterator[str]]
DATA_SETS: dict[str, tuple[Measurement, str | None]] = {
    "fashion": (measure_fashion, "fashion_mnist.npz"),
    "photographs": (measure_photographs, "cifar10n_dev.npz"),
    "news": (measure_news, "noisy_ag_news.parquet"),
    "housing": (measure_housing, "california_housing.csv.gz"),
    "texts": (measure_texts, None),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", metavar="SET", help=", ".join(DATA_SETS))
    parser.add_argument("--data", type=Path, help="folder of the data sets' files")
    options = parser.parse_args()
    if unknown := set(options.sets) - set(DATA_SETS):
        parser.error(
            f"no data set {', '.join(sorted(unknown))}; choose from {', '.join(DATA_SETS)}"
        )
    if options.data is None and DATA_VARIABLE in os.environ:
        options.data = Path(os.environ[DATA_VARIABLE])
    for name in options.sets or DATA_SETS:
        measurement, file = DATA_SETS[name]
        print(f"\n### {(measurement.__doc__ or name).splitlines()[0]}\n", flush=True)
        data = options.data or Path()
        if file is not None and (options.data is None or not (data / file).is_file()):
            print(f"Skipped: {file} is not there. Name its folder with --data.", flush=True)
            continue
        with tempfile.TemporaryDirectory() as workspace:
            for line in measurement(data, Path(workspace)):
                print(line, flush=True)


if __name__ == "__main__":
    main()
