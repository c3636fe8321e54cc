"""``value``: what each train example is worth to the test examples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from relabel.cli.context import OpenedProject, open_project
from relabel.cli.data import require_writable
from relabel.cli.display import print_table
from relabel.cli.parameters import Location, command, format_option, project_argument, whole
from relabel.cli.work import agree_to_saved, run_or_enqueue
from relabel.db.examples import ExampleView, find_by_positions
from relabel.db.positions import read_placed
from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.runs.folder import RunFolder
from relabel.text import LAYERS, Layers, excerpt, format_number, printable
from relabel.valuation.groups import DIVISIONS, Division
from relabel.valuation.valuation import (
    WORTHS,
    NoScoreVectorsError,
    Valuation,
    ValueQuery,
    compute_valuation,
    write_values,
)
from relabel.valuation.words import (
    EXPLAINED,
    Explained,
    describe_exactness,
    describe_unit,
    name_explained,
)
from tracin_core.errors import ConfigurationError
from tracin_core.files import atomic_file, expand_path

_EXCERPT_LENGTH = 50  # characters


@command
@project_argument
@click.option(
    "--by",
    type=click.Choice(DIVISIONS),
    default="all",
    show_default=True,
    help="groups of test examples that are added up: all, a class each, or those predicted as "
    "labelled and the others",
)
@click.option("--class", "class_name", metavar="CLASS", help="test examples of this class alone")
@click.option(
    "--test", "keys", multiple=True, metavar="KEY", help="this test example alone (repeatable)"
)
@click.option(
    "--explain",
    "explained",
    type=click.Choice(EXPLAINED),
    default="loss",
    show_default=True,
    help="score: of the predicted class; the first time it takes a pass over the test examples",
)
@click.option("--layers", type=click.Choice(LAYERS), help="default: all, where the run has them")
@click.option(
    "--top",
    type=whole(1, 1000),
    default=10,
    metavar="N",
    show_default=True,
    help="examples of either kind; at most 1000",
)
@click.option(
    "--save", type=Path, metavar="FILE.csv", help="write the values of all train examples"
)
@click.option("--run-my-code", is_flag=True, help="agree to run the file of your own network again")
@format_option
def value(
    location: Location,
    project: str,
    by: Division,
    class_name: str | None,
    keys: Sequence[str],
    explained: Explained,
    layers: Layers | None,
    top: int,
    save: Path | None,
    run_my_code: bool,
    format: str,
) -> int:
    """Print the most harmful and the most helpful train examples of each group."""
    path = None if save is None else expand_path(save)
    if path is not None:
        require_writable(path)
    opened = open_project(location, project, "look" if explained == "loss" else "work")
    run = opened.current_run()
    query = ValueQuery(
        by=by,
        label=None if class_name is None else _find_class(opened.project, class_name),
        positions=_find_keys(opened, run, keys),
        layers=layers,
        explained=explained,
    )
    valuation = _compute(opened, run, query, run_my_code)
    if format == "json":
        print(json.dumps(_describe(opened, run, valuation, top), indent=2))
    else:
        for number in range(len(valuation.values.groups)):
            _print_group(opened, run, valuation, number, top)
        print(describe_exactness(valuation.config, valuation.layers))
    if path is not None:
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            write_values(file, opened.project, valuation)
        if format == "table":
            print(printable(f"Wrote {path} ({path.stat().st_size:,} bytes)."))
    return 0


def _compute(opened: OpenedProject, run: Run, query: ValueQuery, run_my_code: bool) -> Valuation:
    """Return the values; where the predictions' gradients are missing, compute them first."""
    project = opened.project
    folder = RunFolder(opened.workspace.project_folder(project.slug) / run.folder)
    try:
        return compute_valuation(opened.engine, project, run, folder, query)
    except NoScoreVectorsError:
        agreed = agree_to_saved(opened, run_my_code, of_run=True)
        run_or_enqueue(opened, project.slug, "explain", {"run_my_code": agreed}, background=False)
        return compute_valuation(opened.engine, project, run, folder, query)


def _find_class(project: Project, name: str) -> int:
    if name not in project.classes:
        known = ", ".join(project.classes[:20]) or "none: it predicts a number"
        raise ConfigurationError(
            f"The project {project.slug} has no class called {name!r}. Choose one of: {known}."
        )
    return project.classes.index(name)


def _find_keys(opened: OpenedProject, run: Run, keys: Sequence[str]) -> tuple[int, ...]:
    """Return the positions of the test examples that a person named."""
    if not keys:
        return ()
    count = run.config.get("counts", {}).get("test", 0)
    placed = read_placed(opened.engine, opened.project.id, run.id, "test", count)
    places = {key: position for position, key in enumerate(placed.keys)}
    missing = [key for key in keys if key not in places]
    if missing:
        raise ConfigurationError(
            f"The run {run.key} has scored no test example with the key {missing[0]!r}. Keys "
            f"stand in {opened.project.slug}'s exports; one is {next(iter(places), 'none')!r}."
        )
    return tuple(places[key] for key in keys)


def _list_rows(
    opened: OpenedProject, run: Run, valuation: Valuation, group: int, top: int
) -> list[tuple[str, ExampleView, float, float]]:
    """Return worth, example, total and mean of the strongest train examples of a group."""
    rows: list[tuple[str, ExampleView, float, float]] = []
    for worth in WORTHS:
        places = valuation.find_strongest(group, worth, top).tolist()
        views = find_by_positions(opened.engine, opened.project.id, run.id, "train", places)
        for place, view in zip(places, views, strict=True):
            total = float(valuation.values.totals[place, group])
            mean = total / len(valuation.values.groups[group].positions)
            rows.append((worth, view, total, mean))
    return rows


def _print_group(
    opened: OpenedProject, run: Run, valuation: Valuation, number: int, top: int
) -> None:
    group = valuation.values.groups[number]
    unit = describe_unit(valuation.config, valuation.query.explained)
    what = name_explained(valuation.config, valuation.query.explained)
    table = Table(
        title=Text(f"{excerpt(group.title)} ({len(group.positions):,} test examples)"),
        caption=Text(f"{what} in {unit}; above 0 helped"),
        title_justify="left",
    )
    table.add_column("worth")
    heads = {"image": "key", "text": "text", "table": "row"}
    table.add_column(heads.get(opened.project.kind, "key"), max_width=_EXCERPT_LENGTH)
    table.add_column("label")
    table.add_column("total", justify="right")
    table.add_column("mean", justify="right")
    for worth, view, total, mean in _list_rows(opened, run, valuation, number, top):
        content = view.text or ", ".join(f"{k} {v}" for k, v in (view.fields or {}).items())
        cells = (
            worth,
            excerpt(content or view.key, _EXCERPT_LENGTH),
            _name_label(opened.project, view),
            f"{total:+.4g}",
            f"{mean:+.4g}",
        )
        table.add_row(*map(Text, cells))
    print_table(table)


def _name_label(project: Project, view: ExampleView) -> str:
    if project.task == "regression":
        return format_number(view.current_value)
    return excerpt(project.classes[view.current_label])


def _describe(opened: OpenedProject, run: Run, valuation: Valuation, top: int) -> dict[str, Any]:
    return {
        "project": opened.project.slug,
        "run": run.key,
        "layers": valuation.layers,
        "explained": valuation.query.explained,
        "unit": describe_unit(valuation.config, valuation.query.explained),
        "exactness": describe_exactness(valuation.config, valuation.layers),
        "groups": [
            _describe_group(opened, run, valuation, number, top)
            for number in range(len(valuation.values.groups))
        ],
    }


def _describe_group(
    opened: OpenedProject, run: Run, valuation: Valuation, number: int, top: int
) -> dict[str, Any]:
    group = valuation.values.groups[number]
    strongest: dict[str, list[dict[str, Any]]] = {worth: [] for worth in WORTHS}
    for worth, view, total, mean in _list_rows(opened, run, valuation, number, top):
        label = _name_label(opened.project, view)
        strongest[worth].append({"key": view.key, "label": label, "total": total, "mean": mean})
    return {"group": group.title, "test_examples": len(group.positions), **strongest}
