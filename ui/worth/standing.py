"""How far a review is from where it may stop, in a sentence that is asked for again and again."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.db.stats import count_reviewed
from relabel.worth.stopping import StopState, read_goal, read_stop_state
from ui.session import get_engine

# Decisions after which it is worked out anew: a forecast does not change from one to the next.
EVERY = 10
_CAPACITY = 64
_known: OrderedDict[tuple[object, ...], str] = OrderedDict()
_lock = Lock()


def describe_standing(project: Project, run: Run, signal: str) -> str:
    """Return the sentence of the stopping rule, which may be a few decisions old.

    It tells nothing of a single answer, so that nobody learns from it which items an audit asks.
    """
    reviewed, _ = count_reviewed(get_engine(), project.id, "train")
    key = (
        str(get_engine().url),
        run.id,
        run.created_at,
        signal,
        read_goal(project.settings),
        reviewed // EVERY,
    )
    with _lock:
        if key in _known:
            return _known[key]
    sentence = read_stop_state(get_engine(), run.id, signal).sentence
    with _lock:
        _known[key] = sentence
        while len(_known) > _CAPACITY:
            _known.popitem(last=False)
    return sentence


def describe_left(state: StopState) -> str:
    """Return about how many errors are left, and how that is known."""
    if state.errors_left is None:
        return "Nobody can tell yet how many errors are left."
    about = f"About {state.errors_left:,.0f} errors are probably left in the list"
    if state.errors_left_low is None or state.errors_left_high is None:
        return f"{about}, if the curve goes on as it has: a forecast without any promise."
    low, high = f"{state.errors_left_low:,.0f}", f"{state.errors_left_high:,.0f}"
    return f"{about} ({low} to {high}, by the audit’s 95% interval)."
