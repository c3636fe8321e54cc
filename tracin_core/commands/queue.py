"""``queue``: the ranked suspects in the terminal."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from tracin_core.commands.numbers import whole
from tracin_core.numerals import residual_text, value_text

if TYPE_CHECKING:
    from tracin_core.reviews.projects import Project
    from tracin_core.reviews.queue import QueueRow

NAME = "queue"
SUMMARY = "Show the train examples whose labels are most suspect."
EXCERPT_LENGTH = 60  # characters: with the other columns about 120, a common terminal width


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare how many suspects, by which signal, in which form."""
    parser.add_argument("project", metavar="NAME", help="project")
    parser.add_argument(
        "--top", type=whole(1, 1000), default=20, metavar="N", help="at most 1000; default: 20"
    )
    parser.add_argument(
        "--by",
        "--signal",
        dest="signal",
        metavar="SIGNAL",
        help="ranked by (default: the first signal of the run's attribution method)",
    )
    parser.add_argument("--format", choices=("table", "json"), default="table")


def run(options: argparse.Namespace) -> int:
    """Print the suspects."""
    from tracin_core.commands.doing import tell_model
    from tracin_core.commands.opening import open_project
    from tracin_core.errors import ConfigurationError
    from tracin_core.reviews.queue import fetch_page
    from tracin_core.triage.signals import choose_default_signal, list_signals

    signals = list_signals()
    if options.signal is not None and options.signal not in signals:
        raise ConfigurationError(
            f"There is no signal called {options.signal!r}. Choose one of: {', '.join(signals)}."
        )
    opened = open_project(options, "look")
    run = opened.current_run()
    signal = options.signal or choose_default_signal(run.signals)
    page = fetch_page(opened.engine, run.id, signal=signal, page_size=options.top)
    if options.format == "json":
        rows = [describe_row(row, opened.project) for row in page.rows]
        answer = {"project": opened.project.slug, "run": run.key, "signal": signal}
        print(json.dumps(answer | {"total": page.total, "suspects": rows}, indent=2))
    else:
        caption = f"{signals[signal].title}, {page.total:,} ranked"
        _print_table(opened.project, page.rows, caption)
    tell_model(opened, run)
    return 0


def describe_row(row: QueueRow, project: Project) -> dict[str, Any]:
    """Return one suspect with names for its labels, or its numbers."""
    about = {"rank": row.rank, "key": row.key, "text": row.text, "fields": row.fields}
    if project.task == "regression":
        says: dict[str, Any] = {
            "given": row.given_value,
            "predicted": row.predicted_value,
            "label": row.current_value,
        }
    else:
        classes, predicted = project.classes, row.predicted_label
        says = {
            "given": classes[row.given_label],
            "predicted": None if predicted is None else classes[predicted],
            "predicted_probability": row.predicted_probability,
            "given_probability": row.given_probability,
            "label": classes[row.current_label],
        }
    place = {"score": row.score, "percentile": row.percentile, "status": row.status}
    return about | says | place | {"source_place": row.source_place}


def excerpt(text: str, length: int = EXCERPT_LENGTH) -> str:
    """Return the beginning of a text on one line, safe to print.

    A text is data: escape sequences in it must not move the cursor or recolour the terminal.
    """
    line = " ".join(text[: 4 * length].split())
    printable = "".join(character if character.isprintable() else "?" for character in line)
    return printable if len(printable) <= length else printable[: length - 3] + "..."


def _print_table(project: Project, rows: Any, caption: str) -> None:
    from rich.table import Table
    from rich.text import Text

    from tracin_core.commands.tables import print_table

    table = Table(title=Text(excerpt(project.title)), caption=Text(caption), title_justify="left")
    table.add_column("rank", justify="right")
    heads = {"image": "key", "text": "text", "table": "row"}
    table.add_column(heads.get(project.kind, "key"), max_width=EXCERPT_LENGTH)
    table.add_column("given > predicted")
    table.add_column("residual" if project.task == "regression" else "prob.", justify="right")
    table.add_column("percentile", justify="right")
    table.add_column("status")
    for row in rows:
        named = describe_row(row, project)
        cells = (
            str(row.rank),
            _describe_content(row),
            excerpt(f"{_say(named['given'])} > {_say(named['predicted'])}"),
            _describe_doubt(row),
            f"{row.percentile:.1f}",
            row.status,
        )
        table.add_row(*map(Text, cells))
    print_table(table)


def _describe_content(row: QueueRow) -> str:
    if row.fields:
        return excerpt(", ".join(f"{name} {_say(value)}" for name, value in row.fields.items()))
    # A picture's key is a long hash; its beginning tells it apart, as in git.
    return row.key[:12] if row.text is None else excerpt(row.text)


def _describe_doubt(row: QueueRow) -> str:
    """Return the prediction's probability, or how far the given number lies above it."""
    if row.given_value is not None and row.predicted_value is not None:
        return residual_text(row.given_value, row.predicted_value)
    return "" if row.predicted_probability is None else f"{row.predicted_probability:.0%}"


def _say(value: object) -> str:
    if value is None:
        return "?"
    return value_text(value) if isinstance(value, int | float) else str(value)
