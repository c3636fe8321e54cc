"""``evaluate``: how well each signal finds the errors that are known to be there."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from tracin_core.commands.opening import OpenedProject
    from tracin_core.jobs.evaluation import Detection
    from tracin_core.reviews.projects import Run
    from tracin_core.reviews.queue import QueueRow

NAME = "evaluate"
SUMMARY = "Compare the signals where the true labels are known (the demo projects)."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the project and the form of the answer."""
    parser.add_argument("project", metavar="NAME", help="project")
    parser.add_argument("--format", choices=("table", "json"), default="table")


def run(options: argparse.Namespace) -> int:
    """Print one row a signal, and chance beside them."""
    from tracin_core.commands.opening import open_project
    from tracin_core.jobs.evaluation import evaluate_detection, expect_from_chance
    from tracin_core.reviews.queue import SIGNALS

    opened = open_project(options)
    keys, given, scores = _read_scores(opened)
    wrong = _find_wrong(opened, keys, given)
    detections = [
        evaluate_detection(name, scores[name], wrong) for name in SIGNALS if name in scores
    ]
    detections.append(expect_from_chance(wrong))
    if options.format == "json":
        answer = {"project": opened.project.slug, "examples": len(wrong), "wrong": int(wrong.sum())}
        print(json.dumps(answer | {"signals": [asdict(entry) for entry in detections]}, indent=2))
    else:
        _print_table(opened.project.title, detections, int(wrong.sum()), len(wrong))
    return 0


def _read_scores(
    opened: OpenedProject,
) -> tuple[list[str], npt.NDArray[np.int64], dict[str, npt.NDArray[np.float64]]]:
    """Return keys, given labels and every signal's scores, all by train position."""
    import numpy as np

    run = opened.current_run()
    keys = [""] * run.num_ranked
    given = np.zeros(run.num_ranked, dtype=np.int64)
    scores = {signal: np.zeros(run.num_ranked) for signal in run.signals}
    for signal, values in scores.items():
        for row in _read_ranking(opened, run, signal):
            keys[row.position], given[row.position] = row.key, row.given_label
            values[row.position] = row.score
    return keys, given, scores


def _read_ranking(opened: OpenedProject, run: Run, signal: str) -> Iterator[QueueRow]:
    from tracin_core.reviews.queue import LARGEST_PAGE, fetch_page

    for page in range(1, run.num_ranked // LARGEST_PAGE + 2):
        yield from fetch_page(
            opened.engine, run.id, signal=signal, page=page, page_size=LARGEST_PAGE
        ).rows


def _find_wrong(
    opened: OpenedProject, keys: list[str], given: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    import numpy as np

    from tracin_core.errors import NotFoundError
    from tracin_core.jobs.evaluation import read_truth

    truth = read_truth(opened.workspace.truth_path(opened.project.slug))
    unknown = [key for key in keys if key not in truth]
    if unknown:
        raise NotFoundError(
            f"{len(unknown)} of {len(keys)} train examples have no known true label, the first "
            f"one {unknown[0]}. Evaluation needs the truth of all of them."
        )
    wrong: npt.NDArray[np.bool_] = np.array([truth[key] for key in keys]) != given
    return wrong


def _print_table(title: str, detections: Sequence[Detection], wrong: int, total: int) -> None:
    from rich.table import Table
    from rich.text import Text

    from tracin_core.commands.tables import print_table
    from tracin_core.jobs.evaluation import INSPECTED_SHARES

    caption = (
        f"{wrong:,} of {total:,} train labels are wrong. Found: share of them among the first."
    )
    table = Table(title=Text(title), caption=Text(caption), title_justify="left")
    table.add_column("ranked by")
    for share in INSPECTED_SHARES:
        table.add_column(f"found in {share:.0%}", justify="right")
    table.add_column("AUROC", justify="right")
    table.add_column("avg. precision", justify="right")
    for entry in detections:
        measures = (f"{entry.auroc:.3f}", f"{entry.average_precision:.3f}")
        table.add_row(entry.signal, *(f"{found:.1%}" for found in entry.found), *measures)
    print_table(table)
