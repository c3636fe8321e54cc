"""What the numbers of a clean-up promise, simulated on errors that people really made.

Run: ``python -m benchmarks.worth --data DIR --workspaces DIR [--seeds 200]
[--measure rate stop learn] [SET ...]``, where the
first DIR (or the variable TRACIN_BENCHMARK_DATA) holds the sets that ``benchmarks.real_errors``
names, and the second keeps one scored project a set: ``news``, ``reviews`` and ``photos``. One that
is not there is made by ``import`` and ``train``, as a person would, which takes minutes. The true
labels are the reviewer. Measured, each with as many seeds:

- rate: how often the 95% interval holds the true rate, and its half-width, of a uniform and of a
  weighted audit of the same size, nothing having been decided before; five times as many seeds, as
  these take no time;
- stop: recall where CMH stops, on lists of a random four fifths of the examples, asked every two
  hundred reviews; and where QBCB stops by a uniform audit of which half certifies;
- learn: average precision of what is left, by the order of before, by the learned one, and by the
  one that the gate takes, after so many decisions of which a share was drawn at random.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score

from benchmarks.own_data import DATA_VARIABLE, run_step
from benchmarks.real_errors import Task, _key, make_news, make_photos, make_reviews
from relabel.db.engine import open_database
from relabel.db.projects import get_project
from relabel.db.runs import current_run
from relabel.fitting.stored import read_project
from relabel.workspace import resolve_workspace
from relabel.worth.audit import (
    Guess,
    draw_with_repetition,
    draw_without_repetition,
    guess_errors,
)
from relabel.worth.learned_order import (
    Decided,
    explain_missing,
    fit_order,
    judge_order,
    make_features,
)
from relabel.worth.noise_rate import estimate_uniform, estimate_weighted, make_draw_weights
from relabel.worth.run_table import RunTable, Verdicts, read_run_table
from relabel.worth.stopping import Goal, compute_cmh, count_needed

PROJECT = "project0"
MAKERS: dict[str, Callable[[Path, Path, int], Task]] = {
    "news": make_news,
    "reviews": make_reviews,
    "photos": make_photos,
}
AUDIT_SIZES = (30, 100, 400)
DECISIONS, SHARES = (50, 100, 400), (0.0, 0.1, 0.2)
GOALS = (Goal(0.8), Goal(0.9))
CERTIFIED = 400  # draws of the audit whose half certifies
STEP, WINDOWS = 200, 15  # of CMH
Flags = npt.NDArray[np.bool_]
Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Scored:
    """A scored project with the truth.

    Attributes:
        table: What the run knows.
        wrong: Which given labels are wrong, shape ``(N,)``.
        base: The signal that ranks the queue.
    """

    table: RunTable
    wrong: Flags
    base: str


def open_scored(name: str, data: Path, workspaces: Path) -> Scored:
    """Return a set as a scored project; it is imported and trained unless it is there."""
    work = workspaces / "sources"
    work.mkdir(parents=True, exist_ok=True)
    task = MAKERS[name](data, work, 0)
    workspace = workspaces / name
    if not (workspace / "projects" / PROJECT / "runs").exists():
        drawn = () if task.has_test else ("--seed", "0")
        words = (PROJECT, str(task.source), "--yes", *drawn, *task.options)
        run_step(workspace, "import", *words)
        run_step(workspace, "train", PROJECT, "--seed", "0", *task.train_options)
    place = resolve_workspace(str(workspace), None)
    engine = open_database(place.database_url)
    try:
        project = get_project(engine, PROJECT)
        run = current_run(engine, project.id)
        if run is None:
            raise RuntimeError(f"{workspace} has no run")
        table = read_run_table(engine, run, place.project_folder(PROJECT))
        train = read_project(engine, project, place.media_folder(PROJECT), "given").splits["train"]
        truth = np.array([task.truth[_key(content)] for content in train.contents()])
    finally:
        engine.dispose()
    guess = _guess(table)
    return Scored(table, np.asarray(table.given != truth), guess.signal)


def _guess(table: RunTable) -> Guess:
    nothing = np.zeros(0, dtype=np.int64)
    return guess_errors(
        table, Verdicts(nothing, nothing.astype(bool), (), nothing), tuple(table.scores)
    )


def measure_rate(scored: Scored, seeds: int) -> Iterator[Row]:
    """Yield how the intervals of both designs do, by size."""
    wrong, count = scored.wrong.astype(np.float64), len(scored.wrong)
    guesses = _guess(scored.table).apply(scored.table)
    chances = make_draw_weights(guesses)
    mean, rate = float(guesses.mean()), float(wrong.mean())
    for size in AUDIT_SIZES:
        found: dict[str, list[tuple[bool, float]]] = {"uniform": [], "weighted": []}
        for seed in range(5 * seeds):
            plain = draw_without_repetition(f"{seed:x}", count)[:size]
            one = estimate_uniform(int(wrong[plain].sum()), size)
            found["uniform"].append((one.low <= rate <= one.high, one.half_width))
            drawn = draw_with_repetition(f"{seed:x}", chances, size)
            one = estimate_weighted(
                wrong[drawn], guesses[drawn], chances[drawn], num_examples=count, mean_guess=mean
            )
            found["weighted"].append((one.low <= rate <= one.high, one.half_width))
        widths = {design: float(np.mean([w for _, w in rows])) for design, rows in found.items()}
        for design, rows in found.items():
            yield {
                "what": "rate",
                "design": design,
                "size": size,
                "coverage": float(np.mean([covered for covered, _ in rows])),
                "half_width": widths[design],
                "uniform_worth": size * (widths["uniform"] / widths[design]) ** 2,
            }


def measure_stop(scored: Scored, seeds: int) -> Iterator[Row]:
    """Yield the recall where each rule stops, by goal."""
    order = np.argsort(-scored.table.scores[scored.base], kind="stable")
    for goal in GOALS:
        outcomes = [_stop_by_cmh(scored.wrong[order], goal, seed) for seed in range(seeds)]
        yield _tell_stop("cmh", goal, [one for one in outcomes if one is not None], seeds)
        outcomes = [_stop_by_qbcb(scored.wrong[order], goal, seed) for seed in range(seeds)]
        yield _tell_stop("qbcb", goal, [one for one in outcomes if one is not None], seeds)


def _tell_stop(rule: str, goal: Goal, outcomes: Sequence[tuple[float, float]], seeds: int) -> Row:
    row: Row = {"what": "stop", "rule": rule, "recall": goal.recall, "answered": len(outcomes)}
    row["seeds"] = seeds
    if outcomes:
        recalls = np.array([recall for recall, _ in outcomes])
        row["fell_short"] = float((recalls < goal.recall).mean())
        row["mean_recall"] = float(recalls.mean())
        row["reviewed"] = float(np.mean([share for _, share in outcomes]))
    return row


def _stop_by_cmh(errors: Flags, goal: Goal, seed: int) -> tuple[float, float] | None:
    """Return recall and share reviewed where CMH stops, on four fifths of a ranked list."""
    rng = np.random.default_rng(seed)
    listed = errors[rng.random(len(errors)) < 0.8]
    for count in range(STEP, len(listed) + STEP, STEP):
        seen = listed[:count]
        if compute_cmh(seen, len(listed), goal.recall, WINDOWS) < 1 - goal.confidence:
            return float(seen.sum() / listed.sum()), len(seen) / len(listed)
    return 1.0, 1.0


def _stop_by_qbcb(errors: Flags, goal: Goal, seed: int) -> tuple[float, float] | None:
    """Return the same of QBCB, or None where the audit holds too few errors to certify anything.

    The recall is that of the ranked part: what the audit found beside it comes on top.
    """
    drawn = draw_without_repetition(f"{seed:x}", len(errors))[: CERTIFIED // 2]
    ranks = np.sort(drawn[errors[drawn]])
    needed = count_needed(len(ranks), goal)
    if needed is None:
        return None
    depth = int(ranks[needed - 1]) + 1
    return float(errors[:depth].sum() / errors.sum()), depth / len(errors)


def measure_learning(scored: Scored, seeds: int) -> Iterator[Row]:
    """Yield the average precision of what is left, by decisions and random share."""
    features = make_features(scored.table, scored.base)
    static = features.signals[:, 0]
    order = np.argsort(-static, kind="stable")
    for count in DECISIONS:
        for share in SHARES:
            found = [
                _learn(scored, features, order, count, share, seed)
                for seed in range(seeds if share else 1)
            ]
            before, learned, taken, passed = np.mean(found, axis=0).tolist()
            yield {
                "what": "learn",
                "decisions": count,
                "random": share,
                "static": before,
                "learned": learned,
                "gated": taken,
                "taken": passed,
                "gain": taken / before - 1,
            }


def _learn(
    scored: Scored,
    features: Any,
    order: npt.NDArray[np.int64],
    count: int,
    share: float,
    seed: int,
) -> tuple[float, float, float, float]:
    wrong, size = scored.wrong, len(scored.wrong)
    random = draw_without_repetition(f"{seed:x}", size)[: round(count * share)]
    head = order[~np.isin(order, random)][: count - len(random)]
    positions = np.concatenate([random, head])
    decided = Decided(positions, wrong[positions], np.arange(count) < len(random), np.ones(count))
    rest = np.setdiff1d(np.arange(size), positions)
    before = float(average_precision_score(wrong[rest], features.signals[rest, 0]))
    if len(set(wrong[positions].tolist())) < 2:
        return before, before, before, 0.0
    scores = fit_order(features, positions, wrong[positions]).apply(features)
    learned = float(average_precision_score(wrong[rest], scores[rest]))
    if explain_missing(decided):
        return before, learned, before, 0.0
    of_learned, of_static = judge_order(features, decided)
    is_taken = of_learned >= of_static
    return before, learned, learned if is_taken else before, float(is_taken)


MEASURES: dict[str, Callable[[Scored, int], Iterator[Row]]] = {
    "rate": measure_rate,
    "stop": measure_stop,
    "learn": measure_learning,
}


def main() -> int:
    """Measure the sets that are named, and print a line of JSON for each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", metavar="SET", default=list(MAKERS))
    parser.add_argument("--data", default=os.environ.get(DATA_VARIABLE))
    parser.add_argument("--workspaces", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--measure", nargs="+", choices=MEASURES, default=list(MEASURES))
    chosen = parser.parse_args()
    if not chosen.data:
        print(f"Say where the sets are: --data DIR, or {DATA_VARIABLE}.", file=sys.stderr)
        return 2
    for name in chosen.sets:
        scored = open_scored(name, Path(chosen.data), chosen.workspaces)
        share = float(scored.wrong.mean())
        print(json.dumps({"set": name, "examples": len(scored.wrong), "rate": share}), flush=True)
        for measure in chosen.measure:
            for row in MEASURES[measure](scored, chosen.seeds):
                print(json.dumps({"set": name} | row), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
