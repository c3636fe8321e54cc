"""``evaluate``: how well each signal finds the errors that are known to be there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from rich.table import Table
from rich.text import Text

from relabel.cli.context import OpenedProject, open_project
from relabel.cli.display import print_table
from relabel.cli.parameters import Location, command, format_option, project_argument
from relabel.cli.queue import print_model_warnings
from relabel.db.project_rules import Project
from relabel.db.runs import stream_scores
from relabel.errors import NotFoundError
from relabel.importers.ingest.truth import read_true_values, read_truth
from relabel.scoring.evaluate import (
    INSPECTED_SHARES,
    Detection,
    evaluate_detection,
    expect_from_chance,
)
from relabel.triage.signals import list_signals


@command
@project_argument
@format_option
def evaluate(location: Location, project: str, format: str) -> int:
    """Print one row a signal, and chance beside them."""
    opened = open_project(location, project, "look")
    ranked = _read_scores(opened)
    known, wrong = _find_wrong(opened, ranked)
    detections = [
        evaluate_detection(name, ranked.scores[name][known], wrong)
        for name in list_signals()
        if name in ranked.scores
    ]
    detections.append(expect_from_chance(wrong))
    counts = {"examples": len(wrong), "wrong": int(wrong.sum()), "unknown": int((~known).sum())}
    if format == "json":
        signals = [asdict(entry) for entry in detections]
        answer = {"project": opened.project.slug, **counts, "signals": signals}
        print(json.dumps(answer, indent=2))
    else:
        _print_table(opened.project, detections, counts)
    print_model_warnings(opened, opened.current_run())
    return 0


@dataclass(frozen=True)
class _Ranked:
    """Everything about the train examples that is needed, by position.

    Attributes:
        keys: Of the examples.
        given: What the data claims: class indices, or numbers; shape ``(N,)``.
        scores: By signal, each of shape ``(N,)``.
    """

    keys: list[str]
    given: npt.NDArray[np.float64]
    scores: dict[str, npt.NDArray[np.float64]]


def _read_scores(opened: OpenedProject) -> _Ranked:

    run = opened.current_run()
    keys = [""] * run.num_ranked
    given = np.zeros(run.num_ranked)
    scores = {signal: np.zeros(run.num_ranked) for signal in run.signals}
    is_regression = opened.project.task == "regression"
    for signal, values in scores.items():
        for row in stream_scores(opened.engine, run, signal):
            claimed = row.given_value if is_regression else row.given_label
            keys[row.position], given[row.position] = row.key, claimed
            values[row.position] = row.score
    return _Ranked(keys, given, scores)


def _find_wrong(
    opened: OpenedProject, ranked: _Ranked
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return which examples have a known truth, shape ``(N,)``, and which of those are wrong.

    Raises:
        NotFoundError: If the truth of no train example is known.
    """
    path = opened.workspace.truth_path(opened.project.slug)
    is_regression = opened.project.task == "regression"
    truth = read_true_values(path) if is_regression else read_truth(path)
    known = np.array([key in truth for key in ranked.keys], dtype=bool)
    if not known.any():
        raise NotFoundError(
            f"None of the {len(known):,} train examples has a known truth in {path}. Import the "
            "data with --truth COLUMN, or with --plant SHARE to plant errors."
        )
    true = np.array([truth[key] for key in ranked.keys if key in truth])
    wrong: npt.NDArray[np.bool_] = true != ranked.given[known]
    return known, wrong


def _print_table(
    project: Project, detections: Sequence[Detection], counts: Mapping[str, int]
) -> None:

    answers = "numbers" if project.task == "regression" else "labels"
    caption = (
        f"{counts['wrong']:,} of {counts['examples']:,} train {answers} are wrong. "
        "Found: share of them among the first."
    )
    if counts["unknown"]:
        caption += f" Of {counts['unknown']:,} more the truth is not known; they are left out."
    table = Table(title=Text(project.title), caption=Text(caption), title_justify="left")
    table.add_column("ranked by")
    for share in INSPECTED_SHARES:
        table.add_column(f"found in {share:.0%}", justify="right")
    table.add_column("AUROC", justify="right")
    table.add_column("avg. precision", justify="right")
    for entry in detections:
        measures = (f"{entry.auroc:.3f}", f"{entry.average_precision:.3f}")
        table.add_row(entry.signal, *(f"{found:.1%}" for found in entry.found), *measures)
    print_table(table)
