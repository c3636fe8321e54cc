"""Train examples as rows with figures, and the ways from each to Inspect, Review and Queue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from relabel.db.examples import ExampleView, find_by_positions
from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.text import counted
from relabel.triage.signals import choose_default_signal
from ui.components.cards import show_cards
from ui.galleries import describe_content, example_card
from ui.labels import name_current, name_given, name_predicted
from ui.queue.screen import choose_page_size
from ui.server.pictures import thumbnail_address
from ui.session import get_engine
from ui.wording import STATUS_WORDS

# That are shown as cards, in two or three rows; the table has more.
_CARDS, _OTHERWISE = {"image": 12}, 8
_IMAGE_SIZE = 88  # CSS pixels
_TEXT_WIDTH = 240  # CSS pixels: labels, figures and links stand beside it
_LINKS = {"Inspect": "inspect", "Review": "review"}


def find_examples(project: Project, run: Run, positions: Sequence[int]) -> list[ExampleView]:
    """Return train examples at some positions, with their places in the queue."""
    return find_by_positions(get_engine(), project.id, run.id, "train", positions, with_scores=True)


def draw_cards(
    project: Project, views: Sequence[ExampleView], words: Sequence[str], *, key: str, label: str
) -> int | None:
    """Draw the first examples as cards, each with its figure in words.

    Returns:
        The number of the one that was clicked, or None.
    """
    count = _CARDS.get(project.kind, _OTHERWISE)
    cards = [
        replace(example_card(project, view), meta=said)
        for view, said in zip(views[:count], words[:count], strict=True)
    ]
    return show_cards(cards, key=key, label=label, image_size=_IMAGE_SIZE).opened


def draw_table(
    project: Project,
    run: Run,
    views: Sequence[ExampleView],
    figures: Mapping[str, Sequence[Any]],
    *,
    formats: Mapping[str, str],
    key: str,
    alt: str,
) -> None:
    """Draw examples as rows: what they are, their labels, figures, and links.

    Args:
        project: The project.
        run: Whose queue the links lead to.
        views: The examples, with their scores.
        figures: Columns by their heads, a value for each example.
        formats: How the numbers of a column are written, by its head; as printf has it.
        key: Widget key.
        alt: What the table shows.
    """
    rows = [
        {
            **_describe(project, view),
            **{head: values[place] for head, values in figures.items()},
            "Rank": _find_rank(run, view),
            **_list_links(project, run, view),
        }
        for place, view in enumerate(views)
    ]
    config: dict[str, Any] = {
        head: st.column_config.NumberColumn(format=format) for head, format in formats.items()
    }
    config["Example"] = st.column_config.TextColumn(width=_TEXT_WIDTH)
    config["Rank"] = st.column_config.NumberColumn(help="In the whole queue; 1 is most suspect")
    config["Image"] = st.column_config.ImageColumn(width="small")
    config |= {head: st.column_config.LinkColumn(display_text=head) for head in _LINKS}
    config["Queue"] = st.column_config.LinkColumn(
        display_text="Queue",
        help="The page of the queue on which it stands while nothing above it is decided",
    )
    st.dataframe(rows, hide_index=True, column_config=config, placeholder="–", key=key, alt=alt)


def _describe(project: Project, view: ExampleView) -> dict[str, Any]:
    image = thumbnail_address(view.id, view.key, view.media_path)
    content = {"Image": image} if image else {"Example": describe_content(view.text, view.fields)}
    given, now = name_given(project, view), name_current(project, view)
    return {
        **content,
        "Label": given if given == now else f"{given} → {now}",
        "Predicted": name_predicted(project, view),
        "State": STATUS_WORDS[view.status],
    }


def _list_links(project: Project, run: Run, view: ExampleView) -> dict[str, str | None]:
    links: dict[str, str | None] = {
        head: _make_address(project, name, example=view.id) for head, name in _LINKS.items()
    }
    rank = _find_rank(run, view)
    page = 1 if rank is None else 1 + (rank - 1) // choose_page_size(project.kind)
    return links | {"Queue": None if rank is None else _make_address(project, "queue", page=page)}


def _make_address(project: Project, name: str, **parameters: int) -> str:
    return f"{name}?{urlencode({'project': project.slug, **parameters})}"


def _find_rank(run: Run, view: ExampleView) -> int | None:
    score = view.scores.get(choose_default_signal(run.signals)) if run.signals else None
    return None if score is None else score.rank


def describe_lists(num_asked: int, num_all: int, what: str) -> str:
    """Return whose lists were looked at: all, or so many that are spread evenly over them."""
    if num_asked == num_all:
        return f"{num_all:,} {what}"
    return f"{counted(num_asked, 'example')} evenly spread over {num_all:,} {what}"
