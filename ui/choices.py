"""What can be decided about an example: a word, a key and a verdict each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tracin_core.numerals import value_text
from tracin_core.reviews.decision_kinds import DECISION_KINDS, KEEP, RELABEL, DecisionKind
from tracin_core.reviews.events import UNDECIDED
from tracin_core.reviews.examples import ExampleView
from tracin_core.reviews.projects import Project
from tracin_core.texts import shorten
from ui.decisions import Verdict
from ui.labels import is_regression, name_given, name_label
from ui.plain_text import isolate

MAX_DIGIT_CLASSES = 10
_NAME_LENGTH = 28  # characters of a class name on a button


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One button of the form.

    Attributes:
        name: Distinguishes its widget key within the form.
        label: The word on the button; plain text.
        key: The keyboard's key, in lower case.
        verdict: What it records.
    """

    name: str
    label: str
    key: str
    verdict: Verdict


def class_keys(classes: Sequence[str]) -> list[str]:
    """Return the key of each class, in order, for at most ten classes.

    Classes named by one digit each have their own; others count from 1, and the tenth has 0.
    """
    if len(classes) > MAX_DIGIT_CLASSES:
        return []
    if all(len(name) == 1 and name.isascii() and name.isdecimal() for name in classes):
        return list(classes)
    return [str((index + 1) % 10) for index in range(len(classes))]


def list_verdicts(project: Project, view: ExampleView, opponents_label: int | None) -> list[Choice]:
    """Return the choices that are not classes.

    Args:
        project: Its classes name the labels.
        view: The example.
        opponents_label: The label most of its opponents carry, where that says something new.
    """
    choices: list[Choice] = []
    for kind in DECISION_KINDS:
        if kind.effect == "correct":
            choices += _suggest(project, view, opponents_label)
        elif kind.effect != "undo" and (kind.effect != "defer" or view.status in UNDECIDED):
            verdict = _decide_as(kind, project, view)
            choices.append(Choice(name=kind.code, label=kind.title, key=kind.key, verdict=verdict))
    return choices


def list_classes(
    project: Project, view: ExampleView, likeliest: Sequence[int] = ()
) -> list[Choice]:
    """Return one choice a class; the given label's keeps it, which is what its digit means.

    Args:
        project: Its classes.
        view: The example.
        likeliest: Where there are more than ten classes, those to offer, the likeliest first.
    """
    keys = class_keys(project.classes)
    offered = list(enumerate(keys))
    if not keys:
        shown = likeliest[:MAX_DIGIT_CLASSES]
        offered = [(label, str((place + 1) % 10)) for place, label in enumerate(shown)]
    return [_class_choice(project, view, label, key) for label, key in offered]


def explain_idle_keys(
    project: Project, view: ExampleView, choices: Sequence[Choice], opponents_label: int | None
) -> dict[str, str]:
    """Return why each key of the review that decides nothing about an example does nothing.

    Args:
        project: Its classes name the labels.
        view: The example.
        choices: What can be decided about it.
        opponents_label: The label most of its opponents carry, or None.
    """
    given = name_given(project, view)
    reasons = {
        "m": _explain_model_key(project, view, given),
        "o": _explain_opponents_key(project, view, given, opponents_label),
    }
    reasons |= {
        kind.key: f"{kind.key.upper()} does nothing here: the example has been decided already."
        for kind in DECISION_KINDS
        if kind.effect == "defer"
    }
    if not is_regression(project):
        keys = [choice.key for choice in choices if choice.name.startswith("class-")]
        reasons |= {
            digit: f"{digit} does nothing here: the labels have the digits {_span(keys)}."
            for digit in "0123456789"
        }
    taken = {choice.key for choice in choices}
    return {key: reason for key, reason in reasons.items() if key not in taken}


def _span(keys: Sequence[str]) -> str:
    """Return the first and the last of the digits in use: "1 to 3"."""
    return f"{keys[0]} to {keys[-1]}" if len(keys) > 1 else "".join(keys)


def _explain_model_key(project: Project, view: ExampleView, given: str) -> str:
    what = "number" if is_regression(project) else "label"
    predicted = view.predicted_value if is_regression(project) else view.predicted_label
    if predicted is None:
        return f"M does nothing here: the model has predicted no {what} for this example."
    return f"M does nothing here: the model’s {what} is the given one, {given}. K keeps it."


def _explain_opponents_key(
    project: Project, view: ExampleView, given: str, opponents_label: int | None
) -> str:
    if is_regression(project):
        return "O does nothing here: opponents suggest no numbers."
    if opponents_label is None:
        return f"O does nothing here: its opponents agree on no label other than {given}."
    name = name_label(project, opponents_label, None)
    return f"O does nothing here: the opponents’ label is the model’s, {name}. M takes it."


def relabel(project: Project, view: ExampleView, label: int) -> Verdict:
    """Return the verdict that the example belongs to another class."""
    new = name_label(project, label, None)
    sentence = RELABEL.recorded.format(given=name_given(project, view), new=new)
    return Verdict(action=RELABEL.code, new_label=label, sentence=sentence)


def revalue(project: Project, view: ExampleView, value: float) -> Verdict:
    """Return the verdict that the example's number is another one."""
    if value == view.given_value:
        return _decide_as(KEEP, project, view)
    sentence = f"{name_given(project, view)} changed to {value_text(value)}"
    return Verdict(action=RELABEL.code, new_value=value, sentence=sentence)


def _decide_as(kind: DecisionKind, project: Project, view: ExampleView) -> Verdict:
    """Return the verdict of a kind that needs no new answer."""
    sentence = kind.recorded.format(given=name_given(project, view), new="")
    return Verdict(action=kind.code, sentence=sentence)


def _class_choice(project: Project, view: ExampleView, label: int, key: str) -> Choice:
    words, verdict = _short_name(project, label), relabel(project, view, label)
    if label == view.given_label:
        words, verdict = f"{words} (given)", _decide_as(KEEP, project, view)
    return Choice(name=f"class-{label}", label=words, key=key, verdict=verdict)


def _suggest(project: Project, view: ExampleView, opponents_label: int | None) -> list[Choice]:
    """Return the answers of the model and the opponents that are not the given one."""
    if is_regression(project):
        return _suggest_value(project, view)
    return _suggest_labels(project, view, opponents_label)


def _suggest_labels(
    project: Project, view: ExampleView, opponents_label: int | None
) -> list[Choice]:
    suggestions = [("model", "Model’s", "m", view.predicted_label)]
    if opponents_label != view.predicted_label:
        suggestions.append(("opponents", "Opponents’", "o", opponents_label))
    return [
        Choice(
            name=name,
            label=f"{whose}: {_short_name(project, label)}",
            key=key,
            verdict=relabel(project, view, label),
        )
        for name, whose, key, label in suggestions
        if label is not None and label != view.given_label
    ]


def _suggest_value(project: Project, view: ExampleView) -> list[Choice]:
    value = view.predicted_value
    if value is None or value == view.given_value:
        return []
    verdict = revalue(project, view, value)
    label = f"Model’s: {value_text(value)}"
    return [Choice(name="model", label=label, key="m", verdict=verdict)]


def _short_name(project: Project, label: int) -> str:
    return isolate(shorten(project.classes[label], _NAME_LENGTH))
