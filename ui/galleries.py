"""Turns examples into cards: the queue's rows, and proponents and opponents."""

from __future__ import annotations

from collections.abc import Sequence

from tracin_core.reviews.examples import ExampleView
from tracin_core.reviews.projects import Project
from tracin_core.reviews.queue import QueueRow
from ui.components.cards import Card, Tag
from ui.media import thumbnail_address
from ui.plain_text import shorten
from ui.wording import STATUS_WORDS, class_name, percent, score_text

EXCERPT_LENGTH = 280  # characters


def queue_card(project: Project, row: QueueRow) -> Card:
    """Return one line of the queue: picture or excerpt, labels, place, state."""
    given = class_name(project.classes, row.given_label)
    predicted = class_name(project.classes, row.predicted_label)
    probability = percent(row.predicted_probability)
    excerpt = shorten(row.text, EXCERPT_LENGTH) if row.text else None
    return Card(
        id=row.example_id,
        label=f"Suspect {row.rank}: given {given}, predicted {predicted} with {probability}, "
        f"{STATUS_WORDS[row.status].lower()}. {excerpt or ''}",
        image=thumbnail_address(row.example_id, row.key) if row.media_path else None,
        alt=f"Train example with the given label {given}",
        heading=f"{row.rank:,}",
        text=excerpt,
        tags=(
            Tag(text=f"given {given}", tone="given"),
            prediction_tag(
                project, row.given_label, row.predicted_label, row.predicted_probability
            ),
            *status_tags(project, row.status, row.current_label),
        ),
        meta=f"score {score_text(row.score)} · {place(row.percentile)}",
    )


def neighbour_card(
    project: Project, view: ExampleView, score: float, *, recurring: bool = False
) -> Card:
    """Return one proponent or opponent: picture or excerpt, labels, its influence."""
    given = class_name(project.classes, view.given_label)
    excerpt = shorten(view.text, EXCERPT_LENGTH) if view.text else None
    return Card(
        id=view.id,
        label=f"Train example with the given label {given}, influence {score_text(score)}. "
        f"{excerpt or ''}",
        image=thumbnail_address(view.id, view.key) if view.media_path else None,
        alt=f"Train example with the given label {given}",
        text=excerpt,
        tags=(
            Tag(text=f"given {given}", tone="given"),
            prediction_tag(
                project, view.given_label, view.predicted_label, view.predicted_probability
            ),
            *status_tags(project, view.status, view.current_label),
            *((Tag(text="recurs"),) if recurring else ()),
        ),
        meta=score_text(score),
    )


def example_card(project: Project, view: ExampleView, *, current: bool = False) -> Card:
    """Return an example as it stands among others of its split."""
    given = class_name(project.classes, view.given_label)
    excerpt = shorten(view.text, EXCERPT_LENGTH) if view.text else None
    return Card(
        id=view.id,
        label=f"Example with the given label {given}. {excerpt or ''}",
        image=thumbnail_address(view.id, view.key) if view.media_path else None,
        alt=f"Example with the given label {given}",
        text=excerpt,
        tags=(
            Tag(text=f"given {given}", tone="given"),
            prediction_tag(
                project, view.given_label, view.predicted_label, view.predicted_probability
            ),
        ),
        current=current,
    )


def prediction_tag(
    project: Project, given: int | None, predicted: int | None, probability: float | None
) -> Tag:
    """Return what the model says, coloured by whether it agrees with the given label."""
    return Tag(
        text=f"predicted {class_name(project.classes, predicted)} · {percent(probability)}",
        tone="agrees" if predicted == given else "differs",
    )


def status_tags(project: Project, status: str, current_label: int | None) -> Sequence[Tag]:
    """Return what has been decided, or nothing while nothing has been."""
    if status == "pending":
        return ()
    word = STATUS_WORDS[status]
    if status == "relabeled":
        word = f"{word} {class_name(project.classes, current_label)}"
    return (Tag(text=word, tone="decided"),)


def place(percentile: float) -> str:
    """Return how far up the queue a percentile is, as the share that is at least as suspect.

    Args:
        percentile: 100 for the most suspect example, in percent of the examples.
    """
    share = max(0.1, 100.0 - percentile)
    return f"top {share:.1f}%" if share < 9.95 else f"top {share:.0f}%"
