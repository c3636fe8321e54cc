"""Answers to what the review's screen asks: the next suspects, and what became of its presses.

The screen has a few suspects ahead and asks for more in time; presses come as an ordered list, and
each is answered. Whatever is sent is looked at as if anybody had written it.
"""

from __future__ import annotations

import logging
import math
from dataclasses import asdict
from typing import Any

from relabel.db.decisions.audit import NOTHING_SHOWN, Shown
from relabel.db.decisions.history import find_versions
from relabel.db.engine import reading
from relabel.db.examples import LARGEST_ID, load_views
from relabel.db.project_rules import Project
from relabel.db.projects import get_project
from relabel.db.team.handing_out import Screen
from relabel.db.team.leases import claim, release, release_screen
from relabel.db.team.reviewers import Identity
from relabel.errors import InvalidDecisionError
from relabel.text import Split
from tracin_core.errors import TracInError
from ui.galleries import small_example
from ui.identity import identify
from ui.review.decisions import Outcome, Press, apply_presses
from ui.review.sheets import Sheet, build_sheets
from ui.review.suspect import (
    Chosen,
    ReviewQuery,
    Suspect,
    choose_suspects,
    count_progress,
    find_suspect,
    offer_undo,
    read_query,
)
from ui.server.pictures import inline_thumbnails
from ui.session import get_engine
from ui.worth.standing import describe_standing

_LOG = logging.getLogger(__name__)
# Suspects that are sent at once, and those that a screen can name.
MOST_SENT, _MOST_HELD = 12, 500
MOST_PRESSES = 50
_LONGEST_SCREEN = 40  # characters
_LARGEST_NUMBER = 2**53  # what a browser counts exactly
Answer = dict[str, Any]


def answer_first(query: ReviewQuery, asked: Suspect | None, screen: Screen) -> Answer:
    """Return what a page begins with: the suspect that is asked for, and the next ones."""
    held = frozenset() if asked is None else frozenset([asked.view.id])
    suspects = [] if asked is None else [asked]
    chosen = choose_suspects(query, screen, count=2 - len(suspects), without=held)
    return {
        "suspects": build_sheets(query, [*suspects, *chosen.suspects]),
        **_tell_chosen(chosen),
        **_tell_progress(query, screen.who),
    }


def _tell_chosen(chosen: Chosen) -> Answer:
    return {"withOthers": chosen.with_others, "unheld": chosen.unheld}


def _tell_progress(query: ReviewQuery, who: Identity) -> Answer:
    return {
        "undoable": offer_undo(query.project, who),
        **count_progress(query.project, query.filter.split),
    }


def answer_suspects(body: Answer, signed_in: Identity | None = None) -> Answer:
    """Return the next suspects that a screen does not have yet, and those that it asks for."""
    project = _read_project(body)
    screen = _read_screen(body, signed_in)
    query = read_query(project, body.get("query"))
    held = frozenset(_read_numbers(body, "held", _MOST_HELD))
    wanted = [find_suspect(query, one, screen.who) for one in _read_numbers(body, "ids", MOST_SENT)]
    asked = [one for one in wanted if one is not None]
    count = max(0, min(MOST_SENT, _read_number(body, "count", 0)))
    held |= {one.view.id for one in asked}
    chosen = (
        choose_suspects(query, screen, count=count, without=held) if count else Chosen(suspects=[])
    )
    sheets = build_sheets(query, [*asked, *chosen.suspects])
    answer: Answer = {"suspects": sheets[len(asked) :], **_tell_chosen(chosen)}
    # What a screen that has pressed keys counts by itself reads all decisions of the project.
    if body.get("tells", True):
        answer |= _tell_progress(query, screen.who) | {"standing": _describe_standing(query)}
    answer |= {"asked": sheets[: len(asked)], "changed": find_changed(body)}
    return answer | {"inlined": _inline_pictures(sheets)}


def _inline_pictures(sheets: list[Sheet]) -> bool:
    """Put the small pictures of the evidence into the sheets; return whether there were any."""
    cards = [card for sheet in sheets for side in sheet["sides"] for card in side["cards"]]
    cards = [card for card in cards if card["image"]]
    found = inline_thumbnails([card["id"] for card in cards]) if cards else {}
    for card in cards:
        card["image"] = found.get(card["id"], card["image"])
    return bool(found)


def _describe_standing(query: ReviewQuery) -> str:
    """Return how far the review is from where it may stop; "" where it cannot be told here."""
    if query.filter.split != "train":
        return ""
    try:
        return describe_standing(query.project, query.run, query.signal)
    except TracInError as error:
        _LOG.warning("How far the review is from its end could not be told: %s", error)
        return "When to stop could not be told: Overview says why."


def answer_leases(body: Answer, signed_in: Identity | None = None) -> Answer:
    """Renew what a screen still holds, give back what it does not, and say what it has lost.

    Of a screen that is gone all is given back, what was on its way to it as well.

    Returns:
        ``lost``: those that somebody else has before them by now.
    """
    project = _read_project(body)
    screen = _read_screen(body, signed_in)
    if body.get("gone"):
        release_screen(get_engine(), screen.name)
        return {"lost": []}
    renewed = _read_numbers(body, "renew", _MOST_HELD)
    release(get_engine(), _read_numbers(body, "release", _MOST_HELD), screen=screen.name)
    held = claim(get_engine(), project.id, renewed, holder=screen.who.holder, screen=screen.name)
    return {"lost": [one for one in renewed if one not in held]}


def _read_screen(body: Answer, signed_in: Identity | None) -> Screen:
    """Return whose screen asks: who has signed in, where people have to, else who it says."""
    who = identify(_read_text(body, "reviewer")) if signed_in is None else signed_in
    return Screen(who, _read_text(body, "screen")[:_LONGEST_SCREEN])


def answer_decisions(body: Answer, signed_in: Identity | None = None) -> Answer:
    """Record what a screen sends, in its order, and say of each press what became of it.

    An example whose press was refused, or whose decision was taken back, comes with it as it is
    now, so that it can be shown again.
    """
    project = _read_project(body)
    sent = body.get("presses")
    if not isinstance(sent, list) or not 0 < len(sent) <= MOST_PRESSES:
        raise InvalidDecisionError(f"Expected 1 to {MOST_PRESSES} presses.")
    presses = [read_press(one) for one in sent]
    outcomes = apply_presses(project, presses, signed_in)
    who = identify(presses[-1].reviewer) if signed_in is None else signed_in
    shown: dict[int, Sheet] = {}
    again = _list_shown_again(presses, outcomes)
    if again:
        try:
            query = read_query(project, body.get("query"))
            found = [find_suspect(query, one, who) for one in again]
            sheets = build_sheets(query, [one for one in found if one is not None])
            shown = {sheet["id"]: sheet for sheet in sheets}
        except TracInError as error:
            # What was recorded stays so; the screen asks for the example by itself.
            _LOG.warning("An example could not be shown again: %s", error)
    small = _describe_refused(project, outcomes)
    answers = [
        asdict(one)
        | {
            "sheet": shown.get(one.example_id) if one.example_id else None,
            "small": small.get(one.example_id) if one.example_id else None,
        }
        for one in outcomes
    ]
    answer: Answer = {"outcomes": answers}
    # What was recorded stays so, and is answered, though nothing else could be said.
    try:
        answer["changed"] = find_changed(body)
        # This reads all decisions of the project; a screen counts what it presses by itself.
        if again:
            answer["undoable"] = offer_undo(project, who)
            answer |= count_progress(project, _read_split(body))
    except TracInError as error:
        _LOG.warning("How far the review is could not be asked: %s", error)
    return answer


def _describe_refused(project: Project, outcomes: list[Outcome]) -> dict[int, Answer]:
    """Return the examples whose presses were refused, as the message about them shows them."""
    refused = [one.example_id for one in outcomes if one.example_id and not one.recorded]
    refused = [one for one in dict.fromkeys(refused) if 0 < one <= LARGEST_ID]
    if not refused:
        return {}
    try:
        with reading(get_engine()) as connection:
            views = load_views(connection, refused, None)
    except TracInError as error:
        _LOG.warning("A refused example could not be described: %s", error)
        return {}
    return {
        one: small_example(view) for one, view in views.items() if view.project_id == project.id
    }


def find_changed(body: Answer) -> list[int]:
    """Return which of the suspects that a screen has ahead others have decided about meanwhile."""
    seen = body.get("seen") or {}
    if not isinstance(seen, dict) or len(seen) > _MOST_HELD:
        raise InvalidDecisionError("Expected what the screen has seen as versions by number.")
    known = {
        int(one): _read_number(seen, one, 0) for one in seen if one.isdecimal() and len(one) <= 18
    }
    if not known:
        return []
    versions = find_versions(get_engine(), [one for one in known if one <= LARGEST_ID])
    return [one for one, version in known.items() if versions.get(one, 0) != version]


def _list_shown_again(presses: list[Press], outcomes: list[Outcome]) -> list[int]:
    """Return the examples that come back: refused ones, and those of undone unknown decisions."""
    back = [
        outcome.example_id
        for press, outcome in zip(presses, outcomes, strict=True)
        if outcome.example_id and (not outcome.recorded or press.decision_id is not None)
    ]
    return list(dict.fromkeys(back))[:MOST_SENT]


def read_press(sent: Any) -> Press:
    """Return a press that a screen sent, with the types that it must have.

    Raises:
        InvalidDecisionError: If it is none.
    """
    if not isinstance(sent, dict):
        raise InvalidDecisionError("Expected a press to be an object.")
    typed = sent.get("typed")
    return Press(
        token=_read_text(sent, "token"),
        action=_read_text(sent, "action"),
        example_id=_read_number(sent, "example", 0),
        version=_read_number(sent, "version", 0),
        new_label=None if sent.get("newLabel") is None else _read_number(sent, "newLabel", 0),
        new_value=_read_float(sent, "newValue"),
        typed=None if typed is None else _read_text(sent, "typed")[:40],
        note=_read_text(sent, "note"),
        seconds=_read_float(sent, "seconds"),
        rank=None if sent.get("rank") is None else _read_number(sent, "rank", 0),
        score=_read_float(sent, "score"),
        run_id=None if sent.get("run") is None else _read_number(sent, "run", 0),
        reviewer=_read_text(sent, "reviewer")[:80],
        mark=_read_text(sent, "mark"),
        undoes=None if sent.get("undoes") is None else _read_text(sent, "undoes"),
        look=None if sent.get("look") is None else _read_number(sent, "look", 0),
        decision_id=None if sent.get("decision") is None else _read_number(sent, "decision", 0),
        shown=_read_shown(sent.get("shown")),
        ticket=_read_ticket(sent.get("shown")),
    )


def _read_shown(sent: Any) -> Shown:
    """Return what was on the screen; a screen of an older version does not say it."""
    if not isinstance(sent, dict):
        return NOTHING_SHOWN
    return Shown(
        signal=None if sent.get("signal") is None else _read_text(sent, "signal"),
        suggested_label=None if sent.get("label") is None else _read_number(sent, "label", 0),
        suggested_value=_read_float(sent, "value"),
        suggested_probability=_read_float(sent, "probability"),
    )


def _read_ticket(shown: Any) -> str:
    """Return by what an answer to an audit's item is known; every other has a ticket, too."""
    return _read_text(shown, "ticket")[:_LONGEST_SCREEN] if isinstance(shown, dict) else ""


def _read_project(body: Answer) -> Project:
    return get_project(get_engine(), _read_text(body, "project"))


def _read_split(body: Answer) -> Split:
    query = body.get("query")
    return "test" if isinstance(query, dict) and query.get("split") == "test" else "train"


def _read_text(sent: Answer, name: str) -> str:
    value = sent.get(name, "")
    if not isinstance(value, str):
        raise InvalidDecisionError(f"Found {value!r:.80} for {name}. Expected a text.")
    return value


def _read_number(sent: Answer, name: str, default: int) -> int:
    value = sent.get(name, default)
    if type(value) is not int or abs(value) > _LARGEST_NUMBER:
        raise InvalidDecisionError(f"Found {value!r:.80} for {name}. Expected a whole number.")
    return value


def _read_float(sent: Answer, name: str) -> float | None:
    value = sent.get(name)
    if value is None:
        return None
    if type(value) not in (int, float) or not math.isfinite(value):
        raise InvalidDecisionError(f"Found {value!r:.80} for {name}. Expected a number.")
    return float(value)


def _read_numbers(sent: Answer, name: str, most: int) -> list[int]:
    values = sent.get(name) or []
    if not isinstance(values, list) or len(values) > most:
        raise InvalidDecisionError(f"Expected at most {most} numbers for {name}.")
    return [_read_number({name: one}, name, 0) for one in values]
