"""What reviews are worth: the queue, random examples and nothing, with the truth as the reviewer.

Run: ``python -m benchmarks.gain --data DIR [--budgets 500,2000] [--seeds 5] [SET ...]``, where DIR
(or the variable TRACIN_BENCHMARK_DATA) holds the sets of ``benchmarks.real_errors``, and SET is
photos, photos_of_one, reviews or news. ``--workspace SET=DIR`` takes a project that was imported
and trained before, called project0, instead of making it.

Of as many train examples as the budget says the label becomes the true one: of the first in the
queue, or of examples drawn by chance, others for every training. Then the linear model that
``relabel gain`` trains is trained on each set of labels, with the same initial weights and order
of batches. What the app can know of the control is beside it: resampled from the queue's
decisions, and estimated from an audit of 200 random examples. True labels are read here alone.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.own_data import DATA_VARIABLE, run_step
from benchmarks.real_errors import SETS, Task, _key
from relabel.crossval.representations import Representations
from relabel.db.engine import open_database
from relabel.db.projects import get_project
from relabel.db.runs import current_run, stream_scores
from relabel.fitting.options import WorkOptions
from relabel.fitting.stored import read_project
from relabel.progress import ignore_progress
from relabel.triage.signals import choose_default_signal
from relabel.workspace import resolve_workspace
from relabel.worth.gain.figures import Interval, Judged, judge_predictions
from relabel.worth.gain.head import train_heads
from relabel.worth.gain.labels import AuditedRate, Labels, SplitLabels, draw_control
from relabel.worth.gain.measure import choose_features, choose_reading, hold_rows
from relabel.worth.noise_rate import estimate_uniform

NAME = "project0"
USUAL = ("photos", "photos_of_one", "reviews", "news")
AUDITED = 200


def make_workspace(task: Task, workspace: Path) -> None:
    """Import a set and train it, as a person does."""
    drawn = () if task.has_test else ("--seed", "0")
    run_step(workspace, "import", NAME, str(task.source), "--yes", *drawn, *task.options)
    run_step(workspace, "train", NAME, "--seed", "0", *task.train_options)


def correct(given: np.ndarray, truth: np.ndarray, chosen: np.ndarray) -> SplitLabels:
    """Return the split as it is when the truth has reviewed some examples."""
    decided = np.zeros(len(given), dtype=bool)
    decided[chosen] = True
    nothing = np.zeros(len(given), dtype=bool)
    return SplitLabels(given, np.where(decided, truth, given), decided, nothing, 0)


def audit(wrong: np.ndarray, seed: int) -> AuditedRate:
    """Return what a uniform audit says of the share of wrong labels."""
    drawn = np.random.default_rng((7, seed)).choice(len(wrong), AUDITED, replace=False)
    found = estimate_uniform(int(wrong[drawn].sum()), AUDITED)
    return AuditedRate(found.rate, found.low, found.high, AUDITED)


def measure(name: str, task: Task, root: Path, budgets: list[int], seeds: int) -> Iterator[str]:
    """Yield the table of one set."""
    place = resolve_workspace(str(root), None)
    engine = open_database(place.database_url)
    try:
        project = get_project(engine, NAME)
        run = current_run(engine, project.id)
        if run is None:
            raise RuntimeError(f"{name} has no run")
        examples = read_project(engine, project, place.media_folder(NAME), "given")
        train, test = examples.splits["train"], examples.splits["test"]
        truth = np.array([task.truth[_key(content)] for content in train.contents()])
        known = [task.truth.get(_key(content), -1) for content in test.contents()]
        scores = np.full(len(truth), -np.inf)
        for one in stream_scores(engine, run, choose_default_signal(run.signals)):
            scores[one.position] = one.score
        folder = place.project_folder(NAME)
        work = WorkOptions(features=choose_features("auto", run))
        made = Representations(folder, project, examples, work, ignore_progress)
        reading = choose_reading(project, run, made)
        rows = hold_rows(made.read(reading))
    finally:
        engine.dispose()
    given = train.targets.astype(np.int64)
    wrong, order = given != truth, np.argsort(-scores, kind="stable")
    asked = np.arange(len(given), len(given) + len(test))
    told: dict[int, list[list[np.ndarray]]] = {budget: [] for budget in budgets}
    for seed in range(seeds):
        arms = [Labels(given, np.ones(len(given), dtype=bool))]
        for budget in budgets:
            queue = correct(given, truth, order[:budget])
            drawn = np.random.default_rng((11, seed)).choice(len(given), budget, replace=False)
            arms += [
                queue.as_corrected(),
                correct(given, truth, drawn).as_corrected(),
                draw_control(queue, seed, None),
                draw_control(queue, seed, audit(wrong, seed)),
            ]
        said = train_heads(rows, arms, asked, num_classes=len(project.classes), seed=seed)
        for number, budget in enumerate(budgets):
            told[budget].append([said[0], *said[1 + 4 * number : 5 + 4 * number]])
    judges = {"given": test.targets.astype(np.int64)}
    true = np.array(known)
    if (true >= 0).all() and (true != judges["given"]).any():
        judges["true"] = true
    yield f"\n### {name}: {SETS[name][0].__doc__}\n"
    yield (
        f"{int(wrong.sum()):,} of {len(wrong):,} train labels are wrong ({wrong.mean():.1%}); "
        f"{len(test):,} test examples. The linear model reads {reading}; {seeds} seeds.\n"
    )
    yield (
        "| decisions | wrong ones among the queue's, by chance | test labels | none | random | "
        "queue | queue - none | random - none | queue - random | random as resampled | "
        "as an audit says |\n|--:|--:|---|--:|--:|--:|---|---|---|---|---|"
    )
    for budget in budgets:
        found = int(wrong[order[:budget]].sum())
        chance = budget * wrong.mean()
        for by, targets in judges.items():
            labels = Labels(targets, np.ones(len(targets), dtype=bool))

            def compare(
                other: int, labels: Labels = labels, budget: int = budget, by: str = by
            ) -> Judged:
                picked = [np.stack([each[0], each[1], each[other]]) for each in told[budget]]
                classes = len(project.classes)
                return judge_predictions(picked, labels, by=by, num_classes=classes, seed=0)

            real, resampled, audited = compare(2), compare(3), compare(4)
            cells = [
                f"{budget:,}",
                f"{found:,}, {chance:,.0f}",
                by,
                *(f"{real.mean(arm):.2%}" for arm in ("given", "control", "corrected")),
                format_points(real.difference("given", "corrected")),
                format_points(real.difference("given", "control")),
                format_points(real.difference("control", "corrected")),
                format_points(resampled.difference("given", "control")),
                format_points(audited.difference("given", "control")),
            ]
            yield f"| {' | '.join(cells)} |"


def format_points(interval: Interval) -> str:
    """Return a difference in percentage points with its interval."""
    mean, low, high = (100 * value for value in (interval.mean, interval.low, interval.high))
    return f"{mean:+.2f} ({low:+.2f} to {high:+.2f})"


def main() -> None:
    """Print the tables of the sets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"default: {', '.join(USUAL)}")
    parser.add_argument("--data", type=Path, default=os.environ.get(DATA_VARIABLE))
    parser.add_argument("--budgets", default="500,2000")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workspace", action="append", default=[], metavar="SET=DIR")
    options = parser.parse_args()
    if options.data is None:
        parser.error(f"say where the data is: --data, or {DATA_VARIABLE}")
    known = dict(each.split("=", 1) for each in options.workspace)
    budgets = [int(each) for each in options.budgets.split(",")]
    for name in options.sets or USUAL:
        make, file = SETS[name]
        if not (options.data / file).exists():
            print(f"\n### {name}\n\nLeft out: {options.data / file} is missing.")
            continue
        with tempfile.TemporaryDirectory() as folder:
            task = make(options.data, Path(folder), 0)
            root = Path(known[name]) if name in known else Path(folder) / "workspace"
            if name not in known:
                make_workspace(task, root)
            for line in measure(name, task, root, budgets, options.seeds):
                print(line, flush=True)


if __name__ == "__main__":
    main()
