"""One example, and which train examples each method says it has learned from, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from relabel.comparison.saved import Comparison, Outcome, Pairs, Sides, name_example
from relabel.db.examples import ExampleView, find_by_positions, get_example
from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.errors import NotFoundError
from relabel.text import LARGEST_NUMBER, SPLITS
from ui.compare.start import start_comparison
from ui.components.cards import Layout, show_cards
from ui.examples import draw_example, draw_labels
from ui.fields import read_spreads
from ui.galleries import neighbour_card
from ui.labels import name_given
from ui.navigation import open_page
from ui.runs.own_model import agree_to_network
from ui.session import get_engine
from ui.wording import SPLIT_WORDS, escape_markdown

_SHOWN = 5  # proponents and opponents of each method
_COLUMNS = 4  # methods side by side
_IMAGE = 72  # CSS pixels
_SIDES = {"proponents": "Speak for it · proponents", "opponents": "Speak against it · opponents"}


@dataclass(frozen=True)
class _Explained:
    """An example with what each method says about it."""

    view: ExampleView
    sides: tuple[tuple[Outcome, Sides], ...]


def draw_one_example(
    project: Project, run: Run, comparison: Comparison, *, is_busy: bool
) -> int | None:
    """Draw an example with each method's proponents and opponents of it.

    Returns:
        The number of a train example that was clicked, or None.
    """
    st.header("One example, by every method", anchor=False)
    stored = _list_stored(project, run, comparison)
    view = _choose_example(project, run, stored)
    if view is None:
        st.caption(
            "No example has been explained. Compare again with at least one example, or open "
            "one by its number."
        )
        return None
    name = name_example(view.split, view.position)
    found = tuple((one, one.sides[name]) for one in comparison.outcomes if name in one.sides)
    shown, told = st.columns([1, 3], gap="medium")
    with shown:
        draw_example(project, view, key=f"compared-{view.id}")
    with told:
        st.markdown(f"**{SPLIT_WORDS[view.split]} example {view.position + 1:,}**, no. {view.id}")
        draw_labels(project, view)
        if not found:
            _offer_explaining(project, run, comparison, view, is_busy=is_busy)
    return _draw_methods(project, run, _Explained(view, found)) if found else None


def _list_stored(project: Project, run: Run, comparison: Comparison) -> list[ExampleView]:
    """Return the examples that every method has explained."""
    names = [one.split(":") for one in comparison.list_explained()]
    views: list[ExampleView] = []
    for split in reversed(SPLITS):
        positions = [int(position) for one, position in names if one == split]
        if positions:
            views += find_by_positions(get_engine(), project.id, run.id, split, positions)
    return views


def _choose_example(
    project: Project, run: Run, stored: Sequence[ExampleView]
) -> ExampleView | None:
    """Draw the choice of an example, and return the one that the address names, or the first."""
    asked = st.query_params.get("example", "")
    current = _open_example(project, run, asked) if asked else next(iter(stored), None)
    offered = {view.id: view for view in stored}
    if current is not None:
        offered.setdefault(current.id, current)
    here = None if current is None else current.id
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox(
            "Explained by every method",
            list(offered),
            index=None if here is None else list(offered).index(here),
            format_func=lambda one: _name(project, offered[one]),
            key=f"compare-example-{here}",
            width=380,
        )
        typed = st.number_input(
            "Or the number of any example",
            min_value=1,
            max_value=LARGEST_NUMBER,
            value=None,
            key=f"compare-number-{here}",
            width=220,
            help="The address of Inspect shows it.",
        )
    wanted = typed or chosen
    if wanted is not None and wanted != here:
        st.query_params["example"] = str(wanted)
        st.rerun()
    return current


def _name(project: Project, view: ExampleView) -> str:
    given = name_given(project, view)
    return f"{SPLIT_WORDS[view.split]} example {view.position + 1:,} · given {given}"


def _open_example(project: Project, run: Run, asked: str) -> ExampleView | None:
    """Return the example of a number in the address; None, and a word, where there is none."""
    try:
        if not asked.isdecimal() or len(asked) > 18:
            raise NotFoundError(f"“{asked[:40]}” is not the number of an example.")
        view = get_example(get_engine(), int(asked), run.id)
        if view.project_id != project.id:
            raise NotFoundError(f"Example {asked} belongs to another project.")
    except NotFoundError as error:
        st.error(escape_markdown(f"{error} Choose one below."))
        return None
    return view


def _offer_explaining(
    project: Project, run: Run, comparison: Comparison, view: ExampleView, *, is_busy: bool
) -> None:
    st.caption("No method has explained this example yet.")
    agreed = agree_to_network(run.config.get("model"), place="explain")
    pressed = st.button(
        "Explain it by every method",
        key=f"explain-{view.id}",
        disabled=is_busy or not agreed,
        help="The project is busy: one job at a time." if is_busy else None,
    )
    if pressed:
        methods = [one.name for one in comparison.outcomes]
        start_comparison(project, methods, len(comparison.drawn), agreed, also=[view.id])


def _draw_methods(project: Project, run: Run, explained: _Explained) -> int | None:
    """Draw both sides, each method a column."""
    opened = None
    known = _read_views(project, run, explained)
    for side, title in _SIDES.items():
        st.subheader(title, anchor=False)
        for start in range(0, len(explained.sides), _COLUMNS):
            row = explained.sides[start : start + _COLUMNS]
            columns = st.columns(_COLUMNS, gap="medium")
            for column, (outcome, sides) in zip(columns, row, strict=False):
                with column:
                    st.markdown(f"**{escape_markdown(outcome.title)}**")
                    pairs: Pairs = getattr(sides, side)[:_SHOWN]
                    key = f"compared-{explained.view.id}-{outcome.name}-{side}"
                    clicked = _draw_cards(project, explained.view, known, pairs, key, side)
                    opened = clicked if clicked is not None else opened
    return opened


def _read_views(project: Project, run: Run, explained: _Explained) -> dict[int, ExampleView]:
    """Return the train examples that are shown, by position, read together."""
    positions = sorted(
        {
            position
            for _, sides in explained.sides
            for pairs in (sides.proponents[:_SHOWN], sides.opponents[:_SHOWN])
            for position, _ in pairs
        }
    )
    views = find_by_positions(get_engine(), project.id, run.id, "train", positions)
    return dict(zip(positions, views, strict=True))


def _draw_cards(
    project: Project,
    view: ExampleView,
    known: dict[int, ExampleView],
    pairs: Pairs,
    key: str,
    side: str,
) -> int | None:
    if not pairs:
        st.caption(f"No {side}.")
        return None
    spreads = read_spreads(project)
    cards = [
        neighbour_card(project, known[position], value, beside=view.fields, spreads=spreads)
        for position, value in pairs
    ]
    layout: Layout = "list" if view.text or view.fields else "compact"
    event = show_cards(cards, key=key, label=side.capitalize(), layout=layout, image_size=_IMAGE)
    return event.opened


def open_clicked(opened: int | None) -> None:
    """Open a train example on Inspect, if one was clicked."""
    if opened is not None:
        open_page("inspect", example=opened)
