"""Everything that a screen shows of a suspect, as it is sent to the browser before it is needed.

A decision is a matter of a second, and a screen that asks the server for the next suspect when a
key goes down is late by a rerun. So several suspects lie in the browser, each with its labels,
choices and evidence, and those that are searched for are searched together.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np

from relabel.db.decisions.checks import mark_example
from relabel.db.decisions.kinds import PENDING, find_kind, list_states
from relabel.db.examples import ExampleView
from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.db.schema import UNDECIDED
from relabel.db.team.audits import count_waiting_items
from relabel.runs.folder import RunFolder
from relabel.text import format_number, format_residual
from tracin_core.retrieval.exact import Side
from ui.components.cards import Card
from ui.examples import describe_source_place
from ui.failures import describe_failure
from ui.fields import list_fields, name_texts, row_of
from ui.galleries import place
from ui.inspect.evidence import (
    CAPTIONS,
    NO_NEIGHBOURS,
    FoundEvidence,
    describe_hidden,
    describe_index_fault,
    describe_suggestion,
    find_evidence,
)
from ui.inspect.recurring import list_hidden
from ui.inspect.unseen import (
    Suggested,
    UnseenAnswer,
    choose_suggested,
    describe_other_voices,
    describe_unseen,
    explain_suggestion,
    rank_unseen,
    read_answer,
)
from ui.inspect.words import MARKING
from ui.labels import (
    agrees,
    is_regression,
    name_current,
    name_given,
    name_label,
    name_predicted,
)
from ui.review.choices import (
    MAX_DIGIT_CLASSES,
    Choice,
    choose_likeliest,
    explain_idle_keys,
    list_classes,
    list_verdicts,
)
from ui.review.suspect import ReviewQuery, Suspect
from ui.server.pictures import picture_address, pixels_address
from ui.session import get_engine, run_folder
from ui.wording import SPLIT_WORDS, STATUS_WORDS, percent, score_text

# A side; texts take more room, and both sides should be on one screen.
_NEIGHBOURS = {"image": 6, "text": 4, "table": 4}
# While an audit is mixed in, a place would tell its items from those of the queue.
BLIND_PLACE = "Of the queue or of the audit"
Sheet = dict[str, Any]
_Found = TypeVar("_Found")


def build_sheets(query: ReviewQuery, suspects: Sequence[Suspect]) -> list[Sheet]:
    """Return what a screen shows of some suspects.

    What fails of their evidence is told on the sheet; decisions need none of it.
    """
    troubles: list[str] = []
    blind = bool(suspects) and count_waiting_items(get_engine(), query.project.id) > 0
    found = _attempt(lambda: _search(query, suspects), troubles) if suspects else []
    if found is None and len(suspects) > 1:
        # One of them may be the reason, such as one that the run has not scored.
        return [sheet for one in suspects for sheet in build_sheets(query, [one])]
    evidence: Sequence[FoundEvidence | None] = [None] * len(suspects) if found is None else found
    return [
        _build(query, suspect, known, list(troubles), blind=blind)
        for suspect, known in zip(suspects, evidence, strict=True)
    ]


def _search(query: ReviewQuery, suspects: Sequence[Suspect]) -> list[FoundEvidence]:
    project, run = query.project, query.run
    return find_evidence(
        project,
        run,
        [one.view for one in suspects],
        layers=query.layers,
        measure=query.measure,
        count=_NEIGHBOURS.get(project.kind, 4),
        hidden=list_hidden(project, run, query.layers, query.measure, hides=query.hides),
    )


def _attempt(make: Callable[[], _Found], troubles: list[str]) -> _Found | None:
    """Return what is made; where that fails, None, and the reason goes to the others."""
    try:
        return make()
    except Exception as error:
        words = describe_failure(error)
        if words not in troubles:
            troubles.append(words)
        return None


def _build(
    query: ReviewQuery,
    suspect: Suspect,
    evidence: FoundEvidence | None,
    troubles: list[str],
    *,
    blind: bool,
) -> Sheet:
    project, run, view = query.project, query.run, suspect.view
    which = f"{SPLIT_WORDS[view.split]} example"
    answer = _attempt(lambda: read_answer(project, run, view), troubles)
    suggestion = None if evidence is None else evidence.suggestion
    opponents = None if suggestion is None else suggestion.label
    likeliest = _attempt(lambda: rank_classes(project, run, view), troubles) or []
    suggested = choose_suggested(view, answer)
    verdicts = list_verdicts(project, view, suggested, opponents)
    classes = [] if is_regression(project) else list_classes(project, view, likeliest)
    first = choose_likeliest(view, answer, verdicts)
    choices = [*verdicts, *classes]
    fault = _attempt(
        lambda: describe_index_fault(project, run, query.layers, query.measure), troubles
    )
    lines = [
        describe_other_voices(project, view, answer, opponents=opponents),
        describe_suggestion(project, suggestion),
        explain_suggestion(project, view, answer, suggested),
    ]
    return {
        "id": view.id,
        "version": view.version,
        "look": suspect.look,
        "mark": mark_example(project.created_at, view.key),
        "run": run.id,
        "rank": suspect.rank,
        "score": suspect.score,
        "shown": _list_shown(query.signal, view, answer, suggested)
        | {"ticket": suspect.ticket or secrets.token_hex(8)},
        "place": BLIND_PLACE if blind else _describe_place(run, suspect),
        "isReviewed": view.status not in UNDECIDED,
        "image": picture_address(view.id, view.key, view.media_path),
        "pixels": pixels_address(view.id, view.key, view.media_path),
        "alt": f"{which} with the given label {name_given(project, view)}",
        "text": name_texts(view.text, view.fields),
        "pieces": [] if evidence is None else evidence.pieces,
        "marking": MARKING if evidence is not None and evidence.pieces else "",
        "fields": list_fields(row_of(view.text, view.fields)),
        "source": describe_source_place(view),
        "badges": list_badges(project, view),
        "said": describe_unseen(project, view, answer),
        "lines": [line for line in lines if line],
        "verdicts": [_choice_json(choice, first) for choice in verdicts],
        "classes": [_choice_json(choice, first) for choice in classes],
        "given": None if is_regression(project) else view.given_label,
        "givenValue": format_number(view.given_value) if is_regression(project) else "",
        "reasons": explain_idle_keys(project, view, choices, suggested, opponents),
        "sides": _list_sides(project, view, evidence),
        "fault": fault or "",
        "troubles": troubles,
    }


def _list_shown(
    signal: str, view: ExampleView, answer: UnseenAnswer | None, suggested: Suggested
) -> dict[str, Any]:
    """Return what the screen sends back with a decision, as the evidence that it was made on."""
    opinion = None if answer is None else answer.opinion
    unseen = None if opinion is None else opinion.label
    label = suggested.label if suggested.label is not None else unseen
    label = view.predicted_label if label is None else label
    is_unseen = opinion is not None and label == opinion.label
    value = suggested.value if suggested.value is not None else view.predicted_value
    return {
        "signal": signal,
        "label": label,
        "value": value,
        "probability": opinion.probability
        if opinion is not None and is_unseen
        else view.predicted_probability,
    }


def _choice_json(choice: Choice, first: Choice) -> dict[str, Any]:
    verdict = choice.verdict
    return {
        "name": choice.name,
        "label": choice.label,
        "key": choice.key,
        "action": verdict.action,
        "newLabel": verdict.new_label,
        "newValue": verdict.new_value,
        "sentence": verdict.sentence,
        "decides": find_kind(verdict.action).effect != "defer",
        "first": choice is first,
    }


def _describe_place(run: Run, suspect: Suspect) -> str:
    run = run.of_split(suspect.view.split)
    if suspect.rank is None or suspect.score is None:
        return "Not ranked in this run"
    return (
        f"Suspect {suspect.rank:,} of {run.num_ranked:,}, {place(suspect.rank, run.num_ranked)}, "
        f"score {score_text(suspect.score)}"
    )


def list_badges(project: Project, view: ExampleView) -> list[dict[str, str]]:
    """Return given label, prediction and state, each in words as well as in colour."""
    badges = [{"text": f"given {name_given(project, view)}", "tone": "given"}]
    if is_regression(project):
        residual = format_residual(view.given_value, view.predicted_value)
        name = name_label(project, None, view.predicted_value)
        badges.append({"text": f"predicted {name}", "tone": "plain"})
        badges.append({"text": f"residual {residual}", "tone": "plain"})
    else:
        tone = "agrees" if agrees(project, view) else "differs"
        badges.append({"text": f"predicted {name_predicted(project, view)}", "tone": tone})
        if tone == "differs":
            chance = percent(view.given_probability)
            badges.append({"text": f"given label’s probability {chance}", "tone": "plain"})
    if view.status != PENDING:
        corrected = view.status in list_states("correct")
        label = f" {name_current(project, view)}" if corrected else ""
        badges.append({"text": f"{STATUS_WORDS[view.status]}{label}", "tone": "decided"})
    return badges


def _list_sides(
    project: Project, view: ExampleView, evidence: FoundEvidence | None
) -> list[dict[str, Any]]:
    if evidence is None:
        return []
    given = name_given(project, view)
    speaks = {"proponents": f"Speak for {given}", "opponents": f"Speak against {given}"}
    cards: dict[Side, tuple[Card, ...]] = {
        "proponents": evidence.proponents,
        "opponents": evidence.opponents,
    }
    return [
        {
            "name": side.capitalize(),
            "speaks": speaks[side],
            "caption": _describe_side(side, evidence),
            "cards": [asdict(card) for card in cards[side]],
        }
        for side in cards
    ]


def _describe_side(side: Side, evidence: FoundEvidence) -> str:
    cards = evidence.proponents if side == "proponents" else evidence.opponents
    said = CAPTIONS[side] if cards else NO_NEIGHBOURS.format(side=side)
    return f"{said} {describe_hidden(evidence.num_hidden[side])}".rstrip()


def rank_classes(project: Project, run: Run, view: ExampleView) -> list[int]:
    """Return the likeliest classes, best first, where there are more than the digits can name.

    Raises:
        RunFolderError: If the run's files are damaged.
    """
    if len(project.classes) <= MAX_DIGIT_CLASSES:
        return []
    probabilities = rank_unseen(project, run, view)
    if probabilities is None:
        folder = RunFolder(run_folder(project, run))
        probabilities = folder.read_probabilities(view.split, view.position)
    order = np.argsort(-probabilities, kind="stable")[:MAX_DIGIT_CLASSES]
    return [int(label) for label in order]
