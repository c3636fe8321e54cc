"""A comparison as tables and files to take away. Free of torch."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from relabel.comparison.curves import GRID, MislabelCurve
from relabel.comparison.figures import draw_agreement, draw_curves, draw_found_by_class
from relabel.comparison.pictures import (
    picture_agreement,
    picture_curves,
    picture_found_by_class,
)
from relabel.comparison.saved import WRONG, Comparison
from relabel.files import explain_disk_errors, open_export
from relabel.runs.folder import RunFolder
from relabel.scoring.evaluate import INSPECTED_SHARES
from relabel.workspace import find_program_name
from relabel.worth.report.drawing import make_png, make_svg

Row = dict[str, Any]


def list_rows(comparison: Comparison) -> list[Row]:
    """Return one row a contender: what it found, what it took, and why it failed.

    Shares and areas are from 0 to 1, times in seconds of a processor, memory in bytes; None where
    there is none.
    """
    return [
        {
            "method": one.name,
            "title": one.title,
            **_describe_curve(comparison.curves.get(one.name)),
            "score_seconds": one.seconds,
            "influence_seconds": one.influence_seconds,
            "examples_explained": one.num_explained,
            "peak_bytes": one.peak_bytes,
            "failed": one.reason,
            "no_influence": one.unattributed,
        }
        for one in comparison.outcomes
    ]


def _describe_curve(curve: MislabelCurve | None) -> Row:
    found = (None,) * len(INSPECTED_SHARES) if curve is None else curve.found_at
    names = [f"found_in_{share * 100:.0f}_percent" for share in INSPECTED_SHARES]
    return dict(zip(names, found, strict=True)) | {"area": None if curve is None else curve.area}


def title_curves(comparison: Comparison) -> dict[str, MislabelCurve]:
    """Return the curves by the titles of their contenders; chance has a line of its own."""
    titles = {one.name: one.title for one in comparison.outcomes}
    return {titles[name]: curve for name, curve in comparison.curves.items() if name != "random"}


def name_checkpoints(run: RunFolder) -> list[str]:
    """Return what each checkpoint of a run is called in pictures."""
    return [f"step {entry.step:,}" for entry in run.read_config().checkpoints]


def describe_truth(comparison: Comparison) -> str:
    """Return how many labels are wrong and how that is known, or that it is not."""
    num_known, num_wrong = int(comparison.known.sum()), int((comparison.wrong == WRONG).sum())
    if not num_known:
        return (
            "Which labels are wrong is not known, so nothing is counted as found. Say it in a "
            f"terminal: {find_program_name()} compare NAME --truth FILE, a CSV or Parquet file "
            "with the columns key and true_label; or import the data with --truth COLUMN, or with "
            "--plant SHARE to plant errors."
        )
    unknown = len(comparison.wrong) - num_known
    left_out = f" Of {unknown:,} more the truth is not known; they are left out." if unknown else ""
    return f"{num_wrong:,} of {num_known:,} train labels are wrong by {comparison.truth}.{left_out}"


def make_csv(rows: Sequence[Row]) -> str:
    """Return rows as CSV with a header; nothing of none."""
    if not rows:
        return ""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def save_files(comparison: Comparison, run: RunFolder, folder: Path) -> list[Path]:
    """Write a comparison's tables as CSV and JSON, and its figures as HTML, SVG and PNG.

    The HTML files share ``plotly.min.js``, which is written beside them, and need no network.

    Raises:
        WorkspaceError: If they cannot be written.
        RunFolderError: If the run is damaged.
    """
    written = []
    with explain_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name, content in _list_files(comparison, run):
        with open_export(folder / name) as file:
            file.write(content)
        written.append(folder / name)
    return written


def _list_files(comparison: Comparison, run: RunFolder) -> Iterator[tuple[str, bytes]]:
    from plotly.offline import get_plotlyjs

    rows = list_rows(comparison)
    yield "methods.csv", make_csv(rows).encode()
    summary = {"made_at": comparison.made_at, "truth": describe_truth(comparison), "methods": rows}
    yield "comparison.json", json.dumps(summary, indent=1, ensure_ascii=False).encode()
    yield "plotly.min.js", get_plotlyjs().encode()
    for name, table, figure, picture in _list_figures(comparison, run):
        yield f"{name}.csv", make_csv(table).encode()
        page = figure.to_html(include_plotlyjs="directory", config={"displaylogo": False})
        yield f"{name}.html", page.encode()
        yield f"{name}.svg", make_svg(picture, on_white=True).encode()
        yield f"{name}.png", make_png(picture)


def _list_figures(
    comparison: Comparison, run: RunFolder
) -> Iterator[tuple[str, list[Row], Any, Any]]:
    """Yield name, rows, plotly figure and picture of each figure there is something to draw for."""
    curves = title_curves(comparison)
    if curves:
        yield "curves", list_curve_rows(comparison), draw_curves(curves), picture_curves(curves)
    counted = comparison.count_by_class(run)
    if counted is not None:
        classes, steps = list(run.read_config().classes), name_checkpoints(run)
        rows = [
            {"checkpoint": step, "label": name, "found": found, "wrong": wrong}
            for step, row in zip(steps, counted.found.tolist(), strict=True)
            for name, found, wrong in zip(classes, row, counted.wrong.tolist(), strict=True)
        ]
        figure = draw_found_by_class(counted, classes, steps)
        yield "classes", rows, figure, picture_found_by_class(counted, classes, steps)
    titles, matrix = comparison.agreement
    if titles and np.isfinite(matrix).any():
        pairs: Iterable[Row] = (
            {"method": one, "other": other, "overlap": value}
            for one, row in zip(titles, matrix.tolist(), strict=True)
            for other, value in zip(titles, row, strict=True)
        )
        drawn = picture_agreement(matrix, titles)
        yield "agreement", list(pairs), draw_agreement(matrix, titles), drawn


def list_curve_rows(comparison: Comparison) -> list[Row]:
    """Return the curves as rows: the share inspected, and what each contender has found by then."""
    return [
        {"inspected": float(place)}
        | {name: float(curve.found[number]) for name, curve in comparison.curves.items()}
        for number, place in enumerate(GRID)
    ]
