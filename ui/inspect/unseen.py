"""What models that have not seen an example say of its label, and what that suggests.

It is read from the run's files: a press on the review asks the database nothing for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st

from relabel.db.examples import ExampleView
from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.errors import RunFolderError
from relabel.runs.folder import RunFolder
from relabel.runs.held_out import HeldOut, HeldOutOpinion, describe_damage, list_files, open_of_run
from relabel.text import Split, format_number, format_residual
from relabel.triage.evidence import Status, status_of
from ui.labels import is_regression, name_label
from ui.session import run_folder
from ui.wording import class_name, escape_markdown, percent

# A sentence in pieces, and which of them are to be emphasised.
Words = tuple[tuple[str, bool], ...]


@dataclass(frozen=True, kw_only=True)
class UnseenAnswer:
    """What models that have not seen an example say of it.

    Attributes:
        opinion: Of its label; None for a regression.
        value: The number they predict; None for a classification.
    """

    opinion: HeldOutOpinion | None = None
    value: float | None = None

    @property
    def label(self) -> int | None:
        """Return the class that they say."""
        return None if self.opinion is None else self.opinion.label


@dataclass(frozen=True, kw_only=True)
class Suggested:
    """The answer that is offered in the place of the given one.

    Attributes:
        label: Class index; None for a regression or where nobody says another one.
        value: Number; None for a classification or where nobody says another one.
        by_unseen: Whether models say it that have not seen the example; else the network does.
    """

    label: int | None = None
    value: float | None = None
    by_unseen: bool = False


def choose_suggested(view: ExampleView, answer: UnseenAnswer | None) -> Suggested:
    """Return what is offered: the answer of models that have not seen it, else the network's.

    Args:
        view: The example; an answer that is the given one is no suggestion.
        answer: What those models say; None where none were asked.
    """
    if answer is not None and answer.label not in (None, view.given_label):
        return Suggested(label=answer.label, by_unseen=True)
    if answer is not None and answer.value not in (None, view.given_value):
        return Suggested(value=answer.value, by_unseen=True)
    label, value = view.predicted_label, view.predicted_value
    return Suggested(
        label=None if label == view.given_label else label,
        value=None if value == view.given_value else value,
    )


@st.cache_resource(show_spinner=False, max_entries=8)
def _open(folder: Path, run_key: str, files: Status, split: Split) -> HeldOut | None:
    """Open them once for each state of the files: a map of a file that was cut ends the process."""
    return open_of_run(RunFolder(folder), split)


def get_held_out(project: Project, run: Run, split: Split = "train") -> HeldOut | None:
    """Return what a run keeps of models that have not seen the examples of a split, or None.

    Raises:
        RunFolderError: If it is damaged.
    """
    folder = run_folder(project, run)
    return _open(folder, run.key, tuple(map(status_of, list_files(folder))), split)


def read_answer(project: Project, run: Run, view: ExampleView) -> UnseenAnswer | None:
    """Return what models that have not seen an example say; None where none were asked.

    Raises:
        RunFolderError: If what is stored is damaged.
    """
    held_out = get_held_out(project, run, view.split)
    if held_out is None or view.position >= len(held_out):
        return None
    try:
        if is_regression(project):
            return UnseenAnswer(value=held_out.value(view.position))
        return UnseenAnswer(opinion=held_out.opinion(view.position, view.given_label))
    except ValueError as error:
        raise describe_damage(run_folder(project, run), error, view.split) from error


def rank_unseen(project: Project, run: Run, view: ExampleView) -> np.ndarray | None:
    """Return the class probabilities of models that have not seen an example, shape ``(K,)``.

    None where none were asked; a damaged file is told where their answer is drawn.
    """
    try:
        held_out = get_held_out(project, run, view.split)
        if held_out is None or view.position >= len(held_out):
            return None
        return held_out.probabilities(view.position)
    except (RunFolderError, ValueError):
        return None


def draw_unseen(project: Project, view: ExampleView, answer: UnseenAnswer | None) -> None:
    """Draw what models that have not seen an example say, and where the network says otherwise."""
    if words := describe_unseen(project, view, answer):
        shown = [escape_markdown(text) for text, _ in words]
        bold = [f"**{text}**" if words[place][1] else text for place, text in enumerate(shown)]
        st.markdown("".join(bold))
    if otherwise := describe_other_voices(project, view, answer, opponents=None):
        st.caption(escape_markdown(otherwise))


def describe_unseen(project: Project, view: ExampleView, answer: UnseenAnswer | None) -> Words:
    """Return what models that have not seen an example say; nothing where none were asked."""
    if answer is None:
        return ()
    said = answer.opinion
    if said is None:
        residual = format_residual(view.given_value, answer.value)
        return (
            ("Models that have not seen it say ", False),
            (format_number(answer.value), True),
            (f" (residual {residual}).", False),
        )
    agrees = said.label == view.given_label
    then = ""
    if said.runner_up is not None:
        chance = percent(said.runner_up_probability)
        then = f" (then {_name(project, said.runner_up)} {chance})"
    end = "" if agrees else f"; the given label has {percent(said.given_probability)}"
    return (
        (f"Models that have not seen it say {'the given label, ' if agrees else ''}", False),
        (_name(project, said.label), True),
        (f" {percent(said.probability)}{then}{end}.", False),
    )


def describe_other_voices(
    project: Project, view: ExampleView, answer: UnseenAnswer | None, *, opponents: int | None
) -> str:
    """Return who says another label than models that have not seen it; nothing where nobody does.

    Args:
        project: Its classes name the labels.
        view: The example.
        answer: What they say; None where none were asked.
        opponents: The label that most opponents carry, or None.
    """
    if answer is None or answer.label is None:
        return ""
    said = []
    predicted = view.predicted_label
    if predicted is not None and predicted != answer.label:
        which = ", the given label" if predicted == view.given_label else ""
        said.append(f"the network says {_name(project, predicted)}{which}")
    if opponents is not None and opponents != answer.label:
        said.append(f"most opponents are {_name(project, opponents)}")
    return f"They disagree: {'; '.join(said)}." if said else ""


def _name(project: Project, label: int) -> str:
    return class_name(project.classes, label)


def explain_suggestion(
    project: Project, view: ExampleView, answer: UnseenAnswer | None, suggested: Suggested
) -> str:
    """Return whose answer the key M takes, where that needs to be said; else nothing."""
    what = "number" if is_regression(project) else "label"
    if suggested.by_unseen or (suggested.label is None and suggested.value is None):
        return ""
    name = name_label(project, suggested.label, suggested.value)
    if answer is None:
        return (
            f"M takes the network’s {what}, {name}. No models were asked that have not seen the "
            "example, so the network may only repeat what it was taught."
        )
    return f"M takes the network’s {what}, {name}: the others say the given one."
