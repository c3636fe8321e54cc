"""Examples as cards of a gallery: the queue's rows, proponents and opponents, test examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from relabel.db.examples import ExampleView
from relabel.db.project_rules import Project
from relabel.db.queue import QueueRow
from relabel.text import shorten
from ui.components.cards import Card, Piece
from ui.fields import Fields, card_fields, list_fields, row_of
from ui.labels import (
    given_tag,
    name_given,
    name_predicted,
    plain_predicted_tag,
    predicted_tag,
    status_tags,
    suggested_tag,
)
from ui.server.pictures import thumbnail_address
from ui.wording import isolate, score_text

EXCERPT_LENGTH = 280  # characters
SMALL_LENGTH = 80  # the first words, of an example that a message speaks of


def queue_card(project: Project, row: QueueRow, *, total: int) -> Card:
    """Return one of the queue of ``total`` examples: what it is, labels, place.

    What has been decided about it is no part of it: that changes while it is on the screen.
    """
    given = name_given(project, row)
    suggested = suggested_tag(project, row)
    says = "" if suggested is None else f"{suggested.text}, "
    return Card(
        id=row.example_id,
        label=f"Suspect {row.rank}: given {given}, {says}predicted {name_predicted(project, row)}. "
        f"{describe_content(row.text, row.fields)}",
        image=thumbnail_address(row.example_id, row.key, row.media_path),
        alt=f"Example with the given label {given}",
        heading=f"{row.rank:,}",
        text=card_text(row.text, row.fields),
        fields=card_fields(row_of(row.text, row.fields)),
        tags=(
            given_tag(project, row),
            *([] if suggested is None else [suggested]),
            predicted_tag(project, row) if suggested is None else plain_predicted_tag(project, row),
        ),
        meta=f"score {score_text(row.score)} · {place(row.rank, total)}",
    )


def neighbour_card(
    project: Project,
    view: ExampleView,
    score: float,
    *,
    beside: Fields | None = None,
    spreads: Mapping[str, float] | None = None,
    pieces: tuple[Piece, ...] = (),
) -> Card:
    """Return one proponent or opponent: what it is, labels, its influence.

    Args:
        project: Its classes name the labels.
        view: The train example.
        score: Its influence or cosine.
        beside: The row of the example that is explained; columns that differ are marked.
        spreads: Standard deviation of each numeric column.
        pieces: The beginning of its text in pieces, some of them marked.
    """
    given = name_given(project, view)
    return Card(
        id=view.id,
        label=f"Train example with the given label {given}, influence {score_text(score)}. "
        f"{describe_content(view.text, view.fields)}",
        image=thumbnail_address(view.id, view.key, view.media_path),
        alt=f"Train example with the given label {given}",
        text=card_text(view.text, view.fields),
        pieces=pieces,
        fields=card_fields(row_of(view.text, view.fields), beside, spreads),
        tags=(
            given_tag(project, view),
            predicted_tag(project, view),
            *status_tags(project, view),
        ),
        meta=score_text(score),
    )


def example_card(project: Project, view: ExampleView) -> Card:
    """Return an example as it stands among others of its split."""
    given = name_given(project, view)
    return Card(
        id=view.id,
        label=f"Example with the given label {given}. {describe_content(view.text, view.fields)}",
        image=thumbnail_address(view.id, view.key, view.media_path),
        alt=f"Example with the given label {given}",
        text=card_text(view.text, view.fields),
        fields=card_fields(row_of(view.text, view.fields)),
        tags=(given_tag(project, view), predicted_tag(project, view)),
    )


def small_example(view: ExampleView) -> dict[str, Any]:
    """Return an example as a message shows the one that it speaks of: small, and without labels.

    Whoever gives a second opinion must not learn the first one from it.
    """
    words = shorten(describe_content(view.text, view.fields), SMALL_LENGTH)
    return {
        "id": view.id,
        "image": thumbnail_address(view.id, view.key, view.media_path),
        "words": words or isolate(view.source_place or view.key[:SMALL_LENGTH]),
    }


def excerpt(text: str | None) -> str | None:
    """Return the beginning of a text; None where there is none."""
    return shorten(text, EXCERPT_LENGTH) if text else None


def card_text(text: str | None, fields: Fields | None) -> str | None:
    """Return the beginning of a text; of each of those that were joined, behind its name."""
    if text is None or not fields:
        return excerpt(text)
    each = EXCERPT_LENGTH // len(fields)
    return "\n".join(
        f"{shorten(name, each)}: {shorten(str(value), each)}"
        for name, value in fields.items()
        if value
    )


def describe_content(text: str | None, fields: Fields | None) -> str:
    """Return a text's beginning or a row's columns in one line, for a screen reader."""
    if fields:
        return ", ".join(f"{name} {value}" for name, value in list_fields(fields))
    return excerpt(text) or ""


def place(rank: int, total: int) -> str:
    """Return how far up the queue a rank is, as the share that is at least as suspect: "top 0.4%".

    Args:
        rank: 1 for the most suspect example.
        total: Examples that are ranked.
    """
    share = 100.0 * rank / max(total, rank)
    if share < 0.095:
        return f"top {share:.1g}%" if share >= 1e-4 else "top 0.0001%"
    return f"top {share:.1f}%" if share < 9.95 else f"top {share:.0f}%"
