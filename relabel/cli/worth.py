"""``gain`` and ``report``: what the review was worth, measured and told."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import get_args

import click

from relabel.cli.context import open_project
from relabel.cli.parameters import (
    Location,
    background_option,
    command,
    format_option,
    project_argument,
    seed,
    whole,
)
from relabel.cli.work import run_or_enqueue
from relabel.features.backbones.registry import resolve_member
from relabel.text import printable
from relabel.worth.gain.options import LEAST_SEEDS, MOST_SEEDS, USUAL_SEEDS, GainOptions, Learner
from relabel.worth.gain.saved import read_latest_gain
from relabel.worth.gain.words import describe_gain
from relabel.worth.report.write import write_report, write_slides
from tracin_core.files import expand_path


@command
@project_argument
@click.option(
    "--learner",
    type=click.Choice(get_args(Learner)),
    default="head",
    show_default=True,
    help="head: a linear model over stored features, seconds; network: the project's network, "
    "trained from its beginning each time",
)
@click.option(
    "--seeds",
    type=whole(LEAST_SEEDS, MOST_SEEDS),
    default=USUAL_SEEDS,
    metavar="N",
    show_default=True,
    help="trainings on each set of labels, with other weights and batches each time",
)
@click.option(
    "--seed", type=seed, default=0, metavar="N", show_default=True, help="the first of them"
)
@click.option(
    "--features",
    default="auto",
    metavar="NAME",
    help="backbone that the head reads (default: auto)",
)
@format_option
@background_option
def gain(
    location: Location,
    project: str,
    learner: Learner,
    seeds: int,
    seed: int,
    features: str,
    format: str,
    background: bool,
) -> int:
    """Measure, or start it, and say what came of it."""
    opened = open_project(location, project)
    options = GainOptions(
        learner=learner, seeds=seeds, first_seed=seed, features=resolve_member(features)
    )
    job = run_or_enqueue(opened, project, "gain", options.to_json(), background=background)
    if job is None:
        return 0
    measured = read_latest_gain(opened.workspace, project)
    if measured is None:  # deleted since
        return 0
    if format == "json":
        print(json.dumps(measured.to_json(), indent=1))
        return 0
    for sentence in describe_gain(measured):
        print(printable(sentence))
    return 0


@command
@project_argument
@click.option(
    "-o",
    "--output",
    type=Path,
    metavar="FILE",
    help="default: a name with the project and the day, in this folder",
)
@click.option(
    "--figures",
    type=Path,
    metavar="DIR",
    help="also write each figure as PNG and SVG, of a slide's size, into this folder",
)
def report(location: Location, project: str, output: Path | None, figures: Path | None) -> int:
    """Write the files and say where they are."""
    opened = open_project(location, project, "look")
    place = (opened.engine, opened.workspace, opened.project.slug)
    path = expand_path(output or Path(f"{project}-report-{date.today()}.html"))
    print(printable(f"{project}: the report is in {write_report(*place, path)}"))
    if figures is not None:
        folder = expand_path(figures)
        written = write_slides(*place, folder)
        print(printable(f"{project}: {len(written)} files with figures are in {folder}"))
    return 0
