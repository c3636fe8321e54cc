"""What an example is labelled, in words: a class's name, or a number in the person's own unit."""

from __future__ import annotations

from relabel.db.decisions.history import HistoryRow
from relabel.db.decisions.kinds import PENDING, list_states
from relabel.db.examples import ExampleView
from relabel.db.project_rules import Project
from relabel.db.queue import QueueRow
from relabel.text import format_number, format_residual
from ui.components.cards import Tag, Tone
from ui.wording import STATUS_WORDS, class_name, percent

# An example as the pages know it; one with what the model predicts and what has been decided.
Labelled = ExampleView | QueueRow | HistoryRow
Reviewed = ExampleView | QueueRow


def is_regression(project: Project) -> bool:
    """Return whether an example's label is a number."""
    return project.task == "regression"


def name_label(project: Project, label: int | None, value: float | None) -> str:
    """Return a label as a screen shows it."""
    return format_number(value) if is_regression(project) else class_name(project.classes, label)


def name_given(project: Project, example: Labelled) -> str:
    """Return the label that the data claims."""
    return name_label(project, example.given_label, example.given_value)


def name_predicted(project: Project, example: Reviewed) -> str:
    """Return what the model says, with its probability or the distance of the given number."""
    name = name_label(project, example.predicted_label, example.predicted_value)
    if is_regression(project):
        residual = format_residual(example.given_value, example.predicted_value)
        return f"{name} · residual {residual}"
    return f"{name} · {percent(example.predicted_probability)}"


def name_current(project: Project, example: Reviewed) -> str:
    """Return the label in force after what has been decided."""
    return name_label(project, example.current_label, example.current_value)


def agrees(project: Project, example: Reviewed) -> bool:
    """Return whether the model predicts the given class; two numbers are never quite the same."""
    return not is_regression(project) and example.predicted_label == example.given_label


def given_tag(project: Project, example: Labelled) -> Tag:
    """Return the given label as it stands on a card."""
    return Tag(text=f"given {name_given(project, example)}", tone="given")


def predicted_tag(project: Project, example: Reviewed) -> Tag:
    """Return what the model says, coloured by whether it agrees with the given class."""
    tone: Tone = "agrees" if agrees(project, example) else "differs"
    if is_regression(project):
        tone = "plain"
    return Tag(text=f"predicted {name_predicted(project, example)}", tone=tone)


def plain_predicted_tag(project: Project, example: Reviewed) -> Tag:
    """Return what the network says, uncoloured: beside a suggestion it is the lesser voice."""
    return Tag(text=f"network {name_predicted(project, example)}")


def suggested_tag(project: Project, example: Reviewed) -> Tag | None:
    """Return what models say that have not seen the example; None where none were asked."""
    if is_regression(project) or example.suggested_label is None:
        return None
    tone: Tone = "agrees" if example.suggested_label == example.given_label else "differs"
    return Tag(text=f"suggested {name_label(project, example.suggested_label, None)}", tone=tone)


def status_tags(project: Project, example: Reviewed) -> tuple[Tag, ...]:
    """Return what has been decided, or nothing while nothing has been."""
    if example.status == PENDING:
        return ()
    word = STATUS_WORDS[example.status]
    if example.status in list_states("correct"):
        word = f"{word} {name_current(project, example)}"
    return (Tag(text=word, tone="decided"),)
