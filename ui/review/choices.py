"""What can be decided about an example: a button and a key for everything.

A choice is a word, a key and what it records. The likeliest one is what Enter takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from relabel.db.decisions.kinds import DECISION_KINDS, KEEP, RELABEL, DecisionKind
from relabel.db.examples import ExampleView
from relabel.db.project_rules import Project
from relabel.db.schema import UNDECIDED
from relabel.text import format_number, shorten
from relabel.triage.slips import find_slip
from ui.inspect.unseen import Suggested, UnseenAnswer
from ui.labels import is_regression, name_given, name_label
from ui.wording import isolate

MAX_DIGIT_CLASSES = 10
# Names of the choices that take the suggestion, and the opponents' label.
SUGGESTED, OPPONENTS = "model", "opponents"
SLIP = "slip"  # takes the given number with its decimal point moved
_NAME_LENGTH = 28  # characters of a class name on a button
_MODEL_KEY, _OPPONENTS_KEY, _SLIP_KEY = "m", "o", "p"


@dataclass(frozen=True, kw_only=True)
class DecisionRequest:
    """What a button or a key stands for.

    Attributes:
        action: As the database names it.
        new_label: Class index, for a relabel.
        new_value: Number, for a relabel of a regression.
        sentence: What has been done, for the message that follows.
    """

    action: str
    new_label: int | None = None
    new_value: float | None = None
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One button.

    Attributes:
        name: Tells it from the others.
        label: The word on the button; plain text.
        key: The keyboard's key, in lower case.
        verdict: What it records.
    """

    name: str
    label: str
    key: str
    verdict: DecisionRequest


def choose_likeliest(
    view: ExampleView, answer: UnseenAnswer | None, choices: Sequence[Choice]
) -> Choice:
    """Return the choice that is offered first: the likeliest answer, which Enter takes.

    It is the suggestion, except where models that have not seen the example say the given label
    and the network alone another one.

    Args:
        view: The example.
        answer: What models say that have not seen it; None where none were asked.
        choices: What can be decided about it.
    """
    says_given = (
        answer is not None and answer.label is not None and answer.label == view.given_label
    )
    wanted = KEEP.code if says_given else SUGGESTED
    named = {choice.name: choice for choice in choices}
    return named.get(wanted, named[KEEP.code])


def list_verdicts(
    project: Project, view: ExampleView, suggested: Suggested, opponents_label: int | None
) -> list[Choice]:
    """Return the choices that are not classes.

    Args:
        project: Its classes name the labels.
        view: The example.
        suggested: What the key M takes.
        opponents_label: The label most of its opponents carry, where that says something new.
    """
    choices: list[Choice] = []
    for kind in DECISION_KINDS:
        if kind.effect == "correct":
            choices += _suggest(project, view, suggested, opponents_label)
        elif kind.effect != "undo" and (kind.effect != "defer" or view.status in UNDECIDED):
            verdict = _decide_as(kind, project, view)
            choices.append(Choice(name=kind.code, label=kind.title, key=kind.key, verdict=verdict))
    return choices


def list_slots(project: Project) -> list[str]:
    """Return the names of all choices that are not classes, in the order of their places."""
    slots: list[str] = []
    for kind in DECISION_KINDS:
        if kind.effect == "correct":
            slots += [SUGGESTED, SLIP if is_regression(project) else OPPONENTS]
        elif kind.effect != "undo":
            slots.append(kind.code)
    return slots


def list_decision_keys(project: Project) -> list[str]:
    """Return the keys that decide something about an example, or say why they do not."""
    own = {kind.key for kind in DECISION_KINDS if kind.key and kind.effect != "undo"}
    digits = "" if is_regression(project) else "0123456789"
    other = _SLIP_KEY if is_regression(project) else ""
    return sorted({*own, _MODEL_KEY, _OPPONENTS_KEY, *other, *digits})


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


def class_keys(classes: Sequence[str]) -> list[str]:
    """Return the key of each class, in order, for at most ten classes.

    Classes named by one digit each have their own; others count from 1, and the tenth has 0.
    """
    if len(classes) > MAX_DIGIT_CLASSES:
        return []
    if all(len(name) == 1 and name.isascii() and name.isdecimal() for name in classes):
        return list(classes)
    return [str((index + 1) % 10) for index in range(len(classes))]


def relabel(project: Project, view: ExampleView, label: int) -> DecisionRequest:
    """Return the verdict that the example belongs to another class."""
    new = name_label(project, label, None)
    sentence = RELABEL.recorded.format(given=name_given(project, view), new=new)
    return DecisionRequest(action=RELABEL.code, new_label=label, sentence=sentence)


def revalue(project: Project, view: ExampleView, value: float) -> DecisionRequest:
    """Return the verdict that the example's number is another one."""
    if value == view.given_value:
        return _decide_as(KEEP, project, view)
    sentence = f"{name_given(project, view)} changed to {format_number(value)}"
    return DecisionRequest(action=RELABEL.code, new_value=value, sentence=sentence)


def _decide_as(kind: DecisionKind, project: Project, view: ExampleView) -> DecisionRequest:
    """Return the verdict of a kind that needs no new answer."""
    sentence = kind.recorded.format(given=name_given(project, view), new="")
    return DecisionRequest(action=kind.code, sentence=sentence)


def _class_choice(project: Project, view: ExampleView, label: int, key: str) -> Choice:
    words, verdict = _short_name(project, label), relabel(project, view, label)
    if label == view.given_label:
        words, verdict = f"{words} (given)", _decide_as(KEEP, project, view)
    return Choice(name=f"class-{label}", label=words, key=key, verdict=verdict)


def _suggest(
    project: Project, view: ExampleView, suggested: Suggested, opponents_label: int | None
) -> list[Choice]:
    """Return the answers of the models and the opponents that are not the given one."""
    whose = "Suggested" if suggested.by_unseen else "Model’s"
    if is_regression(project):
        if suggested.value is None:
            return []
        verdict = revalue(project, view, suggested.value)
        label = f"{whose}: {format_number(suggested.value)}"
        choice = Choice(name=SUGGESTED, label=label, key=_MODEL_KEY, verdict=verdict)
        return [choice, *_move_point(project, view, suggested)]
    suggestions = [(SUGGESTED, whose, _MODEL_KEY, suggested.label)]
    if opponents_label != suggested.label:
        suggestions.append((OPPONENTS, "Opponents’", _OPPONENTS_KEY, opponents_label))
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


def _move_point(project: Project, view: ExampleView, suggested: Suggested) -> list[Choice]:
    slip = find_slip(view.given_value, suggested.value)
    if slip is None:
        return []
    label = f"{format_number(slip.value)} ({slip.words})"
    verdict = revalue(project, view, slip.value)
    return [Choice(name=SLIP, label=label, key=_SLIP_KEY, verdict=verdict)]


def _short_name(project: Project, label: int) -> str:
    return isolate(shorten(project.classes[label], _NAME_LENGTH))


def explain_idle_keys(
    project: Project,
    view: ExampleView,
    choices: Sequence[Choice],
    suggested: Suggested,
    opponents_label: int | None,
) -> dict[str, str]:
    """Return why each key of the review that decides nothing about an example does nothing.

    Args:
        project: Its classes name the labels.
        view: The example.
        choices: What can be decided about it.
        suggested: What the key M takes.
        opponents_label: The label most of its opponents carry, or None.
    """
    given = name_given(project, view)
    reasons = {
        "m": _explain_model_key(project, view, given),
        "o": _explain_opponents_key(project, given, suggested, opponents_label),
    }
    reasons |= {
        kind.key: f"{kind.key.upper()} does nothing here: the example has been decided already."
        for kind in DECISION_KINDS
        if kind.effect == "defer"
    }
    if is_regression(project):
        reasons[_SLIP_KEY] = (
            "P does nothing here: with its decimal point moved, the number comes no nearer to what "
            "the model says."
        )
    else:
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
    return f"M does nothing here: nobody suggests another {what} than {given}. K keeps it."


def _explain_opponents_key(
    project: Project, given: str, suggested: Suggested, opponents_label: int | None
) -> str:
    if is_regression(project):
        return "O does nothing here: opponents suggest no numbers."
    if opponents_label is None:
        return f"O does nothing here: its opponents agree on no label other than {given}."
    name = name_label(project, opponents_label, None)
    whose = "suggested one" if suggested.by_unseen else "model’s"
    return f"O does nothing here: the opponents’ label is the {whose}, {name}. M takes it."
