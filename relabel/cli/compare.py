"""``compare``: attribution methods and signals beside each other on a scored project."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from relabel.cli.context import open_project
from relabel.cli.display import print_table
from relabel.cli.parameters import (
    Location,
    background_option,
    command,
    format_option,
    project_argument,
    row_id,
    seed,
    whole,
)
from relabel.cli.work import agree_to_saved, run_or_enqueue
from relabel.comparison.contenders import choose_contenders
from relabel.comparison.options import MOST_EXAMPLES, USUAL_EXAMPLES, CompareOptions
from relabel.comparison.saved import Comparison, require_comparison
from relabel.comparison.tables import describe_truth, list_rows, save_files
from relabel.runs.folder import RunFolder
from relabel.scoring.evaluate import INSPECTED_SHARES
from relabel.text import format_bytes, printable
from tracin_core.errors import ConfigurationError
from tracin_core.files import expand_path


@command
@project_argument
@click.option(
    "--methods",
    metavar="LIST",
    default="",
    help="names with commas between them: of methods (those of score --method), "
    "tracincp_recorded, of signals, random (default: nine that are told most of)",
)
@click.option(
    "--truth",
    type=Path,
    metavar="FILE",
    help="CSV or Parquet with the columns key and true_label (default: what the project knows "
    "from its import)",
)
@click.option(
    "--examples",
    type=whole(0, MOST_EXAMPLES),
    default=USUAL_EXAMPLES,
    metavar="N",
    show_default=True,
    help="test examples whose proponents are compared",
)
@click.option(
    "--example",
    type=row_id,
    multiple=True,
    metavar="ID",
    help="also find the proponents of this example; may be repeated",
)
@click.option(
    "--seed", type=seed, default=0, metavar="N", show_default=True, help="of the examples' draw"
)
@click.option("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, ...")
@click.option(
    "--save",
    type=Path,
    metavar="DIR",
    help="write the tables as CSV and the figures as HTML, SVG and PNG into this folder",
)
@click.option("--run-my-code", is_flag=True, help="agree to run the file of your own network again")
@format_option
@background_option
def compare(
    location: Location,
    project: str,
    methods: str,
    truth: Path | None,
    examples: int,
    example: tuple[int, ...],
    seed: int,
    device: str,
    save: Path | None,
    run_my_code: bool,
    format: str,
    background: bool,
) -> int:
    """Compare, or start it, and print one row a method."""
    opened = open_project(location, project)
    run = opened.current_run()
    folder = RunFolder(opened.workspace.project_folder(project) / run.folder)
    names = [name.strip() for name in methods.split(",") if name.strip()]
    choose_contenders(names, folder.read_config().task)
    if background and save is not None:
        raise ConfigurationError(
            "Found --save with --background; expected one of them. Start it in the background, and "
            "give the same command with --save alone when it is done: it computes nothing twice."
        )
    options = CompareOptions(
        methods=tuple(names),
        examples=examples,
        also=tuple(example),
        seed=seed,
        truth="" if truth is None else str(expand_path(truth).resolve()),
        device=device,
    )
    agreed = agree_to_saved(opened, run_my_code, of_run=True)
    job_options = options.to_json() | {"run_my_code": agreed}
    job = run_or_enqueue(opened, project, "compare", job_options, background=background)
    if job is None:
        return 0
    comparison = require_comparison(folder)
    if format == "json":
        rows = list_rows(comparison)
        answer = {"project": project, "truth": describe_truth(comparison), "methods": rows}
        print(json.dumps(answer, indent=2))
    else:
        _print_comparison(comparison, opened.project.title)
    if save is not None:
        place = expand_path(save)
        written = save_files(comparison, folder, place)
        if format != "json":
            print(printable(f"{project}: {len(written)} files are in {place}"))
    return 0


def _print_comparison(comparison: Comparison, title: str) -> None:
    caption = (
        f"{describe_truth(comparison)} Found: share of the wrong labels among the first. Time: of "
        "the processor, for scoring all train examples; –: measured when the run was scored. "
        "Memory: the most beyond what the process held before."
    )
    table = Table(title=Text(title), caption=Text(caption), title_justify="left")
    table.add_column("method")
    for share in INSPECTED_SHARES[1:]:
        table.add_column(f"found in {share:.0%}", justify="right")
    for name in ("area", "time", "influences", "memory"):
        table.add_column(name, justify="right")
    for one in comparison.outcomes:
        curve = comparison.curves.get(one.name)
        found = ["–"] * len(INSPECTED_SHARES)
        if curve is not None:
            found = [*(f"{share:.1%}" for share in curve.found_at[1:]), f"{curve.area:.3f}"]
        if not one.reason:
            times = (_seconds(one.seconds), _seconds(one.influence_seconds))
            memory = "–" if one.peak_bytes is None else format_bytes(one.peak_bytes)
            table.add_row(one.name, *found, *times, memory)
    print_table(table)
    for one in comparison.outcomes:
        if one.reason or one.unattributed:
            lacks = "is left out" if one.reason else "has no influences"
            print(printable(f"{one.name} {lacks}: {one.reason or one.unattributed}"))


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} s"
