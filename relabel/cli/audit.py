"""``audit`` and ``learn``: how many labels are wrong, when to stop, and a queue that learns."""

from __future__ import annotations

import json
from dataclasses import asdict

import click
from rich.table import Table
from rich.text import Text

from relabel.cli.context import open_project
from relabel.cli.decisions import account_name
from relabel.cli.display import print_table
from relabel.cli.parameters import Location, command, format_option, project_argument
from relabel.db.team.audits import DESIGNS, Design
from relabel.db.team.reviewers import Identity
from relabel.text import counted, printable
from relabel.worth.audit import (
    MIX_SHARE,
    TEACHING_SHARE,
    AuditPlan,
    check_audit,
    draw_audit,
    extend_audit,
)
from relabel.worth.learned_order import forget_order, learn_order
from relabel.worth.noise_rate import NoiseRate, read_noise_rate
from relabel.worth.stopping import StopState, read_stop_state


@command
@project_argument
@click.option("--draw", type=click.IntRange(1), metavar="N", help="draw a new audit of N items")
@click.option(
    "--design", type=click.Choice(DESIGNS), default="uniform", help="how (default: uniform)"
)
@click.option("--seed", metavar="HEX", help="of the draw (default: one nobody can have chosen)")
@click.option(
    "--mix",
    type=click.FloatRange(0, 1, min_open=True),
    default=MIX_SHARE,
    help=f"share of what Review hands out (default: {MIX_SHARE})",
)
@click.option(
    "--teaching",
    type=click.FloatRange(0, 1),
    default=TEACHING_SHARE,
    help=f"share that teaches the queue's order and certifies no recall ({TEACHING_SHARE})",
)
@click.option("--more", type=click.IntRange(1), metavar="N", help="draw N further items of it")
@click.option("--check", is_flag=True, help="draw it again by its seed, and compare")
@format_option
@click.option("--reviewer", metavar="NAME", help="who has it drawn (default: your account)")
def audit(
    location: Location,
    project: str,
    draw: int | None,
    design: Design,
    seed: str | None,
    mix: float,
    teaching: float,
    more: int | None,
    check: bool,
    format: str,
    reviewer: str | None,
) -> int:
    """Draw, extend or check an audit; say how many labels are wrong and when to stop."""
    opened = open_project(location, project, "work" if draw or more else "look")
    run = opened.current_run()
    folder = opened.workspace.project_folder(opened.project.slug)
    who = Identity(reviewer or account_name())
    if draw is not None:
        plan = AuditPlan(
            size=draw, design=design, mix_share=mix, teaching_share=teaching, seed=seed
        )
        draw_audit(opened.engine, folder, run, plan, by=who)
    if more is not None:
        extend_audit(opened.engine, folder, run, more, by=who)
    if check:
        faults = check_audit(opened.engine, folder, run)
        for fault in faults or ["Every draw is the one that its seed gives."]:
            print(printable(fault))
        return 1 if faults else 0
    noise = read_noise_rate(opened.engine, opened.project.id)
    state = read_stop_state(opened.engine, run.id)
    if format == "json":
        said = {"noise": None if noise is None else asdict(noise), "stop": asdict(state)}
        print(json.dumps(said, indent=2, ensure_ascii=False))
    else:
        _print(noise, state)
    return 0


def _print(noise: NoiseRate | None, state: StopState) -> None:
    if noise is None:
        print("No audit was drawn. --draw 100 draws one, which comes mixed into Review.")
    else:
        print(
            f"{noise.num_audited} of {noise.num_drawn} items answered ({noise.design}), "
            f"{noise.num_wrong} of them wrong."
        )
        if noise.num_audited:
            print(
                f"Labels that are wrong: {noise.rate:.1%}, between {noise.low:.1%} and "
                f"{noise.high:.1%} at 95%, of {noise.num_examples:,}."
            )
            _print_classes(noise)
    print(state.sentence)
    print(printable(state.promise))


def _print_classes(noise: NoiseRate) -> None:
    if not noise.by_class:
        return
    table = Table()
    for title in ("given label", "examples", "answered", "wrong", "share", "95% interval"):
        table.add_column(title)
    for one in noise.by_class:
        told = (f"{one.rate:.1%}", f"{one.low:.1%} - {one.high:.1%}")
        share, interval = told if one.num_audited else ("-", "-")
        counts = (one.num_examples, one.num_audited, one.num_wrong)
        table.add_row(Text(one.name), *map(str, counts), share, interval)
    print_table(table)


@command
@project_argument
@click.option("--off", is_flag=True, help="rank the queue as before")
@click.option("--reviewer", metavar="NAME", help="who wants it (default: your account)")
def learn(location: Location, project: str, off: bool, reviewer: str | None) -> int:
    """Rank what is left by what was decided, if that is at least as good on random draws."""
    opened = open_project(location, project, "work")
    run = opened.current_run()
    who = Identity(reviewer or account_name())
    if off:
        forget_order(opened.engine, run.id, by=who)
        print("The queue is ranked as before.")
        return 0
    folder = opened.workspace.project_folder(opened.project.slug)
    lesson, _ = learn_order(opened.engine, folder, run.id, by=who)
    print(
        f"Learned from {counted(lesson.num_decisions, 'decision')}, {lesson.num_random} of them "
        f"drawn at random. On those it has an error before a right label in {lesson.learned:.0%} "
        f"of the cases, the order of before in {lesson.static:.0%}."
    )
    print("It ranks the queue now." if lesson.is_taken else "It was not taken.")
    for line in lesson.weights:
        print(printable(f"- {line}"))
    return 0
