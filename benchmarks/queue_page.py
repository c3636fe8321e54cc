"""How fast the queue answers when it is large: first page, deep page, filters, next suspect.

Run: python -m benchmarks.queue_page [--examples 200000] [--database URL] [--no-browser]
Prints Markdown tables; times are medians in milliseconds, the slowest in parentheses. Then the
page is opened in a real browser, beside an empty Streamlit page (`queue_in_browser.py`).
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sqlalchemy import Engine, insert, select

from relabel.db import filtering
from relabel.db.decisions.history import fetch_history
from relabel.db.decisions.recording import NewDecision, record_decision
from relabel.db.engine import open_database, reading, writing
from relabel.db.examples import NewExample, add_examples, get_example
from relabel.db.projects import create_project
from relabel.db.queue import QueueFilter, adjacent, fetch_page, next_suspect
from relabel.db.registration import register_run
from relabel.db.runs import scoring_of
from relabel.db.schema import DecisionRow, ScoreRow, utc_now
from relabel.db.stats import review_progress
from relabel.db.team.reviewers import ensure_reviewer
from relabel.triage.signals import SIGNALS

NUM_CLASSES = 10
NUM_DECISIONS = 5000
WORDS = ("market", "orbit", "goal", "senate", "battery", "river", "vaccine", "guitar")


@dataclass(frozen=True)
class Setting:
    """A database with one scored project."""

    engine: Engine
    project_id: int
    run_id: int
    num_examples: int


def make_examples(count: int, seed: int = 0) -> Iterator[NewExample]:
    """Yield train examples of about 120 characters of text."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, NUM_CLASSES, count).tolist()
    for position, label in enumerate(labels):
        words = " ".join(WORDS[(position * 7 + step * step) % len(WORDS)] for step in range(16))
        yield NewExample(f"row-{position}", "train", position, label, text=f"{position} {words}")


def build(url: str, count: int) -> Setting:
    """Fill a new database and print how long it took."""
    engine = open_database(url)
    started = time.perf_counter()
    classes = [f"class {index}" for index in range(NUM_CLASSES)]
    project = create_project(engine, slug="bench", title="Bench", kind="text", classes=classes)
    add_examples(engine, project.id, make_examples(count))
    added = time.perf_counter()
    random = np.random.default_rng(1)
    run = register_run(
        engine,
        project.id,
        key="bench",
        folder="runs/bench",
        config={},
        checkpoints=[],
        scores={signal: random.lognormal(0, 1.5, count) for signal in SIGNALS},
        predictions={
            "train": (
                random.integers(0, NUM_CLASSES, count),
                random.random(count),
                random.random(count),
            )
        },
    )
    registered = time.perf_counter()
    print(
        f"{count:,} examples added in {added - started:.1f} s, run with {len(SIGNALS)} signals "
        f"registered in {registered - added:.1f} s.\n"
    )
    return Setting(engine, project.id, run.id, count)


def decide_head(setting: Setting, count: int) -> None:
    """Decide the head of the queue in one transaction, as if people had done it."""
    reviewer = ensure_reviewer(setting.engine, "bench")
    with reading(setting.engine) as connection:
        ids = connection.scalars(
            select(ScoreRow.example_id)
            .where(
                ScoreRow.scoring_id == scoring_of(setting.run_id),
                ScoreRow.signal == "self_influence",
            )
            .order_by(ScoreRow.rank)
            .limit(count)
        ).all()
    rows = [
        {
            "project_id": setting.project_id,
            "example_id": example_id,
            "version": 1,
            "reviewer_id": reviewer.id,
            "action": "keep",
            "given_label": 0,
            "note": "",
            "created_at": utc_now(),
            "source": "queue",
        }
        for example_id in ids
    ]
    with writing(setting.engine) as connection:
        connection.execute(insert(DecisionRow), rows)


def measure(name: str, work: Callable[[], object], repeats: int = 7) -> None:
    """Print one row of the table."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - started))
    print(f"| {name} | {statistics.median(times):.1f} ({max(times):.1f}) |")


def measure_queue(setting: Setting) -> None:
    """Print the rows that do not depend on what has been decided."""
    engine, run_id = setting.engine, setting.run_id
    filters = {
        "any": QueueFilter(),
        "not decided yet": QueueFilter(status="pending"),
        "one class": QueueFilter(given_labels=(3,)),
        "model disagrees, one predicted class": QueueFilter(
            predicted_labels=(3,), disagreement_only=True
        ),
        "text, frequent": QueueFilter(text="guitar"),
        "text, one hit": QueueFilter(text=f"{setting.num_examples // 2} "),
    }
    for name, chosen in filters.items():
        middle = max(1, fetch_page(engine, run_id, filter=chosen, page_size=1).total // 100)
        filtering._totals.clear()
        filtering._ranks.clear()
        measure(
            f"page 1 with its total, first time: {name}",
            lambda chosen=chosen: fetch_page(engine, run_id, filter=chosen),
            1,
        )
        for page in (1, middle):
            measure(
                f"page {page:,} with its total: {name}",
                lambda page=page, chosen=chosen: fetch_page(
                    engine, run_id, filter=chosen, page=page
                ),
                3,
            )


def measure_review(setting: Setting, when: str) -> None:
    """Print the rows of the review's own steps."""
    engine, run_id = setting.engine, setting.run_id
    suspect = next_suspect(engine, run_id)
    assert suspect is not None
    one = suspect.example_id
    measure(f"next suspect, {when}", lambda: next_suspect(engine, run_id))
    measure(f"one example, {when}", lambda: get_example(engine, one, run_id))
    measure(f"previous and next, {when}", lambda: adjacent(engine, run_id, example_id=one))
    measure(
        f"progress of the review, {when}", lambda: review_progress(engine, setting.project_id), 3
    )
    measure(f"history, first page, {when}", lambda: fetch_history(engine, setting.project_id), 3)


def decide_next(setting: Setting) -> None:
    """Do one turn of a reviewer: ask for the next suspect, decide it durably."""
    suspect = next_suspect(setting.engine, setting.run_id)
    assert suspect is not None
    decision = NewDecision(suspect.example_id, suspect.version, "bench", "keep")
    record_decision(setting.engine, decision)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=200_000)
    parser.add_argument("--database", help="an empty database; default: SQLite in a new folder")
    parser.add_argument("--no-browser", action="store_true", help="only the database's part")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        setting = build(
            options.database or f"sqlite:///{Path(folder) / 'tracin.db'}", options.examples
        )
        print(f"{setting.engine.dialect.name}, {platform.machine()}, {platform.python_version()}\n")
        print("| | ms, median (slowest) |\n|---|---|")
        measure_review(setting, "nothing decided")
        decide_head(setting, NUM_DECISIONS)
        measure_review(setting, f"{NUM_DECISIONS:,} decided at the head")
        measure_queue(setting)
        measure("next suspect and its decision, on the disk", lambda: decide_next(setting), 20)
        setting.engine.dispose()
        if not options.database and not options.no_browser:
            from benchmarks.queue_in_browser import print_waits

            print_waits(Path(folder))


if __name__ == "__main__":
    main()
