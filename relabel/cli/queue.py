"""``queue``: the ranked suspects in the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from relabel.cli.context import OpenedProject, open_project
from relabel.cli.display import print_table, print_warning
from relabel.cli.parameters import Location, command, format_option, project_argument, whole
from relabel.db.groups import ExampleGroup, list_groups, order_groups
from relabel.db.project_rules import Project
from relabel.db.queue import QueueFilter, QueueRow, fetch_page
from relabel.db.runs import Run, read_group_counts
from relabel.errors import RunFolderError
from relabel.runs.folder import RunFolder
from relabel.runs.groups import GROUP_KINDS, GroupName, parse_group
from relabel.runs.held_out import HeldOut, open_of_run
from relabel.text import SPLITS, Split, excerpt, format_number, format_residual
from relabel.triage.model_quality import judge_run
from relabel.triage.signals import choose_default_signal, list_signals, name_signals
from relabel.workspace import find_program_name
from tracin_core.errors import ConfigurationError

EXCERPT_LENGTH = 60  # characters: with the other columns about 120, a common terminal width


@command
@project_argument
@click.option(
    "--top",
    type=whole(1, 1000),
    default=20,
    metavar="N",
    show_default=True,
    help="at most 1000",
)
@click.option(
    "--by",
    "--signal",
    "signal",
    metavar="SIGNAL",
    help="ranked by (default: suspicion, where the run has it)",
)
@click.option(
    "--split",
    type=click.Choice(SPLITS),
    default="train",
    show_default=True,
    help="test examples are ranked among themselves",
)
@click.option(
    "--group",
    metavar="GROUP",
    help="examples that are alike: same, near or cluster lists the groups, near-12 the suspects "
    "of one",
)
@format_option
def queue(
    location: Location,
    project: str,
    top: int,
    signal: str | None,
    split: Split,
    group: str | None,
    format: str,
) -> int:
    """Print the suspects."""
    opened = open_project(location, project, "look")
    run = opened.current_run().of_split(split)
    if not run.signals:
        raise ConfigurationError(
            f"The run {run.key} ranks no {split} examples: there are none, or it is of an older "
            f"version. Score again: python -m relabel rescore {opened.project.slug}"
        )
    if group in GROUP_KINDS:
        print_groups(opened, run, split, group, top, format)
        return 0
    titles = name_signals([*list_signals(), *run.signals])
    if signal is not None and signal not in titles:
        raise ConfigurationError(
            f"There is no signal called {signal!r}. Choose one of: {', '.join(titles)}."
        )
    signal = signal or choose_default_signal(run.signals)
    wanted = QueueFilter(
        split=split, group=None if group is None else find_group(opened, run, group)
    )
    page = fetch_page(opened.engine, run.id, signal=signal, filter=wanted, page_size=top)
    held_out = open_suggestions(opened, run, split)
    if format == "json":
        rows = [
            describe_row(row, opened.project) | describe_suggestion(row, opened.project, held_out)
            for row in page.rows
        ]
        answer = {"project": opened.project.slug, "run": run.key, "signal": signal}
        print(json.dumps(answer | {"total": page.total, "suspects": rows}, indent=2))
    else:
        caption = f"{titles[signal]}, {page.total:,} ranked"
        _print_table(opened.project, page.rows, caption, held_out)
    print_model_warnings(opened, run)
    return 0


def find_group(opened: OpenedProject, run: Run, word: str) -> GroupName:
    """Return the group that a person named.

    Raises:
        ConfigurationError: If the run has no such group.
    """
    name, counts = parse_group(word), read_group_counts(run.config)
    if name is not None and name.kind in counts and name.number <= counts[name.kind].groups:
        return name
    if not counts:
        raise ConfigurationError(
            f"The run {run.key} has no groups: it is of an older version. Score again: "
            f"{find_program_name()} rescore {opened.project.slug}"
        )
    raise ConfigurationError(
        f"There is no group {word!r:.60}. Name a kind, which lists its groups: "
        f"{', '.join(GROUP_KINDS)}; or one of them, such as near-1."
    )


def print_groups(
    opened: OpenedProject, run: Run, split: Split, kind: str, top: int, format: str
) -> None:
    """Print the groups of a kind, in the order in which to look at them."""
    if not read_group_counts(run.config):
        find_group(opened, run, kind)
    known = list_groups(opened.engine, run, split, kind)
    groups = order_groups(opened.engine, run, split, kind, known)
    if format == "json":
        rows = [describe_group(one, opened.project) for one in groups[:top]]
        answer = {"project": opened.project.slug, "run": run.key, "total": len(groups)}
        print(json.dumps(answer | {"groups": rows}, indent=2))
        return
    table = Table(title=Text(excerpt(opened.project.title, EXCERPT_LENGTH)), title_justify="left")
    table.caption = Text(f"{len(groups):,} groups")
    for name in ("group", "left", "of", "suspects"):
        table.add_column(name, justify="left" if name == "group" else "right")
    table.add_column("given", max_width=EXCERPT_LENGTH)
    for one in groups[:top]:
        said = describe_group(one, opened.project)
        given = (
            ", ".join(f"{label} {count:,}" for label, count in said["given"].items())
            if one.least is None
            else " to ".join(dict.fromkeys(map(_say, said["given"])))
        )
        numbers = (one.left, one.total, one.doubted)
        cells = (str(one.name), *(f"{number:,}" for number in numbers), excerpt(given))
        table.add_row(*map(Text, cells))
    print_table(table)


def describe_group(group: ExampleGroup, project: Project) -> dict[str, Any]:
    """Return a group with names for its labels, or the least and the greatest of its numbers."""
    given: Any = [group.least, group.greatest]
    if group.least is None:
        given = {project.classes[label]: count for label, count in group.labels}
    return {
        "group": str(group.name),
        "left": group.left,
        "total": group.total,
        "in_other_split": group.others,
        "suspects": group.doubted,
        "given": given,
    }


def print_model_warnings(opened: OpenedProject, run: Run) -> None:
    """Print what is wrong with the model of a run, if anything is."""
    for warning in judge_run(opened.engine, opened.project, run).warnings:
        print_warning(warning)


def open_suggestions(opened: OpenedProject, run: Run, split: Split = "train") -> HeldOut | None:
    """Open what models say that have not seen an example; a damaged file is warned of, and None."""
    folder = opened.workspace.project_folder(opened.project.slug) / run.folder
    try:
        return open_of_run(RunFolder(folder), split)
    except RunFolderError as error:
        print_warning(f"{error} What these models suggest is left out.")
        return None


def describe_suggestion(
    row: QueueRow, project: Project, held_out: HeldOut | None
) -> dict[str, Any]:
    """Return what models that have not seen one suspect say of it; nothing where none were asked.

    Args:
        row: The suspect.
        project: Its classes name the labels.
        held_out: Of the run.
    """
    if held_out is None or row.position >= len(held_out):
        return {}
    try:
        if project.task == "regression":
            return {"suggested": held_out.value(row.position)}
        said = held_out.opinion(row.position, row.given_label)
    except ValueError:
        return {}
    runner_up = None if said.runner_up is None else project.classes[said.runner_up]
    return {
        "suggested": project.classes[said.label],
        "suggested_probability": said.probability,
        "runner_up": runner_up,
        "runner_up_probability": said.runner_up_probability,
    }


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


def _print_table(
    project: Project, rows: Iterable[QueueRow], caption: str, held_out: HeldOut | None
) -> None:
    table = Table(
        title=Text(excerpt(project.title, EXCERPT_LENGTH)),
        caption=Text(caption),
        title_justify="left",
    )
    table.add_column("rank", justify="right")
    heads = {"image": "picture", "text": "text", "table": "row"}
    table.add_column(heads.get(project.kind, "key"), max_width=EXCERPT_LENGTH)
    table.add_column("given > predicted")
    table.add_column("residual" if project.task == "regression" else "prob.", justify="right")
    if held_out is not None:
        table.add_column("suggested")
    table.add_column("percentile", justify="right")
    table.add_column("status")
    for row in rows:
        named = describe_row(row, project)
        cells = (
            str(row.rank),
            describe_content(row),
            excerpt(f"{_say(named['given'])} > {_say(named['predicted'])}"),
            _describe_doubt(row),
            *(() if held_out is None else (_say_suggestion(row, project, held_out),)),
            f"{row.percentile:.1f}",
            row.status,
        )
        table.add_row(*map(Text, cells))
    print_table(table)


def describe_content(row: QueueRow) -> str:
    """Return what an example is: its texts, its values, or where the picture came from."""
    if row.fields and row.text is not None:
        # A line for each of the texts that were joined: of a pair the second is to be seen, too.
        shown = ((name, value) for name, value in row.fields.items() if value)
        return "\n".join(excerpt(f"{name}: {value}") for name, value in shown)
    if row.fields:
        return excerpt(", ".join(f"{name} {_say(value)}" for name, value in row.fields.items()))
    if row.text is not None:
        return excerpt(row.text)
    # A picture's key is a long hash; its beginning tells it apart, as in git.
    return excerpt(row.source_place) if row.source_place else row.key[:12]


def _describe_doubt(row: QueueRow) -> str:
    """Return the prediction's probability, or how far the given number lies above it."""
    if row.given_value is not None and row.predicted_value is not None:
        return format_residual(row.given_value, row.predicted_value)
    return "" if row.predicted_probability is None else f"{row.predicted_probability:.0%}"


def _say_suggestion(row: QueueRow, project: Project, held_out: HeldOut) -> str:
    """Return the suggested label with its probability, or number; "" where there is none."""
    said = describe_suggestion(row, project, held_out)
    if not said:
        return ""
    name, chance = _say(said["suggested"]), said.get("suggested_probability")
    return excerpt(name) if chance is None else f"{excerpt(name)} {chance:.0%}"


def _say(value: object) -> str:
    if value is None:
        return "?"
    return format_number(value) if isinstance(value, int | float) else str(value)
